"""How a page is filled, against a plain reading of its description."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.signaling.log.interface import SCAN_ROWS_MAX, ChannelState, Entry, Page, Range
from peerbus.signaling.log.page import fill_page, scan_bounds

WIDE = 1 << 30


def channel(head: int, tail: int = 1) -> ChannelState:
    return ChannelState("e", head=head, tail=tail, locked=False, name="n", mode="open")


def entry(offset: int, recipients: tuple[str, ...] | None = None, body: bytes = b"x") -> Entry:
    return Entry(offset, 0, "name:ann", "ann", recipients, "chat-text", None, body)


def page(
    wanted: Range, state: ChannelState, limit_bytes: int = WIDE, *, hidden: frozenset[int] = frozenset()
) -> Page:
    low, high = scan_bounds(wanted, state)
    offsets = range(high, low - 1, -1) if wanted.newest_first else range(low, high + 1)
    entries = (entry(offset, ("name:cat",) if offset in hidden else None) for offset in offsets)
    return fill_page(entries, "name:bob", wanted, limit_bytes, state)


def offsets(found: Page) -> list[int]:
    return [entry.offset for entry in found.entries]


@pytest.mark.parametrize(
    ("wanted", "found", "scanned_to", "complete"),
    [
        (Range(), [1, 2, 3, 4, 5], 5, True),
        (Range(after=0), [1, 2, 3, 4, 5], 5, True),
        (Range(after=3), [4, 5], 5, True),
        (Range(after=5), [], 5, True),
        (Range(after=9), [], 9, True),
        (Range(after=1, before=4), [2, 3], 3, True),
        (Range(after=3, before=4), [], 3, True),
        (Range(after=4, before=2), [], 4, True),
        (Range(limit=2), [1, 2], 2, False),
        (Range(after=3, limit=2), [4, 5], 5, True),
        (Range(newest_first=True), [1, 2, 3, 4, 5], 1, True),
        (Range(newest_first=True, limit=2), [4, 5], 4, False),
        (Range(newest_first=True, before=4, limit=2), [2, 3], 2, False),
        (Range(newest_first=True, before=3, limit=2), [1, 2], 1, True),
        (Range(newest_first=True, before=1), [], 1, True),
        (Range(newest_first=True, before=9, after=3), [4, 5], 4, True),
        (Range(newest_first=True, before=2, after=4), [], 2, True),
    ],
)
def test_ranges(wanted: Range, found: list[int], scanned_to: int, complete: bool) -> None:
    got = page(wanted, channel(5))
    assert (offsets(got), got.scanned_to, got.complete) == (found, scanned_to, complete)


def test_an_empty_channel() -> None:
    for wanted in (Range(), Range(after=0), Range(newest_first=True)):
        got = page(wanted, channel(0))
        assert (got.entries, got.complete) == ((), True)
    assert page(Range(), channel(0)).scanned_to == 0
    assert page(Range(newest_first=True), channel(0)).scanned_to == 1


def test_what_was_trimmed_is_passed_over() -> None:
    got = page(Range(after=2), channel(12, tail=10))
    assert offsets(got) == [10, 11, 12]
    assert got.history_gone(2)
    assert not got.history_gone(9)
    assert offsets(page(Range(before=10, newest_first=True), channel(12, tail=10))) == []
    assert page(Range(), channel(12, tail=13)).scanned_to == 12


def test_invisible_entries_take_no_place_but_move_the_cursor() -> None:
    got = page(Range(limit=2), channel(9), hidden=frozenset({1, 2, 4, 6, 7, 8, 9}))
    assert (offsets(got), got.scanned_to, got.complete) == ([3, 5], 5, False)
    got = page(Range(after=5, limit=2), channel(9), hidden=frozenset({6, 7, 8, 9}))
    assert (offsets(got), got.scanned_to, got.complete) == ([], 9, True)


def test_one_call_looks_at_a_bounded_number_of_rows() -> None:
    head = SCAN_ROWS_MAX * 2 + 1
    everything_hidden = frozenset(range(1, head + 1))
    first = page(Range(), channel(head), hidden=everything_hidden)
    assert (first.entries, first.scanned_to, first.complete) == ((), SCAN_ROWS_MAX, False)
    second = page(Range(after=first.next), channel(head), hidden=everything_hidden)
    assert (second.scanned_to, second.complete) == (2 * SCAN_ROWS_MAX, False)
    third = page(Range(after=second.next), channel(head), hidden=everything_hidden)
    assert (third.scanned_to, third.complete) == (head, True)


def test_bytes_are_bounded_but_one_entry_is_always_looked_at() -> None:
    state = channel(4)
    wanted = Range()

    def entries() -> Iterator[Entry]:
        for offset in range(1, 5):
            yield entry(offset, body=b"x" * 10)

    assert offsets(fill_page(entries(), "name:bob", wanted, 20, state)) == [1, 2]
    assert offsets(fill_page(entries(), "name:bob", wanted, 19, state)) == [1]
    assert offsets(fill_page(entries(), "name:bob", wanted, 1, state)) == [1]
    assert offsets(fill_page(entries(), "name:bob", wanted, 40, state)) == [1, 2, 3, 4]


@given(
    head=st.integers(0, 30),
    trimmed=st.integers(0, 30),
    hidden=st.frozensets(st.integers(1, 30)),
    after=st.none() | st.integers(0, 35),
    before=st.none() | st.integers(0, 35),
    limit=st.integers(1, 7),
    newest_first=st.booleans(),
    limit_bytes=st.integers(1, 12),
)
def test_paging_finds_every_entry_once(
    head: int,
    trimmed: int,
    hidden: frozenset[int],
    after: int | None,
    before: int | None,
    limit: int,
    newest_first: bool,
    limit_bytes: int,
) -> None:
    """Whatever the bounds, following `next` gives each visible entry of the range once, in order."""
    state = channel(head, tail=min(trimmed, head) + 1)
    low, high = after or 0, head + 1 if before is None else before
    expected = [o for o in range(state.tail, head + 1) if low < o < high and o not in hidden]
    found: list[int] = []
    wanted = Range(after=after, before=before, limit=limit, newest_first=newest_first)
    for _ in range(40):
        got = page(wanted, state, limit_bytes, hidden=hidden)
        assert len(got.entries) <= limit
        found = offsets(got) + found if newest_first else found + offsets(got)
        if got.next is None:
            break
        if newest_first:
            assert before is None or got.next < before
            before = got.next
        else:
            assert after is None or got.next > after
            after = got.next
        wanted = Range(after=after, before=before, limit=limit, newest_first=newest_first)
    else:
        pytest.fail("paging never came to an end")
    assert found == expected

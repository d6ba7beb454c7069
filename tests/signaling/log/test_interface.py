"""The values of the log: who sees an entry, what a range wants, how a tail moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.errors import ErrorCode
from peerbus.signaling.log.interface import (
    TRIM_ROWS_MAX,
    ChannelState,
    Entry,
    Page,
    Range,
    Refused,
    StoreError,
    trimmed_tail,
    visible,
)


def stored(
    recipients: tuple[str, ...] | None = None, type_: str = "chat-text", custom: str | None = None
) -> Entry:
    return Entry(1, 0, "name:ann", "ann", recipients, type_, custom, b"")


@pytest.mark.parametrize(
    ("recipients", "identity", "seen"),
    [
        (None, "name:bob", True),
        (None, "lineage:x", True),
        (("name:bob",), "name:bob", True),
        (("name:bob", "lineage:x"), "lineage:x", True),
        (("name:bob",), "name:ann", True),  # one's own
        (("name:bob",), "name:cat", False),
        (("name:bob",), "name:bo", False),
        (("name:bob",), "lineage:bob", False),
        ((), "name:cat", False),
        ((), "name:ann", True),
    ],
)
def test_visible(recipients: tuple[str, ...] | None, identity: str, seen: bool) -> None:
    assert visible(stored(recipients=recipients), identity) is seen


@pytest.mark.parametrize(
    ("wanted", "found", "wants"),
    [
        (Range(), stored(), True),
        (Range(types=frozenset({"chat-text"})), stored(), True),
        (Range(types=frozenset({"move"})), stored(), False),
        (Range(types=frozenset({"move"})), stored(type_="custom", custom="move"), True),
        (Range(types=frozenset()), stored(), False),
        (Range(exclude_author="name:ann"), stored(), False),
        (Range(exclude_author="name:bob"), stored(), True),
        (Range(types=frozenset({"chat-text"}), exclude_author="name:ann"), stored(), False),
    ],
)
def test_range_wants(wanted: Range, found: Entry, wants: bool) -> None:
    assert wanted.wants(found) is wants


@given(st.integers(1, 5_000), st.integers(0, 5_000), st.integers(1, 5_000))
def test_trimmed_tail_keeps_the_newest_and_never_more_than_the_maximum(
    tail: int, kept: int, most: int
) -> None:
    head = tail + kept - 1
    new_tail = trimmed_tail(tail, head, most)
    assert new_tail >= tail
    removed = new_tail - tail
    assert removed <= TRIM_ROWS_MAX
    left = head - new_tail + 1
    if kept <= most:
        assert removed == 0
    else:
        assert left <= most or removed == TRIM_ROWS_MAX
        assert left >= most - most // 64  # room is made for a chunk, not more
        assert left >= 1


def test_a_tail_makes_room_in_chunks() -> None:
    assert trimmed_tail(1, 6_400, 6_400) == 1
    assert trimmed_tail(1, 6_401, 6_400) == 102  # 100 of the maximum, and the one above it
    assert trimmed_tail(102, 6_501, 6_400) == 102


def test_history_is_gone_for_cursors_below_the_tail() -> None:
    state = ChannelState("e", head=20, tail=11, locked=False, name="n", mode="open")
    page = Page((), scanned_to=20, complete=True, state=state)
    assert [after for after in range(21) if page.history_gone(after)] == list(range(10))


def test_next_is_the_cursor_until_the_range_was_read() -> None:
    state = ChannelState("e", head=20, tail=1, locked=False, name="n", mode="open")
    assert Page((), scanned_to=7, complete=False, state=state).next == 7
    assert Page((), scanned_to=20, complete=True, state=state).next is None


def test_refusals_say_whether_a_retry_helps() -> None:
    assert Refused(ErrorCode.STORAGE_UNAVAILABLE, "").retryable
    assert Refused(ErrorCode.OVERLOADED, "").retryable
    assert Refused(ErrorCode.SERVER_RESTARTING, "").retryable
    assert not Refused(ErrorCode.NOT_FOUND, "").retryable
    assert not Refused(ErrorCode.BAD_REQUEST, "").retryable


def test_a_store_error_is_one_line() -> None:
    error = StoreError("storage_in_use", "the folder is taken")
    assert (error.code, error.reason, str(error)) == ("storage_in_use",) + ("the folder is taken",) * 2

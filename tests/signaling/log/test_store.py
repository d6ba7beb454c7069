"""The contract of a store, tried on each backend alike."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from peerbus.protocol.errors import ErrorCode
from peerbus.signaling.log import (
    Appended,
    AppendResult,
    ChannelKey,
    Conflict,
    Entry,
    MailLimits,
    MailRead,
    Page,
    Range,
    Refused,
    Store,
    UnknownChannelError,
)
from peerbus.signaling.log.interface import SCAN_ROWS_MAX
from tests.support.log_entries import (
    CHANNEL,
    OTHER,
    PAGE_BYTES,
    StoreMaker,
    entry,
    memory_store,
    sqlite_store,
)

DAY_MS = 24 * 3600 * 1000


@pytest.fixture(params=[memory_store, sqlite_store], ids=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest) -> StoreMaker:
    maker: StoreMaker = request.param
    return maker


@pytest.fixture
def store(make_store: StoreMaker, tmp_path: Path) -> Iterator[Store]:
    made = make_store(tmp_path)
    made.open_channel(CHANNEL, "lobby", "open", 500)
    yield made
    made.close()


def read(
    store: Store, identity: str = "name:bob", wanted: Range | None = None, key: ChannelKey = CHANNEL
) -> Page:
    return store.read(key, identity, wanted or Range(), PAGE_BYTES)


def bodies(page: Page) -> list[str]:
    return [entry.body.decode() for entry in page.entries]


def offsets(results: list[AppendResult]) -> list[int]:
    return [result.offset for result in results if isinstance(result, Appended)]


# Channels


def test_a_new_channel_is_empty(store: Store) -> None:
    state = store.open_channel(OTHER, "hall", "sealed", 700)
    assert (state.head, state.tail, state.locked) == (0, 1, False)
    assert (state.name, state.mode, state.created_ms) == ("hall", "sealed", 700)
    page = read(store, key=OTHER)
    assert (page.entries, page.complete, page.scanned_to, page.state) == ((), True, 0, state)


def test_an_open_channel_keeps_what_it_is(store: Store) -> None:
    store.append_group([entry()])
    assert store.open_channel(CHANNEL, "another", "sealed", 900) == read(store).state
    assert read(store).state.name == "lobby"


def test_scopes_are_apart(store: Store) -> None:
    public = ChannelKey("public", CHANNEL.channel_id)
    store.open_channel(public, "lobby", "open", 0)
    store.append_group([entry("private"), entry("public", channel=public)])
    assert (bodies(read(store)), bodies(read(store, key=public))) == (["private"], ["public"])


def test_unknown_channels(store: Store) -> None:
    assert store.append_group([entry(channel=OTHER), entry()]) == [
        Refused(ErrorCode.NOT_FOUND, "the channel was never opened"),
        Appended(1, 1_000),
    ]
    for call in (
        lambda: read(store, key=OTHER),
        lambda: store.set_locked(OTHER, True),
        lambda: store.trim(OTHER, 1),
    ):
        with pytest.raises(UnknownChannelError):
            call()


def test_many_new_channels(store: Store) -> None:
    keys = [ChannelKey("public", number.to_bytes(32, "big")) for number in range(1_200)]
    for key in keys:
        store.open_channel(key, "n", "open", 0)
    results = store.append_group([entry(str(number), channel=key) for number, key in enumerate(keys)])
    assert results == [Appended(1, 1_000)] * len(keys)
    assert bodies(read(store, key=keys[0])) == ["0"]
    assert bodies(read(store, key=keys[-1])) == ["1199"]


def test_the_lock_is_kept_and_does_nothing(store: Store) -> None:
    assert store.set_locked(CHANNEL, True).locked
    assert store.append_group([entry()]) == [Appended(1, 1_000)]
    assert read(store).state.locked
    assert store.open_channel(CHANNEL, "lobby", "open", 0).locked
    assert not store.set_locked(CHANNEL, False).locked
    assert not read(store).state.locked


# Appending


def test_offsets_count_from_one_in_each_channel(store: Store) -> None:
    store.open_channel(OTHER, "hall", "open", 0)
    group = [entry("a"), entry("x", channel=OTHER), entry("b"), entry("c"), entry("y", channel=OTHER)]
    assert offsets(store.append_group(group)) == [1, 1, 2, 3, 2]
    assert offsets(store.append_group([entry("d"), entry("z", channel=OTHER)])) == [4, 3]
    assert bodies(read(store)) == ["a", "b", "c", "d"]
    assert bodies(read(store, key=OTHER)) == ["x", "y", "z"]
    assert (read(store).state.head, read(store).state.tail) == (4, 1)


def test_an_entry_comes_back_as_it_was(store: Store) -> None:
    strange = "a\x00b\r\n\x1b[31m 'quoted\" \N{PILE OF POO} e\u0301 \u202e"
    append = entry(
        "x",
        identity=f"name:{strange}",
        recipients=(strange, "lineage:1"),
        type=strange,
        custom_event_type=strange,
        time_ms=1_700_000_000_123,
        key=strange,
    )
    store.append_group([append])
    assert read(store, strange).entries == (
        Entry(
            1,
            1_700_000_000_123,
            f"name:{strange}",
            strange,
            (strange, "lineage:1"),
            strange,
            strange,
            b"x",
        ),
    )


@pytest.mark.parametrize("size", [0, 1, 4_000, 300_000])
def test_bodies_of_all_sizes(store: Store, size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    append = structs.replace(entry(), body=body)
    store.append_group([append])
    assert read(store).entries[0].body == body


def test_an_empty_group(store: Store) -> None:
    assert store.append_group([]) == []
    assert read(store).state.head == 0


# Idempotency


def test_a_retry_gives_the_first_offset_and_time(store: Store) -> None:
    first = store.append_group([entry("a"), entry("b", key="k", time_ms=2_000)])
    assert first == [Appended(1, 1_000), Appended(2, 2_000)]
    again = store.append_group([entry("c"), entry("b", key="k", time_ms=9_000), entry("d")])
    assert again == [Appended(3, 1_000), Appended(2, 2_000, duplicate=True), Appended(4, 1_000)]
    assert bodies(read(store)) == ["a", "b", "c", "d"]


def test_a_retry_within_the_group(store: Store) -> None:
    results = store.append_group([entry("a", key="k"), entry("a", key="k", time_ms=7), entry("b", key="k")])
    assert results == [Appended(1, 1_000), Appended(1, 1_000, duplicate=True), Conflict(1)]
    assert store.append_group([entry("a", key="k")]) == [Appended(1, 1_000, duplicate=True)]
    assert bodies(read(store)) == ["a"]


def test_another_content_under_a_key_is_a_conflict(store: Store) -> None:
    store.append_group([entry("a", key="k")])
    assert store.append_group([entry("b", key="k"), entry("c")]) == [Conflict(1), Appended(2, 1_000)]
    assert bodies(read(store)) == ["a", "c"]
    # The fingerprint tells, not the body.
    assert store.append_group([entry("z", key="k", fingerprint=b"a")]) == [Appended(1, 1_000, duplicate=True)]


def test_keys_belong_to_an_identity_in_a_channel(store: Store) -> None:
    store.open_channel(OTHER, "hall", "open", 0)
    group = [
        entry("a", key="k"),
        entry("b", key="k", identity="name:bob"),
        entry("c", key="k", channel=OTHER),
        entry("d", key="K"),
        entry("e", key="k "),
        entry("f", key=""),
        entry("g"),
        entry("h"),
    ]
    assert offsets(store.append_group(group)) == [1, 2, 1, 3, 4, 5, 6, 7]
    again = store.append_group(group[:6])
    assert [(r.offset, r.duplicate) for r in again if isinstance(r, Appended)] == [
        (1, True), (2, True), (1, True), (3, True), (4, True), (5, True),
    ]  # fmt: skip


def test_what_may_only_be_a_retry_is_never_stored_anew(store: Store) -> None:
    store.append_group([entry("a", key="k")])
    not_a_retry = Refused(ErrorCode.UNKNOWN_RECIPIENT, "nothing stands under this key")
    assert store.append_group(
        [
            entry("a", key="k", is_retry=True),
            entry("b", key="k", is_retry=True),
            entry("b", key="l", is_retry=True),
            entry("b", is_retry=True),
            entry("c", key="m"),
            entry("c", key="m", is_retry=True),
        ]
    ) == [
        Appended(1, 1_000, duplicate=True),
        Conflict(1),
        not_a_retry,
        not_a_retry,
        Appended(2, 1_000),
        Appended(2, 1_000, duplicate=True),
    ]
    assert not not_a_retry.retryable
    assert bodies(read(store)) == ["a", "c"]
    # Being asked for does not make a key known.
    assert store.append_group([entry("b", key="l")]) == [Appended(3, 1_000)]


def test_keys_outlive_their_entries(store: Store) -> None:
    store.append_group([entry("a", key="k"), entry("b")])
    store.trim(CHANNEL, 3)
    assert store.append_group([entry("a", key="k")]) == [Appended(1, 1_000, duplicate=True)]
    assert store.append_group([entry("b", key="k")]) == [Conflict(1)]


def test_keys_are_forgotten_after_their_time_and_not_before(store: Store) -> None:
    store.append_group([entry("old", key="old", time_ms=1_000), entry("new", key="new", time_ms=2_000)])
    settle(store, 1_000 + DAY_MS)
    assert store.append_group([entry("old", key="old")]) == [Appended(1, 1_000, duplicate=True)]
    # A store may look only now and then; a day later it has surely looked.
    settle(store, 1_001 + DAY_MS + DAY_MS // 24)
    settle(store, 2_000 + DAY_MS + DAY_MS // 12)
    assert offsets(store.append_group([entry("again", key="old"), entry("again", key="new")])) == [3, 4]


def test_many_keys_are_forgotten_in_small_steps(store: Store) -> None:
    for first in range(0, 3_000, 500):
        store.append_group([entry("x", key=f"k{number}", time_ms=1) for number in range(first, first + 500)])
    store.append_group([entry("keep", key="keep", time_ms=DAY_MS)])
    assert store.maintain(2 + DAY_MS)
    settle(store, 2 + DAY_MS)
    results = store.append_group([entry("x", key="k0"), entry("x", key="k2999"), entry("keep", key="keep")])
    assert [r.duplicate for r in results if isinstance(r, Appended)] == [False, False, True]


def settle(store: Store, now_ms: int) -> None:
    for _ in range(1_000):
        if not store.maintain(now_ms):
            return
    pytest.fail("housekeeping never came to an end")


# Reading


def test_recipients_and_senders_see_a_message_and_nobody_else(store: Store) -> None:
    store.append_group(
        [
            entry("to all"),
            entry("to bob", recipients=("name:bob",)),
            entry("to cat and a lineage", recipients=("name:cat", "lineage:7")),
            entry("to nobody", recipients=()),
        ]
    )
    assert bodies(read(store, "name:ann")) == ["to all", "to bob", "to cat and a lineage", "to nobody"]
    assert bodies(read(store, "name:bob")) == ["to all", "to bob"]
    assert bodies(read(store, "lineage:7")) == ["to all", "to cat and a lineage"]
    assert bodies(read(store, "name:dan")) == ["to all"]
    assert read(store, "name:dan").scanned_to == 4


def test_filters(store: Store) -> None:
    store.append_group(
        [
            entry("text"),
            entry("move", type="custom", custom_event_type="move"),
            entry("bob's", identity="name:bob"),
        ]
    )
    assert bodies(read(store, wanted=Range(types=frozenset({"move"})))) == ["move"]
    assert bodies(read(store, wanted=Range(types=frozenset({"custom", "chat-text"})))) == [
        "text",
        "move",
        "bob's",
    ]
    assert bodies(read(store, wanted=Range(exclude_author="name:bob"))) == ["text", "move"]


def test_ranges(store: Store) -> None:
    store.append_group([entry(str(number)) for number in range(1, 10)])
    assert bodies(read(store, wanted=Range(after=3, before=7))) == ["4", "5", "6"]
    upwards = read(store, wanted=Range(after=3, limit=2))
    assert (bodies(upwards), upwards.next) == (["4", "5"], 5)
    downwards = read(store, wanted=Range(limit=2, newest_first=True))
    assert (bodies(downwards), downwards.next) == (["8", "9"], 8)
    assert bodies(read(store, wanted=Range(before=8, limit=2, newest_first=True))) == ["6", "7"]
    beyond = read(store, wanted=Range(after=1 << 62))
    assert (beyond.entries, beyond.complete) == ((), True)
    assert bodies(read(store, wanted=Range(before=1 << 62, limit=1, newest_first=True))) == ["9"]
    assert bodies(read(store, wanted=Range(after=-5, limit=1))) == ["1"]
    assert read(store, wanted=Range(before=-5, newest_first=True)).entries == ()


def test_a_read_is_bounded_in_rows_and_bytes(store: Store) -> None:
    for _ in range(5):
        store.append_group([entry("x", recipients=()) for _ in range(1_000)])
    page = read(store)
    assert (page.entries, page.scanned_to, page.complete) == ((), SCAN_ROWS_MAX, False)
    page = read(store, wanted=Range(newest_first=True))
    assert (page.entries, page.scanned_to, page.complete) == ((), 5_001 - SCAN_ROWS_MAX, False)
    page = store.read(CHANNEL, "name:ann", Range(), 7)
    assert (len(page.entries), page.next) == (7, 7)


# Trimming


def test_trimming_moves_the_tail_and_nothing_else(store: Store) -> None:
    store.append_group([entry(str(number)) for number in range(1, 11)])
    assert store.trim(CHANNEL, 5).tail == 5
    assert bodies(read(store)) == ["5", "6", "7", "8", "9", "10"]
    assert store.trim(CHANNEL, 3).tail == 5
    assert store.trim(CHANNEL, 9, rows_max=2).tail == 7
    page = read(store, wanted=Range(after=1))
    assert page.history_gone(1)
    assert (bodies(page), page.state.tail, page.state.head) == (["7", "8", "9", "10"], 7, 10)


def test_a_channel_trimmed_empty_goes_on_counting(store: Store) -> None:
    store.append_group([entry("a"), entry("b")])
    state = store.trim(CHANNEL, 100)
    assert (state.head, state.tail) == (2, 3)
    assert read(store).entries == ()
    assert offsets(store.append_group([entry("c")])) == [3]
    assert store.trim(CHANNEL, 1).tail == 3


def test_a_channel_keeps_its_newest(make_store: StoreMaker, tmp_path: Path) -> None:
    store = make_store(tmp_path, messages_max_per_channel=100)
    store.open_channel(CHANNEL, "lobby", "open", 0)
    for number in range(1, 301):
        store.append_group([entry(str(number))])
        state = read(store, wanted=Range(limit=1)).state
        kept = state.head - state.tail + 1
        assert state.head == number
        assert min(number, 99) <= kept <= 100
    page = read(store, wanted=Range(limit=200))
    assert bodies(page) == [str(number) for number in range(page.state.tail, 301)]
    store.close()


def test_new_epochs_change_the_epoch_and_nothing_else(store: Store) -> None:
    store.append_group([entry("a", key="k")])
    before = read(store).state
    store.new_epochs()
    after = read(store).state
    assert after.epoch != before.epoch
    assert (after.head, after.tail) == (before.head, before.tail)
    assert store.open_channel(CHANNEL, "lobby", "open", 0).epoch == after.epoch
    assert store.append_group([entry("a", key="k")]) == [Appended(1, 1_000, duplicate=True)]


def test_mail_is_dropped_when_it_is_too_old_and_a_claim_when_nobody_uses_it(
    make_store: StoreMaker, tmp_path: Path
) -> None:
    store = make_store(tmp_path, mail_limits=MailLimits(ttl_ms=1_000))
    store.open_channel(CHANNEL, "lobby", "open", 0)
    store.claim(CHANNEL, "name:ann", 0)
    store.claim(CHANNEL, "name:bob", 0)
    to_both = ("name:ann", "name:bob")
    store.append_group([entry("old", recipients=to_both, identity="name:cid", time_ms=100)])
    store.append_group([entry("new", recipients=to_both, identity="name:cid", time_ms=900)])
    assert store.claim(CHANNEL, "name:bob", 1_100).unread == (1, 2)
    assert store.claim(CHANNEL, "name:bob", 1_101).unread == (2,)
    while store.maintain(1_800):
        pass
    state = store.open_channel(CHANNEL, "lobby", "open", 1_800)
    assert state.claims == {"name:ann", "name:bob"}  # her claim is older, but there is mail for her
    while store.maintain(2_050):
        pass
    assert store.open_channel(CHANNEL, "lobby", "open", 2_050).claims == {"name:bob"}
    assert store.claim(CHANNEL, "name:bob", 2_050).unread == ()
    assert bodies(read(store)) == ["old", "new"]
    store.read_mail([MailRead(CHANNEL, "name:bob", 0)], 3_000)
    while store.maintain(3_500):
        pass
    assert store.open_channel(CHANNEL, "lobby", "open", 3_500).claims == {"name:bob"}
    store.close()

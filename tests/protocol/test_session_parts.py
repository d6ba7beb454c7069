"""What the client's session machine is made of, one part after the other."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import Departure, Member, Members, Message, Presence
from peerbus.protocol.session.backoff import LONGEST_DELAY_MS, reconnect_delay_ms
from peerbus.protocol.session.cursors import MAX_OWN_AHEAD, Cursors
from peerbus.protocol.session.keepalive import Keepalive
from peerbus.protocol.session.pace import Pace
from peerbus.protocol.session.paths import TransportChoice
from peerbus.protocol.session.requests import RequestBook
from peerbus.protocol.session.roster import Roster, is_empty


@given(attempt=st.integers(0, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_a_delay_lies_between_half_and_the_whole_of_its_step(attempt: int, jitter: float) -> None:
    whole = min(30_000, 250 * 2 ** min(attempt, 20))
    assert whole // 2 <= reconnect_delay_ms(attempt, jitter) <= whole


def test_the_first_delays() -> None:
    assert [reconnect_delay_ms(attempt, 0.0) for attempt in range(9)] == [
        125, 250, 500, 1000, 2000, 4000, 8000, 15000, 15000,
    ]  # fmt: skip
    assert reconnect_delay_ms(99, 0.999999) <= LONGEST_DELAY_MS


@given(
    rate=st.integers(1, 500),
    steps=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 100)), max_size=40),
)
def test_a_pace_never_runs_into_a_bucket_of_two_seconds(rate: int, steps: list[tuple[int, int]]) -> None:
    """The server's bucket, with the frames arriving up to half a second late and bunched, never runs dry."""
    pace, now = Pace(rate, 0), 0
    level, at = 2.0 * rate, 0
    for wait_ms, wanted in steps:
        now += wait_ms
        taken = sum(pace.take(now) for _ in range(wanted))
        # As of `at` half a second ago: nothing was delivered since, all of it arrives now.
        level = min(2.0 * rate, level + max(0, now - 500 - at) * rate / 1000)
        at = max(at, now - 500)
        level -= taken
        assert level >= -1e-6


def test_a_pace_says_when_it_has_a_token_again() -> None:
    pace = Pace(2, 0)
    assert [pace.take(0) for _ in range(4)] == [True, True, True, False]
    assert pace.ready_at == 500
    assert not pace.take(499)
    assert pace.take(500)


def test_a_pace_of_nothing_is_one_a_second() -> None:
    assert Pace(0, 0).rate_per_s == 1


def test_one_ping_an_interval_whatever_happens() -> None:
    alive = Keepalive(10_000, 25_000, 0)
    assert (alive.ping_at, alive.silent_at) == (10_000, 25_000)
    alive.heard(4_000)
    assert alive.ping_at == 10_000  # nothing was sent
    alive.sent(6_000)
    assert alive.ping_at == 14_000  # nothing was heard since 4,000
    alive.pinged(14_000)
    assert alive.ping_at == 24_000
    assert alive.silent_at == 29_000


def test_a_transport_has_two_attempts_and_then_they_alternate() -> None:
    choice = TransportChoice(("websocket", "longpoll"))
    tried = []
    for _ in range(6):
        tried.append(choice.current)
        choice.died()
    assert tried == ["websocket", "websocket", "longpoll", "websocket", "longpoll", "websocket"]
    choice.worked()
    choice.died()
    assert choice.current == "longpoll"


def test_a_single_transport_is_all_there_is() -> None:
    choice = TransportChoice(("longpoll",))
    for _ in range(5):
        choice.died()
        assert choice.current == "longpoll"
    with pytest.raises(ValueError, match="at least one"):
        TransportChoice(())


def message(offset: int) -> Message:
    return Message(
        delivery="durable",
        offset=offset,
        message_id=f"m{offset}",
        time_ms=0,
        sender="bob",
        identity="lineage:b",
        type="t",
        content=None,
    )


@given(
    own=st.sets(st.integers(1, 30)),
    order=st.randoms(use_true_random=False),
    hidden=st.sets(st.integers(1, 30)),
)
def test_acks_never_move_the_cursor_past_a_message_on_its_way(
    own: set[int], order: random.Random, hidden: set[int]
) -> None:
    """Acks come in any order among the pushes, which rise; whatever is pushed is taken, once."""
    pushed = [offset for offset in range(1, 31) if offset not in own and offset not in hidden]
    events = [("ack", offset) for offset in own]
    order.shuffle(events)
    for index, offset in enumerate(pushed):
        events.insert(min(len(events), index * 2), ("push", offset))
    cursors = Cursors()
    rising = iter(pushed)
    taken = []
    for kind, offset in events:
        if kind == "ack":
            cursors.acked(offset)
        else:
            next_offset = next(rising)
            assert cursors.take(message(next_offset))
            assert not cursors.take(message(next_offset))
            taken.append(next_offset)
    assert taken == pushed
    assert cursors.offset <= max([*own, *pushed], default=0)


def test_own_offsets_ahead_are_bounded() -> None:
    cursors = Cursors()
    for offset in range(2, 10_000):
        cursors.acked(offset)
    assert cursors.take(message(1))
    assert cursors.offset == 1 + MAX_OWN_AHEAD


def test_requests_keep_their_order_through_a_second_writing() -> None:
    book = RequestBook(max_requests=10, max_bytes=100)
    handles = [book.add(Members(id=1), 1, None) for _ in range(4)]
    for request_id in (2, 3, 4):
        book.written(request_id)
    answered = book.answered(3)
    assert answered is not None
    assert answered.handle == handles[1]
    book.write_again(0)
    order = []
    for request_id in (5, 6, 7):
        first = book.first_queued()
        assert first is not None
        order.append(first.handle)
        book.written(request_id)
    assert order == [handles[0], handles[2], handles[3]]
    late = book.answered(2)
    assert late is not None
    assert late.handle == handles[0]
    assert book.answered(5) is None
    assert len(book) == 2


def test_only_what_lies_beyond_is_written_again() -> None:
    book = RequestBook(max_requests=10, max_bytes=100)
    for request_id in (2, 3):
        book.add(Members(id=1), 1, None)
        book.written(request_id)
    book.write_again(2)
    assert book.queued == 1
    book.write_again(2)
    assert book.queued == 1


def test_bytes_are_given_back() -> None:
    book = RequestBook(max_requests=10, max_bytes=10)
    book.add(Members(id=1), 10, 5)
    with pytest.raises(ProtocolError) as caught:
        book.add(Members(id=1), 1, None)
    assert caught.value.code is ErrorCode.QUEUE_FULL
    assert book.next_expiry_ms == 5
    assert [request.handle for request in book.expired(5)] == [1]
    assert book.add(Members(id=1), 10, None) == 2
    assert book.queued == 1


def member(session: str, name: str, order: int) -> Member:
    return Member(session_id=session, name=name, order=order, identity=f"lineage:{name}")


def test_a_roster_follows_presence_and_lists() -> None:
    roster = Roster()
    alice, bob, carol = member("s1", "alice", 1), member("s2", "bob", 2), member("s3", "carol", 3)
    assert roster.replace([bob, alice], {"s1"}) == Presence(joined=[bob])
    assert roster.members == [alice, bob]
    roster.apply(Presence(joined=[carol], left=[Departure(session_id="s2", name="bob")]))
    assert roster.members == [alice, carol]
    change = roster.replace([member("s9", "alice", 1), carol], {"s1", "s9"})
    assert is_empty(change)
    change = roster.replace([member("s9", "alice", 1)], {"s9"})
    assert change.left == [Departure(session_id="s3", name="carol", reason="lost")]

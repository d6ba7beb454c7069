"""What waits for one participant: bounded, fair, and lossy data never old."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.data_queue import (
    IN_FLIGHT_BYTES_MAX,
    LOSSY_AGE_MAX_MS,
    LOSSY_BYTES_MAX,
    RELIABLE_BYTES_MAX,
    DataQueue,
)


def drained(queue: DataQueue, now_ms: int = 0) -> list[bytes]:
    messages = []
    while taken := queue.take(0, now_ms):
        messages += [message for _, message in taken]
    return messages


def test_reliable_messages_keep_their_order() -> None:
    queue = DataQueue()
    sent = [b"%d" % number * 500 for number in range(100)]
    assert all(queue.push_reliable(message) for message in sent)
    assert drained(queue, 10**9) == sent
    assert queue.is_empty


def test_no_more_is_given_to_sctp_than_it_should_hold() -> None:
    queue = DataQueue()
    for _ in range(50):
        queue.push_reliable(bytes(1_000))
    first = queue.take(0, 0)
    assert len(first) == 17
    assert queue.take(IN_FLIGHT_BYTES_MAX, 0) == []
    assert len(queue.take(IN_FLIGHT_BYTES_MAX - 1, 0)) == 1


def test_one_large_message_goes_in_any_case() -> None:
    queue = DataQueue()
    queue.push_reliable(bytes(65_536))
    queue.push_reliable(b"x")
    assert [len(message) for _, message in queue.take(0, 0)] == [65_536]


def test_reliable_messages_are_refused_once_too_much_waits_but_never_the_first() -> None:
    queue = DataQueue()
    assert queue.push_reliable(bytes(RELIABLE_BYTES_MAX + 1))
    assert not queue.push_reliable(b"x")
    assert len(drained(queue)) == 1
    assert queue.push_reliable(b"x")


def test_lossy_messages_are_dropped_when_they_are_old() -> None:
    queue = DataQueue()
    queue.push_lossy(b"old", 0)
    queue.push_lossy(b"new", 1)
    assert queue.take(0, LOSSY_AGE_MAX_MS + 1) == [(False, b"new")]
    assert queue.dropped == 1
    assert queue.is_empty


def test_the_oldest_lossy_messages_make_room() -> None:
    queue = DataQueue()
    queue.push_lossy(b"first", 0)
    for _ in range(LOSSY_BYTES_MAX // 65_536):
        queue.push_lossy(bytes(65_536), 0)
    assert queue.dropped == 1
    assert b"first" not in drained(queue)
    queue.push_lossy(bytes(LOSSY_BYTES_MAX * 2), 0)
    assert len(drained(queue)) == 1


def test_a_flood_of_one_kind_does_not_stop_the_other() -> None:
    queue = DataQueue()
    for _ in range(200):
        queue.push_lossy(bytes(1_000), 0)
    queue.push_reliable(b"important")
    assert (True, b"important") in queue.take(0, 0)
    for _ in range(200):
        queue.push_reliable(bytes(1_000))
    queue.push_lossy(b"now", 0)
    both = [is_reliable for is_reliable, _ in queue.take(0, 0)]
    assert sum(both) in (len(both) // 2, (len(both) + 1) // 2)


PUSH = st.tuples(st.booleans(), st.integers(0, 70_000))


@given(
    steps=st.lists(
        st.tuples(st.lists(PUSH, max_size=8), st.integers(0, 120), st.integers(0, 20_000)), max_size=30
    )
)
def test_each_kind_keeps_its_order_nothing_is_doubled_and_what_is_missing_was_counted(
    steps: list[tuple[list[tuple[bool, int]], int, int]],
) -> None:
    queue = DataQueue()
    now_ms = 0
    number = 0
    sent: dict[bool, list[bytes]] = {True: [], False: []}
    got: dict[bool, list[bytes]] = {True: [], False: []}
    at_ms: dict[bytes, int] = {}
    for pushes, pause_ms, in_flight in steps:
        for is_reliable, size in pushes:
            number += 1
            message = number.to_bytes(4, "big") + bytes(size)
            at_ms[message] = now_ms
            if is_reliable:
                if queue.push_reliable(message):
                    sent[True].append(message)
            else:
                queue.push_lossy(message, now_ms)
                sent[False].append(message)
        now_ms += pause_ms
        taken = queue.take(in_flight, now_ms)
        sizes = [len(message) for _, message in taken]
        assert sum(sizes[:-1]) < max(1, IN_FLIGHT_BYTES_MAX - in_flight)
        for is_reliable, message in taken:
            got[is_reliable].append(message)
            assert is_reliable or now_ms - at_ms[message] <= LOSSY_AGE_MAX_MS
    rest = queue.take(-(10**9), now_ms)
    for is_reliable, message in rest:
        got[is_reliable].append(message)
    assert queue.is_empty
    assert got[True] == sent[True]
    assert [message for message in sent[False] if message in set(got[False])] == got[False]
    assert len(got[False]) + queue.dropped == len(sent[False])

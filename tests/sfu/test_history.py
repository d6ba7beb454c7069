"""What can be sent again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.rtp.history import HISTORY_PACKETS, History
from peerbus.sfu.rtp.packet import RtpPacket, header, parse_rtp


def packet(number: int, timestamp: int | None = None) -> RtpPacket:
    stamp = number * 10 if timestamp is None else timestamp
    return parse_rtp(header(96, False, number & 0xFFFF, stamp & 0xFFFFFFFF, 1) + number.to_bytes(8, "big"))


def since_keyframe(history: History) -> list[int]:
    return [number for number, _ in history.since_keyframe()]


def test_packets_are_found_by_number_until_the_ring_is_round() -> None:
    history = History()
    for number in range(100_000, 100_000 + HISTORY_PACKETS):
        history.add(number, packet(number))
    assert history.get(100_000) == packet(100_000)
    history.add(100_000 + HISTORY_PACKETS, packet(100_000 + HISTORY_PACKETS))
    assert history.get(100_000) is None
    assert history.get(100_001) == packet(100_001)
    assert history.get(99_999) is None


def test_a_late_packet_takes_its_place_and_one_that_is_too_late_takes_nobodys() -> None:
    history = History()
    history.add(5_000, packet(5_000))
    history.add(4_990, packet(4_990))
    assert history.get(4_990) == packet(4_990)
    history.add(5_000 - HISTORY_PACKETS, packet(1))
    assert history.get(5_000) == packet(5_000)
    assert history.get(5_000 - HISTORY_PACKETS) is None


def test_from_the_keyframe_on_with_what_is_missing_left_out() -> None:
    history = History()
    assert since_keyframe(history) == []
    for number in (10, 11, 13, 14):
        history.add(number, packet(number))
    assert since_keyframe(history) == []
    history.add_keyframe_start(11, 500)
    assert since_keyframe(history) == [11, 13, 14]
    assert history.keyframe_at_ms == 500


def test_an_older_keyframe_that_comes_late_is_not_the_last_one() -> None:
    history = History()
    for number in (10, 11, 12):
        history.add(number, packet(number))
    history.add_keyframe_start(12, 100)
    history.add_keyframe_start(10, 200)
    assert (history.keyframe_start, history.keyframe_at_ms) == (12, 100)


def test_a_keyframe_of_several_parts_begins_with_the_first_of_them() -> None:
    """In H.264, parameter sets and every slice look like a beginning; without the sets nothing is decoded."""
    history = History()
    for number in (10, 11, 12):
        history.add(number, packet(number, timestamp=777))
        history.add_keyframe_start(number, 100 + number)
    assert since_keyframe(history) == [10, 11, 12]
    history.add(9, packet(9, timestamp=777))
    history.add_keyframe_start(9, 150)
    assert since_keyframe(history) == [9, 10, 11, 12]
    assert history.keyframe_at_ms == 110
    history.add(13, packet(13, timestamp=888))
    history.add_keyframe_start(13, 200)
    assert since_keyframe(history) == [13]


def test_a_keyframe_whose_beginning_is_forgotten_is_no_use() -> None:
    history = History()
    history.add(1, packet(1))
    history.add_keyframe_start(1, 0)
    for number in range(2, 2 + HISTORY_PACKETS):
        history.add(number, packet(number))
    assert since_keyframe(history) == []


@given(numbers=st.lists(st.integers(70_000, 70_000 + 3 * HISTORY_PACKETS), max_size=60))
def test_never_another_packet_than_the_one_asked_for(numbers: list[int]) -> None:
    history = History()
    for number in numbers:
        history.add(number, packet(number))
    newest = max(numbers, default=0)
    for number in set(numbers):
        found = history.get(number)
        assert found in (None, packet(number))
        if number == newest:
            assert found is not None

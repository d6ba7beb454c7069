"""The figures of a receiver report, with aiortc's as a witness."""

from __future__ import annotations

from aiortc.rtcrtpreceiver import StreamStatistics
from aiortc.rtp import RtpPacket as OtherPacket
from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.rtp.reception import Reception
from peerbus.sfu.rtp.rtcp import ReceiverReport, parse_rtcp, write_rtcp

TURN = 1 << 16


def received(*sequences: int) -> Reception:
    one = Reception(90_000)
    for index, sequence in enumerate(sequences):
        one.receive(TURN + sequence, index * 3_000, 100, index * 33)
    return one


def test_nothing_is_reported_before_the_first_packet() -> None:
    one = Reception(90_000)
    assert one.report(1, 0) is None
    assert one.lost == 0


def test_loss_is_counted_in_all_and_since_the_last_report() -> None:
    one = received(0, 1, 3, 4)
    block = one.report(7, 0)
    assert block is not None
    assert (block.ssrc, block.cumulative_lost, block.fraction_lost) == (7, 1, 256 // 5)
    assert block.highest_sequence == TURN + 4
    for sequence in (5, 6, 7):
        one.receive(TURN + sequence, 0, 100, 0)
    block = one.report(7, 0)
    assert block is not None
    assert (block.cumulative_lost, block.fraction_lost) == (1, 0)
    assert (one.packets, one.bytes, one.lost) == (7, 700, 1)


def test_duplicates_never_make_the_fraction_negative() -> None:
    block = received(0, 1, 1, 1).report(7, 0)
    assert block is not None
    assert (block.cumulative_lost, block.fraction_lost) == (-2, 0)
    (again,) = parse_rtcp(write_rtcp([ReceiverReport(1, (block,))]))
    assert isinstance(again, ReceiverReport)
    assert again.blocks == (block,)


def test_everything_lost_fits_into_the_report() -> None:
    one = received(0)
    one.report(7, 0)
    one.receive(TURN * 400, 0, 100, 0)
    block = one.report(7, 0)
    assert block is not None
    assert block.fraction_lost == 255
    assert block.cumulative_lost == (1 << 23) - 1


def test_the_last_sender_report_and_the_time_since() -> None:
    one = received(0)
    block = one.report(7, 0)
    assert block is not None
    assert (block.last_report, block.delay_since_last_report) == (0, 0)
    one.sender_report(0x1122_3344_5566_7788, 1_000)
    block = one.report(7, 1_500)
    assert block is not None
    assert (block.last_report, block.delay_since_last_report) == (0x3344_5566, 32_768)


def test_even_spacing_has_no_jitter_across_the_wrap_of_the_timestamp() -> None:
    one = Reception(1_000)
    for index in range(50):
        one.receive(TURN + index, (0xFFFF_FF00 + 20 * index) & 0xFFFFFFFF, 100, 20 * index)
    assert one.jitter == 0


def test_jitter_is_the_smoothed_difference_of_spacing() -> None:
    one = Reception(1_000)
    arrivals = [0, 30, 40, 90, 100, 160]
    jitter = 0.0
    for index, now_ms in enumerate(arrivals):
        one.receive(TURN + index, 20 * index, 100, now_ms)
        if index:
            difference = abs(now_ms - arrivals[index - 1] - 20)
            jitter += (difference - jitter) / 16
    assert one.jitter == int(jitter) == 5


@given(
    steps=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 100)), min_size=1, max_size=60),
    first=st.integers(0, 65_535),
)
def test_another_implementation_counts_the_same(steps: list[tuple[int, int]], first: int) -> None:
    mine, other = Reception(8_000), StreamStatistics(8_000)
    sequence, now_ms = first, 0
    for step, pause_ms in steps:
        sequence, now_ms = sequence + step, now_ms + pause_ms
        timestamp = sequence * 160 & 0xFFFFFFFF
        mine.receive(TURN + sequence, timestamp, 100, now_ms)
        witness = OtherPacket(sequence_number=sequence & 0xFFFF, timestamp=timestamp)
        other.add(witness)
    block = mine.report(1, now_ms)
    assert block is not None
    assert block.cumulative_lost == other.packets_lost
    assert block.fraction_lost == min(255, other.fraction_lost)
    assert mine.packets == other.packets_received

"""What a subscriber sees: one sequence without holes, timestamps that follow the clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.rtp.rewriter import Rewriter
from peerbus.sfu.rtp.sequence import sequence_distance, timestamp_distance

CLOCK = 90_000


def test_the_first_stream_begins_at_the_random_start() -> None:
    one = Rewriter(1_000, 5_000)
    one.base(70_000, 123, CLOCK, 10)
    assert one.is_based
    assert one.rewrite(70_000, 123) == (1_000, 5_000)
    assert one.rewrite(70_003, 3_123) == (1_003, 8_000)


def test_packets_from_before_the_first_one_are_left_out() -> None:
    one = Rewriter(1_000, 5_000)
    one.base(70_000, 123, CLOCK, 10)
    assert one.rewrite(69_999, 100) is None


def test_another_stream_goes_on_by_one_and_by_the_time_that_passed() -> None:
    one = Rewriter(0, 0)
    one.base(70_000, 1_000, CLOCK, 0)
    one.finish(70_009, 1_900, 100)
    assert not one.is_based
    one.base(500_000, 4_000_000_000, CLOCK, 140)
    sequence, timestamp = one.rewrite(500_000, 4_000_000_000) or (-1, -1)
    assert sequence == 10
    assert timestamp == 900 + 40 * 90


def test_time_moves_on_even_within_a_millisecond() -> None:
    one = Rewriter(0, 7)
    one.base(1, 0, CLOCK, 5)
    one.finish(1, 0, 5)
    one.base(9, 77, CLOCK, 5)
    assert one.rewrite(9, 77) == (1, 8)


def test_a_stream_of_which_nothing_was_sent_leaves_the_numbers_alone() -> None:
    one = Rewriter(10, 20)
    one.finish(99, 99, 99)
    one.base(5, 6, CLOCK, 1_000)
    assert one.rewrite(5, 6) == (10, 20)


def test_what_went_out_under_a_number_is_found_again_across_the_wrap() -> None:
    one = Rewriter(65_530, 0)
    one.base(70_000, 0, CLOCK, 0)
    newest = 70_020
    for incoming in range(70_000, newest + 1):
        outgoing, _ = one.rewrite(incoming, 0) or (-1, -1)
        assert one.incoming(outgoing, newest) == incoming
    assert one.incoming(65_529, newest) is None


def test_numbers_of_the_stream_before_name_nothing_of_this_one() -> None:
    one = Rewriter(100, 0)
    one.base(1_000, 0, CLOCK, 0)
    one.finish(1_050, 0, 0)
    assert one.incoming(120, 1_050) is None
    one.base(9_000, 0, CLOCK, 1)
    assert one.incoming(151, 9_004) == 9_000
    assert one.incoming(150, 9_004) is None
    assert one.incoming(120, 9_004) is None


STREAM = st.tuples(
    st.integers(0, 2**40), st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(0, 10_000)
)


@given(start=st.integers(0, 65_535), stamp=st.integers(0, 2**32 - 1), streams=st.lists(STREAM, max_size=6))
def test_no_jump_is_seen_however_often_the_stream_changes(
    start: int, stamp: int, streams: list[tuple[int, int, int, int]]
) -> None:
    one = Rewriter(start, stamp)
    now_ms = 0
    last: tuple[int, int] | None = None
    for first, timestamp, count, pause_ms in streams:
        now_ms += pause_ms
        one.base(first, timestamp, CLOCK, now_ms)
        for step in range(count):
            stamped = (timestamp + 3_000 * step) & 0xFFFFFFFF
            numbers = one.rewrite(first + step, stamped)
            assert numbers is not None
            if last is not None:
                assert sequence_distance(last[0], numbers[0]) == 1
                ticks = timestamp_distance(last[1], numbers[1])
                assert ticks == (3_000 if step else max(1, pause_ms * 90))
            assert one.timestamp(stamped) == numbers[1]
            assert one.incoming(numbers[0], first + step) == first + step
            last = numbers
        one.finish(first + count - 1, (timestamp + 3_000 * (count - 1)) & 0xFFFFFFFF, now_ms)

"""Sequence and timestamp arithmetic, across the wrap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.rtp.sequence import (
    SequenceExtender,
    sequence_distance,
    timestamp_distance,
)

NUMBERS = st.integers(0, 0xFFFF)


@pytest.mark.parametrize(
    ("start", "end", "distance"),
    [
        (0, 1, 1),
        (1, 0, -1),
        (65_535, 0, 1),
        (0, 65_535, -1),
        (65_530, 5, 11),
        (0, 32_767, 32_767),
        (0, 32_768, -32_768),
    ],
)
def test_the_distance_goes_the_short_way_round(start: int, end: int, distance: int) -> None:
    assert sequence_distance(start, end) == distance


@given(start=NUMBERS, distance=st.integers(-32_768, 32_767))
def test_adding_a_distance_arrives(start: int, distance: int) -> None:
    assert sequence_distance(start, (start + distance) & 0xFFFF) == distance


@given(start=st.integers(0, 2**32 - 1), distance=st.integers(-(2**31), 2**31 - 1))
def test_timestamps_wrap_alike(start: int, distance: int) -> None:
    assert timestamp_distance(start, (start + distance) & 0xFFFFFFFF) == distance


@pytest.mark.parametrize("start", [0, 1, 65_000, 65_535])
def test_extended_numbers_rise_over_many_wraps(start: int) -> None:
    extender = SequenceExtender()
    first = extender.extend(start)
    assert [extender.extend((start + step) & 0xFFFF) for step in range(1, 200_000, 1_000)] == [
        first + step for step in range(1, 200_000, 1_000)
    ]


def test_a_late_packet_of_the_start_stays_below_it_and_is_not_negative() -> None:
    extender = SequenceExtender()
    first = extender.extend(3)
    assert extender.extend(65_530) == first - 9
    assert first - 9 >= 0
    assert extender.extend(4) == first + 1

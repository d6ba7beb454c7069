"""Gaps: asked for once reordering is unlikely, a few times more, then let go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.rtp.loss import AGAIN_MS, ATTEMPTS_MAX, GAP_MAX, REORDER_MS, LossTracker


def test_nothing_is_missing_in_a_row() -> None:
    loss = LossTracker()
    assert all(loss.receive(number, 0) for number in range(1_000, 1_100))
    assert loss.is_complete
    assert loss.due(10_000) == []


def test_a_gap_is_asked_for_after_a_pause_and_again_until_it_closes() -> None:
    loss = LossTracker()
    loss.receive(1, 0)
    assert loss.receive(4, 100)
    assert not loss.is_complete
    assert loss.due(100 + REORDER_MS - 1) == []
    assert loss.due(100 + REORDER_MS) == [2, 3]
    assert loss.due(100 + REORDER_MS) == []
    assert loss.receive(2, 120)
    assert loss.due(100 + REORDER_MS + AGAIN_MS) == [3]
    assert loss.receive(3, 300)
    assert loss.is_complete


def test_reordering_alone_asks_for_nothing() -> None:
    loss = LossTracker()
    loss.receive(1, 0)
    loss.receive(3, 0)
    assert loss.receive(2, REORDER_MS - 1)
    assert loss.due(1_000) == []


def test_what_came_before_does_not_count_twice() -> None:
    loss = LossTracker()
    loss.receive(1, 0)
    loss.receive(3, 0)
    assert not loss.receive(1, 0)
    assert not loss.receive(3, 0)
    assert loss.receive(2, 0)
    assert not loss.receive(2, 0)


def test_after_some_attempts_it_is_let_go_and_comes_too_late() -> None:
    loss = LossTracker()
    loss.receive(1, 0)
    loss.receive(3, 0)
    asked = sum(len(loss.due(now_ms)) for now_ms in range(0, 10_000, 5))
    assert asked == ATTEMPTS_MAX
    assert loss.is_complete
    assert not loss.receive(2, 10_000)


def test_a_large_jump_is_a_new_start() -> None:
    loss = LossTracker()
    loss.receive(1, 0)
    loss.receive(3, 0)
    assert loss.receive(3 + GAP_MAX + 1, 0)
    assert loss.is_complete
    assert loss.due(10_000) == []


def test_many_gaps_are_kept_within_bounds_the_newest_first() -> None:
    loss = LossTracker()
    for number in range(0, 6 * GAP_MAX, 2):
        loss.receive(number, 0)
    due = loss.due(1_000)
    assert len(due) == GAP_MAX
    assert due[-1] == 6 * GAP_MAX - 3


@given(
    steps=st.lists(st.tuples(st.integers(-40, 60), st.integers(0, 60)), max_size=80),
)
def test_only_what_is_missing_is_asked_for_and_each_packet_is_taken_once(
    steps: list[tuple[int, int]],
) -> None:
    loss = LossTracker()
    highest, now_ms = 1_000, 0
    taken: set[int] = set()
    for step, pause_ms in steps:
        now_ms += pause_ms
        number = highest + step
        if loss.receive(number, now_ms):
            assert number not in taken
            taken.add(number)
            highest = max(highest, number)
        asked = loss.due(now_ms)
        assert len(set(asked)) == len(asked)
        assert not taken & set(asked)
        assert all(number < highest for number in asked)

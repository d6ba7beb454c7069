"""How often a publisher is asked for a keyframe."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.rtp.keyframe_requests import INTERVAL_MS, PATIENCE_MS, KeyframeRequests


def test_nobody_asks_for_what_nobody_wants() -> None:
    one = KeyframeRequests()
    assert not one.due(0)
    one.arrived()
    assert not one.due(10_000)


def test_the_first_request_goes_out_at_once_and_many_become_one() -> None:
    one = KeyframeRequests()
    for _ in range(60):
        one.want()
    assert one.due(5)
    one.want()
    assert not one.due(5)
    assert not one.due(5 + PATIENCE_MS - 1)


def test_an_unanswered_request_is_repeated_until_a_keyframe_comes() -> None:
    one = KeyframeRequests()
    one.want()
    asked = [now_ms for now_ms in range(0, 2_000, 10) if one.due(now_ms)]
    assert asked == [0, PATIENCE_MS, 2 * PATIENCE_MS, 3 * PATIENCE_MS]
    one.arrived()
    assert not any(one.due(now_ms) for now_ms in range(2_000, 4_000, 10))


def test_after_a_keyframe_the_next_one_is_asked_for_no_earlier_than_an_encoder_follows() -> None:
    one = KeyframeRequests()
    one.want()
    assert one.due(0)
    one.arrived()
    one.want()
    assert not one.due(INTERVAL_MS - 1)
    assert one.due(INTERVAL_MS)


@given(events=st.lists(st.tuples(st.sampled_from(["want", "arrived"]), st.integers(0, 200)), max_size=80))
def test_a_storm_of_requests_never_asks_faster_than_the_interval(events: list[tuple[str, int]]) -> None:
    one = KeyframeRequests()
    now_ms = 0
    asked: list[int] = []
    for event, pause_ms in events:
        now_ms += pause_ms
        if event == "want":
            one.want()
        else:
            one.arrived()
        if one.due(now_ms):
            asked.append(now_ms)
    assert all(later - earlier >= INTERVAL_MS for earlier, later in pairwise(asked))
    assert bool(asked) is any(event == "want" for event, _ in events)

"""Windows of sealed channels: the golden vectors, and properties against a model that remembers everything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.client.seal_window import (
    DURABLE_POINTS,
    LOSSY_WINDOW,
    MAX_SESSIONS,
    LossyWindow,
    SealWindows,
    Verdict,
)
from tests.support.vectors import load_vectors

SESSION = b"a" * 16


def judged(windows: SealWindows, class_name: str, step: dict[str, Any], ahead: int = 0) -> Verdict:
    session = step["crypto_session"].encode()
    counter = step["counter"] + ahead
    if class_name == "durable":
        return windows.durable(session, "epoch", step["offset"] + ahead, counter)
    judge = {"live": windows.live, "lossy": windows.lossy, "attributes": windows.attributes}[class_name]
    return judge(session, counter)


@pytest.mark.parametrize("case", load_vectors("sealing/windows")["cases"], ids=lambda case: case["why"])
def test_vectors(case: dict[str, Any]) -> None:
    windows = SealWindows()
    for number, step in enumerate(case["steps"]):
        for ahead in range(step.get("times", 1)):
            verdict = judged(windows, case["class"], step, ahead)
            assert verdict == step["verdict"], (number, step, ahead)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40))
def test_durable_messages_that_are_taken_keep_one_order(steps: list[tuple[int, int]]) -> None:
    windows = SealWindows()
    taken: dict[int, int] = {}
    for offset, counter in steps:
        fits = all(
            (offset == known and counter == other)
            or (offset < known and counter < other)
            or (offset > known and counter > other)
            for known, other in taken.items()
        )
        verdict = windows.durable(SESSION, "e", offset, counter)
        assert (verdict is Verdict.OK) is fits
        if not fits:
            shown_elsewhere = any(other == counter and known != offset for known, other in taken.items())
            assert verdict is (Verdict.REPLAYED if shown_elsewhere else Verdict.REORDERED)
        else:
            taken[offset] = counter


@given(st.lists(st.integers(0, 3 * LOSSY_WINDOW), max_size=200))
def test_a_lossy_counter_is_taken_once_and_only_within_the_window(counters: list[int]) -> None:
    window = LossyWindow()
    seen: set[int] = set()
    for counter in counters:
        is_new = counter not in seen and counter > max(seen, default=-1) - LOSSY_WINDOW
        assert (window.judge(counter) is Verdict.OK) is is_new
        if is_new:
            seen.add(counter)


@given(st.lists(st.integers(0, 30), max_size=40))
def test_live_counters_rise(counters: list[int]) -> None:
    windows = SealWindows()
    taken = [counter for counter in counters if windows.live(SESSION, counter) is Verdict.OK]
    assert taken == sorted(set(taken))
    assert not counters or taken[0] == counters[0]
    assert not counters or taken[-1] == max(counters)


def test_offsets_mean_something_within_their_epoch_only() -> None:
    windows = SealWindows()
    assert windows.durable(SESSION, "one", 9, 5) is Verdict.OK
    assert windows.durable(SESSION, "two", 3, 5) is Verdict.OK
    assert windows.durable(SESSION, "one", 3, 5) is Verdict.REPLAYED


def test_memory_is_bounded_and_the_latest_are_kept() -> None:
    windows = SealWindows()
    first = bytes(16)
    assert windows.live(first, 7) is Verdict.OK
    for number in range(1, MAX_SESSIONS):
        windows.live(number.to_bytes(16, "big"), 0)
    assert windows.live(first, 7) is Verdict.DROPPED
    windows.live(MAX_SESSIONS.to_bytes(16, "big"), 0)
    assert windows.live(first, 7) is Verdict.DROPPED
    assert windows.live((1).to_bytes(16, "big"), 0) is Verdict.OK
    for offset in range(2 * DURABLE_POINTS):
        assert windows.durable(first, "e", offset, offset) is Verdict.OK
    window = windows._durable.of(("e", first))
    assert len(window._offsets) == len(window._counters) == DURABLE_POINTS

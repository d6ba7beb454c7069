"""How long a connection that floods has to wait."""

from __future__ import annotations

import pytest

from peerbus.signaling.reading_pace import ReadingPace


def test_who_keeps_to_the_rate_never_waits() -> None:
    pace = ReadingPace(100)
    now_s = 1_000.0
    for _ in range(1_000):
        pace.took(1, now_s, now_s)
        assert pace.wait_s(now_s) == 0
        now_s += 0.01


def test_a_seconds_worth_may_come_at_once() -> None:
    pace = ReadingPace(100)
    pace.took(100, 1_000.0, 1_000.0)
    assert pace.wait_s(1_000.0) == 0
    pace.took(50, 1_000.0, 1_000.0)
    assert pace.wait_s(1_000.0) == pytest.approx(0.5)
    assert pace.wait_s(1_000.4) == pytest.approx(0.1)
    assert pace.wait_s(1_000.6) == 0


def test_in_the_long_run_a_flood_is_read_at_the_rate() -> None:
    pace = ReadingPace(100)
    now_s, frames = 0.0, 0
    while now_s < 100:
        pace.took(256, now_s, now_s)
        frames += 256
        now_s += pace.wait_s(now_s)
    assert frames / now_s == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize(("each_s", "share"), [(0.005, 0.6), (0.05, 0.2), (0.2, 0.2)])
def test_nobody_gets_more_than_a_share_of_the_time(each_s: float, share: float) -> None:
    pace = ReadingPace(1_000)
    now_s = spent_s = 0.0
    while now_s < 1_000:
        pace.took(1, now_s, now_s + each_s)
        spent_s += each_s
        now_s += each_s
        now_s += pace.wait_s(now_s)
    assert spent_s / now_s == pytest.approx(share, rel=0.05)


def test_who_takes_less_than_its_share_never_waits() -> None:
    pace = ReadingPace(1_000)
    now_s = 0.0
    for _ in range(10_000):
        pace.took(1, now_s, now_s + 0.001)
        now_s += 0.002
        assert pace.wait_s(now_s) == 0


def test_silence_earns_no_more_than_a_seconds_worth() -> None:
    pace = ReadingPace(100)
    pace.took(1, 0.0, 0.0)
    pace.took(300, 1_000.0, 1_000.0)
    assert pace.wait_s(1_000.0) == pytest.approx(2.0)

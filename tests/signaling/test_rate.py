"""Rates: of one session, and shared by many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerbus.signaling.rate import SharedRate, TokenBucket


def take(rate: SharedRate, now_ms: int) -> int:
    """As `Member.take_send` does it."""
    rate.left -= 1
    return rate.refill(now_ms) if rate.left < 0 else 0


@given(st.integers(1, 60), st.lists(st.integers(0, 400), min_size=1, max_size=40))
def test_a_burst_is_of_twice_the_rate_and_no_more(rate_per_s: int, pauses_ms: list[int]) -> None:
    rate = SharedRate(rate_per_s, 0)
    now_ms = 0
    taken: list[int] = []
    for pause_ms in pauses_ms:
        now_ms += pause_ms
        wait_ms = 0
        for _ in range(2 * rate_per_s + 2):
            wait_ms = take(rate, now_ms)
            if wait_ms:
                break
            taken.append(now_ms)
        # Somebody is told to wait, and it is no longer than it has to be.
        assert 0 < wait_ms <= 1_000
        assert sum(at_ms > now_ms - 1_000 for at_ms in taken) <= 3 * rate_per_s + 1
        assert taken.count(now_ms) <= 2 * rate_per_s
    # And on the whole no more than the rate, beyond what was there at first.
    assert len(taken) <= rate_per_s + now_ms * rate_per_s / 1_000


@given(st.integers(1, 60))
def test_who_waits_as_told_gets_one(rate_per_s: int) -> None:
    rate = SharedRate(rate_per_s, 0)
    now_ms = 0
    for _ in range(3 * rate_per_s):
        wait_ms = take(rate, now_ms)
        if wait_ms:
            now_ms += wait_ms
            assert take(rate, now_ms) == 0
    assert now_ms >= 1_000


def test_a_quiet_time_gives_back_a_second_of_it() -> None:
    rate = SharedRate(10, 0)
    assert [take(rate, 0) for _ in range(11)] == [0] * 10 + [100]
    assert [take(rate, 60_000) for _ in range(11)][:10] == [0] * 10
    assert take(rate, 60_000)


def test_a_clock_that_stands_still_gives_nothing() -> None:
    rate = SharedRate(5, 1_000)
    assert [bool(take(rate, 1_000)) for _ in range(8)] == [False] * 5 + [True] * 3


def test_a_bucket_keeps_what_was_taken_when_its_rate_changes() -> None:
    bucket = TokenBucket(10, 20, 0)
    assert [bucket.take(0) for _ in range(21)] == [0] * 20 + [100]
    bucket.change(1, 2, 0)
    assert bucket.take(0) == 1_000
    assert [bucket.take(5_000) for _ in range(3)] == [0, 0, 1_000]

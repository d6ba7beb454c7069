"""How long to wait, and when a path is lost."""

from __future__ import annotations

from peerbus.client.webrtc.reconnect import SILENCE_MS, Backoff, PathWatch


def test_waits_double_up_to_ten_seconds_and_begin_anew() -> None:
    backoff = Backoff()
    assert [backoff.next_delay_ms(1.0) for _ in range(9)] == [
        250,
        500,
        1000,
        2000,
        4000,
        8000,
        10_000,
        10_000,
        10_000,
    ]
    backoff.reset()
    assert backoff.next_delay_ms(1.0) == 250


def test_chance_shortens_the_first_wait_to_nothing_and_others_by_half() -> None:
    backoff = Backoff()
    assert [backoff.next_delay_ms(0.0) for _ in range(3)] == [0, 250, 500]


def test_many_attempts_do_not_overflow() -> None:
    backoff = Backoff()
    assert {backoff.next_delay_ms(1.0) for _ in range(2_000)} == {250, 500, 1000, 2000, 4000, 8000, 10_000}


def test_a_path_that_carries_something_is_not_asked() -> None:
    watch = PathWatch(0)
    for second in range(1, 100):
        assert not watch.look(second * 1000, second)
        assert not watch.is_lost(second * 1000)


def test_a_silent_path_is_asked_and_lost_when_it_does_not_answer() -> None:
    watch = PathWatch(0)
    assert not watch.look(0, 10)
    assert watch.look(1_000, 10)
    assert not watch.is_lost(SILENCE_MS - 1)
    assert watch.is_lost(SILENCE_MS)


def test_an_answer_keeps_a_silent_path() -> None:
    watch = PathWatch(0)
    assert not watch.look(0, 10)
    for second in range(1, 100):
        assert watch.look(second * 1000, 10)
        watch.answered(second * 1000)
        assert not watch.is_lost(second * 1000 + SILENCE_MS - 1)

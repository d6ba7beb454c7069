"""The outcome of a call that was begun at once."""

from __future__ import annotations

import asyncio

import pytest

from peerbus.client.outcome import Outcome


async def test_a_failure_goes_to_whoever_awaits_it_else_to_the_fallback() -> None:
    unobserved: list[Exception] = []
    awaited, asked, left_alone, expected = (Outcome[int](unobserved.append) for _ in range(4))
    error = ValueError("no")

    async def wait() -> int:
        return await awaited

    waiting = asyncio.create_task(wait())
    called: list[object] = []
    asked.add_done_callback(called.append)
    await asyncio.sleep(0)
    for outcome in (awaited, asked, left_alone):
        outcome.fail(error)
    expected.fail(error, is_expected=True)
    with pytest.raises(ValueError, match="no"):
        await waiting
    await asyncio.sleep(0)
    assert called == [asked]
    assert unobserved == [error]
    with pytest.raises(ValueError, match="no"):
        await left_alone


async def test_it_is_in_time_to_await_it_right_after() -> None:
    unobserved: list[Exception] = []
    outcome = Outcome[int](unobserved.append)
    outcome.fail(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await outcome
    await asyncio.sleep(0)
    assert not unobserved


async def test_an_outcome_is_set_once() -> None:
    outcome = Outcome[int](lambda error: None)
    outcome.succeed(1)
    outcome.succeed(2)
    outcome.fail(ValueError("late"))
    assert await outcome == 1
    cancelled = Outcome[int](lambda error: None)
    cancelled.cancel()
    cancelled.succeed(1)
    assert cancelled.cancelled()

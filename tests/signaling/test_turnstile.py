"""How many requests begin in one turn of the event loop."""

from __future__ import annotations

import asyncio
import itertools

from peerbus.signaling.turnstile import Turnstile


async def begun(turnstile: Turnstile, number: int, order: list[int]) -> None:
    await turnstile.enter()
    order.append(number)


async def turn() -> None:
    await asyncio.sleep(0)


async def test_without_a_crowd_nobody_waits() -> None:
    turnstile = Turnstile(2)
    for _ in range(100):
        entering = turnstile.enter()
        # A coroutine that does not suspend ends at its first step.
        try:
            entering.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("it waited")
        await turn()


async def test_a_crowd_passes_in_order_a_few_in_each_turn() -> None:
    turnstile = Turnstile(3)
    order: list[int] = []
    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(begun(turnstile, number, order))
        counts = [0]
        while counts[-1] < 100:
            await turn()
            counts.append(len(order))
    assert order == list(range(100))
    # Those who wait begin a turn after they are let through, so two turns' worth may fall into one.
    assert max(later - earlier for earlier, later in itertools.pairwise(counts)) <= 6
    assert len(counts) > 25


async def test_who_gives_up_does_not_hold_a_place() -> None:
    turnstile = Turnstile(1)
    order: list[int] = []
    tasks = [asyncio.create_task(begun(turnstile, number, order)) for number in range(20)]
    await turn()
    for task in tasks[1:19]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 19]

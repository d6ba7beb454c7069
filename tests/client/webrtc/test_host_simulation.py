"""
Mode `host` in emulated time: members, links and the server's group machine under everything that can go wrong. The
long version is `tests/soak/host.py`; what must hold stands in `tests/support/host_truth.py`.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from tests.support.host_truth import play
from tests.support.host_world import World


@pytest.mark.parametrize("first", range(0, 100, 10))
def test_days_with_one_fault_at_a_time(first: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first, first + 7):
        seen.update(play(seed))
    assert seen["hosts"] > 7
    assert seen["received"] > 500


@pytest.mark.parametrize("first", range(1_000, 1_100, 10))
def test_days_on_which_host_and_successor_are_lost_together(first: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(first, first + 3):
        seen.update(play(seed, is_double=True))
    assert seen["hosts"] > 3


def game(seed: int, members: int, until_ms: int) -> World:
    """So many members, the first of them host."""
    world = World(seed)
    for number in range(1, members + 1):
        world.at(number * 40, partial(_enter, world, f"m{number}"))
    world.run(until_ms)
    assert world.nodes["m1"].is_host
    return world


def _enter(world: World, identity: str) -> None:
    world.add(identity).enter()


@pytest.mark.parametrize(("fault", "most_ms"), [("killed", 760), ("frozen", 900), ("left", 320)])
def test_there_is_another_host_soon(fault: str, most_ms: int) -> None:
    """
    From the loss of the host until everybody is with the next, in emulated time. Of that up to 240 ms are hello and
    welcome on the slowest links, and 80 ms the ways to the server and back.
    """
    for seed in range(12):
        lost_ms = 2_500 + seed * 23
        world = game(seed, 5, lost_ms)
        host = world.nodes["m1"]
        if fault == "frozen":
            host.freeze(3_000)
        elif fault == "left":
            world.server.leave("m1")
            host.die()
        else:
            world.at(5, partial(world.server.away, "m1"))
            host.die()
        world.run(lost_ms + most_ms)
        others = [node for node in world.nodes.values() if node is not host]
        assert {node.mode.host for node in others} == {"m2"}
        assert all(node.mode.is_ready for node in others)


def test_a_working_host_stays_host_while_signaling_is_away_or_it_was_busy_for_a_moment() -> None:
    world = game(3, 4, 2_500)
    host = world.nodes["m1"]
    term = host.mode.term
    world.server.offline(host, 1_000, notice_ms=0)
    world.run(5_000)
    host.freeze(380)
    world.run(7_000)
    world.server.restart(1_500)
    world.run(12_000)
    for node in world.nodes.values():
        world.server.offline(node, 1_100, notice_ms=0)
    world.run(16_000)
    assert [node.mode.term for node in world.nodes.values()] == [term] * 4
    assert host.is_host

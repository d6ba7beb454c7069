"""
The hub, the session machines of both sides and the log, together, in emulated time: what the protocol promises holds.

Worlds are drawn from seeds (see `tests/support/emulated/`). The long version is the soak `hub`; PEERBUS_SOAK_SEEDS
sets another number here. A failing seed is kept in `KEPT`, or as a unit test of the module that it was about.
"""

from __future__ import annotations

import os

import pytest

from peerbus.signaling.limits import Limits
from tests.support.emulated.trial import Backend, try_program, try_seed
from tests.support.emulated.world import Setting, Step

SEEDS = int(os.environ.get("PEERBUS_SOAK_SEEDS", "28"))
FIRST_SEED = 100
STEPS = 60


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
@pytest.mark.parametrize("part", range(4))
def test_promises_hold(backend: Backend, part: int) -> None:
    for seed in range(FIRST_SEED + part, FIRST_SEED + SEEDS, 4):
        try_seed(backend, seed, STEPS)


def test_a_refusal_that_is_lost_makes_nobody_suspicious() -> None:
    """In a sealed channel: the first message is refused, the second is stored, and no reply arrives."""

    def join(slot: int) -> Step:
        return (1_000, "join", slot, slot, "full", "msgpack", ("websocket",), 0, True, None)

    def send(wait_ms: int) -> Step:
        return (wait_ms, "send", 0, "durable", ("all", 0), 1, 0, 0, 1, 0)

    program: list[Step] = [
        join(0),
        join(1),
        (0, "path", 0, 500, None, 0, 0),
        (0, "log", 0, 0, 0, True, False),
        send(0),
        send(300),
        (350, "log", 0, 0, 0, False, False),
        (250, "restart", 100, False, True),
    ]
    try_program("sqlite", Setting(1, Limits(), is_sealed=True), program)

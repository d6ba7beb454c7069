"""
The hub, the session machines of both sides and the log, together, in emulated time: what the protocol promises holds.

Worlds are drawn from seeds (see `tests/support/emulated/`). The long version is the soak `hub`; PEERBUS_SOAK_SEEDS
sets another number here. A failing seed is kept in `KEPT`, or as a unit test of the module that it was about.
"""

from __future__ import annotations

import os

import pytest

from tests.support.emulated.trial import Backend, try_seed

SEEDS = int(os.environ.get("PEERBUS_SOAK_SEEDS", "28"))
FIRST_SEED = 100
STEPS = 60


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
@pytest.mark.parametrize("part", range(4))
def test_promises_hold(backend: Backend, part: int) -> None:
    for seed in range(FIRST_SEED + part, FIRST_SEED + SEEDS, 4):
        try_seed(backend, seed, STEPS)

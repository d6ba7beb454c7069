"""Authentic packets of any content in the packet engine: each is taken or refused. Scale: calls of 200 packets."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from tests.soak.soak import Soak
from tests.support.engine_noise import full_world, throw

_PACKETS: Final = 200


def run(seed: int, scale: int) -> Mapping[str, object]:
    chance = random.Random(seed)
    refused = received = 0
    for _ in range(scale):
        world, peers = full_world()
        throw(world, peers, chance, _PACKETS)
        refused += world.engine.counts.refused
        received += world.engine.counts.received
    return {"received": received, "refused": refused}


SOAK = Soak(run, full_scale=110_000, slice_scale=10)

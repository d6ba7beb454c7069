"""Established SCTP associations under hostile packets; none raises or takes long. Scale: associations of 40 packets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Final

from tests.soak.soak import Soak
from tests.support.sctp_association import attack

_PACKETS: Final = 40


def run(seed: int, scale: int) -> Mapping[str, object]:
    chance = random.Random(seed)
    refused = sum(asyncio.run(attack(chance, _PACKETS)) for _ in range(scale))
    return {"packets": scale * _PACKETS, "refused": refused}


SOAK = Soak(run, full_scale=70_000, slice_scale=20)

"""Thousands of worlds in emulated time, over both logs; the short version is `tests/signaling/test_hub_model.py`."""

from __future__ import annotations

from collections.abc import Mapping

from tests.soak.soak import Soak
from tests.support.emulated.trial import Backend, try_seed

_BACKENDS: tuple[Backend, ...] = ("memory", "sqlite")
_LENGTHS = (40, 60, 60, 160)


def run(seed: int, scale: int) -> Mapping[str, object]:
    """`scale` worlds; a quarter of them is long."""
    first = seed * 1_000_000
    for number in range(scale):
        try_seed(_BACKENDS[number % 2], first + number, _LENGTHS[number // 2 % len(_LENGTHS)])
    return {"worlds": scale}


SOAK = Soak(run, full_scale=4_000, slice_scale=None)

"""Damaged and drawn inputs for the reader of STUN: read, or refused by its own error. Scale: inputs."""

from __future__ import annotations

from collections.abc import Mapping

from tests.soak.soak import Soak
from tests.support.hammer import hammer


def run(seed: int, scale: int) -> Mapping[str, object]:
    return hammer("stun", seed, scale)


SOAK = Soak(run, full_scale=28_000_000, slice_scale=3000)

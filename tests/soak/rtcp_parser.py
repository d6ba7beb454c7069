"""Damaged and drawn inputs for the reader of RTCP: read, or refused by its own error. Scale: inputs."""

from __future__ import annotations

from collections.abc import Mapping

from tests.soak.soak import Soak
from tests.support.hammer import hammer


def run(seed: int, scale: int) -> Mapping[str, object]:
    return hammer("rtcp", seed, scale)


SOAK = Soak(run, full_scale=32_000_000, slice_scale=3000)

"""Thousands of days of groups in mode `host`; the short version is `tests/client/webrtc/test_host_simulation.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from tests.soak.soak import Soak
from tests.support.host_truth import play


def run(seed: int, scale: int) -> Mapping[str, object]:
    """`scale` days; on every third host and successor are lost together."""
    counts: Counter[str] = Counter()
    for number in range(scale):
        counts.update(play(seed * 1_000_000 + number, is_double=number % 3 == 2))
    return {"days": scale, **counts}


SOAK = Soak(run, full_scale=3_000, slice_scale=None)

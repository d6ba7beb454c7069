"""
Somebody loses the network for 10 s, in every mode at once and in every line-up of browsers and programs. Scale: rounds.

Runs `tests/e2e/test_outages.py` in a network of its own, with all line-ups. It holds that nothing reliable is lost,
doubled or reordered, and that both directions go on; how long that took is what is counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.soak.soak import Soak

_ROOT = Path(__file__).parent.parent.parent


def run(seed: int, scale: int) -> Mapping[str, object]:
    """So many rounds. Nothing is drawn: the seed changes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures"
        figures.touch()
        for _ in range(scale):
            command = [
                *(str(_ROOT / "scripts" / "in-loopback-namespace.sh"), sys.executable, "-m", "pytest"),
                *("-q", "tests/e2e/test_outages.py", "-k", "loses_the_network"),
            ]
            environment = os.environ | {"PEERBUS_OUTAGES_TO": str(figures)}
            done = subprocess.run(
                command,
                cwd=_ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout
        lines = [json.loads(line) for line in figures.read_text("utf-8").splitlines()]
    longest: dict[str, float] = {}
    for line in lines:
        took = max(line["goes_on_after_s"].values())
        longest[line["mode"]] = max(longest.get(line["mode"], 0), took)
    return {"rounds": scale, "longest_by_mode_s": longest, "outages": lines}


SOAK = Soak(run, full_scale=1, slice_scale=None)

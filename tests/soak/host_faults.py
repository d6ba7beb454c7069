"""
Hosts of a group of four pages and two programs that crash and stand still, one after the other. Scale: crashes; half
as many stand still.

Runs `tests/e2e/test_host_faults.py` in a network of its own. It holds that all see one order, that nothing reliable is
lost or doubled and that no former host is heard; how long there was no host is what is counted.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.soak.soak import Soak

RATE_PER_S = 60
_ROOT = Path(__file__).parent.parent.parent


def run(seed: int, scale: int) -> Mapping[str, object]:
    """`seed` draws the order of the faults."""
    faults = ["k"] * scale + ["f"] * (scale // 2)
    random.Random(seed).shuffle(faults)
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures"
        command = [
            *(str(_ROOT / "scripts" / "in-loopback-namespace.sh"), sys.executable, "-m", "pytest", "-q"),
            "tests/e2e/test_host_faults.py",
        ]
        told = {
            "PEERBUS_HOST_FAULTS": "".join(faults),
            "PEERBUS_HOST_RATE": str(RATE_PER_S),
            "PEERBUS_HOST_FIGURES_TO": str(figures),
        }
        done = subprocess.run(
            command, cwd=_ROOT, env=os.environ | told, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
        counted: dict[str, object] = json.loads(figures.read_text("utf-8"))
    return {
        "rate_per_s": RATE_PER_S,
        "faults": "".join(faults),
        "load_average": os.getloadavg()[1],
        **counted,
    }


SOAK = Soak(run, full_scale=20, slice_scale=None)

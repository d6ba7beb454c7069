"""All property tests with fresh examples; the normal test run is their short version. Scale: examples a property."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.soak.soak import Soak


def run(seed: int, scale: int) -> Mapping[str, object]:
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "soak", "HYPOTHESIS_MAX_EXAMPLES": str(scale)}
    # Hypothesis marks what it runs.
    command = [sys.executable, "-m", "pytest", "-q", "-m", "hypothesis", f"--hypothesis-seed={seed}"]
    # Some take longer than any test may in an ordinary run.
    command += ["-o", "faulthandler_timeout=0"]
    done = subprocess.run(
        [*command, "--ignore=tests/e2e", "--ignore=tests/soak"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-20_000:]
    return {"pytest": done.stdout.strip().splitlines()[-1]}


SOAK = Soak(run, full_scale=2_000, slice_scale=None)

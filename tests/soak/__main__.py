"""`python -m tests.soak`: runs the long versions and records them. See README.md."""

from __future__ import annotations

import argparse
import datetime
import json
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.bench.rig.figures import machine
from tests.soak.soak import Soak, find_soaks

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    soaks = find_soaks()
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the soaks and their sizes")
    parser.add_argument("--only", nargs="+", choices=sorted(soaks), default=list(soaks), help="run these")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="default: a random one")
    parser.add_argument("--scale", type=int, help="another size than the full one")
    options = parser.parse_args()
    if options.list:
        for name, soak in soaks.items():
            print(f"{name}: full {soak.full_scale}, in `make test` {soak.slice_scale}")
        return 0
    results = [record(name, soaks[name], options.seed, options.scale) for name in options.only]
    return 0 if all(results) else 1


def record(name: str, soak: Soak, seed: int, scale: int | None) -> bool:
    """Runs one and writes its result; says whether it held."""
    size = soak.full_scale if scale is None else scale
    print(f"== {name}: seed {seed}, scale {size}", flush=True)
    began = datetime.datetime.now(datetime.UTC)
    began_s = time.monotonic()
    entry: dict[str, object] = {
        "soak": name,
        "began": began.isoformat(timespec="seconds"),
        "seed": seed,
        "scale": size,
        "commit": commit(),
        "machine": machine(),
    }
    try:
        entry["counted"] = dict(soak.run(seed, size))
    except AssertionError:
        entry["failure"] = traceback.format_exc()
    entry["seconds"] = round(time.monotonic() - began_s, 1)
    text = json.dumps(entry, indent=2) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{began:%Y-%m-%d}-{name}-{seed}.json").write_text(text, encoding="utf-8")
    print(text, flush=True)
    return "failure" not in entry


def commit() -> str:
    """The commit that runs, with a mark where files differ from it."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(describe, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())

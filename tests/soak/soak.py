"""What a soak is, and which there are. Never runs one; see README.md."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple


class Soak(NamedTuple):
    """A test whose size and seed are chosen by whoever runs it."""

    run: Callable[[int, int], Mapping[str, object]]
    """Takes a seed and a scale; returns what it counted; raises AssertionError where a promise is broken."""
    full_scale: int
    """The size of the long version; what it counts (kills, seeds, seconds) is up to the soak."""
    slice_scale: int | None
    """The size of the short version in `make test`; None where the other tests are the short version."""


def find_soaks() -> dict[str, Soak]:
    """Every module in this folder that has a `SOAK`, by its name."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem.startswith(("_", "test_")) or path.stem == "soak":
            continue
        found[path.stem] = importlib.import_module(f"tests.soak.{path.stem}").SOAK
    return found

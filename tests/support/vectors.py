"""Reads the golden vectors of `tests/vectors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent.parent / "vectors"


def load_vectors(name: str) -> Any:
    """The content of one file, named as `identity/names`."""
    return json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))

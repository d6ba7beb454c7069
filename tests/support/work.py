"""How much a piece of code does, counted in lines, so that a test of it needs no clock."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TooMuchWork(AssertionError):
    """More lines ran than may."""


@contextmanager
def at_most(lines: int) -> Iterator[None]:
    """Raises `TooMuchWork` out of what runs inside, once it has run more Python lines than this."""
    left = lines
    before = sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left < 0:
                raise TooMuchWork(f"more than {lines} lines")
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)

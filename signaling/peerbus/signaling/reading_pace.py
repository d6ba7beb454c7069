"""
How fast the frames of one connection are taken, so that one that floods waits, and the others do not.

Owns one allowance, in frames and in the time they took. Never reads a clock, and refuses nothing: who sends too fast
is read later, and feels it in its own socket.
"""

from __future__ import annotations

from typing import Final

_BURST_S: Final = 1.0
_SLOW_S: Final = 0.01
_SLOW_SHARE: Final = 0.2
"""How much of the server's time one connection may take by messages that are slow to read."""


class ReadingPace:
    """`frames_per_s`, and a fifth of the time for slow ones; a second's worth of both at once. Times are in seconds."""

    __slots__ = ("_frames_per_s", "_paid_until_s")

    def __init__(self, frames_per_s: float) -> None:
        self._frames_per_s: Final = frames_per_s
        self._paid_until_s = 0.0

    def took(self, frames: int, began_s: float, ended_s: float) -> None:
        """A message with so many frames was handled between these two times."""
        cost_s = frames / self._frames_per_s
        if ended_s - began_s > _SLOW_S:
            cost_s = max(cost_s, (ended_s - began_s) / _SLOW_SHARE)
        self._paid_until_s = max(self._paid_until_s, ended_s - _BURST_S) + cost_s

    def wait_s(self, now_s: float) -> float:
        """How long to wait before the next frame is taken; 0 if not at all."""
        return max(0.0, self._paid_until_s - now_s)

"""
How fast the frames of one connection are taken, so that one that floods waits, and the others do not.

Owns one allowance, in frames and in the time they took. Never reads a clock, and refuses nothing: who sends too fast
is read later, and feels it in its own socket.
"""

from __future__ import annotations

from typing import Final

_BURST_S: Final = 1.0
_SHARE: Final = 0.6
"""How much of the server's time one connection may take in the long run."""
_SLOW_S: Final = 0.01
_SLOW_SHARE: Final = 0.2
"""The same for messages that take longer than `_SLOW_S` each, during which everybody else waits."""


class ReadingPace:
    """`frames_per_s`, and a share of the server's time; a second's worth of both at once. Times are in seconds."""

    __slots__ = ("_frames_per_s", "_paid_until_s")

    def __init__(self, frames_per_s: float) -> None:
        self._frames_per_s: Final = frames_per_s
        self._paid_until_s = 0.0

    def took(self, frames: int, began_s: float, ended_s: float) -> None:
        """A message with so many frames was handled between these two times."""
        spent_s = ended_s - began_s
        cost_s = max(frames / self._frames_per_s, spent_s / (_SHARE if spent_s < _SLOW_S else _SLOW_SHARE))
        self._paid_until_s = max(self._paid_until_s, ended_s - _BURST_S) + cost_s

    def wait_s(self, now_s: float) -> float:
        """How long to wait before the next frame is taken; 0 if not at all."""
        return max(0.0, self._paid_until_s - now_s)

"""
How fast a client may send, so that a backlog does not run into the server's rate limit.

Owns a token bucket in whole numbers, so that every language computes the same. Never reads a clock.
"""

from __future__ import annotations

from typing import Final

_PER_TOKEN: Final = 1000


class Pace:
    """
    `rate_per_s` on average, and one and a half seconds' worth at once.

    The server takes a burst of two seconds' worth; the rest of it is for frames that the network held up and
    delivered together.
    """

    def __init__(self, rate_per_s: int, now_ms: int) -> None:
        self.rate_per_s: Final = max(1, rate_per_s)
        self._full = self.rate_per_s * _PER_TOKEN * 3 // 2
        self._level = self._full
        self._at_ms = now_ms

    def take(self, now_ms: int) -> bool:
        """Takes one token; False if there is none."""
        self._fill(now_ms)
        if self._level < _PER_TOKEN:
            return False
        self._level -= _PER_TOKEN
        return True

    @property
    def ready_at(self) -> int:
        """When there is a token, as of the last `take`."""
        missing = max(0, _PER_TOKEN - self._level)
        return self._at_ms + -(-missing // self.rate_per_s)

    def _fill(self, now_ms: int) -> None:
        if now_ms > self._at_ms:
            # One token a second is one unit a millisecond.
            self._level = min(self._full, self._level + (now_ms - self._at_ms) * self.rate_per_s)
            self._at_ms = now_ms

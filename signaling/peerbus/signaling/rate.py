"""
A token bucket: so many a second, with a burst.

Owns one allowance. Never reads a clock.
"""

from __future__ import annotations

import math
from typing import Final

# Sums of fractions fall short of a whole token by a hair.
_WHOLE: Final = 1 - 1e-9


class TokenBucket:
    """`rate_per_s` on average, up to `burst` at once; starts full."""

    __slots__ = ("_at_ms", "_burst", "_per_ms", "_tokens")

    def __init__(self, rate_per_s: float, burst: float, now_ms: int) -> None:
        self._per_ms = rate_per_s / 1000
        self._burst = burst
        self._tokens = burst
        self._at_ms = now_ms

    def change(self, rate_per_s: float, burst: float, now_ms: int) -> None:
        """Another rate from now on. What was taken stays taken."""
        self._fill(now_ms)
        self._per_ms = rate_per_s / 1000
        self._burst = burst
        self._tokens = min(self._tokens, burst)

    def take(self, now_ms: int) -> int:
        """0 when one was taken, else how many milliseconds to wait until there is one."""
        wait_ms = self.peek(now_ms)
        if not wait_ms:
            self._tokens -= 1
        return wait_ms

    def peek(self, now_ms: int) -> int:
        """The same without taking."""
        self._fill(now_ms)
        if self._tokens >= _WHOLE:
            return 0
        return math.ceil((_WHOLE - self._tokens) / self._per_ms)

    @property
    def is_full(self) -> bool:
        """Whether nothing was taken lately (as of the last `take` or `peek`)."""
        return self._tokens >= self._burst

    def _fill(self, now_ms: int) -> None:
        if now_ms > self._at_ms:
            self._tokens = min(self._burst, self._tokens + (now_ms - self._at_ms) * self._per_ms)
            self._at_ms = now_ms

"""
A token bucket: so many a second, with a burst.

Owns one allowance. Never reads a clock.
"""

from __future__ import annotations

from typing import Final


class TokenBucket:
    """`rate_per_s` on average, up to `burst` at once; starts full."""

    __slots__ = ("_at_ms", "_burst", "_per_ms", "_tokens")

    def __init__(self, rate_per_s: float, burst: float, now_ms: int) -> None:
        self._per_ms: Final = rate_per_s / 1000
        self._burst: Final = burst
        self._tokens = burst
        self._at_ms = now_ms

    def take(self, now_ms: int) -> int:
        """0 when one was taken, else how many milliseconds to wait until there is one."""
        wait_ms = self.peek(now_ms)
        if not wait_ms:
            self._tokens -= 1
        return wait_ms

    def peek(self, now_ms: int) -> int:
        """The same without taking."""
        if now_ms > self._at_ms:
            self._tokens = min(self._burst, self._tokens + (now_ms - self._at_ms) * self._per_ms)
            self._at_ms = now_ms
        if self._tokens >= 1:
            return 0
        return max(1, int((1 - self._tokens) / self._per_ms))

    @property
    def is_full(self) -> bool:
        """Whether nothing was taken lately (as of the last `take` or `peek`)."""
        return self._tokens >= self._burst

"""
So many a second: a token bucket for one session, and a cheaper count for what many sessions share.

Owns one allowance each. Never reads a clock.
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


class SharedRate:
    """
    `rate_per_s` on average for all who share it.

    It is asked for every message, so that it costs a subtraction as long as something is left; whoever finds nothing
    left (`left` below 0) asks for a `refill`: what has come up since the last one, and no more than a second's worth.
    So a burst of up to twice the rate is taken after a quiet time, as of one session.
    """

    __slots__ = ("__weakref__", "_filled_at_ms", "_rate_per_s", "left")

    def __init__(self, rate_per_s: int, now_ms: int) -> None:
        self.left = rate_per_s
        """To be lowered by one for each message, before it is looked at."""
        self._rate_per_s = rate_per_s
        self._filled_at_ms = now_ms

    def refill(self, now_ms: int) -> int:
        """0 if there was something for who has just found nothing, else how many milliseconds to wait."""
        elapsed_ms = now_ms - self._filled_at_ms
        come_up = min(self._rate_per_s, elapsed_ms * self._rate_per_s // 1000)
        if come_up < 1:
            self.left = 0
            return max(1, -(-1000 // self._rate_per_s) - elapsed_ms)
        self._filled_at_ms = now_ms
        self.left = come_up - 1
        return 0


UNLIMITED_PER_S: Final = 1 << 53
"""A rate that nobody reaches."""

"""
One allowance for each of many keys (addresses), forgotten when it is full again.

Owns the buckets. Never reads a clock. IPv6 addresses count by their /64, which one machine may have whole.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

from peerbus.signaling.rate import TokenBucket

_KEYS_MAX: Final = 100_000
_FORGET_EVERY_MS: Final = 10_000


class Throttle:
    """`rate_per_s` for each address, with a burst."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate: Final = rate_per_s
        self._burst: Final = burst
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._forgot_at_ms = 0

    def take(self, address: str, now_ms: int) -> int:
        """0 when one was taken, else how many milliseconds to wait."""
        key = _group(address)
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= _KEYS_MAX:
                # The oldest makes room; an attacker with many addresses frees one of them, not all.
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = TokenBucket(self._rate, self._burst, now_ms)
        return bucket.take(now_ms)

    def peek(self, address: str, now_ms: int) -> int:
        """0 while there is one to take, else how many milliseconds to wait; takes nothing."""
        bucket = self._buckets.get(_group(address))
        return 0 if bucket is None else bucket.peek(now_ms)

    def forget(self, now_ms: int) -> None:
        """Drops what is full again; does nothing more often than every ten seconds."""
        if now_ms - self._forgot_at_ms < _FORGET_EVERY_MS:
            return
        self._forgot_at_ms = now_ms
        for key, bucket in list(self._buckets.items()):
            bucket.peek(now_ms)
            if bucket.is_full:
                del self._buckets[key]


def _group(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))

"""
The SFU's own NTP time, in which all that it forwards is told to subscribers.

Never the time of day: the times in sender reports are only ever compared with each other. See RFC 3550, section 4.
"""

from __future__ import annotations

from typing import Final

_START_S: Final = 3_900_000_000
"""What the monotonic clock's 0 is called."""


def ntp_time(now_ms: int) -> int:
    """64 bits: seconds and their fraction."""
    return (_START_S << 32) + (now_ms << 32) // 1_000

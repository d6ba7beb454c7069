"""
The two clocks of the server, which only shells read: monotonic, of all deadlines; and wall time, of credentials.
"""

from __future__ import annotations

import time


def monotonic_ms() -> int:
    """Milliseconds that never fall, from some moment on."""
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000

"""
How long a client waits before it connects again.

Owns the formula. Never counts attempts and never draws the random number. See PROTOCOL.md, section 7.
It stands here and not in the client package because the session machine needs it, and the protocol imports
nobody.
"""

from __future__ import annotations

from typing import Final

FIRST_DELAY_MS: Final = 250
LONGEST_DELAY_MS: Final = 30_000


def reconnect_delay_ms(attempt: int, jitter: float) -> int:
    """
    `random(0.5, 1) x min(30 s, 0.25 s x 2^attempt)`, rounded down; `attempt` counts from 0.

    `jitter` is a number in [0, 1) from a random source: it spreads clients that lost the same server.
    """
    # Beyond 2^7 the cap holds; without the bound an attempt of 10,000 would make a number of 3,000 digits.
    longest = min(LONGEST_DELAY_MS, FIRST_DELAY_MS << min(attempt, 10))
    return int(longest * (0.5 + jitter / 2))

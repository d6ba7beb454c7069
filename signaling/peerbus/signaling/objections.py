"""
How often a member of a group may still keep the others from a mode.

Owns the allowance of each identity, kept a while for who has left, so that leaving and entering again gives nothing
back. Never knows a proposal (that is `proposal`). Times are monotonic milliseconds. See PROTOCOL.md, section 16.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from peerbus.signaling.rate import TokenBucket


class Objections:
    """Those of one group; each identity has `per_min` at once, and as many in a minute."""

    def __init__(self, per_min: int) -> None:
        self._per_min: Final = per_min
        self._allowances: Final[dict[str, TokenBucket]] = {}

    def is_heeded(self, identity: str, now_ms: int) -> bool:
        """Whether an objection of this identity would count."""
        return self._of(identity, now_ms).peek(now_ms) == 0

    def take(self, identity: str, now_ms: int) -> bool:
        """Counts an objection; False if it is one too many."""
        return self._of(identity, now_ms).take(now_ms) == 0

    def forget(self, present: Container[str], now_ms: int) -> None:
        """Forgets who has left, once that gives nothing back."""
        for identity in [one for one in self._allowances if one not in present]:
            allowance = self._allowances[identity]
            if allowance.peek(now_ms) == 0 and allowance.is_full:
                del self._allowances[identity]

    def _of(self, identity: str, now_ms: int) -> TokenBucket:
        allowance = self._allowances.get(identity)
        if allowance is None:
            allowance = TokenBucket(self._per_min / 60, self._per_min, now_ms)
            self._allowances[identity] = allowance
        return allowance

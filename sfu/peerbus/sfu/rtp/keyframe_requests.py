"""
When to ask a publisher for a keyframe.

Owns the pace for one stream: requests of many subscribers become one, and a request that went unanswered is repeated
while somebody waits. See RFC 4585 (section 6.3.1) and RFC 5104 (section 3.5.1).
"""

from __future__ import annotations

from typing import Final

INTERVAL_MS: Final = 300
"""Encoders follow no more often than this."""
PATIENCE_MS: Final = 500
"""A request is lost if no keyframe has come by then."""


class KeyframeRequests:
    """Ask with `want`, tell keyframes with `arrived`, and send whenever `due` says so."""

    __slots__ = ("_asked_at_ms", "_is_answered", "_is_wanted")

    def __init__(self) -> None:
        self._asked_at_ms: int | None = None
        self._is_answered = True
        self._is_wanted = False

    def want(self) -> None:
        """Somebody needs a keyframe."""
        self._is_wanted = True

    def arrived(self) -> None:
        """A keyframe has begun: everyone who waits has it."""
        self._is_wanted = False
        self._is_answered = True

    def due(self, now_ms: int) -> bool:
        """Whether to send a request now; if so, it counts as sent."""
        if not self._is_wanted:
            return False
        if self._asked_at_ms is not None:
            pause_ms = INTERVAL_MS if self._is_answered else PATIENCE_MS
            if now_ms - self._asked_at_ms < pause_ms:
                return False
        self._asked_at_ms = now_ms
        self._is_answered = False
        return True

"""
When a client has to say that it is there, and when it gives a silent connection up.

Owns the two times. Never sends anything. Only protocol frames count as life. See PROTOCOL.md, section 6.
"""

from __future__ import annotations


class Keepalive:
    """The life signs of one connection."""

    def __init__(self, ping_interval_ms: int, silence_timeout_ms: int, now_ms: int) -> None:
        self._ping_interval_ms = ping_interval_ms
        self._silence_timeout_ms = silence_timeout_ms
        self._heard_ms = now_ms
        self._sent_ms = now_ms
        self._pinged_ms = now_ms

    def heard(self, now_ms: int) -> None:
        """Something came from the server."""
        self._heard_ms = now_ms

    def sent(self, now_ms: int) -> None:
        """Something other than a ping was sent."""
        self._sent_ms = now_ms

    def pinged(self, now_ms: int) -> None:
        """A ping was sent."""
        self._sent_ms = self._pinged_ms = now_ms

    @property
    def ping_at(self) -> int:
        """When the next ping is due: nothing sent, or nothing heard, for an interval; one an interval."""
        return max(min(self._heard_ms, self._sent_ms), self._pinged_ms) + self._ping_interval_ms

    @property
    def silent_at(self) -> int:
        """When the connection counts as dead unless something comes before."""
        return self._heard_ms + self._silence_timeout_ms

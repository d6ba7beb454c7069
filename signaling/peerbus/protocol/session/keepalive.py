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
        self._owed_ms: int | None = None

    def heard(self, now_ms: int) -> None:
        """Something came from the server."""
        self._heard_ms = now_ms

    def sent(self, now_ms: int) -> None:
        """Something other than a ping was sent."""
        self._sent_ms = now_ms

    def pinged(self, now_ms: int) -> None:
        """A ping was sent."""
        self._sent_ms = self._pinged_ms = now_ms
        self._owed_ms = None

    def owe_ping(self, at_ms: int) -> None:
        """The server is to be told by then how far the client has read."""
        if self._owed_ms is None:
            self._owed_ms = at_ms

    @property
    def is_ping_owed(self) -> bool:
        """Whether something was read that the server was not told of."""
        return self._owed_ms is not None

    @property
    def ping_at(self) -> int:
        """When the next ping is due: nothing sent, or nothing heard, for an interval; or when one is owed."""
        at_ms = max(min(self._heard_ms, self._sent_ms), self._pinged_ms) + self._ping_interval_ms
        return at_ms if self._owed_ms is None else min(at_ms, self._owed_ms)

    @property
    def silent_at(self) -> int:
        """When the connection counts as dead unless something comes before."""
        return self._heard_ms + self._silence_timeout_ms

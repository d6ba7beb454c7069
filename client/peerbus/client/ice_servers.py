"""
The STUN and TURN servers of an agent, and when they are to be renewed.

Owns how long they are good, and when new ones are asked for. Never asks, and never reads a clock. See PROTOCOL.md,
section 17.
"""

from __future__ import annotations

from typing import Final

from peerbus.protocol.messages import IceServer

_RETRY_MIN_MS: Final = 5_000


class IceServers:
    """What the server told last. Times are milliseconds of one monotonic clock."""

    def __init__(self) -> None:
        self.servers: list[IceServer] = []
        self.renew_at_ms: int | None = None
        """When new ones are to be asked for; None: these do not end."""
        self._ends_at_ms: int | None = None

    def told(self, servers: list[IceServer], expires_in_ms: int | None, now_ms: int) -> None:
        """The server gave new ones, that end so much later if they do."""
        self.servers = servers
        self.renew_at_ms = self._ends_at_ms = None
        if servers and expires_in_ms is not None:
            self._ends_at_ms = now_ms + expires_in_ms
            self.renew_at_ms = now_ms + expires_in_ms // 2

    def failed(self, now_ms: int) -> None:
        """There were no new ones: asks again when half of the rest is over."""
        if self._ends_at_ms is not None:
            rest_ms = max(0, self._ends_at_ms - now_ms)
            self.renew_at_ms = now_ms + max(_RETRY_MIN_MS, rest_ms // 2)

    def are_fresh(self, now_ms: int) -> bool:
        """Whether there is no reason to ask for new ones."""
        return self.renew_at_ms is None or now_ms < self.renew_at_ms

    def are_good(self, now_ms: int) -> bool:
        """Whether they have not ended."""
        return self._ends_at_ms is None or now_ms < self._ends_at_ms

"""
Whether a guest still hears its host.

Owns when the host was heard last, and how long a silence has to be to count. A guest that was asleep itself gives what
came meanwhile time to be read, before it says anything. Never reads a clock, and never decides what follows: the
server does, by what all guests say and by the host's lease.
"""

from __future__ import annotations

from typing import Final

from peerbus.protocol.groups import HOST_RENEW_MS, HOST_UNHEARD_MS

_LOOK_MS: Final = 100
_LATE_MS: Final = 100
"""Who looks so late was asleep itself, or has more to do than it can."""
_WAKING_MS: Final = 250
"""And waits so long before it takes anybody for silent."""


class Silence:
    """Of one host. Times are milliseconds of any clock that never goes back."""

    def __init__(self) -> None:
        self._heard_ms = 0
        self._look_ms: int | None = None
        self._told_ms: int | None = None

    def start(self, now_ms: int) -> None:
        """
        The host has welcomed this guest: from now on it says something every `HOST_ALIVE_MS`, or the link is lost,
        or it is silent.
        """
        self._heard_ms, self._look_ms, self._told_ms = now_ms, now_ms + _LOOK_MS, None

    def heard(self, now_ms: int) -> None:
        """Something came from the host."""
        self._heard_ms, self._told_ms = now_ms, None

    @property
    def deadline_ms(self) -> int | None:
        """When to look."""
        return self._look_ms

    def is_to_be_told(self, now_ms: int) -> bool:
        """Looks, if it is time; whether the server is to be told, again after `HOST_RENEW_MS`."""
        if self._look_ms is None or now_ms < self._look_ms:
            return False
        if now_ms - self._look_ms > _LATE_MS:
            self._heard_ms = max(self._heard_ms, now_ms + _WAKING_MS - HOST_UNHEARD_MS)
        self._look_ms = now_ms + _LOOK_MS
        is_silent = now_ms - self._heard_ms >= HOST_UNHEARD_MS
        if not is_silent or (self._told_ms is not None and now_ms - self._told_ms < HOST_RENEW_MS):
            return False
        self._told_ms = now_ms
        return True

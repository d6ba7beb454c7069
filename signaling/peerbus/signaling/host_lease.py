"""
The lease of a group's host.

Owns who is host, under which term, and until when without word from it. Never chooses a host and never gives out a
term (that is `group`); `lease` has those of media workers, which end with nobody's connection and outlive their rooms.
Times are monotonic milliseconds. See PROTOCOL.md, section 16.
"""

from __future__ import annotations

from typing import Final

from peerbus.protocol.groups import HOST_RENEW_MS

_LATE_MS: Final = 250
"""Who looks so long after a lease has run out was asleep itself, and may have renewals yet to read."""


class HostLease:
    """Good until `until_ms`; renewed by its holder alone, and under its own term."""

    __slots__ = ("_was_late", "holder", "term", "ttl_ms", "until_ms")

    def __init__(self, holder: str, term: int, ttl_ms: int, until_ms: int) -> None:
        self.holder: Final = holder
        self.term: Final = term
        self.ttl_ms: Final = ttl_ms
        self.until_ms = until_ms
        self._was_late = False

    def renew(self, holder: str, term: int, now_ms: int) -> bool:
        """Word from the holder's work loop. False if the lease is not (any more) its. One that has run out goes on."""
        if holder != self.holder or term != self.term:
            return False
        self.until_ms = now_ms + self.ttl_ms
        self._was_late = False
        return True

    def shorten(self, left_ms: int, now_ms: int) -> None:
        """The holder's connection is lost: it has this long to come back."""
        self.until_ms = min(self.until_ms, now_ms + left_ms)

    def has_lapsed(self, now_ms: int) -> bool:
        """Whether another may be host; whoever finds that out too late gives the holder one more chance."""
        if now_ms < self.until_ms:
            return False
        if now_ms - self.until_ms > _LATE_MS and not self._was_late:
            self.until_ms = now_ms + HOST_RENEW_MS
            self._was_late = True
            return False
        return True

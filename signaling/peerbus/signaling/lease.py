"""
Fenced leases: who holds a channel's call, until when, and under which term.

Owns who is believed: each grant has a higher term than all before, and whoever comes with an older one is refused. A
term is on disk before it comes here (see `terms`). After a restart nothing is known, and holders say what they have
(`adopt`): the highest term wins, whoever comes first. Never stores anything, never reads a clock (times are monotonic
milliseconds) and never chooses a holder (that is `placement`).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from peerbus.signaling.log.interface import ChannelKey

_FORGET_MS: Final = 3_600_000


class Lease(Struct, frozen=True, kw_only=True):
    """A lease as it is now."""

    key: ChannelKey
    holder: str
    term: int


class _Entry:
    """What is known of one key. `holder` is empty while nobody holds it."""

    __slots__ = ("holder", "term", "until_ms")

    def __init__(self) -> None:
        self.term = 0
        """The highest that was ever granted."""
        self.holder = ""
        self.until_ms = 0


class Leases:
    """All leases of one server, each good for `ttl_ms` from its grant or last renewal."""

    def __init__(self, ttl_ms: int) -> None:
        self.ttl_ms: Final = ttl_ms
        self._entries: Final[dict[ChannelKey, _Entry]] = {}

    def grant(self, key: ChannelKey, holder: str, term: int, now_ms: int) -> bool:
        """Gives the lease to a holder. False while another has it, or if a term as high was granted before."""
        entry = self._entries.setdefault(key, _Entry())
        if term <= entry.term or (entry.holder not in ("", holder) and now_ms < entry.until_ms):
            return False
        entry.term, entry.holder, entry.until_ms = term, holder, now_ms + self.ttl_ms
        return True

    def adopt(self, key: ChannelKey, holder: str, term: int, now_ms: int) -> bool:
        """
        A holder of before a restart says so. False if a term as high is known.

        The term was stored when it was granted, so it counts at once, also against an older one that came first.
        """
        entry = self._entries.setdefault(key, _Entry())
        if term <= entry.term:
            return False
        entry.term, entry.holder, entry.until_ms = term, holder, now_ms + self.ttl_ms
        return True

    def renew(self, key: ChannelKey, holder: str, term: int, now_ms: int) -> bool:
        """
        Word from a holder's own work. False if the lease is not (any more) its.

        One that has run out, and that nobody got since, goes on: nobody acted on its end.
        """
        entry = self._entries.get(key)
        if entry is None or not holder or entry.holder != holder or entry.term != term:
            return False
        entry.until_ms = now_ms + self.ttl_ms
        return True

    def release(self, key: ChannelKey, now_ms: int) -> None:
        """Nobody holds it any more; its term is never given again."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.holder = ""
            entry.until_ms = now_ms

    def current(self, key: ChannelKey, now_ms: int) -> Lease | None:
        """The lease that is held at this moment."""
        entry = self._entries.get(key)
        if entry is None or not entry.holder or now_ms >= entry.until_ms:
            return None
        return Lease(key=key, holder=entry.holder, term=entry.term)

    def last(self, key: ChannelKey) -> Lease | None:
        """The lease of whoever holds it, or held it last if it has only run out since: its holder may go on with it."""
        entry = self._entries.get(key)
        if entry is None or not entry.holder:
            return None
        return Lease(key=key, holder=entry.holder, term=entry.term)

    def is_held(self, key: ChannelKey, holder: str, term: int, now_ms: int) -> bool:
        """Whether word under this term from this holder counts."""
        lease = self.current(key, now_ms)
        return lease is not None and lease.holder == holder and lease.term == term

    def forget(self, now_ms: int) -> None:
        """Drops what has been free for long. The terms that are given out then are higher still."""
        old = [
            key
            for key, entry in self._entries.items()
            if not entry.holder and now_ms - entry.until_ms >= _FORGET_MS
        ]
        for key in old:
            del self._entries[key]

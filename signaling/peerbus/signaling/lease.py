"""
Fenced leases: who holds a channel's call, until when, and under which term.

Owns the terms: each grant has a higher one than all before, and whoever comes with an older one is refused. A grant
has two steps, since its term has to be on disk before anybody acts on it: `propose`, then, once it is stored, `grant`.
From the proposal on the former holder is refused. After a restart (`restore`) every lease that was held is
reserved for one time-to-live to its last holder. Never stores anything, never reads a clock (times are monotonic
milliseconds) and never chooses a holder (that is `placement`).

One process grants leases today. The store compares and sets (see `term_store`), and so several could tomorrow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from peerbus.signaling.log.interface import ChannelKey

_FORGET_MS: Final = 3_600_000


class LastGrant(Struct, frozen=True, kw_only=True):
    """The last grant of a lease, as it is stored."""

    key: ChannelKey
    term: int
    holder: str
    """Empty when it was given back."""
    holder_name: str = ""


class Lease(Struct, frozen=True, kw_only=True):
    """A lease as it is now."""

    key: ChannelKey
    holder: str
    term: int
    is_reserved: bool
    """Held before a restart, and not renewed since."""


class _Entry:
    """What is known of one key. `holder` is empty while nobody holds it."""

    __slots__ = ("holder", "is_lapse_told", "is_reserved", "proposed_to", "term", "until_ms")

    def __init__(self) -> None:
        self.term = 0
        """The highest that was ever proposed, granted or not."""
        self.holder = ""
        self.until_ms = 0
        self.is_reserved = False
        self.is_lapse_told = False
        self.proposed_to = ""


class Leases:
    """All leases of one server, each good for `ttl_ms` from its grant or last renewal."""

    def __init__(self, ttl_ms: int) -> None:
        self.ttl_ms: Final = ttl_ms
        self._entries: Final[dict[ChannelKey, _Entry]] = {}

    def restore(self, grants: Iterable[LastGrant], now_ms: int) -> None:
        """What was stored before a restart; to be called before anything else."""
        for last in grants:
            entry = self._entries[last.key] = _Entry()
            entry.term = last.term
            entry.holder = last.holder
            entry.is_reserved = bool(last.holder)
            entry.until_ms = now_ms + self.ttl_ms

    def propose(self, key: ChannelKey, holder: str, now_ms: int, *, lowest: int) -> int:
        """
        The term under which `holder` may get the lease once it is stored; at least `lowest`.

        Raises `ValueError` while somebody else holds it.
        """
        entry = self._entries.setdefault(key, _Entry())
        if entry.holder not in ("", holder) and now_ms < entry.until_ms:
            raise ValueError("the lease is held by somebody else")
        entry.term = max(entry.term + 1, lowest)
        entry.proposed_to = holder
        entry.holder = ""
        return entry.term

    def grant(self, key: ChannelKey, term: int, now_ms: int) -> bool:
        """The proposal with this term is stored: its holder has the lease. False if there is a newer one."""
        entry = self._entries.get(key)
        if entry is None or entry.term != term or not entry.proposed_to:
            return False
        entry.holder, entry.proposed_to = entry.proposed_to, ""
        entry.until_ms = now_ms + self.ttl_ms
        entry.is_reserved = entry.is_lapse_told = False
        return True

    def withdraw(self, key: ChannelKey, term: int, *, known: int = 0) -> None:
        """The proposal could not be stored (`known` is what was), or nobody wants it; its term is never given again."""
        entry = self._entries.get(key)
        if entry is not None and entry.term == term:
            entry.proposed_to = ""
            entry.term = max(term, known)

    def renew(self, key: ChannelKey, holder: str, term: int, now_ms: int) -> bool:
        """
        Word from a holder's own work. False if the lease is not (any more) its.

        One that has run out, and that nobody got since, goes on: nobody acted on its end.
        """
        entry = self._entries.get(key)
        if entry is None or not holder or entry.holder != holder or entry.term != term:
            return False
        entry.until_ms = now_ms + self.ttl_ms
        entry.is_reserved = entry.is_lapse_told = False
        return True

    def release(self, key: ChannelKey, now_ms: int) -> None:
        """Nobody holds it any more; its term is never given again."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.holder = entry.proposed_to = ""
            entry.until_ms = now_ms

    def current(self, key: ChannelKey, now_ms: int) -> Lease | None:
        """The lease that is held at this moment."""
        entry = self._entries.get(key)
        if entry is None or not entry.holder or now_ms >= entry.until_ms:
            return None
        return Lease(key=key, holder=entry.holder, term=entry.term, is_reserved=entry.is_reserved)

    def is_held(self, key: ChannelKey, holder: str, term: int, now_ms: int) -> bool:
        """Whether word under this term from this holder counts."""
        lease = self.current(key, now_ms)
        return lease is not None and lease.holder == holder and lease.term == term

    def reserved(self) -> list[Lease]:
        """The leases that wait for their holders of before a restart."""
        return [
            Lease(key=key, holder=entry.holder, term=entry.term, is_reserved=True)
            for key, entry in self._entries.items()
            if entry.is_reserved and entry.holder
        ]

    def lapsed(self, now_ms: int) -> list[Lease]:
        """The leases that ran out since the last call; each is named once, and stays renewable until it is proposed."""
        lapsed = []
        for key, entry in self._entries.items():
            if entry.holder and now_ms >= entry.until_ms and not entry.is_lapse_told:
                entry.is_lapse_told = True
                lapsed.append(
                    Lease(key=key, holder=entry.holder, term=entry.term, is_reserved=entry.is_reserved)
                )
        return lapsed

    def forget(self, now_ms: int, *, lowest: int) -> None:
        """Drops what is free for long, where `lowest` alone makes sure that no term is given twice."""
        old = [
            key
            for key, entry in self._entries.items()
            if not entry.holder
            and not entry.proposed_to
            and entry.term < lowest
            and now_ms - entry.until_ms >= _FORGET_MS
        ]
        for key in old:
            del self._entries[key]

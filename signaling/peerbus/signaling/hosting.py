"""
Who is host of a group: the lease, who follows, and what is believed of hosts of before a restart.

Owns the holder, its term, until when without word from it, and the order of those who could follow. Never knows whether
the group is in mode `host` (that is `group`); `lease` has the leases of media workers, which end with nobody's
connection and outlive their rooms. Times are monotonic milliseconds. See PROTOCOL.md, section 16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.groups import HOST_RENEW_MS, HOST_TTL_MS, GroupHost, SeenHost
from peerbus.signaling.participant import Participant

_RESERVED_MS: Final = HOST_TTL_MS + 3_000
"""How long a host of before a restart has to connect again and renew."""
_RETURN_MS: Final = 2_000
"""How long after it was founded anew a group waits for those who know who was host before the restart."""
_LATE_MS: Final = 250
"""Who looks so long after a lease has run out was asleep itself, and may have renewals yet to read."""
_UNHEARD_RENEW_MS: Final = 2 * HOST_RENEW_MS
"""A host that nobody hears any more, and that has not renewed for so long, is followed at once."""
_RETRY_MS: Final = 500
"""When to try again where no term could be had."""


class GroupCounters(Struct):
    """What happened in all groups since the start; read by the metrics."""

    switches: int = 0
    rolled_back: int = 0
    hosts: int = 0
    """How often somebody became host."""
    stale: int = 0
    """Renewals of who is not host, or not any more."""


class HostLease:
    """Good until `until_ms`; renewed by its holder alone, and under its own term."""

    __slots__ = ("_was_late", "heard_ms", "holder", "term", "unheard_by", "until_ms")

    def __init__(self, holder: str, term: int, now_ms: int, until_ms: int) -> None:
        self.holder: Final = holder
        self.term: Final = term
        self.heard_ms = now_ms
        """When it was renewed last, or begun."""
        self.until_ms = until_ms
        self.unheard_by: Final[set[str]] = set()
        """Who says since then that it hears nothing of the host any more."""
        self._was_late = False

    def renew(self, holder: str, term: int, now_ms: int) -> bool:
        """Word from the holder's work loop. False if the lease is not (any more) its. One that has run out goes on."""
        if holder != self.holder or term != self.term:
            return False
        self.heard_ms, self.until_ms = now_ms, now_ms + HOST_TTL_MS
        self._was_late = False
        self.unheard_by.clear()
        return True

    def lost(self, left_ms: int, now_ms: int) -> None:
        """The holder's connection is, and it can't renew: it has this long to come back."""
        self.until_ms = now_ms + left_ms

    def has_lapsed(self, now_ms: int) -> bool:
        """Whether another may be host; whoever finds that out too late gives the holder one more chance."""
        if now_ms < self.until_ms:
            return False
        if now_ms - self.until_ms > _LATE_MS and not self._was_late:
            self.until_ms = now_ms + HOST_RENEW_MS
            self._was_late = True
            return False
        return True


class Hosting:
    """
    For one group, whose `members` it looks at. `next_term` gives a term above all that were given, or raises.

    What happened under a term below `first_term` was before the server was started.
    """

    def __init__(
        self,
        members: Mapping[str, Participant],
        next_term: Callable[[], int],
        *,
        first_term: int,
        counters: GroupCounters,
    ) -> None:
        self._members: Final = members
        self._next_term: Final = next_term
        self._first_term: Final = first_term
        self._counters: Final = counters
        self._lease: HostLease | None = None
        self._retry_at_ms: int | None = None
        self._wait_until_ms = 0
        """Until when nobody is made host, since one may come back."""
        self._stale_told: Final[dict[str, int]] = {}
        """The term that held when somebody's renewal was refused last."""

    # --- what can be looked at --------------------------------------------------------------------------------

    @property
    def lease(self) -> HostLease | None:
        """The lease as it is, maybe one that has run out."""
        return self._lease

    @property
    def host(self) -> GroupHost | UnsetType:
        """Who is host, for the members."""
        lease = self._lease
        return UNSET if lease is None else self.as_host(lease.holder, lease.term)

    @property
    def deadline_ms(self) -> int | None:
        """When to `settle`; None while nothing would come of it."""
        if self._retry_at_ms is not None:
            return self._retry_at_ms
        lease = self._lease
        if lease is None:
            return self._wait_until_ms or None
        if not self._takers(lease.holder):
            return None
        unheard_ms = self._unheard_until_ms(lease)
        return lease.until_ms if unheard_ms is None else min(lease.until_ms, unheard_ms)

    def as_host(self, holder: str, term: int) -> GroupHost:
        """Somebody as host, and who would follow."""
        heir = self.best_but(holder)
        successor = UNSET if heir is None or heir.is_cut_off else heir.identity
        return GroupHost(identity=holder, term=term, successor=successor)

    def best_but(self, holder: str) -> Participant | None:
        """
        Who could be host instead, or (if `holder` is empty) at all: connected, and of lowest order.

        Who was silent as a host, or is cut off from the present one, comes last.
        """
        able = [
            one
            for one in self._members.values()
            if one.identity != holder and not one.is_away and "host" in one.modes
        ]
        return min(able, key=lambda one: (one.is_silent, one.is_cut_off, one.order), default=None)

    def _takers(self, holder: str) -> bool:
        """Whether there is somebody for a lease that has lapsed: it doesn't go from one silent member to another."""
        heir = self.best_but(holder)
        return heir is not None and not heir.is_silent

    # --- what happens -----------------------------------------------------------------------------------------

    def begin(self, holder: str, term: int, now_ms: int) -> None:
        """Somebody is host, under a new term."""
        self._lease = HostLease(holder, term, now_ms, now_ms + HOST_TTL_MS)
        for member in self._members.values():
            member.is_cut_off = False
        self._counters.hosts += 1

    def end(self) -> None:
        """There is no host."""
        self._lease = self._retry_at_ms = None
        self._wait_until_ms = 0

    def await_return(self, now_ms: int) -> None:
        """There was maybe a host before a restart, who is not back yet; if nobody tells of it, another is made host."""
        self._wait_until_ms = now_ms + _RETURN_MS

    def left(self, identity: str) -> None:
        """Somebody has left the group."""
        self._stale_told.pop(identity, None)
        if self._lease is not None and self._lease.holder == identity:
            self._lease = None

    def is_holder(self, identity: str) -> bool:
        """Whether somebody has the lease."""
        return self._lease is not None and self._lease.holder == identity

    def lost(self, left_ms: int, now_ms: int) -> None:
        """The connection of the host is."""
        assert self._lease is not None
        self._lease.lost(left_ms, now_ms)

    def renew(self, identity: str, term: int, *, is_answered: bool, now_ms: int) -> None:
        """
        Word from the work loop of who believes to be host.

        Raises `ProtocolError` (`stale_term`); for requests that are not answered only once.
        """
        lease = self._lease
        if lease is not None and lease.renew(identity, term, now_ms):
            return
        self._counters.stale += 1
        holds = 0 if lease is None else lease.term
        if is_answered or self._stale_told.get(identity) != holds:
            self._stale_told[identity] = holds
            raise ProtocolError(ErrorCode.STALE_TERM, details={"term": holds})

    def unheard(self, identity: str, term: int) -> None:
        """A guest says that nothing comes from the host any more, though its link to it stands."""
        lease = self._lease
        if lease is not None and lease.term == term and lease.holder != identity:
            lease.unheard_by.add(identity)

    def _unheard_until_ms(self, lease: HostLease) -> int | None:
        """When the lease ends because all who are connected agree that the host is silent; None if they don't."""
        others = [one for one in self._members.values() if one.identity != lease.holder and not one.is_away]
        if not lease.unheard_by or not all(
            one.identity in lease.unheard_by or lease.holder in one.unreachable for one in others
        ):
            return None
        holder = self._members.get(lease.holder)
        is_away = holder is None or holder.is_away
        return lease.heard_ms if is_away else lease.heard_ms + _UNHEARD_RENEW_MS

    def adopt(self, seen: SeenHost, now_ms: int) -> None:
        """A member says who was host before the restart."""
        lease = self._lease
        if not 0 < seen.term < self._first_term:
            return
        if lease is None:
            self._lease = HostLease(seen.identity, seen.term, now_ms, now_ms + _RESERVED_MS)
            return
        is_same = (lease.holder, lease.term) == (seen.identity, seen.term)
        if is_same or lease.term >= self._first_term or seen.term < lease.term:
            return
        # Two are said to have been host, and one of them may be invented: a term of today is above both.
        holder = self._members.get(lease.holder) or self.best_but("")
        self._lease = None
        if holder is not None:
            self._grant(holder, now_ms)

    def settle(self, now_ms: int) -> bool:
        """Sees to it that there is a host. Whether another is, or the same under another term."""
        lease = self._lease
        self._retry_at_ms = None
        if now_ms >= self._wait_until_ms:
            self._wait_until_ms = 0
        elif lease is None:
            return False
        if lease is not None:
            unheard_ms = self._unheard_until_ms(lease)
            is_unheard = unheard_ms is not None and now_ms >= unheard_ms
            if not self._takers(lease.holder) or not (is_unheard or lease.has_lapsed(now_ms)):
                return False
            if lease.holder in self._members:
                self._members[lease.holder].is_silent = True
        heir = self.best_but("" if lease is None else lease.holder)
        return heir is not None and self._grant(heir, now_ms)

    def _grant(self, member: Participant, now_ms: int) -> bool:
        try:
            term = self._next_term()
        except ProtocolError:
            self._retry_at_ms = now_ms + _RETRY_MS
            return False
        self.begin(member.identity, term, now_ms)
        return True

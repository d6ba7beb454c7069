"""
The group of one channel: who is in it, in which mode, and who is host.

Owns the order of members, the mode and its term, the proposal under way, the host's lease, and which links are said to
be unreachable. Every change of the mode is a decision of all members under one term: proposed, answered by each, and
rolled back where one can't. Never knows a session, a grant or a rate (that is `groups`), never chooses a mode by itself
(that is `group_policy`) and never reads a clock; times are monotonic milliseconds. See PROTOCOL.md, section 16.

After a restart of the server nothing is known. Members say what they were told last; what was told before the restart
has a term below every later one, and is believed as long as members may still be coming back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from msgspec import UNSET

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.groups import (
    Enter,
    GroupProposal,
    GroupSignal,
    GroupState,
    Mode,
    ProposalEnded,
    Propose,
    Report,
    Seen,
    Veto,
)
from peerbus.signaling.group_policy import AutoPolicy, Situation, preferences
from peerbus.signaling.hosting import GroupCounters, Hosting
from peerbus.signaling.limits import Limits
from peerbus.signaling.objections import Objections
from peerbus.signaling.participant import ALL_MODES, Participant
from peerbus.signaling.proposal import AUTO, Proposal

EndCode: TypeAlias = Literal["vetoed", "timeout", "not_supported", "host_left", "superseded"]

_THROUGH_WORKER: Final = frozenset({"datachannel", "sfu"})
_ORDER_MAX: Final = 1 << 31
_REPORT_MS: Final = 300_000
"""A link that was not tried again since is not known to be unreachable."""
_RETRY_MS: Final = 500
"""When to try again where no term could be had."""


class Group:
    """
    Begins with its first member and is over with its last.

    `next_term(lowest)` gives a term that is at least `lowest` and was never given before, or raises `ProtocolError`
    (`storage_unavailable`). `first_term` is the lowest that this server could have given; what members have seen under
    an older one is believed until `gather_until_ms`.
    """

    def __init__(
        self,
        limits: Limits,
        next_term: Callable[[int], int],
        *,
        first_term: int,
        gather_until_ms: int,
        version: int,
        counters: GroupCounters,
    ) -> None:
        self._limits: Final = limits
        self._next_term: Final = next_term
        self._first_term: Final = first_term
        self._gather_until_ms: Final = gather_until_ms
        self._counters: Final = counters
        self.members: Final[dict[str, Participant]] = {}
        """By identity, in no particular order."""
        self.has_worker = False
        """Whether a media worker can be reached; to be set by whoever knows."""
        self.mode: Mode = "mesh"
        self.term = 0
        self.is_auto = False
        self.reason = ""
        self.version = version
        """Of what members were told last; at first one that no group has gone beyond."""
        self.is_gathering = False
        self._hosting: Final = Hosting(
            self.members,
            lambda: self._next_term(self.term + 1),
            first_term=first_term,
            counters=counters,
        )
        self.proposal: Proposal | None = None
        self._policy = AutoPolicy()
        self._objections: Final = Objections(limits.group_vetoes_per_min)
        # Above those of before a restart: who comes first after it takes nobody's place.
        self._last_order = (first_term - 1) % (_ORDER_MAX // 2)
        self._seen_term = 0
        """The term of what is believed of before a restart."""
        self._retry_at_ms: int | None = None
        self._ended: list[ProposalEnded] = []
        self._is_changed = False

    # --- what can be looked at --------------------------------------------------------------------------------

    def __contains__(self, identity: str) -> bool:
        return identity in self.members

    def __len__(self) -> int:
        return len(self.members)

    @property
    def deadline_ms(self) -> int | None:
        """When to `settle` though nothing has come in."""
        times = [] if self._retry_at_ms is None else [self._retry_at_ms]
        if self.proposal is not None:
            times.append(self.proposal.deadline_ms)
        elif self._chooses and self._policy.deadline_ms is not None:
            times.append(self._policy.deadline_ms)
        if self.mode == "host" and self._hosting.deadline_ms is not None:
            times.append(self._hosting.deadline_ms)
        if self.is_gathering:
            times.append(self._gather_until_ms)
        for member in self.members.values():
            times.extend(member.unreachable.values())
        return min(times, default=None)

    def state(self, now_ms: int) -> GroupState:
        """The whole truth as members are told it."""
        proposal = self.proposal
        return GroupState(
            version=self.version,
            term=self.term,
            mode=self.mode,
            is_auto=self.is_auto,
            reason=self.reason,
            members=[member.info for member in self._by_order()],
            is_gathering=self.is_gathering,
            host=self._hosting.host,
            proposal=UNSET
            if proposal is None
            else GroupProposal(
                mode=proposal.mode,
                term=proposal.term,
                by=proposal.by,
                reason=proposal.reason,
                waits_ms=max(0, proposal.deadline_ms - now_ms),
                host=UNSET if proposal.host is None else self._hosting.as_host(proposal.host, proposal.term),
            ),
        )

    def news(self, now_ms: int) -> list[GroupSignal]:
        """What all members are to be told since the last call."""
        news: list[GroupSignal] = list(self._ended)
        self._ended.clear()
        if self._is_changed:
            self._is_changed = False
            try:
                self.version = self._next_term(self.version + 1)
            except ProtocolError:
                # What is true is told all the same; only a restart right now could make it seem old.
                self.version += 1
            news.append(self.state(now_ms))
        return news

    @property
    def has_news(self) -> bool:
        """Whether members are to be told something."""
        return self._is_changed or bool(self._ended)

    # --- who is in it -----------------------------------------------------------------------------------------

    def enter(self, identity: str, name: str, request: Enter, *, is_anew: bool, now_ms: int) -> None:
        """
        Somebody comes, comes back, or says anew what it can; `is_anew` is a new life of an identity that is here.

        Raises `ProtocolError`, and all is as it was: `not_supported` (it can't do what the group does; `details.mode`),
        `channel_full`, `storage_unavailable`.
        """
        modes = frozenset(request.modes)
        seen = self._believed(request, modes, now_ms)
        others = [one for one in self.members if one != identity or not is_anew]
        if not others:
            self._found(request, modes, seen, now_ms)
        else:
            if self.mode not in modes and not (seen is not None and self._is_newer(seen, modes)):
                text = f"The group is in mode {self.mode}, which this member does not offer."
                raise ProtocolError(ErrorCode.NOT_SUPPORTED, text, details={"mode": self.mode})
            if identity not in self.members and len(self.members) >= self._limits.group_members:
                raise ProtocolError(
                    ErrorCode.CHANNEL_FULL, f"A group has at most {len(self.members)} members."
                )
            if seen is not None:
                self._adopt(seen, modes)
        if is_anew:
            self._drop(identity, now_ms)
        member = self.members.get(identity)
        if member is None:
            member = self.members[identity] = Participant(identity, self._order_of(seen))
            if self.proposal is not None:
                self.proposal.entered(identity, now_ms)
        member.name, member.modes, member.has_media = name, modes, request.has_media
        member.is_away = False
        if self.proposal is not None and self.proposal.mode not in modes:
            self._roll_back("not_supported", f"{name} can't do it", identity, now_ms)
        if self.mode == "host" and seen is not None and seen.host is not UNSET:
            self._hosting.adopt(seen.host, now_ms)
        self._is_changed = True

    def leave(self, identity: str, now_ms: int) -> None:
        """Somebody has left, on purpose or not."""
        self._drop(identity, now_ms)

    def away(self, identity: str, now_ms: int) -> None:
        """The connection of a member is lost. A host can't renew meanwhile, and is given a moment to come back."""
        self.members[identity].is_away = True
        if self._hosting.is_holder(identity):
            self._hosting.lost(self._limits.group_host_away_ms, now_ms)
        # Maybe the successor is another.
        self._is_changed = self._is_changed or self.mode == "host"

    def back(self, identity: str) -> None:
        """The connection of a member is there again."""
        self.members[identity].is_away = False
        self._is_changed = self._is_changed or self.mode == "host"

    def _drop(self, identity: str, now_ms: int) -> None:
        if self.members.pop(identity, None) is None:
            return
        for member in self.members.values():
            member.unreachable.pop(identity, None)
        self._hosting.left(identity)
        if self.proposal is not None:
            self.proposal.answered.discard(identity)
        if self.proposal is not None and self.proposal.host == identity:
            self._roll_back("host_left", "who was to be host has left", identity, now_ms)
        self._is_changed = True

    def _order_of(self, seen: Seen | None) -> int:
        wanted = 0 if seen is None or seen.order is UNSET else seen.order
        if 0 < wanted < _ORDER_MAX and all(one.order != wanted for one in self.members.values()):
            self._last_order = max(self._last_order, wanted)
            return wanted
        self._last_order += 1
        return self._last_order

    def _by_order(self) -> list[Participant]:
        return sorted(self.members.values(), key=lambda member: member.order)

    # --- how it begins, or goes on after a restart --------------------------------------------------------------

    def _believed(self, request: Enter, modes: frozenset[Mode], now_ms: int) -> Seen | None:
        """What a member was told before the server was started anew; a term of today is no news to anybody."""
        seen = request.seen
        if seen is UNSET or now_ms >= self._gather_until_ms or seen.mode not in modes:
            return None
        return seen if 0 < seen.term < self._first_term else None

    def _found(self, request: Enter, modes: frozenset[Mode], seen: Seen | None, now_ms: int) -> None:
        mode: Mode | None
        if seen is not None:
            mode = seen.mode
        elif request.mode == "auto":
            mode = self._first_choice(request, modes)
        else:
            mode = request.mode
        if mode is None or mode not in modes:
            text = f"The mode {request.mode} is not among those that this member offers."
            raise ProtocolError(ErrorCode.NOT_SUPPORTED, text, details={"mode": request.mode})
        self.term = self._next_term(self.term + 1) if seen is None else seen.term
        self.mode = mode
        self.is_auto = request.mode == "auto" if seen is None else seen.is_auto
        self.reason = "first" if seen is None else "returned"
        self.is_gathering = seen is not None
        self._seen_term = 0 if seen is None else seen.term
        self.proposal = None
        self._hosting.end()
        if seen is None and self._first_term > 1 and now_ms < self._gather_until_ms:
            self._hosting.await_return(now_ms)
        self._policy = AutoPolicy()

    def _first_choice(self, request: Enter, modes: frozenset[Mode]) -> Mode | None:
        alone = Situation(
            members=1,
            has_media=request.has_media,
            has_unreachable=False,
            has_worker=self.has_worker,
            modes=modes,
        )
        wanted = [mode for mode in preferences(alone) if mode in modes]
        there = [mode for mode in wanted if self.has_worker or mode not in _THROUGH_WORKER]
        return next(iter(there or wanted), None)

    def _is_newer(self, seen: Seen, modes: frozenset[Mode]) -> bool:
        """Whether what this member was told came after all that the others who came back were told."""
        return seen.term > self._seen_term and seen.mode in modes & self._common_modes()

    def _adopt(self, seen: Seen, modes: frozenset[Mode]) -> None:
        if not self._is_newer(seen, modes):
            if seen.term > self.term:
                self.term = self._next_term(self.term + 1)
            return
        # Who has come without having seen anything was told a term of today, which must not be taken back.
        is_told_anew = self.term >= self._first_term
        if not is_told_anew:
            self.term = seen.term
        elif seen.mode != self.mode:
            self.term = self._next_term(self.term + 1)
        if seen.mode != self.mode:
            self.mode, self.reason = seen.mode, "returned"
            self._hosting.end()
            if self.proposal is not None:
                self._end("superseded", "members came back from before a restart", None)
        self.is_auto = seen.is_auto
        self._seen_term = seen.term
        self.is_gathering = True

    # --- modes ------------------------------------------------------------------------------------------------

    def propose(self, identity: str, request: Propose, now_ms: int) -> None:
        """
        Somebody wants another mode.

        Raises `ProtocolError`: `not_found`, `stale_term`, `proposal_pending`, `no_worker`, `storage_unavailable`,
        `not_supported` (`details.members`: the identities that can't).
        """
        member = self._member(identity)
        if request.term != self.term:
            raise self._stale(self.term)
        pending = self.proposal
        if pending is not None and not pending.is_auto:
            raise ProtocolError(
                ErrorCode.PROPOSAL_PENDING, retry_after_ms=max(1, pending.deadline_ms - now_ms)
            )
        if request.mode == "auto":
            if not self.is_auto:
                self.is_auto = self._is_changed = True
                self._policy = AutoPolicy()
            return
        mode = request.mode
        unable = [one for one in self._by_order() if mode not in one.modes]
        if unable:
            text = f"The mode {mode} can't be done by {', '.join(one.name for one in unable[:5])}."
            raise ProtocolError(
                ErrorCode.NOT_SUPPORTED, text, details={"members": [one.identity for one in unable]}
            )
        started = None
        if mode == self.mode:
            self.is_auto = False
            self._is_changed = True
        elif mode in _THROUGH_WORKER and not self.has_worker:
            raise ProtocolError(ErrorCode.NO_WORKER, retry_after_ms=_RETRY_MS)
        else:
            started = self._start(mode, identity, "proposed", now_ms)
        if pending is not None:
            self._end("superseded", f"{member.name} wants {mode}", identity)
        self.proposal = started

    def ready(self, identity: str, term: int) -> None:
        """A member can do what is proposed. Raises `ProtocolError`: `not_found`, `stale_term`."""
        self._member(identity)
        self._proposed(term).answered.add(identity)

    def veto(self, identity: str, request: Veto, now_ms: int) -> None:
        """
        A member can't do what is proposed. Who has objected too often is not asked any more, and carried by the relay.

        Raises `ProtocolError`: `not_found`, `stale_term`.
        """
        member = self._member(identity)
        proposal = self._proposed(request.term)
        if self._objections.take(identity, now_ms):
            reason = f"{member.name}: {request.reason}" if request.reason else f"{member.name} can't"
            self._roll_back("vetoed", reason, identity, now_ms)
        else:
            proposal.answered.add(identity)

    def report(self, identity: str, request: Report, now_ms: int) -> None:
        """What a member says of a link. Raises `ProtocolError` (`not_found`)."""
        member = self._member(identity)
        if request.peer not in self.members or request.peer == identity:
            raise ProtocolError(
                ErrorCode.NOT_FOUND, "The peer that is reported is no other member of the group."
            )
        peer = self.members[request.peer]
        is_of_host = self._hosting.is_holder(identity)
        if is_of_host and peer.is_cut_off is request.is_reachable:
            peer.is_cut_off = not request.is_reachable
            self._is_changed = True  # Maybe the successor is another.
        if request.is_reachable:
            member.unreachable.pop(request.peer, None)
        elif not is_of_host:
            # A host also says so of who is frozen; who has no link to it says that itself.
            member.unreachable[request.peer] = now_ms + _REPORT_MS

    def _member(self, identity: str) -> Participant:
        member = self.members.get(identity)
        if member is None:
            raise ProtocolError(ErrorCode.NOT_FOUND, "You are not in the channel's group; enter it first.")
        if member.is_silent:
            member.is_silent = False
            self._is_changed = True  # Maybe the successor is another.
        return member

    def _proposed(self, term: int) -> Proposal:
        if self.proposal is None or self.proposal.term != term:
            raise self._stale(self.term if self.proposal is None else self.proposal.term)
        return self.proposal

    @staticmethod
    def _stale(term: int) -> ProtocolError:
        return ProtocolError(ErrorCode.STALE_TERM, details={"term": term})

    def _start(self, mode: Mode, by: str, reason: str, now_ms: int) -> Proposal:
        term = self._next_term(self.term + 1)
        host = self._hosting.best_but("") if mode == "host" else None
        self._is_changed = True
        return Proposal(mode, term, by, reason, None if host is None else host.identity, now_ms)

    def _roll_back(self, code: EndCode, reason: str, by: str, now_ms: int) -> None:
        assert self.proposal is not None
        if self.proposal.is_auto:
            self._policy.failed(self.proposal.mode, now_ms)
        self._end(code, reason, by)
        self._counters.rolled_back += 1

    def _end(self, code: EndCode, reason: str, by: str | None) -> None:
        proposal = self.proposal
        assert proposal is not None
        self._ended.append(
            ProposalEnded(
                term=proposal.term,
                mode=proposal.mode,
                code=code,
                reason=reason,
                by=UNSET if by is None else by,
            )
        )
        self.proposal = None
        self._is_changed = True

    def renew(self, identity: str, term: int, *, is_answered: bool, now_ms: int) -> None:
        """
        Word from the work loop of who believes to be host.

        Raises `ProtocolError`: `not_found`, `stale_term`; for requests that are not answered, the latter only once.
        """
        self._member(identity)
        proposal = self.proposal
        if proposal is None or (proposal.host, proposal.term) != (identity, term):
            self._hosting.renew(identity, term, is_answered=is_answered, now_ms=now_ms)

    def unheard(self, identity: str, term: int) -> None:
        """A guest hears nothing of the host any more. Raises `ProtocolError` (`not_found`)."""
        self._member(identity)
        if not self.is_gathering:
            self._hosting.unheard(identity, term)

    # --- time -------------------------------------------------------------------------------------------------

    def settle(self, now_ms: int) -> None:
        """What follows from all that has come in, and from time; to be called after requests and at the deadline."""
        if not self.members:
            return
        self._retry_at_ms = None
        if self.is_gathering and now_ms >= self._gather_until_ms:
            self.is_gathering = False
            self._is_changed = True
        for member in self.members.values():
            for peer in [peer for peer, until_ms in member.unreachable.items() if now_ms >= until_ms]:
                del member.unreachable[peer]
        self._settle_proposal(now_ms)
        if self.mode == "host" and self._hosting.settle(now_ms):
            self._is_changed = True
        self._settle_auto(now_ms)
        self._objections.forget(self.members, now_ms)

    def _settle_proposal(self, now_ms: int) -> None:
        proposal = self.proposal
        if proposal is None:
            return
        missing = [one for one in self._by_order() if one.identity not in proposal.answered]
        heeded = [one for one in missing if self._objections.is_heeded(one.identity, now_ms)]
        if heeded and now_ms < proposal.deadline_ms:
            return
        if heeded:
            for one in missing:
                self._objections.take(one.identity, now_ms)
            names = ", ".join(one.name for one in missing[:5])
            self._roll_back("timeout", f"no answer from {names}", heeded[0].identity, now_ms)
            return
        self.proposal = None
        self.mode, self.term, self.reason = proposal.mode, proposal.term, proposal.reason
        self.is_auto = proposal.is_auto
        self._hosting.end()
        if proposal.host is not None:
            self._hosting.begin(proposal.host, proposal.term, now_ms)
        self._counters.switches += 1
        self._is_changed = True

    def _settle_auto(self, now_ms: int) -> None:
        members = self.members.values()
        if self.proposal is not None or not self._chooses:
            return
        situation = Situation(
            members=len(members),
            has_media=any(member.has_media for member in members),
            has_unreachable=any(member.unreachable for member in members),
            has_worker=self.has_worker,
            modes=self._common_modes(),
        )
        choice = self._policy.decide(situation, self.mode, now_ms)
        if choice is None:
            return
        try:
            self.proposal = self._start(choice.mode, AUTO, choice.reason, now_ms)
        except ProtocolError:
            self._retry_at_ms = now_ms + _RETRY_MS

    @property
    def _chooses(self) -> bool:
        """Whether the server chooses now: who is away could not answer, and is back in a moment, or gone."""
        is_whole = not self.is_gathering and not any(one.is_away for one in self.members.values())
        return self.is_auto and is_whole

    def _common_modes(self) -> frozenset[Mode]:
        return frozenset(ALL_MODES).intersection(*(member.modes for member in self.members.values()))

"""
What the server's word on the group means for this member (PROTOCOL.md, section 16).

Owns the newest state of the group, which of its versions count, and the difference that each makes: who came, who left,
which mode holds, which one is to be built. Never sends, never builds and never reads a clock.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import UNSET, Struct

from peerbus.protocol.groups import (
    GroupHost,
    GroupMember,
    GroupProposal,
    GroupState,
    Mode,
    ProposalEnded,
    Seen,
    SeenHost,
)


class Entered(Struct, frozen=True):
    """Everybody else is new to this member, itself included: what was known of them is void."""


class Left(Struct, frozen=True):
    """A member is gone, or began anew."""

    member: GroupMember


class Joined(Struct, frozen=True):
    """A member is there."""

    member: GroupMember


class Holds(Struct, frozen=True):
    """A mode holds: the first one, or another."""

    mode: Mode
    term: int
    reason: str


class HostIs(Struct, frozen=True):
    """Another is host, or the same under another term, or nobody."""

    host: GroupHost | None


class Proposed(Struct, frozen=True):
    """A path of this mode is to be built beside the present one."""

    proposal: GroupProposal


class Ended(Struct, frozen=True):
    """What was proposed will not be."""

    term: int
    why: ProposalEnded | None


Change: TypeAlias = Entered | Left | Joined | Holds | HostIs | Proposed | Ended
"""Something is other than before. The order in which they come is the one in which to follow them."""


class GroupFollower:
    """See the module."""

    def __init__(self) -> None:
        self.state: GroupState | None = None
        """The newest one; None before the first."""
        self.others: Final[dict[str, GroupMember]] = {}
        """By identity, without this member; who is missing while the server gathers them anew is still among them."""
        self.order = -1
        """The own one, by which the earlier of two offers; −1 outside of the group."""
        self._identity = ""
        self._proposal: GroupProposal | None = None
        self._is_withdrawn = False

    @property
    def seen(self) -> Seen | None:
        """What the server has to know of the group, in case that it forgot."""
        if self.state is None:
            return None
        host = self.state.host
        return Seen(
            term=self.state.term,
            mode=self.state.mode,
            is_auto=self.state.is_auto,
            order=self.order,
            host=UNSET if host is UNSET else SeenHost(identity=host.identity, term=host.term),
        )

    def told(self, state: GroupState, identity: str) -> list[Change]:
        """The server told the whole truth, to the member of this identity."""
        before = self.state
        if before is not None and state.version < before.version and identity == self._identity:
            return []
        own = next((member for member in state.members if member.identity == identity), None)
        if own is None:
            return []
        changes: list[Change] = []
        if own.order != self.order or identity != self._identity:
            changes += [*self._everybody_left(), Entered()]
        self._identity, self.order, self.state = identity, own.order, state
        changes += self._members(state)
        if before is None or (state.term, state.mode) != (before.term, before.mode):
            if self._proposal is not None and self._proposal.term != state.term:
                changes += self._drop()
            self._proposal = None
            changes.append(Holds(state.mode, state.term, state.reason))
        host = None if state.host is UNSET else state.host
        was_host = None if before is None or before.host is UNSET else before.host
        if _key(host) != _key(was_host):
            changes.append(HostIs(host))
        return changes + self._proposed(None if state.proposal is UNSET else state.proposal)

    def ended(self, signal: ProposalEnded) -> list[Change]:
        """A proposal came to nothing."""
        if self._proposal is None or signal.term != self._proposal.term:
            return []
        self._proposal = None
        return [Ended(signal.term, signal)]

    def out(self) -> list[Change]:
        """The own membership is over."""
        changes = [*self._drop(), *self._everybody_left()]
        self.state = None
        self.order = -1
        return changes

    def _members(self, state: GroupState) -> list[Change]:
        changes: list[Change] = []
        here = {member.identity: member for member in state.members}
        for identity, member in list(self.others.items()):
            now = here.get(identity)
            # Under another order it has begun anew.
            if state.is_gathering if now is None else now.order == member.order:
                continue
            del self.others[identity]
            changes.append(Left(member))
        for identity, member in here.items():
            if identity != self._identity:
                if identity not in self.others:
                    changes.append(Joined(member))
                self.others[identity] = member
        return changes

    def _proposed(self, proposal: GroupProposal | None) -> list[Change]:
        if proposal is None:
            # Why it ended follows; if not even the next state finds that told, it was lost.
            is_lost = self._is_withdrawn
            self._is_withdrawn = self._proposal is not None and not is_lost
            return self._drop() if is_lost else []
        self._is_withdrawn = False
        if self._proposal is not None and proposal.term == self._proposal.term:
            return []
        changes = self._drop()
        self._proposal = proposal
        return [*changes, Proposed(proposal)]

    def _drop(self) -> list[Change]:
        proposal, self._proposal = self._proposal, None
        return [] if proposal is None else [Ended(proposal.term, None)]

    def _everybody_left(self) -> list[Change]:
        members = list(self.others.values())
        self.others.clear()
        return [Left(member) for member in members]


def _key(host: GroupHost | None) -> tuple[str, int] | None:
    return None if host is None else (host.identity, host.term)

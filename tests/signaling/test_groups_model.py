"""
Groups at random: whatever members do, whatever is lost, and however often the server is started anew, what is promised
holds. Members that tell the truth, and, in the second machine, members that tell what they have never seen.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import UNSET, structs

from peerbus.protocol.groups import (
    HOST_TTL_MS,
    PROPOSAL_MS,
    GroupState,
    Mode,
    ProposalEnded,
    Ready,
    Removed,
    Seen,
    SeenHost,
    Veto,
)
from peerbus.protocol.messages import Ack, Error
from peerbus.signaling.member import Member
from tests.support.examples import examples
from tests.support.group_stage import ALL_MODES, GroupStage

NAMES = ("ann", "bob", "cyd", "dan")
MODES = st.sampled_from([*ALL_MODES, "auto"])
WHO = st.sampled_from(NAMES)
TERMS = st.integers(0, 60) | st.just(2**53 - 1)


class Life:
    """What one member was told while it went on with its links."""

    def __init__(self) -> None:
        self.version = 0
        self.term = 0
        self.host_term = 0
        self.order = 0
        self.hosts: dict[int, str] = {}
        self.ended: set[int] = set()
        """The proposals that came to nothing."""


class GroupMachine(RuleBasedStateMachine):
    """Members of one channel that tell the truth."""

    is_honest = True

    def __init__(self) -> None:
        super().__init__()
        self.stage = GroupStage()
        self.sessions: dict[str, Member] = {}
        self.lives: dict[str, Life] = {}
        """By name: those who believe to be in the group."""
        self.seen: dict[str, Seen] = {}
        self.hosts: dict[int, str] = {}
        """Who was told to be host under which term, to anybody and ever."""
        self.versions: dict[int, GroupState] = {}
        self.proposed_at: dict[int, int] = {}
        self.is_ahead = False

    @initialize(has_worker=st.booleans(), mode=MODES)
    def begin(self, has_worker: bool, mode: str) -> None:
        self.stage.has_worker = has_worker
        for name in NAMES:
            self.enter(name, mode, ALL_MODES, has_media=False, is_able=1)

    # --- what members do ----------------------------------------------------------------------------------------

    @rule(
        name=WHO,
        mode=MODES,
        modes=st.lists(st.sampled_from(ALL_MODES), max_size=5),
        has_media=st.booleans(),
        is_able=st.integers(0, 3),
    )
    def enter(self, name: str, mode: str, modes: list[Mode], has_media: bool, is_able: int) -> None:
        member = self._session(name)
        seen = self.seen.get(name) if name in self.lives else None
        reply = self.stage.enter(
            member, mode, *(ALL_MODES if is_able else modes), has_media=has_media, seen=seen
        )
        if isinstance(reply, Ack):
            self.lives.setdefault(name, Life())
        else:
            assert reply.code in {"not_supported", "storage_unavailable", "rate_limited"}
        self.look()

    @rule(name=WHO)
    def exit(self, name: str) -> None:
        self._said(self.stage.exit(self._session(name)), set())
        self.look()
        self.lives.pop(name, None)

    @rule(name=WHO)
    def leave(self, name: str) -> None:
        if name in self.sessions:
            self.look()
            self.stage.leave(self.sessions.pop(name))
            self.lives.pop(name, None)
            self.look()

    @rule(name=WHO)
    def begin_another_session(self, name: str) -> None:
        """As after a connection that could not be resumed: the helper goes on, and enters with what it has seen."""
        if name in self.lives and self.sessions[name].connection is not None:
            self.sessions[name] = self.stage.join(name)
            self.enter_again(name)

    @rule(name=WHO)
    def load_the_page_anew(self, name: str) -> None:
        if name in self.sessions:
            self.sessions[name] = self.stage.join(name)
            self.lives.pop(name, None)
            self.stage.settle()
            self.look()

    @rule(name=WHO)
    def cut(self, name: str) -> None:
        if name in self.sessions and self.sessions[name].connection is not None:
            self.look()
            self.stage.cut(self.sessions[name])
            self.look()

    @rule(name=WHO)
    def come_back(self, name: str) -> None:
        if name in self.sessions and self.sessions[name].connection is None:
            self.stage.come_back(self.sessions[name])
            self.look()

    @rule(name=WHO, mode=MODES, term=st.none() | TERMS)
    def propose(self, name: str, mode: str, term: int | None) -> None:
        member = self._session(name)
        if term is None and name in self.seen:
            term = self.seen[name].term
        reply = self.stage.propose(member, mode, 0 if term is None else term)
        codes = {"not_supported", "stale_term", "proposal_pending", "no_worker", "storage_unavailable"}
        self._said(reply, codes | {"not_found", "rate_limited"})
        self.look()

    @rule(name=WHO, is_ready=st.booleans(), term=st.none() | TERMS)
    def answer(self, name: str, is_ready: bool, term: int | None) -> None:
        member = self._session(name)
        told = [one for one in self.versions.values() if one.proposal is not UNSET]
        if term is None and told:
            proposal = max(told, key=lambda one: one.version).proposal
            assert proposal is not UNSET
            term = proposal.term
        request = Ready(term=term or 0) if is_ready else Veto(term=term or 0, reason="no")
        self._said(self.stage.ask(member, request), {"not_found", "stale_term"})
        self.look()

    @rule()
    def all_are_ready(self) -> None:
        for name in NAMES:
            if name in self.lives and self.sessions[name].connection is not None:
                self.answer(name, is_ready=True, term=None)

    @rule(name=WHO, term=st.none() | TERMS)
    def renew(self, name: str, term: int | None) -> None:
        seen = self.seen.get(name)
        if term is None and seen is not None and seen.host is not UNSET:
            term = seen.host.term
        self.stage.renew(self._session(name), term or 0)
        self.look()

    @rule(name=WHO, peer=WHO, is_reachable=st.booleans())
    def report(self, name: str, peer: str, is_reachable: bool) -> None:
        reply = self.stage.report(self._session(name), self._session(peer), is_reachable=is_reachable)
        self._said(reply, {"not_found"})
        self.look()

    # --- what happens to them -------------------------------------------------------------------------------------

    @rule(ms=st.sampled_from([50, 300, HOST_TTL_MS, 3_000, PROPOSAL_MS, 31_000]), has_hosts=st.booleans())
    def time_passes(self, ms: int, has_hosts: bool) -> None:
        self.look()
        hosts = [
            self.sessions[name]
            for name, seen in self.seen.items()
            if has_hosts
            and name in self.lives
            and seen.host is not UNSET
            and seen.host.identity == self.sessions[name].identity
            and self.sessions[name].connection is not None
        ]
        end_ms = self.stage.now_ms + ms
        while self.stage.now_ms < end_ms:
            self.stage.later(min(1_000, end_ms - self.stage.now_ms))
            for host in hosts:
                if not host.is_gone and host.connection is not None:
                    self.renew(host.name, None)
            self.look()
        for name in [name for name, one in self.sessions.items() if one.is_gone]:
            del self.sessions[name]
            self.lives.pop(name, None)

    @rule()
    def a_worker_comes_or_goes(self) -> None:
        self.stage.has_worker = not self.stage.has_worker

    @rule()
    def the_disk_fills_or_has_room(self) -> None:
        self.stage.is_disk_full = not self.stage.is_disk_full
        self.stage.settle()
        self.look()

    # What was told while no term could be had may seem old after a restart, until the next change.
    @precondition(lambda self: not self.is_ahead)
    @rule(after_ms=st.sampled_from([100, 5_000]), order=st.permutations(NAMES))
    def the_server_starts_anew(self, after_ms: int, order: list[str]) -> None:
        self.look()
        self.stage = self.stage.restarted(after_ms)
        names = [name for name in order if name in self.lives]
        self.sessions.clear()
        self.proposed_at.clear()
        for name in names:
            self.sessions[name] = self.stage.join(name)
            self.enter_again(name)

    def enter_again(self, name: str) -> None:
        reply = self.stage.enter(self.sessions[name], "mesh", seen=self.seen[name])
        if not isinstance(reply, Ack):
            assert reply.code in {"not_supported", "storage_unavailable", "rate_limited"}
            del self.lives[name]
        self.look()

    # --- what is promised -------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Checks everything that somebody was told since the last time."""
        for name, member in self.sessions.items():
            if member.is_gone:
                continue
            for error in self.stage.refused(member):
                assert error.code in {"stale_term", "not_found", "rate_limited"}
            for signal in self.stage.heard(member):
                if isinstance(signal, GroupState):
                    self._told(name, member, signal)
                elif isinstance(signal, ProposalEnded):
                    self.lives[name].ended.add(signal.term)
                else:
                    assert isinstance(signal, Removed)

    def _told(self, name: str, member: Member, state: GroupState) -> None:
        life = self.lives.setdefault(name, Life())
        (own,) = [one for one in state.members if one.identity == member.identity]
        if own.order != life.order:
            life.order = own.order
            life.host_term = life.term = 0
        assert state.version >= life.version
        assert state.term >= life.term
        life.version, life.term = state.version, state.term
        if state.host is not UNSET:
            assert state.host.term >= life.host_term
            life.host_term = state.host.term
            # Nobody is told another host under a term that it knows.
            assert life.hosts.setdefault(state.host.term, state.host.identity) == state.host.identity
        assert state.proposal is UNSET or state.proposal.term not in life.ended
        self._whole(state)
        self.is_ahead = self.stage.is_disk_full
        self.seen[name] = Seen(
            term=state.term,
            mode=state.mode,
            is_auto=state.is_auto,
            order=own.order,
            host=UNSET
            if state.host is UNSET
            else SeenHost(identity=state.host.identity, term=state.host.term),
        )

    def _whole(self, state: GroupState) -> None:
        identities = [one.identity for one in state.members]
        assert len(set(identities)) == len(identities)
        orders = [one.order for one in state.members]
        assert orders == sorted(set(orders))
        assert all(state.mode in one.modes for one in state.members)
        host, proposal = state.host, state.proposal
        assert host is UNSET or state.mode == "host"
        if host is not UNSET:
            if self.is_honest:
                assert self.hosts.setdefault(host.term, host.identity) == host.identity
            assert state.is_gathering or host.identity in identities
            assert host.successor is UNSET or host.successor in identities
            assert host.successor != host.identity
        if proposal is not UNSET:
            assert proposal.term > state.term
            assert proposal.mode != state.mode
            assert all(proposal.mode in one.modes for one in state.members)
            assert (proposal.host is not UNSET) is (proposal.mode == "host")
        former = self.versions.setdefault(state.version, state)
        assert _timeless(former) == _timeless(state)

    @invariant()
    def the_server_keeps_nothing_of_who_is_gone(self) -> None:
        here = {one.identity for one in self.stage.membership.members.values()}
        for room in self.stage.groups._rooms.values():
            assert set(room.group.members) == set(room.sessions)
            assert set(room.group.members) <= here | set(room.returning)
            assert room.group.members
            proposal = room.group.proposal
            if proposal is not None:
                began_ms = self.proposed_at.setdefault(proposal.term, self.stage.now_ms)
                assert self.stage.now_ms - began_ms <= 2 * PROPOSAL_MS
            assert room.group.deadline_ms is None or room.group.deadline_ms > self.stage.now_ms - 1, (
                "a deadline that has passed would be waited for without a pause"
            )

    def teardown(self) -> None:
        self.stage.is_disk_full = False
        self.time_passes(2 * PROPOSAL_MS + 1_000, has_hosts=True)
        for room in self.stage.groups._rooms.values():
            proposal = room.group.proposal
            assert proposal is None or proposal.is_auto
        for name in list(self.sessions):
            self.leave(name)
        self.stage.later(310_000)
        assert len(self.stage.groups) == 0
        assert self.stage.groups.deadline_ms is None

    # --- inside -------------------------------------------------------------------------------------------------------

    def _session(self, name: str) -> Member:
        member = self.sessions.get(name)
        if member is None or member.is_gone:
            member = self.sessions[name] = self.stage.join(name)
            self.lives.pop(name, None)
        if member.connection is None:
            self.stage.come_back(member)
        return member

    @staticmethod
    def _said(reply: Ack | Error, codes: set[str]) -> None:
        assert isinstance(reply, Ack) or reply.code in codes, reply


def _timeless(state: GroupState) -> GroupState:
    proposal = state.proposal
    return structs.replace(
        state, proposal=UNSET if proposal is UNSET else structs.replace(proposal, waits_ms=0)
    )


class LyingMachine(GroupMachine):
    """Besides, members say that they have seen what nobody was told."""

    is_honest = False

    @rule(name=WHO, of=WHO, mode=st.sampled_from(ALL_MODES), terms=st.tuples(TERMS, TERMS), order=TERMS)
    def lie(self, name: str, of: str, mode: Mode, terms: tuple[int, int], order: int) -> None:
        member = self._session(name)
        host = SeenHost(identity=self._session(of).identity, term=terms[1])
        seen = Seen(term=terms[0], mode=mode, order=order, host=host)
        reply = self.stage.enter(member, mode, seen=seen)
        if isinstance(reply, Ack):
            self.lives.setdefault(name, Life())
        else:
            assert reply.code in {"not_supported", "storage_unavailable", "rate_limited"}
        self.look()


TestGroupsAtRandom = GroupMachine.TestCase
TestGroupsAtRandom.settings = settings(max_examples=examples(0.3), stateful_step_count=40)
TestGroupsWithLies = LyingMachine.TestCase
TestGroupsWithLies.settings = settings(max_examples=examples(0.2), stateful_step_count=40)

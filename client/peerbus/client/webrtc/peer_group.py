"""
The part of one member in the group: entering, the way of the mode that holds, and moving to another meanwhile.

Owns the present way to the others and the one that is being built beside it (those that were given up are with
`retiring_ways`). Never decides which mode holds (the server does), and never looks into a message (`peer_port`).

A mode that is proposed is built beside the present one; when it reaches everybody, the server is told. When the new
mode holds, every peer is moved to it, and what a peer has not acknowledged goes there once more; the old way still
takes in what comes, until nothing more can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.outcome import Outcome
from peerbus.client.records import Ack, Message
from peerbus.client.webrtc.group_follower import (
    Change,
    Ended,
    Entered,
    GroupFollower,
    Holds,
    HostIs,
    Joined,
    Left,
    Proposed,
)
from peerbus.client.webrtc.group_speech import GroupSpeech
from peerbus.client.webrtc.host_frames import HOST_ROLE
from peerbus.client.webrtc.mode_switch import ModeSwitch
from peerbus.client.webrtc.peer_port import PeerPort
from peerbus.client.webrtc.relay_way import RelayWay
from peerbus.client.webrtc.retiring_ways import RetiringWays
from peerbus.client.webrtc.ways import Way, WayEvents
from peerbus.protocol.groups import (
    GROUP_AGENT,
    READY_WITHIN_MS,
    Enter,
    Exit,
    GroupMember,
    GroupProposal,
    GroupSignal,
    GroupState,
    Mode,
    ProposalEnded,
    Propose,
    Ready,
    RenewHost,
    Report,
    Unheard,
    Veto,
    WantedMode,
)
from peerbus.protocol.session.outputs import Gap

PeerState: TypeAlias = Literal["connecting", "connected", "carried", "left"]
"""How a peer is reached: not yet, by the mode's way, by signaling in its place, or not any more."""

CARRIED_MODES: Final[frozenset[Mode]] = frozenset({"mesh", "datachannel"})
"""What these are for the relay can do in their place; it is neither a host nor does it take media."""
_ENTER_AGAIN_S: Final = 1.0


class GroupEvents(Struct, frozen=True, kw_only=True):
    """What the group tells."""

    on_up: Callable[[], None]
    """The group is entered, and its mode's way begun."""
    on_over: Callable[[PeerbusError], None]
    """It can't be entered, or not any more."""
    on_peers: Callable[[], None]
    """Who is in it has changed."""
    on_peer_state: Callable[[GroupMember, PeerState], None]
    on_mode: Callable[[Mode, str], None]
    on_told: Callable[[GroupState, bool], None]
    """The server said all of this anew; and whether something that it said before may have been missed."""
    on_error: Callable[[Exception], None]


class _Proposal(Struct, frozen=True):
    term: int
    way: Way


class PeerGroup:
    """See the module. `make_way` makes the way of a mode, given what that way is to call."""

    def __init__(
        self,
        agent: AgentConnection,
        port: PeerPort,
        *,
        mode: WantedMode,
        modes: Sequence[Mode],
        carry: bool,
        make_way: Callable[[Mode, WayEvents], Way],
        events: GroupEvents,
    ) -> None:
        self.follower: Final = GroupFollower()
        self._agent: Final = agent
        self._port: Final = port
        self._wanted: Final[WantedMode] = mode
        self._modes: Final = list(modes)
        self._carry: Final = carry
        self._make_way: Final = make_way
        self._events: Final = events
        self._relay: Final = RelayWay(agent, self._way_events())
        self._way: Way | None = None
        self._proposal: _Proposal | None = None
        self._is_ready_told = False
        self._veto_timer: asyncio.TimerHandle | None = None
        self._retiring: Final = RetiringWays(port, self._assign)
        self._states: Final[dict[str, PeerState]] = {}
        self._speech: Final = GroupSpeech(agent)
        self._switch: Final = ModeSwitch(events.on_error)
        self._has_media = False
        self._is_over = False
        self._is_assigning = False
        self._has_gap = False
        self._leaving: Final[set[str]] = set()
        """Who has left while what it sent may still come, in the host's order."""
        self._strangers: Final[set[str]] = set()
        self._again: asyncio.TimerHandle | None = None
        agent.add_listener("signal", self._signal_came)
        agent.add_listener("connect", self._connected)
        agent.add_listener("gap", self._gap_came)

    # --- what can be looked at ----------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode | None:
        """The mode that holds; None before the group is entered."""
        return None if self.follower.state is None else self.follower.state.mode

    @property
    def way(self) -> Way | None:
        """That of the mode that holds."""
        return self._way

    @property
    def term(self) -> int:
        """The term of the mode."""
        return 0 if self.follower.state is None else self.follower.state.term

    @property
    def members(self) -> dict[str, GroupMember]:
        """The others, by identity."""
        return self.follower.others

    def state_of(self, peer: str) -> PeerState:
        """How a peer is reached."""
        return self._states.get(peer, "left")

    # --- coming and going ---------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Enters, or says anew what this member can and has."""
        if self._is_over or not self._agent.is_connected:
            return
        seen = self.follower.seen
        request = Enter(
            mode=self._wanted,
            modes=self._modes,
            has_media=self._has_media,
            seen=UNSET if seen is None else seen,
        )
        self._speech.ask(request).add_done_callback(self._enter_answered)

    def tell_media(self, has_media: bool) -> None:
        """Whether this member publishes."""
        if has_media is not self._has_media:
            self._has_media = has_media
            if self.follower.state is not None:
                self.enter()

    def leave(self) -> None:
        """Tells the server."""
        if self._agent.is_connected and self.follower.state is not None:
            self._speech.tell(Exit())

    def end(self) -> None:
        """Follows nothing any more; `close` ends what is left."""
        if self._is_over:
            return
        self._is_over = True
        self._stop_veto()
        if self._again is not None:
            self._again.cancel()
        for event, listener in (
            ("signal", self._signal_came),
            ("connect", self._connected),
            ("gap", self._gap_came),
        ):
            if listener in self._agent.listeners(event):
                self._agent.remove_listener(event, listener)
        self._switch.end()

    async def close(self) -> None:
        """No way is left."""
        ways = self._all_ways()
        self._way = self._proposal = None
        self._retiring.forget()
        for way in ways:
            await way.close()
        await self._retiring.wait()

    # --- modes --------------------------------------------------------------------------------------------------

    def switch_mode(self, mode: WantedMode) -> Outcome[None]:
        """
        Proposes another mode; done when it holds for all.

        Raises `PeerbusError`: `not_supported`, `proposal_pending`, `stale_term`, `timeout`, … or, when it was rolled
        back, `timeout` or `not_supported` with `details.why` (`vetoed`, `host_left`, …) and `details.by`.
        """
        switch, term = self._switch, self.term
        if self.follower.state is None:
            return switch.refused(PeerbusError(ErrorCode.NOT_FOUND, "This helper is in no group yet."))
        if mode == self.mode and not self.follower.state.is_auto:
            return switch.needless()
        if switch.is_under_way:
            return switch.refused(PeerbusError(ErrorCode.PROPOSAL_PENDING))
        to: Mode | None = None if mode == "auto" or mode == self.mode else mode
        outcome = switch.begin(to, term)
        self._speech.ask(Propose(mode=mode, term=term)).add_done_callback(self._proposal_answered)
        return outcome

    # --- inside: the server's word ------------------------------------------------------------------------------

    def _enter_answered(self, answer: asyncio.Future[Ack]) -> None:
        error = None if answer.cancelled() else answer.exception()
        if not isinstance(error, PeerbusError) or self._is_over:
            return
        if error.code is ErrorCode.CLOSED:
            return  # The agent is; it says so itself.
        if error.is_retryable or error.code is ErrorCode.TIMEOUT:
            wait_s = (error.retry_after_ms or 0) / 1000 or _ENTER_AGAIN_S
            self._again = asyncio.get_running_loop().call_later(wait_s, self.enter)
        else:
            self._events.on_over(error)

    def _proposal_answered(self, answer: asyncio.Future[Ack]) -> None:
        error = None if answer.cancelled() else answer.exception()
        if error is None or isinstance(error, PeerbusError):
            self._switch.answered(error)

    def _signal_came(self, message: Message) -> None:
        if message.sender != GROUP_AGENT or self._is_over:
            return
        try:
            signal: GroupSignal = msgspec.convert(message.content, GroupSignal)
        except msgspec.ValidationError:
            return  # Of a newer server.
        if isinstance(signal, GroupState):
            self._port.become(self._agent.identity)
            self._follow(self.follower.told(signal, self._agent.identity))
            if self.follower.state is signal and not self._is_over:
                has_gap, self._has_gap = self._has_gap, False
                self._events.on_told(signal, has_gap)
        elif isinstance(signal, ProposalEnded):
            self._follow(self.follower.ended(signal))
        else:
            self._follow(self.follower.out())
            self._events.on_over(error_of(signal.code, signal.message))

    def _gap_came(self, gap: Gap) -> None:
        """What the server said may be lost, and what others sent by it; `connect` enters anew."""
        if gap.live:
            self._has_gap = True
            self.enter()

    def _connected(self) -> None:
        self._has_gap = True
        self.enter()

    # --- inside: what follows -----------------------------------------------------------------------------------

    def _follow(self, changes: list[Change]) -> None:
        if not changes:
            return
        is_first = self._way is None
        for change in changes:
            self._follow_one(change)
        order = self.follower.order
        for way in self._all_ways():
            way.follow(self.follower.others, order)
        self._assign()
        if any(isinstance(change, Joined | Left) for change in changes):
            self._events.on_peers()
        if is_first and self._way is not None:
            self._events.on_up()

    def _follow_one(self, change: Change) -> None:
        if isinstance(change, Left):
            self._lose(change.member.identity)
            self._strangers.discard(change.member.identity)
            self._retiring.left(change.member.identity)
            self._become(change.member, "left")
        elif isinstance(change, Joined):
            self._become(change.member, "connecting")
            if change.member.identity in self._strangers:
                self._strangers.discard(change.member.identity)
                self._port.ask(change.member.identity)
        elif isinstance(change, Holds):
            self._hold(change)
        elif isinstance(change, Proposed):
            self._build(change.proposal)
        elif isinstance(change, Ended):
            self._roll_back(change)
        else:
            assert isinstance(change, Entered | HostIs)

    def _lose(self, peer: str) -> None:
        """A peer left. In a host's order what it sent may still come: the host says when nothing does."""
        if self._way is not None and self._way.mode == "host":
            self._port.left_as_recipient(peer)
            self._leaving.add(peer)
        else:
            self._port.left(peer)

    def gone(self, peer: str) -> None:
        """The host says that nothing more comes of a peer."""
        if peer in self._leaving:
            self._leaving.discard(peer)
            self._port.left_as_sender(peer)

    def _build(self, proposal: GroupProposal) -> None:
        """Begins the way of a mode that is proposed, beside the present one."""
        self._is_ready_told = False
        try:
            way = self._way_for(proposal.mode)
        except PeerbusError as error:
            self._tell_veto(proposal.term, error.message)
            return
        self._proposal = _Proposal(proposal.term, way)
        wait_s = min(proposal.waits_ms, READY_WITHIN_MS) / 1000
        loop = asyncio.get_running_loop()
        self._veto_timer = loop.call_later(wait_s, self._too_late, proposal.term)

    def _way_for(self, mode: Mode) -> Way:
        if mode == "relay":
            return self._relay
        return self._retiring.take_back(mode) or self._make_way(mode, self._way_events())

    def _too_late(self, term: int) -> None:
        """Who is not reached by then is carried by the relay, if that may be, or the mode is refused."""
        if self._proposal is None or self._proposal.term != term or self._is_ready_told:
            return
        way = self._proposal.way
        if self._carry and way.mode in CARRIED_MODES:
            self._tell_ready(term)
            return
        missing = [m.name for m in self.follower.others.values() if way.path_of(m.identity) is None]
        self._tell_veto(term, f"{', '.join(missing)[:120]} could not be reached in time")

    def _tell_veto(self, term: int, reason: str) -> None:
        self._is_ready_told = True
        self._speech.tell(Veto(term=term, reason=reason[:200]))

    def _tell_ready(self, term: int) -> None:
        self._is_ready_told = True
        self._speech.tell(Ready(term=term))

    def _check_ready(self) -> None:
        proposal = self._proposal
        if proposal is None or self._is_ready_told:
            return
        if proposal.way.failure is not None:
            self._tell_veto(proposal.term, proposal.way.failure.message)
        elif all(proposal.way.path_of(peer) is not None for peer in self.follower.others):
            self._tell_ready(proposal.term)

    def _hold(self, change: Holds) -> None:
        """Another mode holds now; the way to it stands already where it was proposed."""
        old = self._way
        proposal, self._proposal = self._proposal, None
        self._stop_veto()
        if proposal is not None and proposal.way.mode == change.mode:
            self._way = proposal.way
        else:
            if proposal is not None:
                self._retire(proposal.way, ())
            if old is None or old.mode != change.mode:
                try:
                    self._way = self._way_for(change.mode)
                except PeerbusError as error:
                    self._events.on_error(error)
                    self._way = self._relay
        if self._way is not old:
            if old is not None and old.mode == "host":
                self._port.left(HOST_ROLE)
                for peer in list(self._leaving):
                    self.gone(peer)
            if old is not None:
                self._retire(old, tuple(self.follower.others))
            self._events.on_mode(change.mode, change.reason)
        self._switch.holds(change.mode, change.term)

    def _roll_back(self, change: Ended) -> None:
        proposal, self._proposal = self._proposal, None
        self._stop_veto()
        if proposal is not None:
            self._retire(proposal.way, ())
        if change.why is not None:
            self._switch.rolled_back(change.why)

    def _stop_veto(self) -> None:
        if self._veto_timer is not None:
            self._veto_timer.cancel()
            self._veto_timer = None

    # --- inside: ways -------------------------------------------------------------------------------------------

    def _way_events(self) -> WayEvents:
        return WayEvents(
            on_frame=self.frame_came,
            on_change=self._assign,
            on_lost=self._lost,
            on_error=self._events.on_error,
        )

    def _all_ways(self) -> list[Way]:
        ways: list[Way] = [self._relay]
        also = [self._way, None if self._proposal is None else self._proposal.way]
        ways += [way for way in also if way is not None and way not in ways]
        return ways + [way for way in self._retiring if way not in ways]

    def frame_came(self, sender: str, frame: bytes) -> None:
        """A frame came, by any way."""
        if sender in self.follower.others or sender in self._leaving or sender == HOST_ROLE:
            self._port.receive(sender, frame)
        elif len(self._strangers) < 1_000:
            # It is said to be here only later, by another way; then it is asked for all of it.
            self._strangers.add(sender)

    def _lost(self, peers: Sequence[str]) -> None:
        for peer in peers:
            if peer in self.follower.others:
                self._port.ask(peer)

    def _assign(self) -> None:
        """Puts every peer on the best way there is for it now."""
        if self._is_over or self._is_assigning or self._way is None:
            return
        self._is_assigning = True
        try:
            for identity, member in self.follower.others.items():
                way, path = self._best(identity)
                self._port.assign(identity, way, path)
                if way is None:
                    self._become(member, "connecting")
                else:
                    is_carried = way is self._relay and self._way is not self._relay
                    self._become(member, "carried" if is_carried else "connected")
            if self._way.mode == "host":
                self._port.assign(HOST_ROLE, self._way, self._way.path_of(HOST_ROLE))
            self._check_ready()
        finally:
            self._is_assigning = False
        self._port.wake()

    def _best(self, peer: str) -> tuple[Way | None, str | None]:
        assert self._way is not None
        ways = [self._way, *self._retiring.awaited]
        if self._carry and not self._way.can_carry(peer):
            ways.append(self._relay)
        for way in ways:
            path = way.path_of(peer)
            if path is not None:
                return way, path
        return None, None

    def _become(self, member: GroupMember, state: PeerState) -> None:
        if self._states.get(member.identity, "left") == state:
            return
        if state == "left":
            del self._states[member.identity]
        else:
            self._states[member.identity] = state
        self._events.on_peer_state(member, state)

    def report(self, peer: str, is_reachable: bool) -> None:
        """A direct link can't be made, or can again."""
        self._speech.tell(Report(peer=peer, is_reachable=is_reachable))

    def renew(self, term: int) -> None:
        """The host works."""
        self._speech.tell_lossy(RenewHost(term=term))

    def unheard(self, term: int) -> None:
        """The host seems not to."""
        self._speech.tell_lossy(Unheard(term=term))

    def flushed(self, peer: str) -> None:
        """A peer says that nothing more comes by a way that it has given up."""
        self._retiring.flushed(peer)

    def _retire(self, way: Way, peers: Sequence[str]) -> None:
        if way is not self._relay:
            self._retiring.retire(way, peers)


def error_of(code: str, message: str) -> PeerbusError:
    """The exception for a code, which may be of a newer server."""
    try:
        return PeerbusError(ErrorCode(code), message)
    except ValueError:
        return PeerbusError(ErrorCode.INTERNAL, f"{code}: {message}")

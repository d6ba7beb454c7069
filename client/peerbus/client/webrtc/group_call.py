"""
The call of a group: data by the way of the mode that holds, media beside it, peers as the group knows them.

Owns which ways there are, and whether the SFU is needed beside them: for media in all modes but `mesh`, as soon as
somebody publishes. Never follows the group itself (`peer_group`), nor runs the call through the SFU (`group_sfu`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Literal

from msgspec import UNSET, structs

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.outcome import Outcome
from peerbus.client.webrtc.call_parts import CallParts
from peerbus.client.webrtc.group_sfu import GroupSfu, SfuEvents
from peerbus.client.webrtc.host_frames import HOST_ROLE
from peerbus.client.webrtc.host_record import HostView
from peerbus.client.webrtc.host_way import HostEvents, HostWay
from peerbus.client.webrtc.mesh_way import MeshWay
from peerbus.client.webrtc.network_simulator import Simulation
from peerbus.client.webrtc.peer_frames import STREAM_MAX
from peerbus.client.webrtc.peer_group import GroupEvents, PeerGroup, PeerState
from peerbus.client.webrtc.peer_port import PeerPort
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.records import CallState, Peer
from peerbus.client.webrtc.sfu_way import SfuWay
from peerbus.client.webrtc.stats import DataStats, PeerStats
from peerbus.client.webrtc.ways import Way, WayEvents
from peerbus.protocol.groups import GroupMember, GroupState, Mode, WantedMode
from peerbus.protocol.session.outputs import State

MODES: Final[tuple[Mode, ...]] = ("mesh", "host", "relay", "datachannel", "sfu")
"""What a Python peer can be in."""


class GroupCall:
    """See the module."""

    def __init__(self, parts: CallParts, mode: WantedMode, *, carry: bool) -> None:
        self._parts: Final = parts
        self._port: Final = PeerPort(
            secrets.randbelow(STREAM_MAX) + 1,
            on_data=self._data_came,
            on_flushed=self._flushed,
            on_error=parts.on_error,
        )
        self.group: Final = PeerGroup(
            parts.agent,
            self._port,
            mode=mode,
            modes=MODES,
            carry=carry,
            make_way=self._make_way,
            events=GroupEvents(
                on_up=self._look,
                on_over=self._over,
                on_peers=self._peers_changed,
                on_peer_state=self._peer_state,
                on_mode=self._mode_changed,
                on_told=self._told,
                on_error=parts.on_error,
            ),
        )
        self._sfu: Final = GroupSfu(
            parts,
            SfuEvents(
                members=lambda: self.group.members,
                is_wanted=self._has_media_beside,
                is_asked_for=self._is_sfu_asked_for,
                on_frame=self.group.frame_came,
                on_plain_data=self._data_came,
                on_peers=lambda: parts.emit("peers", self.peers),
                on_change=self._look,
            ),
        )
        self.sfu: Final = self._sfu.call
        self._meshes: Final[list[MeshWay]] = []
        self._host_ways: Final[list[HostWay]] = []
        self._deadline: asyncio.TimerHandle | None = None
        self._was_up = False
        self._is_over = False
        self._host = ""
        self._host_news: tuple[int, Any] | None = None
        """The term and the state that are to be told as soon as the mode holds."""
        self._waiting: list[tuple[Sequence[str] | None, Any, bool, Outcome[bool]]] = []
        """Messages from before the group was entered."""

    # --- what can be looked at ----------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode | None:
        """The mode that holds; None while that is not known."""
        return self.group.mode

    @property
    def term(self) -> int:
        """Its term."""
        return self.group.term

    @property
    def peers(self) -> list[Peer]:
        """Everybody else."""
        return [self._peer(identity) for identity in self.group.members]

    @property
    def data_stats(self) -> DataStats:
        """The figures of data."""
        return self._port.stats

    async def peer_stats(self) -> list[PeerStats]:
        """How each peer is reached; asks all of them at once how far they are."""
        members = dict(self.group.members)
        return list(await asyncio.gather(*(self._stats_of(member) for member in members.values())))

    async def _stats_of(self, member: GroupMember) -> PeerStats:
        identity = member.identity
        way = self._port.way_of(identity)
        sent, received = self._port.bytes_of(identity)
        # Last comes what takes a moment: the peer may have left by then.
        return PeerStats(
            identity=identity,
            name=member.name,
            state=self.group.state_of(identity),
            path=None if way is None else way.mode,
            frames_waiting=self._port.unacknowledged(identity),
            bytes_sent=sent,
            bytes_received=received,
            round_trip_ms=None if way is None else await way.round_trip_ms(identity),
        )

    def is_connected_to(self, peer: str) -> bool:
        """Whether data flow to a peer (name or identity) now."""
        for identity, member in self.group.members.items():
            if peer in (identity, member.name):
                return self.group.state_of(identity) in ("connected", "carried")
        return False

    @property
    def host(self) -> Peer | None:
        """Who is host, in mode `host`."""
        return self._peer(self._host) if self._host and self.group.mode == "host" else None

    @property
    def is_host(self) -> bool:
        """Whether this member is host, and serves."""
        return any(way.is_host for way in self._host_ways if way is self.group.way)

    # --- what the helper asks for -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Joins."""
        self._parts.on_state(CallState(name="connecting"))
        timeout_s = self._parts.connect_timeout
        if timeout_s is not None:
            self._deadline = asyncio.get_running_loop().call_later(timeout_s, self._timed_out)
        self.group.enter()

    def send(self, to: Sequence[str] | None, payload: Any, *, is_lossy: bool) -> Outcome[bool]:
        """Takes a message; `to` are names or identities, of the group: else `PeerbusError` (`unknown_recipient`)."""
        if self.group.mode is None:
            outcome: Outcome[bool] = Outcome(self._parts.on_error)
            if is_lossy:
                outcome.succeed(False)
            elif len(self._waiting) >= 1_000:
                outcome.fail(PeerbusError(ErrorCode.QUEUE_FULL))
            else:
                self._waiting.append((to, payload, is_lossy, outcome))
            return outcome
        return self._port.send(self._identities(to), payload, is_lossy=is_lossy)

    def set_host_state(self, state: Any) -> None:
        """The state of the host's application. Raises `PeerbusError` (`forbidden`, `bad_request`, `too_large`)."""
        for way in self._host_ways:
            if way is self.group.way:
                way.set_state(state)
                return
        raise PeerbusError(ErrorCode.FORBIDDEN, "Only the host keeps a state, in mode host.")

    def switch_mode(self, mode: WantedMode) -> Outcome[None]:
        """Proposes another mode."""
        return self.group.switch_mode(mode)

    def simulate(self, simulation: Simulation) -> None:
        """The network between the peers is like this from now on."""
        self._port.simulate(simulation)

    def publications_changed(self) -> None:
        """What is published has changed."""
        self.group.tell_media(bool(self._parts.publishing.publications))
        self.sfu.want_offer()
        self._tell_meshes()
        self._look()

    async def unpublish(self, publication: Publication) -> None:
        """A publication ended."""
        self.group.tell_media(bool(self._parts.publishing.publications))
        self._tell_meshes()
        await self.sfu.unpublish(publication)

    async def mute(self, publication: Publication) -> None:
        """A publication was muted, or goes on."""
        self._tell_meshes()
        await self.sfu.mute(publication)

    def agent_changed(self, state: State) -> None:
        """The agent's connection came or went."""
        self.sfu.agent_changed(state)

    def reconnect_now(self) -> None:
        """Ends the waiting for the next attempt."""
        self.sfu.reconnect_now()

    def end(self) -> None:
        """Nothing is sent any more, and nothing listened to; what is left is ended by `close`."""
        self._is_over = True
        if self._deadline is not None:
            self._deadline.cancel()
        for _, _, _, outcome in self._waiting:
            outcome.fail(PeerbusError(ErrorCode.CLOSED, "The call is over."), is_expected=True)
        self._waiting = []
        self._port.close()
        self.group.end()
        self._sfu.end()

    async def leave(self) -> None:
        """Tells the others that this is the end."""
        self.group.leave()
        await self.sfu.leave()

    async def close(self) -> None:
        """No connection or task of it is left."""
        await self.group.close()
        await self._sfu.close()

    # --- inside: media of the mesh ------------------------------------------------------------------------------

    def _tell_meshes(self) -> None:
        for mesh in self._meshes:
            mesh.publications_changed()

    def _mesh_closed(self, mesh: MeshWay) -> None:
        self._meshes.remove(mesh)

    # --- inside: data -------------------------------------------------------------------------------------------

    def _identities(self, to: Sequence[str] | None) -> list[str]:
        members = self.group.members
        if to is None:
            return list(members)
        if list(to) == [HOST_ROLE] and self.group.mode == "host":
            return [HOST_ROLE]
        by_name = {member.name: identity for identity, member in members.items()}
        found = [one if one in members else by_name.get(one) for one in to]
        missing = [one for one, identity in zip(to, found, strict=True) if identity is None]
        if missing:
            text = f"{', '.join(map(repr, missing))} is not in the group."
            raise PeerbusError(ErrorCode.UNKNOWN_RECIPIENT, text, details={"missing": missing})
        return list(dict.fromkeys(identity for identity in found if identity is not None))

    def _data_came(self, sender: str, payload: Any) -> None:
        self._parts.emit("data", payload, self._peer(sender))

    def _flushed(self, sender: str) -> None:
        self.group.flushed(sender)

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for to, payload, is_lossy, outcome in waiting:
            try:
                sent = self._port.send(self._identities(to), payload, is_lossy=is_lossy)
            except PeerbusError as error:
                outcome.fail(error)
                continue
            sent.add_done_callback(partial(_pass_on, outcome))

    # --- inside: the group --------------------------------------------------------------------------------------

    def _make_way(self, mode: Mode, events: WayEvents) -> Way:
        if mode in ("datachannel", "sfu"):
            return self._sfu.make_way(mode, events)
        if mode == "mesh":
            mesh = MeshWay(self._parts, events, self.group.report, self._mesh_closed)
            self._meshes.append(mesh)
            return mesh
        if mode == "host":
            host_way = HostWay(
                self._parts,
                events,
                HostEvents(
                    on_host=self._host_changed,
                    on_message=self._data_came,
                    on_known=lambda sender, frame: self._port.receive(sender, frame, is_known=True),
                    on_gone=self.group.gone,
                    on_renew=self.group.renew,
                    on_unheard=self.group.unheard,
                    report=self.group.report,
                ),
                self._host_ways.remove,
            )
            self._host_ways.append(host_way)
            return host_way
        raise PeerbusError(ErrorCode.NOT_SUPPORTED, f"Python has no mode {mode}.")

    def _peer(self, identity: str) -> Peer:
        member = self.group.members.get(identity)
        known = self._parts.reception.peer(self.sfu.negotiation, identity)
        own_name = self._parts.agent.agent_name if identity == self._parts.agent.identity else known.name
        return Peer(
            identity=identity,
            name=own_name if member is None else member.name,
            publications=known.publications,
        )

    def _peers_changed(self) -> None:
        self._parts.emit("peers", self.peers)
        self._look()

    def _peer_state(self, member: GroupMember, state: PeerState) -> None:
        peer = self._peer(member.identity)
        self._parts.emit("peer_state", structs.replace(peer, name=member.name), state)

    def _mode_changed(self, mode: Mode, reason: str) -> None:
        self._parts.emit("mode_change", mode, reason)
        self._tell_host()
        self._look()

    def _host_changed(self, identity: str, term: int, state: Any) -> None:
        self._host, self._host_news = identity, (term, state)
        self._tell_host()

    def _tell_host(self) -> None:
        if self._host_news is not None and self.group.mode == "host":
            (term, state), self._host_news = self._host_news, None
            self._parts.emit("host_change", self._peer(self._host), term, state)

    def _told(self, state: GroupState, has_gap: bool) -> None:
        """Who is host, or is to be, for the way of that mode."""
        host = state.host if state.mode == "host" else UNSET
        if host is UNSET and state.proposal is not UNSET and state.proposal.mode == "host":
            host = state.proposal.host
        if host is UNSET:
            return
        members = {one.identity: one.order for one in (*self.group.members.values(), *state.members)}
        view = HostView(
            version=state.version,
            term=host.term,
            host=host.identity,
            successor=None if host.successor is UNSET else host.successor,
            members=members,
            has_gap=has_gap,
        )
        for way in list(self._host_ways):
            way.told(view)

    def _over(self, error: PeerbusError) -> None:
        self._parts.on_over(error)

    # --- inside: the SFU ----------------------------------------------------------------------------------------

    def _has_media_beside(self) -> bool:
        """Whether somebody has media, in a mode in which they go through the SFU."""
        has_media = bool(self._parts.publishing.publications) or any(
            member.has_media for member in self.group.members.values()
        )
        return has_media and self.group.mode not in (None, "mesh")

    def _is_sfu_asked_for(self) -> bool:
        state = self.group.follower.state
        return state is not None and not state.is_auto and state.mode in ("datachannel", "sfu")

    def _look(self) -> None:
        """Begins or ends the call through the SFU, and tells where all stands."""
        if self._is_over:
            return
        self._sfu.look()
        way = self.group.way
        is_up = way is not None and (not isinstance(way, SfuWay) or self._sfu.is_up)
        if is_up:
            self._was_up = True
            self._parts.on_state(CallState(name="connected"))
            self._send_waiting()
        elif self._was_up or self.sfu.state.code:
            name: Literal["connecting", "reconnecting"] = "reconnecting" if self._was_up else "connecting"
            self._parts.on_state(structs.replace(self.sfu.state, name=name))

    def _timed_out(self) -> None:
        """The call was not joined in time."""
        if self._was_up:
            return
        state = self.sfu.state
        code = ErrorCode(state.code) if state.code else ErrorCode.TIMEOUT
        self._parts.on_over(PeerbusError(code, state.why or "The call could not be joined in time."))


def _pass_on(outcome: Outcome[bool], done: asyncio.Future[bool]) -> None:
    error = None if done.cancelled() else done.exception()
    if isinstance(error, Exception):
        outcome.fail(error)
    elif not done.cancelled():
        outcome.succeed(done.result())

"""
The call of a group: data by the way of the mode that holds, media beside it, peers as the group knows them.

Owns which ways there are, and when the SFU is needed: for data in the modes `datachannel` and `sfu`, and in all but
`mesh` for media, as soon as somebody publishes. Never follows the group itself (`peer_group`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from msgspec import UNSET, structs

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.outcome import Outcome
from peerbus.client.webrtc.call_ways import CallParts
from peerbus.client.webrtc.host_frames import HOST_ROLE
from peerbus.client.webrtc.host_record import HostView
from peerbus.client.webrtc.host_way import HostEvents, HostWay
from peerbus.client.webrtc.mesh_way import MeshWay
from peerbus.client.webrtc.network_simulator import Simulation
from peerbus.client.webrtc.peer_frames import STREAM_MAX
from peerbus.client.webrtc.peer_group import GroupEvents, PeerGroup, PeerState
from peerbus.client.webrtc.peer_port import PeerPort
from peerbus.client.webrtc.plain_call import read_data
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.records import CallState, Peer
from peerbus.client.webrtc.sfu_call import CallEvents, SfuCall
from peerbus.client.webrtc.sfu_way import SfuWay
from peerbus.client.webrtc.stats import DataStats, PeerStats
from peerbus.client.webrtc.ways import Way, WayEvents
from peerbus.protocol.groups import GroupMember, GroupState, Mode, WantedMode
from peerbus.protocol.session.outputs import State

MODES: Final[tuple[Mode, ...]] = ("mesh", "host", "relay", "datachannel", "sfu")
"""What a Python peer can be in."""
_LINGER_S: Final = 1.0
_NO_WORKER_S: Final = 4.0
"""Who comes into a mode through a worker waits so long for one: to be started anew takes less."""
_AGAIN_S: Final = 2.0
"""After so long a call that is needed, and could not be made, is tried again."""


class GroupCall:
    """See the module, and `Call`."""

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
        self.sfu: Final = SfuCall(
            parts.agent,
            parts.publishing,
            parts.reception,
            parts.encryption,
            parts.ice,
            CallEvents(
                emit=self._call_emits,
                on_state=self._call_changed,
                on_room=self._room_came,
                on_data=self._call_data_came,
                on_over=self._call_over,
                on_error=parts.on_error,
            ),
        )
        self._meshes: Final[list[MeshWay]] = []
        self._host_ways: Final[list[HostWay]] = []
        self._sfu_ways: Final[list[tuple[SfuWay, WayEvents]]] = []
        self._stopping: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._hopeless: asyncio.TimerHandle | None = None
        self._was_up = False
        self._is_over = False
        self._connection_id = ""
        self._host = ""
        self._host_news: tuple[int, Any] | None = None
        """The term and the state that are to be told as soon as the mode holds."""
        self._waiting: list[tuple[Sequence[str] | None, Any, bool, Outcome[bool]]] = []
        """Messages from before the group was entered."""

    # --- what can be looked at ----------------------------------------------------------------------------------

    @property
    def mode(self) -> Mode | None:
        """See `Call`."""
        return self.group.mode

    @property
    def term(self) -> int:
        """See `Call`."""
        return self.group.term

    @property
    def peers(self) -> list[Peer]:
        """See `Call`."""
        return [self._peer(identity) for identity in self.group.members]

    @property
    def data_stats(self) -> DataStats:
        """See `Call`."""
        return self._port.stats

    def peer_stats(self) -> list[PeerStats]:
        """See `Call`."""
        stats = []
        for identity, member in self.group.members.items():
            way = self._port.way_of(identity)
            sent, received = self._port.bytes_of(identity)
            stats.append(
                PeerStats(
                    identity=identity,
                    name=member.name,
                    state=self.group.state_of(identity),
                    path=None if way is None else way.mode,
                    round_trip_ms=None if way is None else way.round_trip_ms(identity),
                    frames_waiting=self._port.unacknowledged(identity),
                    bytes_sent=sent,
                    bytes_received=received,
                )
            )
        return stats

    def is_connected_to(self, peer: str) -> bool:
        """See `Call`."""
        for identity, member in self.group.members.items():
            if peer in (identity, member.name):
                return self.group.state_of(identity) in ("connected", "carried")
        return False

    @property
    def host(self) -> Peer | None:
        """See `Call`."""
        return self._peer(self._host) if self._host and self.group.mode == "host" else None

    @property
    def is_host(self) -> bool:
        """See `Call`."""
        return any(way.is_host for way in self._host_ways if way is self.group.way)

    # --- what the helper asks for -------------------------------------------------------------------------------

    def begin(self) -> None:
        """See `Call`."""
        self._parts.on_state(CallState(name="connecting"))
        self.group.begin(self._parts.connect_timeout)

    def send(self, to: Sequence[str] | None, payload: Any, *, is_lossy: bool) -> Outcome[bool]:
        """See `Call`. Raises `PeerbusError` (`unknown_recipient`) for who is not in the group."""
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
        """See `Call`. Raises `PeerbusError` (`forbidden`, `bad_request`, `too_large`)."""
        for way in self._host_ways:
            if way is self.group.way:
                way.set_state(state)
                return
        raise PeerbusError(ErrorCode.FORBIDDEN, "Only the host keeps a state, in mode host.")

    def switch_mode(self, mode: WantedMode) -> Outcome[None]:
        """See `Call`."""
        return self.group.switch_mode(mode)

    def simulate(self, simulation: Simulation) -> None:
        """See `Call`."""
        self._port.simulate(simulation)

    def publications_changed(self) -> None:
        """See `Call`."""
        self.group.tell_media(bool(self._parts.publishing.publications))
        self.sfu.want_offer()
        self._tell_meshes()
        self._look()

    async def unpublish(self, publication: Publication) -> None:
        """See `Call`."""
        self.group.tell_media(bool(self._parts.publishing.publications))
        self._tell_meshes()
        await self.sfu.unpublish(publication)

    async def mute(self, publication: Publication) -> None:
        """See `Call`."""
        self._tell_meshes()
        await self.sfu.mute(publication)

    def agent_changed(self, state: State) -> None:
        """See `Call`."""
        self.sfu.agent_changed(state)

    def reconnect_now(self) -> None:
        """See `Call`."""
        self.sfu.reconnect_now()

    def end(self) -> None:
        """See `Call`."""
        self._is_over = True
        for timer in (self._again, self._hopeless):
            if timer is not None:
                timer.cancel()
        for _, _, _, outcome in self._waiting:
            outcome.fail(PeerbusError(ErrorCode.CLOSED, "The call is over."), is_expected=True)
        self._waiting = []
        self._port.close()
        self.group.end()
        self.sfu.forget()
        self.sfu.close()
        self.sfu.cancel()

    async def leave(self) -> None:
        """See `Call`."""
        self.group.leave()
        await self.sfu.leave()

    async def close(self) -> None:
        """See `Call`."""
        await self.group.close()
        await self.sfu.stop()
        if self._stopping is not None:
            await asyncio.wait([self._stopping])

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
            way = SfuWay(mode, self.sfu, events, lambda: self._sfu_way_closed(way))
            self._sfu_ways.append((way, events))
            self._look()
            return way
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

    @property
    def _is_needed(self) -> bool:
        """Whether the call through the SFU is."""
        if self._is_over:
            return False
        if self._sfu_ways:
            return True
        has_media = bool(self._parts.publishing.publications) or any(
            member.has_media for member in self.group.members.values()
        )
        return has_media and self.group.mode not in (None, "mesh")

    def _look(self) -> None:
        """Begins or ends the call through the SFU, and tells where all stands."""
        if self._is_over:
            return
        if self._is_needed and not self.sfu.is_running and self._stopping is None and self._again is None:
            self.sfu.begin(None)
        elif not self._is_needed and self.sfu.is_running and self._stopping is None:
            self._stopping = asyncio.create_task(self._stop_later(), name="peerbus-call-stop")
        way = self.group.way
        is_up = way is not None and (not isinstance(way, SfuWay) or self.sfu.state.name == "connected")
        if is_up:
            self._was_up = True
            self._parts.on_state(CallState(name="connected"))
            self._send_waiting()
        elif self._was_up:
            self._parts.on_state(
                CallState(name="reconnecting", code=self.sfu.state.code, why=self.sfu.state.why)
            )

    async def _stop_later(self) -> None:
        """Not before pictures that come another way now have had the time for their first keyframe."""
        await asyncio.sleep(_LINGER_S)
        if not self._is_needed:
            await self.sfu.leave()
            await self.sfu.stop()
        self._stopping = None
        self._look()

    async def _sfu_way_closed(self, way: SfuWay) -> None:
        self._sfu_ways[:] = [one for one in self._sfu_ways if one[0] is not way]
        self._look()

    def _room_came(self) -> None:
        connection = self.sfu.connection
        if connection is not None and connection.is_up and connection.id != self._connection_id:
            # What was under way to the connection before is lost.
            self._connection_id = connection.id
            for _, events in list(self._sfu_ways):
                events.on_lost(list(self.group.members))
        for _, events in list(self._sfu_ways):
            events.on_change()

    def _call_changed(self, state: CallState) -> None:
        """The connections of the call came or went; `sfu` has the state."""
        if state.code == ErrorCode.NO_WORKER and self._hopeless is None and not self._was_up:
            self._hopeless = asyncio.get_running_loop().call_later(_NO_WORKER_S, self._give_up)
        self._look()

    def _give_up(self) -> None:
        """A mode through a worker was asked for, and there is none: only `auto` goes another way then."""
        self._hopeless = None
        state = self.group.follower.state
        if self._was_up or self._is_over or state is None or state.is_auto:
            return
        if state.mode in ("datachannel", "sfu") and self.sfu.state.code == ErrorCode.NO_WORKER:
            self._parts.on_over(PeerbusError(ErrorCode.NO_WORKER, self.sfu.state.why))

    def _call_emits(self, event: str, *args: Any) -> None:
        if event == "peers":
            # Who is in the call can be reached by it now.
            self._room_came()
            self._parts.emit("peers", self.peers)
        else:
            self._parts.emit(event, *args)

    def _call_data_came(self, data: bytes) -> None:
        message = read_data(data, self._parts)
        if message is None or message.sender is None:
            return
        if message.sender not in self.group.members and not isinstance(message.payload, bytes):
            # Somebody without a group, who is in the call alone.
            self._parts.emit("data", message.payload, self._peer(message.sender))
            return
        if isinstance(message.payload, bytes):
            self.group.frame_came(message.sender, message.payload)

    def _call_over(self, error: PeerbusError) -> None:
        """The call can't be made, for now: media and data through it wait."""
        for way, events in list(self._sfu_ways):
            way.failure = error
            events.on_change()
        self._parts.publishing.end_all(error)
        self._parts.on_error(error)
        if self._is_needed:
            self._again = asyncio.get_running_loop().call_later(_AGAIN_S, self._begin_again)

    def _begin_again(self) -> None:
        self._again = None
        for way, _ in self._sfu_ways:
            way.failure = None
        self._look()


def _pass_on(outcome: Outcome[bool], done: asyncio.Future[bool]) -> None:
    error = None if done.cancelled() else done.exception()
    if isinstance(error, Exception):
        outcome.fail(error)
    elif not done.cancelled():
        outcome.succeed(done.result())

"""
The way of mode `host`: links between the host and its guests, with the successor's ready beside them.

Owns the clock of the host machine, and what its outputs are on links. Never decides anything (`host_mode`), and never
makes a link itself: those are a mesh's (`mesh_way`), of the members that the machine wants.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc.call_parts import CallParts
from peerbus.client.webrtc.host_frames import HOST_ROLE
from peerbus.client.webrtc.host_mode import HostMode
from peerbus.client.webrtc.host_record import (
    Bad,
    FrameCame,
    Gone,
    HostChanged,
    HostMessage,
    HostView,
    Output,
    Reachable,
    Renew,
    Transmit,
    Unheard,
)
from peerbus.client.webrtc.mesh_way import MeshWay
from peerbus.client.webrtc.peer_delivery import Outgoing
from peerbus.client.webrtc.peer_port import now_ms
from peerbus.client.webrtc.ways import NO_ROOM, Rooms, WayEvents
from peerbus.protocol.groups import GroupMember, Mode

LINK_SCOPE: Final = "host:"
"""Begins the ids of links of this mode: those of a mesh beside it are others."""
_ROOM_BYTES: Final = 65_536


class HostEvents(Struct, frozen=True, kw_only=True):
    """What mode `host` tells beyond what all ways do."""

    on_host: Callable[[str, int, Any], None]
    """There is a host, under this term; the newest state here, or None."""
    on_message: Callable[[str, Any], None]
    """A message for whoever is host, from this identity."""
    on_known: Callable[[str, bytes], None]
    """A frame that is in the state which the application goes on from: to be acknowledged, and not told."""
    on_gone: Callable[[str], None]
    """Nothing more comes of this identity, which has left."""
    on_renew: Callable[[int], None]
    """The lease is to be renewed."""
    on_unheard: Callable[[int], None]
    """Nothing comes from the host under this term any more."""
    report: Callable[[str, bool], None]
    """Whether a peer can be reached, for the server."""


class HostWay:
    """See the module."""

    mode: Final[Mode] = "host"

    def __init__(
        self,
        parts: CallParts,
        events: WayEvents,
        tells: HostEvents,
        on_close: Callable[[HostWay], None],
    ) -> None:
        self.failure: PeerbusError | None = None
        self._parts: Final = parts
        self._identity = parts.agent.identity
        self._events: Final = events
        self._tells: Final = tells
        self._on_close: Final = on_close
        self._machine = HostMode(self._identity)
        self._order = -1
        self._members: Mapping[str, GroupMember] = {}
        self._up: Final[dict[str, str]] = {}
        """The link to each peer that has one, by its name."""
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        link_events = WayEvents(
            on_frame=self._data_came,
            on_change=self._links_changed,
            on_lost=_nothing,
            on_error=events.on_error,
        )
        self._links: Final = MeshWay(
            parts, link_events, tells.report, _nothing, scope=LINK_SCOPE, has_media=False
        )

    # --- the host -----------------------------------------------------------------------------------------------

    @property
    def is_host(self) -> bool:
        """Whether this member is, and serves."""
        return self._machine.is_host and self._machine.is_ready

    def told(self, view: HostView) -> None:
        """What the server says of the host."""
        self._machine.follow(view, now_ms())
        self._relink()
        self._wake()

    def set_state(self, state: Any) -> None:
        """See `HostMode.set_state`."""
        self._machine.set_state(state, now_ms())
        self._wake()

    # --- the way ------------------------------------------------------------------------------------------------

    def follow(self, members: Mapping[str, GroupMember], order: int) -> None:
        """See `Way`."""
        if self._is_closed:
            return
        if order != self._order and self._order >= 0:
            # This member has begun anew, and so does all that it has of the others.
            self._identity = self._parts.agent.identity
            self._machine = HostMode(self._identity)
            self._up.clear()
        self._members, self._order = dict(members), order
        self._relink()

    def path_of(self, peer: str) -> str | None:
        """See `Way`. The same for all, whoever has a link."""
        number = self._machine.path
        is_there = peer in self._members or peer == HOST_ROLE
        return f"host {number}" if number is not None and is_there else None

    def can_carry(self, peer: str) -> bool:
        """See `Way`: only who can't reach the host gets to the others another way."""
        host = self._machine.host
        return host is None or host == self._identity or self._machine.is_ready or self._links.can_carry(host)

    def rooms(self, path: str) -> Rooms:
        """See `Way`."""
        host = self._machine.host
        if path != f"host {self._machine.path}" or host is None:
            return NO_ROOM
        if host == self._identity:
            return Rooms(reliable=_ROOM_BYTES, lossy=_ROOM_BYTES)
        return self._links.rooms(self._up.get(host, ""))

    def send(self, path: str, frames: Sequence[Outgoing]) -> None:
        """See `Way`."""
        for frame in frames:
            self._machine.submit(frame.to, frame.frame, now_ms())
        self._wake()

    async def round_trip_ms(self, peer: str) -> float | None:
        """See `Way`. There are links to the host alone, and from it to all."""
        return await self._links.round_trip_ms(peer)

    def retire(self) -> None:
        """See `Way`."""
        self._links.retire()

    def revive(self) -> None:
        """See `Way`."""
        self._links.revive()

    async def close(self) -> None:
        """See `Way`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._on_close(self)
        for handle in (self._soon, self._timer):
            if handle is not None:
                handle.cancel()
        await self._links.close()

    # --- inside -------------------------------------------------------------------------------------------------

    def _relink(self) -> None:
        wanted = self._machine.wanted_links
        members = {peer: member for peer, member in self._members.items() if peer in wanted}
        self._links.follow(members, self._order)
        self._links_changed()

    def _links_changed(self) -> None:
        for peer in {*self._members, *self._up}:
            name = self._links.path_of(peer)
            if name == self._up.get(peer):
                continue
            if self._up.pop(peer, None) is not None:
                self._machine.link_down(peer)
            if name is not None:
                self._up[peer] = name
                self._machine.link_up(peer)
        self._wake()
        self._events.on_change()

    def _data_came(self, peer: str, data: bytes) -> None:
        if peer not in self._up:
            self._links_changed()
        self._machine.receive(peer, data, now_ms())
        self._wake()

    def _wake(self) -> None:
        """What comes in within one turn of the loop is answered together."""
        if self._soon is None and not self._is_closed:
            self._soon = asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._soon = None
        path = self._machine.path
        self._machine.tick(now_ms())
        has_sent = False
        while not self._is_closed and (outputs := self._machine.take(now_ms())):
            for output in outputs:
                has_sent = has_sent or isinstance(output, Transmit)
                self._follow(output)
        if self._is_closed:
            return
        if path != self._machine.path or (has_sent and self.is_host):
            self._events.on_change()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_ms = self._machine.deadline_ms
        if deadline_ms is not None:
            at_ms = max(deadline_ms, now_ms() + 1)
            self._timer = asyncio.get_running_loop().call_at(at_ms / 1000, self._wake)

    def _follow(self, output: Output) -> None:
        tells = self._tells
        if isinstance(output, Transmit):
            self._transmit(output)
        elif isinstance(output, FrameCame):
            if output.is_in_state:
                tells.on_known(output.sender, output.frame)
            else:
                self._events.on_frame(output.sender, output.frame)
        elif isinstance(output, HostMessage):
            tells.on_message(output.sender, output.payload)
        elif isinstance(output, HostChanged):
            self._host_changed(output)
        elif isinstance(output, Gone):
            tells.on_gone(output.identity)
        elif isinstance(output, Renew):
            tells.on_renew(output.term)
        elif isinstance(output, Unheard):
            tells.on_unheard(output.term)
        elif isinstance(output, Reachable):
            tells.report(output.peer, output.is_reachable)
        elif isinstance(output, Bad):
            self._events.on_error(output.error)
        else:
            self._events.on_change()

    def _host_changed(self, change: HostChanged) -> None:
        state: Any = None
        try:
            state = None if change.state is None else change.state.value()
        except PeerbusError as error:
            self._events.on_error(error)
        self._tells.on_host(change.host, change.term, state)

    def _transmit(self, output: Transmit) -> None:
        name = self._up.get(output.peer)
        if name is None:
            return
        if output.is_lossy and (self._links.rooms(name).lossy or 0) <= 0:
            return
        self._links.send(name, [Outgoing((output.peer,), output.data, output.is_lossy)])


def _nothing(_: object) -> None:
    """The host machine notices by itself: a link that was replaced has another name."""

"""
The way through the SFU: frames as data messages of the call.

Owns nothing but the names of its paths, and since when a peer is missing: the connection is the call's (`sfu_call`),
which media may share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc.delivery import CHANNEL_BYTES, encode_message
from peerbus.client.webrtc.peer_delivery import Outgoing
from peerbus.client.webrtc.sfu_call import SfuCall
from peerbus.client.webrtc.ways import NO_ROOM, Rooms, WayEvents
from peerbus.protocol.groups import GroupMember, Mode

CARRY_AFTER_MS: Final = 5_000
"""Who is not in the call for so long is carried another way. A call is made anew in less, if it can be."""


class SfuWay:
    """See the module. `on_close` is told that the call is not needed for data any more."""

    def __init__(
        self,
        mode: Literal["datachannel", "sfu"],
        call: SfuCall,
        events: WayEvents,
        on_close: Callable[[], Awaitable[None]],
    ) -> None:
        self.mode: Final[Mode] = mode
        self.failure: PeerbusError | None = None
        self._call: Final = call
        self._on_close: Final = on_close
        self._events: Final = events
        self._members: Mapping[str, GroupMember] = {}
        self._missing_since: Final[dict[str, float]] = {}
        """Who is not in the call, as far as it was asked for, and since when (s)."""

    def follow(self, members: Mapping[str, GroupMember], order: int) -> None:
        """See `Way`."""
        self._members = members
        for peer in [peer for peer in self._missing_since if peer not in members]:
            del self._missing_since[peer]

    def path_of(self, peer: str) -> str | None:
        """See `Way`."""
        connection = self._call.connection
        if connection is None or not connection.is_up or peer not in self._members:
            return None
        return f"{self.mode} {connection.id}" if peer in self._call.negotiation.callers else None

    def can_carry(self, peer: str) -> bool:
        """See `Way`."""
        if self.path_of(peer) is not None:
            self._missing_since.pop(peer, None)
            return True
        loop = asyncio.get_running_loop()
        since = self._missing_since.get(peer)
        if since is None:
            since = self._missing_since[peer] = loop.time()
            # A little later, since a timer may be called a little early.
            loop.call_later((CARRY_AFTER_MS + 10) / 1000, self._events.on_change)
        return self.failure is None and loop.time() - since < CARRY_AFTER_MS / 1000

    def rooms(self, path: str) -> Rooms:
        """See `Way`."""
        connection = self._call.connection
        if connection is None or path != f"{self.mode} {connection.id}":
            return NO_ROOM
        reliable, lossy = connection.peer.reliable_buffered, connection.peer.lossy_buffered
        return Rooms(
            reliable=None if reliable is None else CHANNEL_BYTES - reliable,
            lossy=None if lossy is None else CHANNEL_BYTES - lossy,
        )

    def send(self, path: str, frames: Sequence[Outgoing]) -> None:
        """See `Way`."""
        connection = self._call.connection
        if connection is None:
            return
        for one in frames:
            data = encode_message(one.to, one.frame)
            if one.is_lossy:
                connection.peer.send_lossy(data)
            else:
                connection.peer.send_reliable(data)

    async def round_trip_ms(self, peer: str) -> float | None:
        """See `Way`; there are no links."""
        return None

    def retire(self) -> None:
        """See `Way`; there is nothing to make."""

    def revive(self) -> None:
        """See `Way`; there was nothing to stop."""

    async def close(self) -> None:
        """See `Way`."""
        await self._on_close()

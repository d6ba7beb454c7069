"""
The way through the SFU: frames as data messages of the call.

Owns nothing but the names of its paths: the connection is the call's (`sfu_call`), which media may share.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc.delivery import CHANNEL_BYTES, encode_message
from peerbus.client.webrtc.peer_delivery import Outgoing
from peerbus.client.webrtc.sfu_call import SfuCall
from peerbus.client.webrtc.ways import NO_ROOM, Rooms
from peerbus.protocol.groups import GroupMember, Mode


class SfuWay:
    """See the module. `on_close` is told that the call is not needed for data any more."""

    def __init__(
        self, mode: Literal["datachannel", "sfu"], call: SfuCall, on_close: Callable[[], Awaitable[None]]
    ) -> None:
        self.mode: Final[Mode] = mode
        self.failure: PeerbusError | None = None
        self._call: Final = call
        self._on_close: Final = on_close
        self._members: Mapping[str, GroupMember] = {}

    def follow(self, members: Mapping[str, GroupMember], order: int) -> None:
        """See `Way`."""
        self._members = members

    def path_of(self, peer: str) -> str | None:
        """See `Way`."""
        connection = self._call.connection
        if connection is None or not connection.is_up or peer not in self._members:
            return None
        return f"{self.mode} {connection.id}" if peer in self._call.negotiation.callers else None

    def can_carry(self, peer: str) -> bool:
        """See `Way`."""
        return self.failure is None

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

    def round_trip_ms(self, peer: str) -> float | None:
        """See `Way`."""
        return None

    def retire(self) -> None:
        """See `Way`; there is nothing to make."""

    def revive(self) -> None:
        """See `Way`; there was nothing to stop."""

    async def close(self) -> None:
        """See `Way`."""
        await self._on_close()

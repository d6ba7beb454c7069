"""
One peer connection to another member: its two data channels, and the tracks of both sides.

Owns the `RTCPeerConnection` of a link; beside `peer` and the seams the only module of the client on aiortc. Never
decides when to offer or to give up (`mesh`). Both data channels are negotiated beforehand, so that neither side waits
for the other's (RFC 8832 is not needed). aiortc gathers before a description, so no candidates trickle from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc import aiortc_seam
from peerbus.client.webrtc.ice import IceSetup
from peerbus.client.webrtc.mesh import LinkPath
from peerbus.client.webrtc.peer import rtc_configuration
from peerbus.client.webrtc.peer_delivery import Outgoing
from peerbus.client.webrtc.ways import NO_ROOM, Rooms

_CHANNEL_BYTES: Final = 65_536
"""How much may wait inside a data channel: what a large message needs to go fast."""
_PATHS: Final[dict[str, LinkPath]] = {"failed": "down", "closed": "down"}


class PeerLink:
    """From its first description to its end. `name` is that of the path."""

    def __init__(
        self,
        name: str,
        ice: IceSetup,
        *,
        on_loopback: bool,
        on_path: Callable[[LinkPath], None],
        on_frame: Callable[[bytes], None],
        on_room: Callable[[], None],
    ) -> None:
        self.name: Final = name
        self._connection: Final = RTCPeerConnection(rtc_configuration(ice))
        self._on_path: Final = on_path
        self._on_frame: Final = on_frame
        self._on_room: Final = on_room
        self._is_closed = False
        self._reliable: Final = self._channel("peerbus", 0, is_lossy=False)
        self._lossy: Final = self._channel("peerbus-lossy", 1, is_lossy=True)
        self._connection.on("connectionstatechange", self._state_changed)
        if on_loopback and ice.policy == "all":
            aiortc_seam.gather_on_loopback(self._connection)

    @property
    def is_open(self) -> bool:
        """Whether frames go both ways."""
        return self._reliable.readyState == "open" and self._lossy.readyState == "open"

    # --- descriptions -------------------------------------------------------------------------------------------

    async def offer(self) -> str:
        """Describes this side."""
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._connection.localDescription.sdp

    async def answer(self, offer: str) -> str:
        """Takes an offer, and describes this side. Raises `PeerbusError` (`bad_frame`)."""
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        except Exception as error:  # aiortc's reader fails in every way there is
            raise _unreadable(error) from error
        return self._connection.localDescription.sdp

    async def apply(self, answer: str) -> None:
        """Takes an answer. Raises `PeerbusError` (`bad_frame`)."""
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        except Exception as error:  # aiortc's reader fails in every way there is
            raise _unreadable(error) from error

    async def add(self, candidate: str | None, mid: str | None, line: int | None) -> None:
        """Takes a candidate of the other side; one that makes no sense is one way less."""
        if not candidate or ".local " in candidate:
            return  # A name that only the other machine knows: it reaches this side, which sees its address then.
        try:
            read = candidate_from_sdp(candidate.removeprefix("candidate:"))
            read.sdpMid, read.sdpMLineIndex = mid, line
            await self._connection.addIceCandidate(read)
        except Exception:  # noqa: BLE001 - aiortc's reader fails in every way there is
            return

    # --- frames -------------------------------------------------------------------------------------------------

    def rooms(self) -> Rooms:
        """How much may go into the channels."""
        if self._is_closed or not self.is_open:
            return NO_ROOM
        return Rooms(
            reliable=_CHANNEL_BYTES - self._reliable.bufferedAmount,
            lossy=_CHANNEL_BYTES - self._lossy.bufferedAmount,
        )

    def send(self, frames: Sequence[Outgoing]) -> None:
        """Puts frames into the channels, which are open."""
        for one in frames:
            channel = self._lossy if one.is_lossy else self._reliable
            if channel.readyState == "open":
                channel.send(one.frame)

    # --- the rest -----------------------------------------------------------------------------------------------

    async def path_answers(self) -> bool:
        """Whether the other side answers a check at once."""
        return await aiortc_seam.path_answers(self._connection)

    @property
    def packets_received(self) -> int:
        """How many datagrams came so far."""
        return aiortc_seam.packets_received(self._connection)

    async def close(self) -> None:
        """Ends the connection, its sockets and its tasks."""
        if not self._is_closed:
            self._is_closed = True
            await asyncio.shield(aiortc_seam.close_wholly(self._connection))

    def _channel(self, label: str, number: int, *, is_lossy: bool) -> RTCDataChannel:
        channel = self._connection.createDataChannel(
            label, negotiated=True, id=number, ordered=not is_lossy, maxRetransmits=0 if is_lossy else None
        )
        channel.bufferedAmountLowThreshold = _CHANNEL_BYTES // 2
        channel.on("open", self._opened)
        channel.on("bufferedamountlow", self._on_room)
        channel.on("message", self._message_came)
        channel.on("close", self._channel_closed)
        return channel

    def _opened(self) -> None:
        if self.is_open and not self._is_closed:
            self._on_path("up")

    def _channel_closed(self) -> None:
        if not self._is_closed:
            self._on_path("down")

    def _message_came(self, data: bytes | str) -> None:
        if isinstance(data, bytes) and not self._is_closed:
            self._on_frame(data)

    def _state_changed(self) -> None:
        path = _PATHS.get(self._connection.connectionState)
        if path is not None and not self._is_closed:
            self._on_path(path)


def _unreadable(error: Exception) -> PeerbusError:
    text = f"A description can't be applied ({type(error).__name__}: {error})."
    return PeerbusError(ErrorCode.BAD_FRAME, text)

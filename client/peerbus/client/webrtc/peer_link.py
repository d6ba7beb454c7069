"""
One peer connection to another member: its two data channels, and the tracks of both sides.

Owns the `RTCPeerConnection` of a link; beside `peer` and the seams the only module of the client on aiortc. Never
decides when to offer or to give up (`mesh`). Both data channels are negotiated beforehand, so that neither side waits
for the other's (RFC 8832 is not needed). aiortc gathers before a description, so no candidates trickle from here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from aiortc import (
    MediaStreamTrack,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.sdp import candidate_from_sdp

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc import aiortc_seam
from peerbus.client.webrtc.aiortc_seam import SlotDecoder
from peerbus.client.webrtc.description import sections_of
from peerbus.client.webrtc.ice import IceSetup
from peerbus.client.webrtc.mesh import LinkPath
from peerbus.client.webrtc.outgoing import Outlet, SharedLine
from peerbus.client.webrtc.peer import LineTrack, Slot, rtc_configuration
from peerbus.client.webrtc.peer_delivery import Outgoing
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.ways import NO_ROOM, Rooms
from peerbus.protocol.signals import MediaKind, OfferedTrack

_CHANNEL_BYTES: Final = 65_536
"""How much may wait inside a data channel: what a large message needs to go fast."""
_SECTIONS_MAX: Final = 16
"""Of each kind, however many tracks the other side says to have."""
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
        aiortc_seam.end_quietly(self._connection)
        self._on_path: Final = on_path
        self._on_frame: Final = on_frame
        self._on_room: Final = on_room
        self._is_closed = False
        self._sent: Final[dict[Publication, tuple[RTCRtpTransceiver, SharedLine, Outlet]]] = {}
        self._unplaced: dict[Publication, SharedLine] = {}
        self._slots: Final[list[Slot]] = []
        self._connection.on("track", self._track_came)
        self._on_loopback: Final = on_loopback and ice.policy == "all"
        self._reliable: RTCDataChannel | None = None
        self._lossy: RTCDataChannel | None = None
        self._connection.on("connectionstatechange", self._state_changed)

    @property
    def is_open(self) -> bool:
        """Whether frames go both ways."""
        if self._reliable is None or self._lossy is None:
            return False
        return self._reliable.readyState == "open" and self._lossy.readyState == "open"

    # --- media --------------------------------------------------------------------------------------------------

    def publish(self, lines: Mapping[Publication, SharedLine], *, is_offerer: bool) -> bool:
        """
        Sends these publications and no others; whether another description is needed.

        Who answers can only send in sections that were offered; `answer` puts what has none yet into those.
        """
        has_changed = False
        for publication, (transceiver, line, outlet) in list(self._sent.items()):
            if publication not in lines:
                line.outlets.remove(outlet)
                del self._sent[publication]
                transceiver.direction = "inactive"
                has_changed = True
        self._unplaced = {one: line for one, line in lines.items() if one not in self._sent}
        if is_offerer:
            for publication, line in self._unplaced.items():
                transceiver = self._connection.addTransceiver(line.kind, direction="sendonly")
                self._place(publication, line, transceiver)
            has_changed = has_changed or bool(self._unplaced)
            self._unplaced = {}
        return has_changed or bool(self._unplaced)

    def make_room(self, media: Sequence[MediaKind]) -> None:
        """There are sections to receive all these; part of the next offer."""
        for kind in ("audio", "video"):
            there = sum(1 for slot in self._slots if slot.transceiver.kind == kind)
            for _ in range(min(media.count(kind), _SECTIONS_MAX) - there):
                self._slots.append(Slot(self._connection.addTransceiver(kind, direction="recvonly")))

    @property
    def tracks(self) -> list[OfferedTrack]:
        """What the own description says of the tracks in it."""
        return [
            publication.offered(transceiver.mid, is_sealed=False)
            for publication, (transceiver, _, _) in self._sent.items()
            if transceiver.mid is not None
        ]

    def decoder(self, mid: str) -> SlotDecoder | None:
        """What decodes the track that comes in this section."""
        return next((slot.decoder for slot in self._slots if slot.transceiver.mid == mid), None)

    def repair(self, now_ms: int) -> None:
        """Asks again for packets that are missing; called every `ASK_AGAIN_MS`."""
        for slot in self._slots:
            slot.repair(now_ms)

    def _place(self, publication: Publication, line: SharedLine, transceiver: RTCRtpTransceiver) -> None:
        outlet = Outlet(line.kind)
        line.outlets.append(outlet)
        transceiver.sender.replaceTrack(LineTrack(outlet))
        self._sent[publication] = (transceiver, line, outlet)

    def _place_in(self, offer: str) -> None:
        """What this side sends goes into the sections that the other one wants to receive in."""
        taken = {transceiver for transceiver, _, _ in self._sent.values()}
        for section in sections_of(offer):
            transceiver = next(
                (one for one in self._connection.getTransceivers() if one.mid == section.mid), None
            )
            if (
                transceiver is None
                or section.direction not in ("recvonly", "sendrecv")
                or transceiver in taken
            ):
                continue
            found = next((one for one, line in self._unplaced.items() if line.kind == section.kind), None)
            if found is not None:
                self._place(found, self._unplaced.pop(found), transceiver)
                transceiver.direction = "sendonly"

    def _took(self, description: str) -> None:
        """The sources of the other side are known."""
        sections = {section.mid: section for section in sections_of(description)}
        for slot in self._slots:
            section = sections.get(slot.transceiver.mid or "")
            if section is not None and section.direction in ("sendonly", "sendrecv"):
                slot.took_answer(section.ssrcs)

    def _track_came(self, track: MediaStreamTrack) -> None:
        if any(slot.has_output(track) for slot in self._slots):
            return
        for transceiver in self._connection.getTransceivers():
            if transceiver.receiver.track is track:
                slot = Slot(transceiver)
                slot.has_output(track)
                self._slots.append(slot)

    # --- descriptions -------------------------------------------------------------------------------------------

    async def offer(self) -> str:
        """Describes this side."""
        self._open_channels()
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._connection.localDescription.sdp

    async def answer(self, offer: str) -> str:
        """Takes an offer, and describes this side. Raises `PeerbusError` (`bad_frame`)."""
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
            self._open_channels()
            self._place_in(offer)
            self._took(offer)
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        except Exception as error:  # aiortc's reader fails in every way there is
            raise _unreadable(error) from error
        return self._connection.localDescription.sdp

    async def apply(self, answer: str) -> None:
        """Takes an answer. Raises `PeerbusError` (`bad_frame`)."""
        try:
            self._took(answer)
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
        if self._is_closed or not self.is_open or self._reliable is None or self._lossy is None:
            return NO_ROOM
        return Rooms(
            reliable=_CHANNEL_BYTES - self._reliable.bufferedAmount,
            lossy=_CHANNEL_BYTES - self._lossy.bufferedAmount,
        )

    def send(self, frames: Sequence[Outgoing]) -> None:
        """Puts frames into the channels, which are open."""
        for one in frames:
            channel = self._lossy if one.is_lossy else self._reliable
            if channel is not None and channel.readyState == "open":
                channel.send(one.frame)

    # --- the rest -----------------------------------------------------------------------------------------------

    async def path_answers(self) -> bool:
        """Whether the other side answers a check at once."""
        return await aiortc_seam.path_answers(self._connection)

    async def round_trip_ms(self) -> float | None:
        """How long such a check takes; None if it is not answered."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        return (loop.time() - began_s) * 1000 if self.is_open and await self.path_answers() else None

    @property
    def packets_received(self) -> int:
        """How many datagrams came so far."""
        return aiortc_seam.packets_received(self._connection)

    async def close(self) -> None:
        """Ends the connection, its sockets and its tasks."""
        if not self._is_closed:
            self._is_closed = True
            for _, line, outlet in self._sent.values():
                line.outlets.remove(outlet)
            self._sent.clear()
            for slot in self._slots:
                slot.decoder.put(None)
            await asyncio.shield(aiortc_seam.close_wholly(self._connection))

    def _open_channels(self) -> None:
        """Not before the transceivers of the first description: aiortc would close the transport that they share."""
        if self._reliable is None:
            self._reliable = self._channel("peerbus", 0, is_lossy=False)
            self._lossy = self._channel("peerbus-lossy", 1, is_lossy=True)
            aiortc_seam.prepare_gathering(self._connection, on_loopback=self._on_loopback)

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

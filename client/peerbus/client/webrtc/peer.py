"""
One peer connection to the SFU: its sending lines, its slots, its two data channels.

Owns the `RTCPeerConnection` and all that aiortc does for us; the only module of the client that imports it, besides
`aiortc_seam`, `media_seam` and `packet_repair`. Never decides what is offered, or when (`connection`), and never
reconnects. aiortc can't restart ICE and can't roll an offer back, so a connection that broke is closed and another one
made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import av
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from msgspec import Struct

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc import aiortc_seam, media_seam
from peerbus.client.webrtc.aiortc_seam import SlotDecoder
from peerbus.client.webrtc.delivery import CHANNEL_BYTES
from peerbus.client.webrtc.description import mend_rejections, sections_of
from peerbus.client.webrtc.frame_sealing import FrameCodec, FrameSealer
from peerbus.client.webrtc.ice import IceSetup
from peerbus.client.webrtc.outgoing import Line
from peerbus.client.webrtc.packet_repair import PacketRepair, route_repairs
from peerbus.protocol.signals import MediaKind

_CLOSE_S: Final = 5.0
"""A connection that is not closed by then never will be."""
_CLOCKS_HZ: Final[dict[MediaKind, int]] = {"audio": 48_000, "video": 90_000}


class TransportCounts(Struct, frozen=True, kw_only=True):
    """The datagrams of a connection, without those of ICE."""

    packets_sent: int = 0
    packets_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0


class SlotCounts(Struct, frozen=True, kw_only=True):
    """What arrived on a slot, since its connection began."""

    packets: int = 0
    lost: int = 0
    jitter_ms: float = 0.0
    frames: int = 0
    bytes: int = 0
    frames_decoded: int = 0
    codec: str = ""
    size: tuple[int, int] | None = None


class LineCounts(Struct, frozen=True, kw_only=True):
    """What was sent on a line, since its connection began; the last three as the SFU reports them."""

    packets: int = 0
    bytes: int = 0
    lost: int | None = None
    jitter_ms: float | None = None
    rtt_ms: float | None = None
    codec: str = ""
    frames_sealed: int = 0


class _LineSeal:
    """What seals the frames of a line, if they are to be sealed; without a sealer none gets through."""

    def __init__(self) -> None:
        self.sealer: FrameSealer | None = None
        self.frames_sealed = 0

    def seal(self, codec: FrameCodec, frame: bytes) -> bytes | None:
        """Called in the thread of the encoder."""
        sealer = self.sealer
        if sealer is None:
            return None
        self.frames_sealed += 1
        return sealer.seal(codec, frame)


class Frames(Protocol):
    """What a line gives."""

    @property
    def kind(self) -> MediaKind:
        """Of which media."""

    async def next_frame(self) -> av.AudioFrame | av.VideoFrame:
        """The next one; waits for ever if there is none."""


class LineTrack(MediaStreamTrack):
    """A line, as aiortc's sender wants it."""

    def __init__(self, line: Frames) -> None:
        super().__init__()
        self.kind = line.kind
        self._line = line

    async def recv(self) -> av.AudioFrame | av.VideoFrame:
        """See aiortc."""
        return await self._line.next_frame()


class Slot:
    """A receiving m-line."""

    def __init__(self, transceiver: RTCRtpTransceiver) -> None:
        self.transceiver: Final = transceiver
        self.ssrc: int | None = None
        self.decoder: Final = SlotDecoder(_kind_of(transceiver), self._request_keyframe)
        self._requests: set[asyncio.Task[None]] = set()
        self._repair: Final = PacketRepair(
            transceiver.receiver,
            _kind_of(transceiver),
            decode=self.decoder.put,
            on_skip=self.decoder.resume_with_keyframe,
        )
        aiortc_seam.take_decoder(transceiver.receiver, self.decoder)

    def took_answer(self, ssrcs: tuple[int, ...]) -> None:
        """The sources on which the SFU sends: that of the media, and that of retransmissions."""
        self.ssrc = ssrcs[0] if ssrcs else None
        for ssrc in ssrcs[1:2]:
            route_repairs(self.transceiver.receiver, ssrc)

    def has_output(self, track: MediaStreamTrack) -> bool:
        """Whether the track is that of this slot, whose frames go to the decoder from now on."""
        if self.transceiver.receiver.track is not track:
            return False
        aiortc_seam.take_output(self.transceiver.receiver, self.decoder)
        return True

    def repair(self, now_ms: int) -> None:
        """Asks again for what is missing."""
        if self.ssrc is not None:
            missing = self._repair.tick(now_ms)
            if missing:
                self._send(aiortc_seam.ask_again(self.transceiver.receiver, self.ssrc, missing))

    def _request_keyframe(self) -> None:
        if self.ssrc is not None:
            self._send(aiortc_seam.picture_loss(self.transceiver.receiver, self.ssrc))

    def _send(self, request: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(request)
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)


class SfuPeer:
    """
    A connection from its first offer to its end.

    `on_state` hears "connecting", "connected", "failed" and "closed"; `on_data` a data message; `on_room` that a data
    channel opened or has room again.
    """

    def __init__(
        self,
        *,
        ice: IceSetup,
        on_loopback: bool,
        on_state: Callable[[str], None],
        on_data: Callable[[bytes], None],
        on_room: Callable[[], None],
    ) -> None:
        """`on_loopback`: the SFU may be reached at 127.0.0.1 only."""
        self._connection: Final = RTCPeerConnection(rtc_configuration(ice))
        aiortc_seam.end_quietly(self._connection)
        self._on_state: Final = on_state
        self._on_data: Final = on_data
        self._on_room: Final = on_room
        self._lines: Final[dict[RTCRtpTransceiver, Line]] = {}
        self._seals: Final[dict[Line, _LineSeal]] = {}
        self._free: Final[list[RTCRtpTransceiver]] = []
        self._slots: Final[list[Slot]] = []
        self._offer = ""
        self._codecs: dict[str, str] = {}
        self._closing: asyncio.Task[None] | None = None
        self._connection.on("connectionstatechange", self._state_changed)
        self._connection.on("track", self._track_came)
        self._on_loopback: Final = on_loopback and ice.policy == "all"
        self._reliable: RTCDataChannel | None = None
        self._lossy: RTCDataChannel | None = None

    # --- what is offered ----------------------------------------------------------------------------------------

    def add_line(self, kind: MediaKind, *, is_sealed: bool) -> Line:
        """A line to send on, new or one that was given back; part of the next offer. A sealed one needs a sealer."""
        for transceiver in self._free:
            if transceiver.kind == kind and (self._lines[transceiver] in self._seals) is is_sealed:
                self._free.remove(transceiver)
                transceiver.direction = "sendonly"
                return self._lines[transceiver]
        line = Line(kind)
        transceiver = self._connection.addTransceiver(LineTrack(line), direction="sendonly")
        self._lines[transceiver] = line
        if is_sealed:
            seal = self._seals[line] = _LineSeal()
            media_seam.seal_sender(transceiver, seal.seal)
        return line

    def seal_line(self, line: Line, sealer: FrameSealer) -> None:
        """The frames of a sealed line are sealed so from now on."""
        self._seals[line].sealer = sealer

    def give_back(self, line: Line) -> None:
        """Nothing is sent on this line any more."""
        transceiver = self._transceiver_of(line)
        transceiver.direction = "inactive"
        if line in self._seals:
            self._seals[line].sealer = None
        self._free.append(transceiver)

    def add_slots(self, counts: dict[MediaKind, int], *, are_sealed: bool) -> None:
        """Makes slots until there are so many; part of the next offer."""
        for kind, count in counts.items():
            existing = sum(1 for slot in self._slots if slot.transceiver.kind == kind)
            for _ in range(count - existing):
                slot = Slot(self._connection.addTransceiver(kind, direction="recvonly"))
                if are_sealed:
                    media_seam.prefer_sealable(slot.transceiver)
                self._slots.append(slot)

    async def make_offer(self) -> str:
        """The description of everything that was added so far, which is one slot or line at least, and the data."""
        if self._reliable is None:
            # Not before there is a transceiver: aiortc would close the transport that the two share.
            self._reliable = self._channel("reliable", is_lossy=False)
            self._lossy = self._channel("lossy", is_lossy=True)
            aiortc_seam.prepare_gathering(self._connection, on_loopback=self._on_loopback)
        await self._connection.setLocalDescription(await self._connection.createOffer())
        self._offer = self._connection.localDescription.sdp
        return self._offer

    async def take_answer(self, answer: str) -> list[str]:
        """
        Applies the answer to the last offer; gives the mids that it rejects.

        Raises `PeerbusError` (`bad_frame`) for one that can't be applied.
        """
        try:
            mended, rejected = mend_rejections(answer, self._offer)
            sections = {section.mid: section for section in sections_of(mended)}
            self._codecs = {mid: section.codec for mid, section in sections.items()}
            for slot in self._slots:
                section = sections.get(slot.transceiver.mid or "")
                slot.took_answer(() if section is None else section.ssrcs)
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp=mended, type="answer"))
        except Exception as error:  # aiortc's reader fails in every way there is
            text = f"The answer can't be applied ({type(error).__name__}: {error})."
            raise PeerbusError(ErrorCode.BAD_FRAME, text) from error
        return rejected

    def mid_of(self, line: Line) -> str:
        """The mid of a line; empty before its first offer."""
        return self._transceiver_of(line).mid or ""

    # --- what comes in ------------------------------------------------------------------------------------------

    def repair(self, now_ms: int) -> None:
        """Asks again for packets that are missing; called every `ASK_AGAIN_MS`."""
        for slot in self._slots:
            slot.repair(now_ms)

    def decoder(self, mid: str) -> SlotDecoder | None:
        """The decoder of a slot; None if there is no such slot."""
        slot = self._slot(mid)
        return None if slot is None else slot.decoder

    # --- data ---------------------------------------------------------------------------------------------------

    @property
    def reliable_buffered(self) -> int | None:
        """How many bytes wait in the reliable channel; None unless it is open."""
        return _buffered(self._reliable)

    @property
    def lossy_buffered(self) -> int | None:
        """How many bytes wait in the lossy channel; None unless it is open."""
        return _buffered(self._lossy)

    def send_reliable(self, data: bytes) -> None:
        """Puts a message into the reliable channel, which is open."""
        assert self._reliable is not None
        self._reliable.send(data)

    def send_lossy(self, data: bytes) -> None:
        """Puts a message into the lossy channel, which is open."""
        assert self._lossy is not None
        self._lossy.send(data)

    # --- counts -------------------------------------------------------------------------------------------------

    async def transport_counts(self) -> TransportCounts:
        """The datagrams so far."""
        report = await self._connection.getStats()
        for entry in report.values():
            if entry.type == "transport":
                return TransportCounts(
                    packets_sent=entry.packetsSent,
                    packets_received=entry.packetsReceived,
                    bytes_sent=entry.bytesSent,
                    bytes_received=entry.bytesReceived,
                )
        return TransportCounts()

    def slot_counts(self, mid: str) -> SlotCounts:
        """What arrived on a slot so far."""
        slot = self._slot(mid)
        if slot is None or slot.ssrc is None:
            return SlotCounts()
        arrived = aiortc_seam.arrived(slot.transceiver.receiver, slot.ssrc)
        return SlotCounts(
            packets=arrived.packets,
            lost=arrived.lost,
            jitter_ms=arrived.jitter_units * 1000 / _CLOCKS_HZ[_kind_of(slot.transceiver)],
            frames=slot.decoder.frames,
            bytes=slot.decoder.bytes,
            frames_decoded=slot.decoder.frames_decoded,
            codec=self._codecs.get(mid, ""),
            size=slot.decoder.size,
        )

    async def line_counts(self, line: Line) -> LineCounts:
        """What was sent on a line so far."""
        packets = size = 0
        lost: int | None = None
        jitter_ms: float | None = None
        rtt_ms: float | None = None
        for entry in (await self._transceiver_of(line).sender.getStats()).values():
            if entry.type == "outbound-rtp":
                packets, size = entry.packetsSent, entry.bytesSent
            elif entry.type == "remote-inbound-rtp":
                lost = entry.packetsLost
                jitter_ms = entry.jitter * 1000 / _CLOCKS_HZ[line.kind]
                rtt_ms = None if entry.roundTripTime is None else max(entry.roundTripTime, 0.0) * 1000
        return LineCounts(
            packets=packets,
            bytes=size,
            lost=lost,
            jitter_ms=jitter_ms,
            rtt_ms=rtt_ms,
            codec=self._codecs.get(self.mid_of(line), ""),
            frames_sealed=self._seals[line].frames_sealed if line in self._seals else 0,
        )

    # --- the path -----------------------------------------------------------------------------------------------

    async def path_answers(self) -> bool:
        """Whether the SFU answers a check at once."""
        return await aiortc_seam.path_answers(self._connection)

    @property
    def path(self) -> tuple[str, str] | None:
        """The addresses of this side and of the SFU; None before it is connected."""
        return aiortc_seam.path_of(self._connection)

    # --- the end ------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Ends the connection, its sockets and its threads; goes through also when everything is being cancelled."""
        ends_at = asyncio.get_running_loop().time() + _CLOSE_S
        cancelled: asyncio.CancelledError | None = None
        while self._closing is None or not self._closing.done() or self._closing.cancelled():
            if self._closing is None or self._closing.done():
                self._closing = asyncio.ensure_future(aiortc_seam.close_wholly(self._connection))
            left_s = ends_at - asyncio.get_running_loop().time()
            try:
                await asyncio.wait([self._closing], timeout=max(left_s, 0))
            except asyncio.CancelledError as error:
                cancelled = error
            if left_s <= 0:
                self._closing.cancel()
                break
        for slot in self._slots:
            slot.decoder.put(None)  # Its thread has ended, but for a program that is being torn down.
        if cancelled is not None:
            raise cancelled

    # --- inside -------------------------------------------------------------------------------------------------

    def _channel(self, label: str, *, is_lossy: bool) -> RTCDataChannel:
        channel = self._connection.createDataChannel(
            label, ordered=not is_lossy, maxRetransmits=0 if is_lossy else None
        )
        channel.bufferedAmountLowThreshold = CHANNEL_BYTES // 2
        channel.on("open", self._on_room)
        channel.on("bufferedamountlow", self._on_room)
        channel.on("message", self._message_came)
        return channel

    def _message_came(self, data: bytes | str) -> None:
        if isinstance(data, bytes):
            self._on_data(data)

    def _state_changed(self) -> None:
        self._on_state(self._connection.connectionState)

    def _track_came(self, track: MediaStreamTrack) -> None:
        for slot in self._slots:
            if slot.has_output(track):
                return

    def _transceiver_of(self, line: Line) -> RTCRtpTransceiver:
        return next(transceiver for transceiver, other in self._lines.items() if other is line)

    def _slot(self, mid: str) -> Slot | None:
        return next((slot for slot in self._slots if slot.transceiver.mid == mid), None)


def rtc_configuration(ice: IceSetup) -> RTCConfiguration:
    """The form that aiortc takes. Its own default would be a public STUN server."""
    servers = [
        RTCIceServer(
            urls=list(server.urls),
            username=server.username or None,
            credential=None if server.credential is None else server.credential.reveal(),
        )
        for server in ice.servers
    ]
    return RTCConfiguration(
        iceServers=servers,
        iceTransportPolicy=RTCIceTransportPolicy(ice.policy),
        bundlePolicy=RTCBundlePolicy.MAX_BUNDLE,
    )


def _buffered(channel: RTCDataChannel | None) -> int | None:
    return channel.bufferedAmount if channel is not None and channel.readyState == "open" else None


def _kind_of(transceiver: Any) -> MediaKind:
    return "audio" if transceiver.kind == "audio" else "video"

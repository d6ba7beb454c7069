"""
Everything here that reaches into aiortc or aioice behind their public names, and why.

Owns five seams. A receiver hands its frames to a decoder thread whether or not anybody looks: `SlotDecoder` stands
between the two and lets frames through while somebody reads. aioice leaves the loopback address out when it gathers,
and forgets the sockets that it has made when it is interrupted: `prepare_gathering`. A receiver's counters by source
(`arrived`). And the path: its addresses, and asking whether it is alive (`path_of`, `path_answers`). And
ending a connection for good, also one that is just being made (`end_quietly`, `close_wholly`).
Written for aiortc 1.16 and aioice 0.13; a test fails when one of the names is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import av
from aioice.stun import TransactionError
from aiortc import InvalidStateError, RTCPeerConnection, RTCRtpReceiver
from msgspec import Struct

from peerbus.client.webrtc.remote_track import DeliverFrame, OpenFrame
from peerbus.protocol.signals import MediaKind

_INPUT: Final = "_RTCRtpReceiver__decoder_queue"
"""What a receiver puts complete encoded frames into, and its decoder thread takes them out of."""
_STREAMS: Final = "_RTCRtpReceiver__remote_streams"
"""Its counters by source."""
_OWN_CLOSE: Final = "_RTCPeerConnection__closeTask"
_IS_CLOSED: Final = "_RTCPeerConnection__isClosed"
"""The task in which a connection closes itself, and the future that says it is closed."""
_CONNECT: Final = "_RTCPeerConnection__connect"
"""What a connection does in a task of its own, which nobody awaits."""
_GATHERING: Final = "peerbus_gathering"
"""The last task in which addresses were gathered, as an attribute of a connection."""
_GATHERING_END_S: Final = 0.5
"""How long a connection that ends waits for its own sockets, so that it knows them."""
_MOST_UNDECODED: Final[dict[MediaKind, int]] = {"video": 60, "audio": 100}
_KEYFRAME_RETRY_S: Final = 0.5
_LOOK_S: Final = 2.0


class Arrived(Struct, frozen=True, kw_only=True):
    """The packets of one source."""

    packets: int = 0
    lost: int = 0
    jitter_units: int = 0
    """In units of the RTP clock."""


class SlotDecoder:
    """
    The decoder of one slot, which works only between `start_decoding` and `stop_decoding`.

    Takes the place of the two queues around aiortc's decoder thread: the one it reads (`put`, `get`), and that of the
    receiver's track, where frames are put when they are decoded.
    """

    def __init__(self, kind: MediaKind, request_keyframe: Callable[[], None]) -> None:
        self.frames = 0
        """Complete frames that arrived."""
        self.bytes = 0
        """Their size."""
        self.frames_decoded = 0
        self.size: tuple[int, int] | None = None
        """Width and height as the last keyframe said; None for audio, and for codecs other than VP8."""
        self.kind: Final[MediaKind] = kind
        self._request_keyframe: Final = request_keyframe
        self._undecoded: Final[queue.SimpleQueue[Any]] = queue.SimpleQueue()
        self._deliver: DeliverFrame | None = None
        self._open: OpenFrame | None = None
        self._needs_keyframe = False
        self._asked_at = 0.0
        self._first_pts = 0

    def start_decoding(self, deliver: DeliverFrame, open_frame: OpenFrame) -> None:
        """See `remote_track.Decoding`."""
        self._deliver = deliver
        self._open = open_frame
        self._needs_keyframe = True
        self._ask()

    def stop_decoding(self, deliver: DeliverFrame) -> None:
        """See `remote_track.Decoding`."""
        if self._deliver == deliver:
            self._deliver = None

    def resume_with_keyframe(self) -> None:
        """Something was left out: what follows can't be decoded before the next keyframe."""
        if self._deliver is not None:
            self._needs_keyframe = True
            self._ask()

    # --- as the decoder's input: `put` in the event loop, `get` in the decoder thread ---------------------------------

    def put(self, item: Any) -> None:
        """A complete encoded frame as (codec, frame), or None at the end."""
        if item is not None:
            codec, frame = item
            self.frames += 1
            self.bytes += len(frame.data)
            self.size = vp8_size(frame.data) or self.size if codec.name.upper() == "VP8" else None
            if self._deliver is None or self._open is None:
                return
            opened = self._open(codec.name, frame.data)
            if opened is None:
                # The next picture may have lost its predecessor by this.
                self._needs_keyframe = True
                return
            frame.data = opened
            if not self._is_wanted(codec.name, frame):
                return
        self._undecoded.put(item)

    def get(self) -> Any:
        """Waits for the next one. Gives the end also when the program is ending without having closed the call."""
        while True:
            try:
                return self._undecoded.get(timeout=_LOOK_S)
            except queue.Empty:
                if not threading.main_thread().is_alive():
                    return None

    def _is_wanted(self, codec: str, frame: Any) -> bool:
        if self._undecoded.qsize() >= _MOST_UNDECODED[self.kind]:
            # The decoder is too slow; a picture that misses its predecessor is of no use.
            self._needs_keyframe = True
        if not self._needs_keyframe:
            return True
        if self.kind == "video" and not is_keyframe(codec, frame.data):
            if time.monotonic() - self._asked_at >= _KEYFRAME_RETRY_S:
                self._ask()
            return False
        self._needs_keyframe = False
        self._first_pts = frame.timestamp
        return True

    def _ask(self) -> None:
        if self.kind == "video":
            self._asked_at = time.monotonic()
            self._request_keyframe()

    # --- as the track's queue ---------------------------------------------------------------------------------------

    def as_output(self) -> _Output:
        """What takes the place of the track's queue."""
        return _Output(self._decoded)

    def _decoded(self, frame: av.AudioFrame | av.VideoFrame | None) -> None:
        if frame is None or self._deliver is None:
            return
        if self.kind == "video" and frame.pts is not None and frame.pts < self._first_pts:
            return  # It was still on its way when the slot's former publication ended.
        self.frames_decoded += 1
        self._deliver(frame)


class _Output:
    """The one method of the track's queue that is called."""

    def __init__(self, decoded: Callable[[Any], None]) -> None:
        self._decoded: Final = decoded

    async def put(self, frame: Any) -> None:
        """In the event loop: a decoded frame, or None at the end."""
        self._decoded(frame)


def take_decoder(receiver: RTCRtpReceiver, decoder: SlotDecoder) -> None:
    """Puts `decoder` before the receiver's decoder thread; before the first description is applied."""
    if not hasattr(receiver, _INPUT):
        raise AttributeError(f"this aiortc has no {_INPUT}; peerbus works with 1.16")
    setattr(receiver, _INPUT, decoder)


def take_output(receiver: RTCRtpReceiver, decoder: SlotDecoder) -> None:
    """Puts `decoder` behind it; when the receiver has its track, before media arrive."""
    track: Any = receiver.track
    if not hasattr(track, "_queue"):
        raise AttributeError("this aiortc's remote tracks have no _queue; peerbus works with 1.16")
    track._queue = decoder.as_output()  # noqa: SLF001 - this module is the place for it


def picture_loss(receiver: RTCRtpReceiver, ssrc: int) -> Coroutine[Any, Any, None]:
    """Asks the sender for a keyframe (RFC 4585, section 6.3.1)."""
    send: Callable[[int], Coroutine[Any, Any, None]] = receiver._send_rtcp_pli  # noqa: SLF001 - see above
    return send(ssrc)


def arrived(receiver: RTCRtpReceiver, ssrc: int) -> Arrived:
    """What arrived from one source; the public statistics have one entry for media and retransmissions together."""
    stream = getattr(receiver, _STREAMS).get(ssrc)
    if stream is None:
        return Arrived()
    return Arrived(packets=stream.packets_received, lost=stream.packets_lost, jitter_units=stream.jitter)


def end_quietly(connection: RTCPeerConnection) -> None:
    """
    What ends a connection while it is made is told by its state, or by the silence; it is no exception of a lost task.

    For a new connection.
    """
    connect: Callable[[], Coroutine[Any, Any, None]] = getattr(connection, _CONNECT)

    async def connect_unless_it_ends() -> None:
        with contextlib.suppress(InvalidStateError, ConnectionError):
            await connect()

    setattr(connection, _CONNECT, connect_unless_it_ends)


def prepare_gathering(connection: RTCPeerConnection, *, on_loopback: bool) -> None:
    """
    Before the first description of a connection with data: whoever is cancelled meanwhile leaves no socket open.

    With `on_loopback` the address 127.0.0.1 is one of its own.
    """
    ice = _ice_of(connection)
    gather: Callable[..., Coroutine[Any, Any, list[Any]]] = ice.get_component_candidates

    async def gather_wholly(component: int, addresses: list[str]) -> list[Any]:
        here = [*addresses, "127.0.0.1"] if on_loopback else addresses
        gathering = asyncio.create_task(gather(component=component, addresses=here), name="peerbus-gathering")
        setattr(connection, _GATHERING, gathering)
        return await asyncio.shield(gathering)

    ice.get_component_candidates = gather_wholly


def ask_again(receiver: RTCRtpReceiver, ssrc: int, missing: list[int]) -> Coroutine[Any, Any, None]:
    """Asks the sender for these packets (RFC 4585, section 6.2.1)."""
    send: Callable[[int, list[int]], Coroutine[Any, Any, None]] = receiver._send_rtcp_nack  # noqa: SLF001 - see above
    return send(ssrc, missing)


async def path_answers(connection: RTCPeerConnection) -> bool:
    """Asks the other end of the path once, by a check of ICE (RFC 8445, section 7); waits for the answer for 0.5 s."""
    ice = _ice_of(connection)
    for pair in list(ice._nominated.values()):  # noqa: SLF001 - see above
        request = ice.build_request(pair, nominate=False)
        key = ice.remote_password.encode()
        try:
            await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
        except (TransactionError, OSError):
            continue
        return True
    return False


def packets_received(connection: RTCPeerConnection) -> int:
    """How many datagrams came so far over a connection with data; the public report needs a transceiver."""
    assert connection.sctp is not None
    report = connection.sctp.transport._get_stats()  # noqa: SLF001 - see above
    return next((entry.packetsReceived for entry in report.values() if entry.type == "transport"), 0)


def path_of(connection: RTCPeerConnection) -> tuple[str, str] | None:
    """The addresses of both ends of the path, with ports; None before there is one."""
    ice = _ice_of(connection)
    for pair in ice._nominated.values():  # noqa: SLF001 - see above
        (local, port), (remote, remote_port) = pair.local_addr[:2], pair.remote_addr[:2]
        return f"{local}:{port}", f"{remote}:{remote_port}"
    return None


def _ice_of(connection: RTCPeerConnection) -> Any:
    """The part of a connection that is aioice; everything is bundled on one."""
    if connection.sctp is not None:
        return connection.sctp.transport.transport._connection  # noqa: SLF001 - see above
    return connection.getTransceivers()[0].receiver.transport.transport._connection  # noqa: SLF001 - see above


async def close_wholly(connection: RTCPeerConnection) -> None:
    """
    Closes a connection, also one whose closing was cancelled halfway.

    aiortc closes a connection by itself when the other side did. A program that ends cancels all its tasks, and a close
    that was cancelled leaves every other one waiting for it. Called once at a time.
    """
    gathering: asyncio.Task[list[Any]] | None = getattr(connection, _GATHERING, None)
    if gathering is not None and not gathering.done():
        await asyncio.wait([gathering], timeout=_GATHERING_END_S)
        gathering.cancel()
        await asyncio.wait([gathering])
    own: asyncio.Task[None] | None = getattr(connection, _OWN_CLOSE)
    if own is not None:
        await asyncio.wait([own])
    begun: asyncio.Future[bool] | None = getattr(connection, _IS_CLOSED)
    if begun is not None and not begun.done():
        setattr(connection, _IS_CLOSED, None)
    await connection.close()
    if gathering is not None:
        # If it had closed itself before all were there.
        protocols: list[Any] = _ice_of(connection)._protocols  # noqa: SLF001 - see above
        while protocols:
            await protocols.pop().close()


def vp8_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a VP8 keyframe (RFC 6386, section 9.1); None for other frames."""
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        return None
    return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF


def is_keyframe(codec: str, data: bytes) -> bool:
    """
    Whether an encoded frame can be decoded without another before it.

    VP8: RFC 6386, section 9.1 (the first bit is clear, and there is a start code). H.264: one of its NAL units is an
    IDR picture or a parameter set. Of other codecs every frame is taken for one.
    """
    name = codec.upper()
    if name == "VP8":
        return vp8_size(data) is not None
    if name == "H264":
        at = data.find(b"\0\0\1")
        while at >= 0 and at + 3 < len(data):
            if data[at + 3] & 0x1F in (5, 7):
                return True
            at = data.find(b"\0\0\1", at + 3)
        return False
    return True

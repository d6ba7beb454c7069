"""What is reached into behind aiortc's public names still stands, and does what it did."""

from __future__ import annotations

import asyncio
import gc
import threading
from types import SimpleNamespace
from typing import Any

import av
import pytest
from aiortc import (
    InvalidStateError,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
)

from peerbus.client.webrtc import aiortc_seam
from peerbus.client.webrtc.aiortc_seam import Arrived, SlotDecoder, is_keyframe, vp8_size

VP8 = SimpleNamespace(name="VP8")
KEYFRAME = bytes([0x10, 0, 0]) + b"\x9d\x01\x2a" + (320).to_bytes(2, "little") + (240).to_bytes(2, "little")
DELTA = bytes([0x11, 0, 0, 0])


def encoded(data: bytes, timestamp: int = 0) -> Any:
    return VP8, SimpleNamespace(data=data, timestamp=timestamp)


def connection() -> RTCPeerConnection:
    return RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))


async def connect(client: RTCPeerConnection, server: RTCPeerConnection) -> None:
    await client.setLocalDescription(await client.createOffer())
    offer = client.localDescription
    await server.setRemoteDescription(RTCSessionDescription(sdp=offer.sdp, type="offer"))
    await server.setLocalDescription(await server.createAnswer())
    answer = server.localDescription
    await client.setRemoteDescription(RTCSessionDescription(sdp=answer.sdp, type="answer"))
    connected = asyncio.Event()

    def note() -> None:
        if client.connectionState == "connected":
            connected.set()

    client.on("connectionstatechange", note)
    await connected.wait()


async def test_the_names_are_there() -> None:
    client = connection()
    try:
        receiver = client.addTransceiver("video", direction="recvonly").receiver
        decoder = SlotDecoder("video", lambda: None)
        assert aiortc_seam.arrived(receiver, 1) == Arrived()
        aiortc_seam.take_decoder(receiver, decoder)
        assert getattr(receiver, aiortc_seam._INPUT) is decoder
        request = aiortc_seam.picture_loss(receiver, 1)
        assert asyncio.iscoroutine(request)
        await request
        assert aiortc_seam.path_of(client) is None
        assert not await aiortc_seam.path_answers(client)
    finally:
        await client.close()


async def test_a_receiver_without_the_names_is_an_error_that_says_so() -> None:
    other: Any = SimpleNamespace(track=SimpleNamespace())
    decoder = SlotDecoder("audio", lambda: None)
    with pytest.raises(AttributeError, match=r"works with 1\.16"):
        aiortc_seam.take_decoder(other, decoder)
    with pytest.raises(AttributeError, match=r"works with 1\.16"):
        aiortc_seam.take_output(other, decoder)


async def test_loopback_is_among_the_addresses_and_the_path_answers() -> None:
    client, server = connection(), connection()
    try:
        for side in (client, server):
            side.addTransceiver("audio", direction="recvonly" if side is client else "sendonly")
            aiortc_seam.prepare_gathering(side, on_loopback=True)
        await connect(client, server)
        assert " 127.0.0.1 " in client.localDescription.sdp
        assert await aiortc_seam.path_answers(client)
        path = aiortc_seam.path_of(client)
        assert path is not None
        assert all(":" in address for address in path)
    finally:
        await client.close()
        await server.close()
    assert not [thread for thread in threading.enumerate() if "decoder" in thread.name]


@pytest.mark.parametrize(
    "error", [InvalidStateError("RTCIceTransport is closed"), ConnectionError("not connected")]
)
async def test_what_ends_a_connection_while_it_is_made_is_no_lost_exception(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    client, server = connection(), connection()
    aiortc_seam.end_quietly(client)
    client.createDataChannel("data")
    assert client.sctp is not None
    has_begun = asyncio.Event()

    async def fail(parameters: object) -> None:
        has_begun.set()
        raise error

    monkeypatch.setattr(client.sctp.transport.transport, "start", fail)
    await client.setLocalDescription(await client.createOffer())
    await server.setRemoteDescription(client.localDescription)
    await server.setLocalDescription(await server.createAnswer())
    await client.setRemoteDescription(server.localDescription)
    await has_begun.wait()
    await asyncio.sleep(0)
    await client.close()
    await server.close()
    gc.collect()
    assert lost == []


@pytest.mark.parametrize("closes_itself", [False, True])
async def test_who_is_cancelled_while_addresses_are_gathered_leaves_no_socket(
    closes_itself: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    bind, transports = loop.create_datagram_endpoint, list[asyncio.DatagramTransport]()
    is_first = asyncio.Event()

    async def slow_bind(*args: Any, **options: Any) -> Any:
        endpoint = await bind(*args, **options)
        transports.append(endpoint[0])
        is_first.set()
        await asyncio.sleep(0.02)
        return endpoint

    monkeypatch.setattr(loop, "create_datagram_endpoint", slow_bind)
    client = connection()
    client.createDataChannel("data")
    aiortc_seam.prepare_gathering(client, on_loopback=True)
    describing = asyncio.create_task(client.setLocalDescription(await client.createOffer()))
    await is_first.wait()
    describing.cancel()
    if closes_itself:
        await client.close()
    await aiortc_seam.close_wholly(client)
    assert len(transports) >= 2
    assert all(transport.is_closing() for transport in transports)


class Asked:
    """Counts how often a keyframe was asked for."""

    count = 0

    def __call__(self) -> None:
        self.count += 1


def as_it_is(codec: str, data: bytes) -> bytes:
    """A frame that is not sealed."""
    return data


async def output(decoder: SlotDecoder, frame: av.VideoFrame | None) -> None:
    """What aiortc's decoder thread does with a frame."""
    receiver: Any = SimpleNamespace(track=SimpleNamespace(_queue=None))
    aiortc_seam.take_output(receiver, decoder)
    await receiver.track._queue.put(frame)


def waiting(decoder: SlotDecoder) -> int:
    return decoder._undecoded.qsize()


def test_nothing_is_decoded_that_nobody_reads() -> None:
    decoder = SlotDecoder("video", Asked())
    decoder.put(encoded(KEYFRAME))
    decoder.put(encoded(DELTA))
    assert waiting(decoder) == 0
    assert (decoder.frames, decoder.bytes, decoder.size) == (2, len(KEYFRAME) + len(DELTA), (320, 240))


async def test_reading_begins_with_a_keyframe_that_is_asked_for() -> None:
    asked, frames = Asked(), list[Any]()
    decoder = SlotDecoder("video", asked)
    decoder.start_decoding(frames.append, as_it_is)
    assert asked.count == 1
    decoder.put(encoded(DELTA, 1))
    assert waiting(decoder) == 0
    decoder.put(encoded(KEYFRAME, 2))
    decoder.put(encoded(DELTA, 3))
    assert [decoder.get()[1].timestamp for _ in range(2)] == [2, 3]

    early, frame = av.VideoFrame(16, 16), av.VideoFrame(16, 16)
    early.pts, frame.pts = 1, 2
    await output(decoder, early)
    await output(decoder, frame)
    assert frames == [frame]
    assert decoder.frames_decoded == 1


def test_a_frame_is_opened_before_it_is_decoded_and_a_refused_one_never_is() -> None:
    asked, refused = Asked(), {b"bad"}
    decoder = SlotDecoder("video", asked)
    decoder.start_decoding(
        lambda frame: None, lambda codec, data: None if data[-3:] in refused else data + codec.encode()
    )
    for data in (KEYFRAME, DELTA, DELTA + b"bad", DELTA, KEYFRAME + b"bad", KEYFRAME, DELTA):
        decoder.put(encoded(data))
    frames = [decoder.get()[1].data for _ in range(waiting(decoder))]
    # What follows a frame that is missing waits for a keyframe.
    assert frames == [one + b"VP8" for one in (KEYFRAME, DELTA, KEYFRAME, DELTA)]
    assert (decoder.frames, asked.count) == (7, 1)


async def test_only_its_own_reader_stops_it() -> None:
    first, second = list[Any](), list[Any]()
    decoder = SlotDecoder("audio", Asked())
    begin, other = first.append, second.append
    decoder.start_decoding(begin, as_it_is)
    decoder.start_decoding(other, as_it_is)
    decoder.stop_decoding(begin)
    decoder.put(encoded(DELTA))
    assert waiting(decoder) == 1
    decoder.stop_decoding(other)
    decoder.put(encoded(DELTA))
    assert waiting(decoder) == 1
    await output(decoder, av.VideoFrame(16, 16))
    assert (first, second) == ([], [])


def test_a_decoder_that_is_too_slow_goes_on_with_a_keyframe() -> None:
    decoder = SlotDecoder("video", Asked())
    decoder.start_decoding(lambda frame: None, as_it_is)
    decoder.put(encoded(KEYFRAME))
    for _ in range(200):
        decoder.put(encoded(DELTA))
    assert waiting(decoder) == aiortc_seam._MOST_UNDECODED["video"]


async def test_the_end_reaches_the_thread() -> None:
    decoder = SlotDecoder("audio", Asked())
    decoder.put(None)
    assert await asyncio.to_thread(decoder.get) is None
    await output(decoder, None)


@pytest.mark.parametrize(
    ("codec", "data", "expected"),
    [
        ("VP8", KEYFRAME, True),
        ("VP8", DELTA, False),
        ("VP8", b"", False),
        ("H264", b"\0\0\0\1\x67abc\0\0\1\x65x", True),
        ("H264", b"\0\0\1\x41abc", False),
        ("H264", b"\0\0\1", False),
        ("opus", b"\x01", True),
    ],
)
def test_keyframes_are_told_from_others(codec: str, data: bytes, expected: bool) -> None:
    assert is_keyframe(codec, data) is expected


def test_sizes_stand_in_keyframes_only() -> None:
    assert vp8_size(KEYFRAME) == (320, 240)
    assert vp8_size(DELTA) is None
    assert vp8_size(KEYFRAME[:9]) is None


def test_the_receiver_is_the_one_that_was_written_for() -> None:
    assert hasattr(RTCRtpReceiver, "_send_rtcp_pli")

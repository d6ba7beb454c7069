"""The seam in aiortc's sender: every frame goes through it, and it is noticed when the seam is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCRtpTransceiver
from aiortc.codecs import depayload
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from peerbus.client.webrtc import media_seam
from peerbus.client.webrtc.frame_sealing import FrameCodec
from peerbus.client.webrtc.media_seam import SealingOpusEncoder, SealingVp8Encoder
from peerbus.sfu.rtp.codecs import is_vp8_keyframe_start

MARK = b"sealed"


class Marked:
    """Marks what it seals, beginning and length kept readable as a real one does."""

    def __init__(self) -> None:
        self.frames: list[tuple[FrameCodec, bytes]] = []
        self.is_ready = True

    def __call__(self, codec: FrameCodec, frame: bytes) -> bytes | None:
        self.frames.append((codec, frame))
        return frame[:10] + MARK * (len(frame) // len(MARK)) if self.is_ready else None


def picture(number: int = 0) -> av.VideoFrame:
    frame = av.VideoFrame(640, 480)
    for plane in frame.planes:
        plane.update(bytes((at * 31 * (number + 1)) & 0xFF for at in range(plane.buffer_size)))
    frame.pts, frame.time_base = number * 3_000, Fraction(1, 90_000)
    return frame


def sound(number: int = 0) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="stereo", samples=960)
    frame.planes[0].update(bytes(at & 0xFF for at in range(frame.planes[0].buffer_size)))
    frame.sample_rate, frame.pts, frame.time_base = 48_000, number * 960, Fraction(1, 48_000)
    return frame


@pytest.fixture
async def connection() -> AsyncIterator[RTCPeerConnection]:
    one = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    yield one
    await one.close()


def test_a_picture_is_sealed_before_it_becomes_packets() -> None:
    seal = Marked()
    encoder = SealingVp8Encoder(seal)
    payloads, timestamp = encoder.encode(picture(), force_keyframe=True)
    ((codec, frame),) = seal.frames
    assert (codec, timestamp) == ("vp8", 0)
    assert len(payloads) > 1
    assert is_vp8_keyframe_start(memoryview(payloads[0]))
    vp8 = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90_000, payloadType=96)
    assert b"".join(depayload(vp8, payload) for payload in payloads) == frame[:10] + MARK * (len(frame) // 6)
    assert encoder._packetize(b"", 0) == []
    assert len(seal.frames) == 1


def test_sound_is_sealed_packet_by_packet() -> None:
    seal = Marked()
    encoder = SealingOpusEncoder(seal)
    payloads = [payload for number in range(3) for payload in encoder.encode(sound(number))[0]]
    assert payloads == [frame[:10] + MARK * (len(frame) // 6) for _, frame in seal.frames]
    assert payloads
    packet: av.Packet[Any] = av.Packet(b"ready-made packet")
    packet.pts, packet.time_base = 0, Fraction(1, 48_000)
    assert encoder.pack(packet) == ([b"ready-made" + MARK * 2], 0)


def test_what_cannot_be_sealed_is_not_sent() -> None:
    seal = Marked()
    seal.is_ready = False
    assert SealingVp8Encoder(seal).encode(picture())[0] == []
    encoder = SealingOpusEncoder(seal)
    assert [encoder.encode(sound(number))[0] for number in range(3)] == [[]] * 3
    assert {codec for codec, _ in seal.frames} == {"vp8", "opus"}


@pytest.mark.parametrize("kind", ["audio", "video"])
async def test_the_sender_of_this_aiortc_takes_the_encoder_from_the_seam(
    connection: RTCPeerConnection, kind: str
) -> None:
    """The canary: if it fails, aiortc was changed, and calls would not be encrypted."""

    class Track(MediaStreamTrack):
        async def recv(self) -> Any:
            return picture() if self.kind == "video" else sound()

    Track.kind = kind
    seal = Marked()
    transceiver: RTCRtpTransceiver = connection.addTransceiver(Track(), direction="sendonly")
    media_seam.seal_sender(transceiver, seal)
    # A codec that the seam does not seal: what it would be encoded in without the seam.
    other = "video/H264" if kind == "video" else "audio/PCMU"
    codec = RTCRtpCodecParameters(mimeType=other, clockRate=8_000, payloadType=0)
    encoded = None
    async with asyncio.timeout(10):
        while encoded is None:
            encoded = await transceiver.sender._next_encoded_frame(codec)
    assert seal.frames
    assert all(MARK in payload for payload in encoded.payloads)


async def test_only_codecs_that_can_be_sealed_are_offered(connection: RTCPeerConnection) -> None:
    media_seam.seal_sender(connection.addTransceiver("video", direction="sendonly"), Marked())
    media_seam.prefer_sealable(connection.addTransceiver("video", direction="recvonly"))
    media_seam.prefer_sealable(connection.addTransceiver("audio", direction="recvonly"))
    offer = (await connection.createOffer()).sdp
    maps = {line.split(" ")[1] for line in offer.splitlines() if line.startswith("a=rtpmap:")}
    assert maps == {"VP8/90000", "rtx/90000", "opus/48000/2"}


async def test_a_sender_without_the_name_is_an_error_that_says_so(connection: RTCPeerConnection) -> None:
    other: Any = SimpleNamespace(sender=SimpleNamespace(), kind="audio")
    with pytest.raises(AttributeError, match=r"works with 1\.16"):
        media_seam.seal_sender(other, Marked())
    transceiver = connection.addTransceiver("audio", direction="sendonly")
    media_seam.seal_sender(transceiver, Marked())
    with pytest.raises(AttributeError, match="still empty"):
        media_seam.seal_sender(transceiver, Marked())

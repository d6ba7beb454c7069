"""Lost packets are asked for again, and at last done without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCRtpReceiver
from aiortc.rtp import RtpPacket

from peerbus.client.webrtc.packet_repair import ASK_AGAIN_MS, GIVE_UP_MS, PacketRepair, route_repairs
from peerbus.protocol.signals import MediaKind


@pytest.fixture
async def receiver() -> AsyncIterator[RTCRtpReceiver]:
    """A receiver of video as aiortc makes it."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    yield connection.addTransceiver("video", direction="recvonly").receiver
    await connection.close()


class Feeding:
    """Puts packets into a receiver as aiortc itself does, two for each frame."""

    def __init__(self, receiver: RTCRtpReceiver, kind: MediaKind = "video") -> None:
        self.skips = 0
        inner: Any = receiver
        self.nacks = inner._RTCRtpReceiver__nack_generator
        self.buffer = inner._RTCRtpReceiver__jitter_buffer
        inner._RTCRtpReceiver__codecs[0] = self.codec = object()
        self.decoded: list[int] = []
        self.repair = PacketRepair(receiver, kind, decode=self._decode, on_skip=self._skipped)

    def _decode(self, item: Any) -> None:
        codec, frame = item
        assert codec is self.codec
        self.decoded.append(frame.timestamp)

    def _skipped(self) -> None:
        self.skips += 1

    def put(self, *numbers: int, packets_a_frame: int = 2) -> list[int]:
        """The timestamps of the frames that aiortc hands on with these packets."""
        complete: list[int] = []
        for number in numbers:
            packet: Any = RtpPacket(
                sequence_number=number % 65_536, timestamp=number // packets_a_frame, payload=b"x"
            )
            packet._data = b"x"
            if self.nacks is not None:
                self.nacks.add(packet)
            _, frame = self.buffer.add(packet)
            if frame is not None:
                complete.append(frame.timestamp)
        return complete


async def test_nothing_is_asked_for_when_nothing_is_missing(receiver: RTCRtpReceiver) -> None:
    feeding = Feeding(receiver)
    assert feeding.repair.tick(0) == []
    assert feeding.put(10, 11, 12) == [5]
    assert feeding.repair.tick(ASK_AGAIN_MS) == []


@pytest.mark.parametrize("start", [10, 65_530])
async def test_what_is_missing_is_asked_for_until_it_comes(receiver: RTCRtpReceiver, start: int) -> None:
    feeding = Feeding(receiver)
    feeding.put(start, start + 1, start + 2)
    feeding.put(start + 5, start + 6, start + 8)
    missing = sorted((start + number) % 65_536 for number in (3, 4, 7))
    for tick in range(5):
        assert feeding.repair.tick(tick * ASK_AGAIN_MS) == missing
    assert feeding.put(start + 3, start + 4) == [start // 2 + 1]
    assert feeding.repair.tick(600) == [(start + 7) % 65_536]
    # The frame that was complete as well did not wait for another packet. Its timestamp counts from the first.
    assert feeding.decoded == [0]
    assert feeding.skips == 0


@pytest.mark.parametrize("start", [10, 65_530])
async def test_it_goes_on_without_what_never_comes(receiver: RTCRtpReceiver, start: int) -> None:
    feeding = Feeding(receiver)
    feeding.put(start, start + 1, start + 2)
    assert feeding.put(*(start + number for number in range(4, 10))) == []
    assert feeding.repair.tick(0) == [(start + 3) % 65_536]
    assert feeding.repair.tick(GIVE_UP_MS["video"] - 1) == [(start + 3) % 65_536]
    assert feeding.repair.tick(GIVE_UP_MS["video"]) == []
    assert feeding.skips == 1
    assert feeding.nacks.missing == set()
    assert feeding.repair.tick(GIVE_UP_MS["video"] + ASK_AGAIN_MS) == []
    # The picture with the hole is left out, the next ones come at once.
    assert feeding.decoded == [0, 1]
    assert feeding.put(start + 10) == [start // 2 + 4]


async def test_another_hole_is_waited_for_anew(receiver: RTCRtpReceiver) -> None:
    feeding = Feeding(receiver)
    feeding.put(10, 11, 12, 14, 15, 16, 18)
    assert feeding.repair.tick(0) == [13, 17]
    feeding.put(13)
    assert feeding.repair.tick(GIVE_UP_MS["video"]) == [17]
    assert feeding.skips == 0
    assert feeding.repair.tick(2 * GIVE_UP_MS["video"]) == []
    assert feeding.skips == 1


async def test_sound_goes_on_soon_and_without_delay() -> None:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    feeding = Feeding(connection.addTransceiver("audio", direction="recvonly").receiver, "audio")

    def put(number: int) -> list[int]:
        return feeding.put(number, packets_a_frame=1)

    for number in range(6):
        put(number)
    for number in range(7, 13):
        assert put(number) == []
    assert feeding.repair.tick(0) == []
    assert feeding.decoded == []
    assert feeding.repair.tick(GIVE_UP_MS["audio"]) == []
    # All that came before the hole, and of what came after it all but the four packets that always wait.
    assert feeding.decoded == [0, 1, 2, 3, 5, 6]
    assert put(13) == [9]
    assert feeding.skips == 0
    await connection.close()


async def test_retransmissions_find_their_receiver(receiver: RTCRtpReceiver) -> None:
    transport: Any = receiver.transport
    route_repairs(receiver, 77)
    router = transport._rtp_router
    assert router.route_rtp(RtpPacket(ssrc=77, payload_type=98)) is None
    router.register_receiver(receiver, ssrcs=[76], payload_types=[97, 98])
    router.register_receiver(object(), ssrcs=[66], payload_types=[97, 98])
    assert router.route_rtp(RtpPacket(ssrc=77, payload_type=98)) is receiver

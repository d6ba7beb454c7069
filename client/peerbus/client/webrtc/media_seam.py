"""
Where frames are sealed inside aiortc: between its encoder and its packets.

Owns the private names that this takes, and the codecs that can be sealed. Never holds a key: what seals is passed in
(`frame_sealing`). The way in needs no further seam: what `aiortc_seam` puts before the decoder thread opens frames.

A sender makes its encoder at its first frame, unless it has one already: one that seals is put there before. Encoders
work in a thread. Written for aiortc 1.16; a test fails when one of the names is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from aiortc import RTCRtpSender, RTCRtpTransceiver
from aiortc.codecs.opus import OpusEncoder
from aiortc.codecs.vpx import Vp8Encoder
from av.frame import Frame
from av.packet import Packet

from peerbus.client.webrtc.frame_sealing import FrameCodec

SealFrame: TypeAlias = Callable[[FrameCodec, bytes], bytes | None]
"""Gives the sealed frame; None if it may not be sent."""

_ENCODER: Final = "_RTCRtpSender__encoder"
_SEALABLE: Final = frozenset({"audio/opus", "video/vp8", "video/rtx"})


class SealingVp8Encoder(Vp8Encoder):
    """Seals each picture before it is cut into packets, whose descriptors (RFC 7741) stay as they are."""

    def __init__(self, seal: SealFrame) -> None:
        super().__init__()
        self._seal: Final = seal

    def _packetize(self, buffer: bytes, picture_id: int) -> list[bytes]:  # type: ignore[override]  # a classmethod there
        sealed = self._seal("vp8", buffer) if buffer else None
        return [] if sealed is None else super()._packetize(sealed, picture_id)


class SealingOpusEncoder(OpusEncoder):
    """Seals each packet, which is a frame."""

    def __init__(self, seal: SealFrame) -> None:
        super().__init__()
        self._seal: Final = seal

    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], Any]:
        """See aiortc."""
        payloads, timestamp = super().encode(frame, force_keyframe)
        return self._sealed(payloads), timestamp

    def pack(self, packet: Packet[Any]) -> tuple[list[bytes], int]:
        """See aiortc."""
        payloads, timestamp = super().pack(packet)
        return self._sealed(payloads), timestamp

    def _sealed(self, payloads: list[bytes]) -> list[bytes]:
        sealed = (self._seal("opus", payload) for payload in payloads)
        return [payload for payload in sealed if payload is not None]


def seal_sender(transceiver: RTCRtpTransceiver, seal: SealFrame) -> None:
    """Has everything sealed that this transceiver will send; before its first description."""
    sender = transceiver.sender
    if getattr(sender, _ENCODER, "missing") is not None:
        raise AttributeError(f"this aiortc has no {_ENCODER} that is still empty; peerbus works with 1.16")
    encoder = SealingOpusEncoder(seal) if transceiver.kind == "audio" else SealingVp8Encoder(seal)
    setattr(sender, _ENCODER, encoder)
    prefer_sealable(transceiver)


def prefer_sealable(transceiver: RTCRtpTransceiver) -> None:
    """Offers no codec that can't be sealed."""
    codecs = RTCRtpSender.getCapabilities(transceiver.kind).codecs
    transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType.lower() in _SEALABLE])

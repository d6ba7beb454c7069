"""
A picture and a tone made up on the spot, for bots and for trying things out.

Owns what they look and sound like. Never paces anything: whoever publishes them does.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import Final

import av

from peerbus.client.webrtc.frames import BLOCK_SAMPLES, SAMPLE_RATE_HZ, fill_plane

_BAR_PIXELS: Final = 32
_BAR_SPEED: Final = 120
"""Pixels a second."""
_GREY: Final = 40
_WHITE: Final = 220


async def picture(
    width: int = 640, height: int = 480, *, fps: float = 15.0, tint: tuple[int, int] = (150, 110)
) -> AsyncIterator[av.VideoFrame]:
    """
    A white bar that runs over a dark ground, for ever.

    `tint` is the colour as the two chroma values of YUV, 128 for none. `width` and `height` are even.
    """
    chroma_width, chroma_height = width // 2, height // 2
    for number in range(1 << 62):
        left = int(number * _BAR_SPEED / fps) % width
        row = bytearray([_GREY]) * width
        for x in range(left, left + _BAR_PIXELS):
            row[x % width] = _WHITE
        frame = av.VideoFrame(width, height, "yuv420p")
        fill_plane(frame.planes[0], bytes(row) * height, width)
        for plane, value in zip(frame.planes[1:], tint, strict=True):
            fill_plane(plane, bytes([value]) * (chroma_width * chroma_height), chroma_width)
        frame.pts = int(number * 90_000 / fps)
        frame.time_base = Fraction(1, 90_000)
        yield frame


async def tone(hertz: float = 440.0, *, level: float = 0.25) -> AsyncIterator[bytes]:
    """A sine wave for ever, as blocks of 20 ms: 48 kHz, 16 bits, one channel. `level` is from 0 to 1."""
    step = 2 * math.pi * hertz / SAMPLE_RATE_HZ
    for start in range(0, 1 << 62, BLOCK_SAMPLES):
        samples = (math.sin(step * at) * level * 32_767 for at in range(start, start + BLOCK_SAMPLES))
        yield array("h", (int(sample) for sample in samples)).tobytes()


def level_dbfs(pcm: bytes) -> float:
    """How loud 16-bit samples are, in dB below full scale; -96 for silence."""
    samples = memoryview(pcm).cast("h")
    if not len(samples):
        return -96.0
    mean = sum(sample * sample for sample in samples) / len(samples)
    return max(-96.0, 10 * math.log10(mean / 32_768**2)) if mean else -96.0

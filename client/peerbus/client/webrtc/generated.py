"""
A picture and a tone made up on the spot, for bots and for trying things out.

Owns what they look and sound like. Never paces anything: whoever publishes them does.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import AsyncIterator
from fractions import Fraction
from itertools import count
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
    chroma_width = width // 2
    chroma = [bytes([value]) * (chroma_width * (height // 2)) for value in tint]
    for number in count():
        left = int(number * _BAR_SPEED / fps) % width
        row = bytearray([_GREY]) * width
        for x in range(left, left + _BAR_PIXELS):
            row[x % width] = _WHITE
        frame = av.VideoFrame(width, height, "yuv420p")
        fill_plane(frame.planes[0], bytes(row) * height, width)
        for plane, data in zip(frame.planes[1:], chroma, strict=True):
            fill_plane(plane, data, chroma_width)
        frame.pts = int(number * 90_000 / fps)
        frame.time_base = Fraction(1, 90_000)
        yield frame


async def tone(hertz: int = 440, *, level: float = 0.25) -> AsyncIterator[bytes]:
    """A sine wave for ever, as blocks of 20 ms: 48 kHz, 16 bits, one channel. `level` is from 0 to 1."""
    step = 2 * math.pi * hertz / SAMPLE_RATE_HZ
    # A whole number of periods goes into a second, so one second is enough.
    second = array("h", (int(math.sin(step * at) * level * 32_767) for at in range(SAMPLE_RATE_HZ)))
    blocks = [second[at : at + BLOCK_SAMPLES].tobytes() for at in range(0, SAMPLE_RATE_HZ, BLOCK_SAMPLES)]
    while True:
        for block in blocks:
            yield block


def level_dbfs(pcm: bytes) -> float:
    """How loud 16-bit samples are, in dB below full scale; -96 for silence."""
    samples = memoryview(pcm).cast("h")
    if not len(samples):
        return -96.0
    mean = sum(sample * sample for sample in samples) / len(samples)
    return max(-96.0, 10 * math.log10(mean / 32_768**2)) if mean else -96.0

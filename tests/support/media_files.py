"""Short media files, made for a test."""

from __future__ import annotations

import math
from array import array
from fractions import Fraction
from pathlib import Path

import av

RATE = 48_000


def write_film(
    path: Path,
    *,
    seconds: float = 1.0,
    fps: int = 10,
    size: tuple[int, int] = (64, 48),
    video: bool = True,
    audio: bool = True,
) -> Path:
    """A grey picture that gets brighter, and a tone of 440 Hz; the container is that of the path's suffix."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=fps) if video else None
        sound = container.add_stream("pcm_s16le", rate=RATE) if audio else None
        if picture is not None:
            picture.width, picture.height = size
            picture.pix_fmt = "yuv420p"
        if sound is not None:
            sound.layout = "mono"
        for number in range(int(seconds * fps)):
            if picture is not None:
                frame = av.VideoFrame(*size, "yuv420p")
                for plane, value in zip(frame.planes, (40 + number * 4, 128, 128), strict=True):
                    plane.update(bytes([value]) * plane.buffer_size)
                frame.pts, frame.time_base = number, Fraction(1, fps)
                container.mux(picture.encode(frame))
            if sound is not None:
                samples = RATE // fps
                block = av.AudioFrame(format="s16", layout="mono", samples=samples)
                start = number * samples
                wave = (
                    math.sin(2 * math.pi * 440 * at / RATE) * 8_000 for at in range(start, start + samples)
                )
                block.planes[0].update(array("h", (int(sample) for sample in wave)).tobytes())
                block.sample_rate = RATE
                block.pts, block.time_base = start, Fraction(1, RATE)
                container.mux(sound.encode(block))
        for stream in (picture, sound):
            if stream is not None:
                container.mux(stream.encode(None))
    return path

"""
Frames made of what programs have: bytes, arrays, frames of av.

Owns the conversion of one item. Never paces anything. Arrays are read by the buffer protocol, so numpy's work and numpy
is not needed. Every refusal is a `PeerbusError` (`bad_request`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import av

from peerbus.client.errors import ErrorCode, PeerbusError

SAMPLE_RATE_HZ: Final = 48_000
"""The rate that Opus works with (RFC 7587)."""
BLOCK_SAMPLES: Final = 960
"""20 ms."""

_SAMPLE_FORMATS: Final = {"B": ("s16", 2), "b": ("s16", 2), "c": ("s16", 2), "h": ("s16", 2), "f": ("flt", 4)}
_PIXEL_FORMATS: Final = {3: "rgb24", 4: "rgba"}
_LAYOUTS: Final = {1: "mono", 2: "stereo"}


def audio_frame(item: Any, *, sample_rate: int, channels: int) -> av.AudioFrame:
    """
    A block of PCM: an `av.AudioFrame`, bytes (16 bits, little-endian, interleaved), or an array of int16 or float32.

    Its `pts` is left empty, unless it is a frame that has one.
    """
    if isinstance(item, av.AudioFrame):
        return item
    if channels not in _LAYOUTS:
        raise _refused(f"Audio has 1 or 2 channels, not {channels}.")
    view = _view(item, "PCM is bytes, an array of int16 or float32, or an av.AudioFrame")
    if view.format not in _SAMPLE_FORMATS:
        raise _refused(f"An array of PCM holds int16 or float32, not the format {view.format!r}.")
    sample_format, sample_bytes = _SAMPLE_FORMATS[view.format]
    data = view.cast("B") if view.nbytes else memoryview(b"")
    samples, rest = divmod(len(data), sample_bytes * channels)
    if rest or not samples:
        raise _refused(
            f"{len(data)} bytes are no whole samples of {channels} channels, {sample_bytes} bytes each."
        )
    frame = av.AudioFrame(format=sample_format, layout=_LAYOUTS[channels], samples=samples)
    frame.planes[0].update(bytes(data))
    frame.sample_rate = sample_rate
    return frame


def video_frame(item: Any) -> av.VideoFrame:
    """A picture: an `av.VideoFrame`, or an array of uint8, height × width × 3 (RGB) or 4 (RGBA)."""
    if isinstance(item, av.VideoFrame):
        return item
    view = _view(item, "A picture is an av.VideoFrame, or an array of uint8")
    if (
        view.shape is None
        or view.ndim != 3
        or view.format not in ("B", "<B", "|u1")
        or view.shape[2] not in _PIXEL_FORMATS
    ):
        raise _refused(
            f"An array of a picture is height x width x 3 or 4 of uint8, not {view.shape} of {view.format!r}."
        )
    height, width, depth = view.shape
    frame = av.VideoFrame(width, height, _PIXEL_FORMATS[depth])
    fill_plane(frame.planes[0], view.cast("B"), width * depth)
    return frame


def widened(block: av.AudioFrame) -> av.AudioFrame:
    """16-bit samples of one channel as two channels, as loud as before; a resampler would take 3 dB off."""
    if block.layout.nb_channels != 1:
        return block
    mono = bytes(block.planes[0])[: block.samples * 2]
    stereo = bytearray(len(mono) * 2)
    for byte in range(4):
        stereo[byte::4] = mono[byte % 2 :: 2]
    wide = av.AudioFrame(format="s16", layout="stereo", samples=block.samples)
    wide.planes[0].update(bytes(stereo))
    wide.sample_rate = block.sample_rate
    return wide


def fill_plane(plane: Any, data: bytes | bytearray | memoryview, row_bytes: int) -> None:
    """Copies rows that lie without gaps into a plane, whose rows may be longer."""
    if plane.line_size == row_bytes and plane.buffer_size == len(data):
        plane.update(bytes(data))
        return
    padding = bytes(plane.line_size - row_bytes)
    rows = (bytes(data[at : at + row_bytes]) for at in range(0, len(data), row_bytes))
    filled = padding.join(rows) + padding
    plane.update(filled[: plane.buffer_size].ljust(plane.buffer_size, b"\0"))


def copy_of(frame: av.AudioFrame | av.VideoFrame) -> av.AudioFrame | av.VideoFrame:
    """The same picture or sound in a frame of its own."""
    copy: av.AudioFrame | av.VideoFrame
    if isinstance(frame, av.AudioFrame):
        copy = av.AudioFrame(format=frame.format.name, layout=frame.layout.name, samples=frame.samples)
        copy.sample_rate = frame.sample_rate
    else:
        copy = av.VideoFrame(frame.width, frame.height, frame.format.name)
    for target, plane in zip(copy.planes, frame.planes, strict=True):
        rows = bytes(plane)
        target.update(rows[: target.buffer_size].ljust(target.buffer_size, b"\0"))
    copy.pts = frame.pts
    if frame.time_base is not None:
        copy.time_base = frame.time_base
    return copy


def position_s(frame: av.AudioFrame | av.VideoFrame) -> float | None:
    """Where a frame stands in its stream, in seconds; None if it does not say."""
    if frame.pts is None or frame.time_base is None:
        return None
    return float(frame.pts * Fraction(frame.time_base))


def _view(item: Any, wanted: str) -> memoryview:
    try:
        view = memoryview(item)
    except TypeError:
        raise _refused(f"{wanted}, not {type(item).__name__}.") from None
    if not view.c_contiguous:
        raise _refused("The array is not contiguous: pass a copy of it (array.copy()).")
    return view


def _refused(text: str) -> PeerbusError:
    return PeerbusError(ErrorCode.BAD_REQUEST, text)

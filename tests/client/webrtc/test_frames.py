"""Frames made of bytes and arrays."""

from __future__ import annotations

from array import array
from fractions import Fraction
from typing import Any

import av
import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.frames import audio_frame, copy_of, fill_plane, position_s, video_frame, widened


def pixels(height: int, width: int, depth: int) -> memoryview:
    data = bytes(number % 251 for number in range(height * width * depth))
    return memoryview(data).cast("B", (height, width, depth))


def test_bytes_are_samples_of_16_bits() -> None:
    pcm = array("h", [1, -2, 3, -4, 5, -6]).tobytes()
    frame = audio_frame(pcm, sample_rate=16_000, channels=2)
    assert (frame.samples, frame.layout.name, frame.format.name) == (3, "stereo", "s16")
    assert frame.sample_rate == 16_000
    assert bytes(frame.planes[0])[: len(pcm)] == pcm


@pytest.mark.parametrize(("code", "expected"), [("h", "s16"), ("f", "flt")])
def test_arrays_are_samples_too(code: str, expected: str) -> None:
    samples = array(code, [0] * 480)
    frame = audio_frame(samples, sample_rate=48_000, channels=1)
    assert (frame.samples, frame.format.name) == (480, expected)


def test_frames_stay_as_they_are() -> None:
    sound = av.AudioFrame(format="s16", layout="mono", samples=10)
    image = av.VideoFrame(16, 16)
    assert audio_frame(sound, sample_rate=1, channels=1) is sound
    assert video_frame(image) is image


@pytest.mark.parametrize(
    ("item", "channels"),
    [(b"\0\0\0", 1), (b"\0\0", 2), (b"", 1), (array("d", [0.0]), 1), ("text", 1), (b"\0\0", 3), (None, 1)],
)
def test_what_is_no_sound_is_refused(item: Any, channels: int) -> None:
    with pytest.raises(PeerbusError) as caught:
        audio_frame(item, sample_rate=48_000, channels=channels)
    assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(("depth", "expected"), [(3, "rgb24"), (4, "rgba")])
def test_arrays_are_pictures(depth: int, expected: str) -> None:
    frame = video_frame(pixels(5, 7, depth))
    assert (frame.width, frame.height, frame.format.name) == (7, 5, expected)
    plane = frame.planes[0]
    rows = [bytes(plane)[row * plane.line_size :][: 7 * depth] for row in range(5)]
    assert b"".join(rows) == pixels(5, 7, depth).tobytes()


@pytest.mark.parametrize(
    "item",
    [b"12345", pixels(2, 2, 2), memoryview(array("f", [0.0] * 12)), "text", None, pixels(4, 4, 3)[::2]],
)
def test_what_is_no_picture_is_refused(item: Any) -> None:
    with pytest.raises(PeerbusError) as caught:
        video_frame(item)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_a_copy_is_the_same_and_another() -> None:
    image = video_frame(pixels(6, 10, 3)).reformat(format="yuv420p")
    image.pts, image.time_base = 5, Fraction(1, 10)
    sound = audio_frame(bytes(range(200)), sample_rate=8_000, channels=1)
    sound.pts, sound.time_base = 7, Fraction(1, 8_000)
    for frame in (image, sound):
        copy = copy_of(frame)
        assert [bytes(plane) for plane in copy.planes] == [bytes(plane) for plane in frame.planes]
        assert position_s(copy) == position_s(frame) is not None
        copy.pts = 99
        assert frame.pts != 99


def test_one_channel_becomes_two_of_the_same_loudness() -> None:
    samples = [5, -6, 7_000, -32_768]
    wide = widened(audio_frame(array("h", samples), sample_rate=48_000, channels=1))
    assert (wide.layout.name, wide.samples, wide.sample_rate) == ("stereo", 4, 48_000)
    both = array("h", bytes(wide.planes[0])[:16])
    assert both.tolist() == [sample for sample in samples for _ in range(2)]
    assert widened(wide) is wide


def test_rows_without_gaps_become_rows_with_gaps() -> None:
    frame = av.VideoFrame(6, 4, "yuv420p")
    luma, chroma = frame.planes[:2]
    fill_plane(luma, bytes(range(24)), 6)
    fill_plane(chroma, b"abcdef", 3)
    assert [bytes(luma)[row * luma.line_size :][:6] for row in range(4)] == [
        bytes(range(row * 6, row * 6 + 6)) for row in range(4)
    ]
    assert bytes(chroma)[chroma.line_size :][:3] == b"def"


def test_a_frame_without_a_time_has_no_position() -> None:
    assert position_s(av.VideoFrame(16, 16)) is None

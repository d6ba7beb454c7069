"""Sources give their frames when the time has come."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import Any

import av
import pytest

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc.frames import position_s
from peerbus.client.webrtc.generated import level_dbfs, picture, tone
from peerbus.client.webrtc.sources import GeneratedAudio, GeneratedVideo, TrackSource
from tests.support.emulated_loop import emulated


async def items(*values: Any) -> AsyncIterator[Any]:
    for value in values:
        yield value


async def read(source: Any, most: int = 1_000) -> list[tuple[float, Any]]:
    """The frames with the moments at which they came, in seconds from the first."""
    loop = asyncio.get_running_loop()
    found: list[tuple[float, Any]] = []
    start: float | None = None
    while len(found) < most and (frame := await source.next_frame()) is not None:
        start = loop.time() if start is None else start
        found.append((round(loop.time() - start, 6), frame))
    return found


@emulated
async def test_sound_comes_as_fast_as_it_is_played() -> None:
    blocks = [bytes(320 * 2)] * 5
    found = await read(GeneratedAudio(items(*blocks), sample_rate=16_000, channels=1))
    assert [moment for moment, _ in found] == [0.0, 0.02, 0.04, 0.06, 0.08]
    assert [frame.pts for _, frame in found] == [0, 320, 640, 960, 1280]
    assert {frame.time_base for _, frame in found} == {Fraction(1, 16_000)}


@emulated
async def test_sound_that_comes_late_leaves_a_gap() -> None:
    async def late() -> AsyncIterator[bytes]:
        yield bytes(320)
        await asyncio.sleep(2)
        yield bytes(320)
        yield bytes(320)

    found = await read(GeneratedAudio(late(), sample_rate=16_000, channels=1))
    assert [moment for moment, _ in found] == [0.0, 2.0, 2.01]
    positions = [position_s(frame) for _, frame in found]
    assert positions == [0.0, pytest.approx(2.0), pytest.approx(2.01)]


@emulated
async def test_pictures_come_by_their_rate_or_by_their_own_time() -> None:
    found = await read(GeneratedVideo(items(*(av.VideoFrame(16, 16) for _ in range(3))), fps=10))
    assert [moment for moment, _ in found] == [0.0, 0.1, 0.2]
    assert [frame.pts for _, frame in found] == [0, 9_000, 18_000]

    frames = [av.VideoFrame(16, 16) for _ in range(3)]
    for frame, pts in zip(frames, (50, 51, 54), strict=True):
        frame.pts, frame.time_base = pts, Fraction(1, 2)
    found = await read(GeneratedVideo(items(*frames), fps=10))
    assert [moment for moment, _ in found] == [0.0, 0.5, 2.0]


@emulated
async def test_pictures_that_come_late_are_not_caught_up_with() -> None:
    async def late() -> AsyncIterator[av.VideoFrame]:
        yield av.VideoFrame(16, 16)
        await asyncio.sleep(3)
        yield av.VideoFrame(16, 16)
        yield av.VideoFrame(16, 16)

    found = await read(GeneratedVideo(late(), fps=10))
    assert [moment for moment, _ in found] == [0.0, 3.0, 3.1]
    assert [frame.pts for _, frame in found] == [
        0,
        pytest.approx(270_000, abs=9_000),
        pytest.approx(279_000, abs=9_000),
    ]


async def test_a_generator_is_closed_with_its_source() -> None:
    ended: list[str] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(20)
        finally:
            ended.append("yes")

    source = GeneratedAudio(endless(), sample_rate=48_000, channels=1)
    await source.next_frame()
    await source.close()
    assert ended == ["yes"]


async def test_what_a_generator_gives_is_checked() -> None:
    with pytest.raises(PeerbusError):
        await GeneratedAudio(items("text"), sample_rate=48_000, channels=1).next_frame()
    with pytest.raises(PeerbusError):
        await GeneratedVideo(items(b"123"), fps=30).next_frame()


class Track:
    """As much of a track of aiortc as is used."""

    readyState = "live"  # noqa: N815 - aiortc's name
    kind = "audio"

    async def recv(self) -> av.AudioFrame:
        return av.AudioFrame(format="s16", layout="mono", samples=10)


async def test_a_track_of_aiortc_paces_itself_and_belongs_to_its_maker() -> None:
    track = Track()
    source = TrackSource("audio", track)
    assert isinstance(await source.next_frame(), av.AudioFrame)
    await source.close()
    assert track.readyState == "live"
    track.readyState = "ended"
    assert await source.next_frame() is None


async def test_frames_of_a_remote_track_are_copied() -> None:
    frame = av.VideoFrame(16, 16)

    class Remote:
        def frames(self) -> AsyncIterator[Any]:
            return items(frame)

    source = TrackSource("video", Remote())
    copy = await source.next_frame()
    assert copy is not None
    assert copy is not frame
    assert await source.next_frame() is None
    await source.close()


async def test_the_made_up_picture_moves_and_the_tone_is_as_loud_as_it_should_be() -> None:
    pictures = picture(64, 48, fps=10)
    first, second = await anext(pictures), await anext(pictures)
    assert (first.width, first.height) == (64, 48)
    assert bytes(first.planes[0]) != bytes(second.planes[0])
    assert second.pts == 9_000
    block = await anext(tone(1_000, level=0.5))
    assert len(block) == 960 * 2
    assert level_dbfs(block) == pytest.approx(-9.03, abs=0.05)
    assert level_dbfs(bytes(100)) == level_dbfs(b"") == -96.0
    assert max(array("h", block)) == pytest.approx(16_383, abs=100)

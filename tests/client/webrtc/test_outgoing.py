"""Feeds and the lines they are on."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from typing import Any

import av
import pytest

from peerbus.client.webrtc.outgoing import Feed, Frame, Line
from peerbus.protocol.signals import MediaKind
from tests.support.emulated_loop import emulated


def image(seconds: float | None = None) -> av.VideoFrame:
    frame = av.VideoFrame(16, 16)
    if seconds is not None:
        frame.pts, frame.time_base = int(seconds * 1000), Fraction(1, 1000)
    return frame


def sound(samples: int, position: int, rate: int = 48_000) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="mono", samples=samples)
    frame.sample_rate = rate
    frame.pts, frame.time_base = position, Fraction(1, rate)
    return frame


class Source:
    """Gives what it is given."""

    def __init__(self, kind: MediaKind = "video", *frames: Frame | Exception | None) -> None:
        self.kind: MediaKind = kind
        self.frames: asyncio.Queue[Any] = asyncio.Queue()
        self.is_closed = False
        for frame in frames:
            self.frames.put_nowait(frame)

    async def next_frame(self) -> Any:
        frame = await self.frames.get()
        if isinstance(frame, Exception):
            raise frame
        return frame

    async def close(self) -> None:
        self.is_closed = True


@emulated
async def test_timestamps_go_on_from_one_source_to_the_next() -> None:
    line = Line("video")
    await asyncio.sleep(1)
    line.begin()
    line.put(image(100.0))
    line.put(image(100.5))
    assert [(await line.next_frame()).pts for _ in range(2)] == [90_000, 135_000]
    await asyncio.sleep(3)
    line.begin()
    line.put(image(7.0))
    frame = await line.next_frame()
    assert (frame.pts, frame.time_base) == (360_000, Fraction(1, 90_000))


@emulated
async def test_a_picture_without_a_time_is_of_now_and_none_goes_back() -> None:
    line = Line("video")
    line.begin()
    await asyncio.sleep(0.5)
    line.put(image())
    line.put(image())
    first, second = await line.next_frame(), await line.next_frame()
    assert (first.pts, second.pts) == (45_000, 45_001)


@emulated
async def test_sound_becomes_blocks_of_20_ms_for_opus() -> None:
    line = Line("audio")
    line.begin()
    for number in range(4):
        line.put(sound(600, number * 600, 24_000))
    blocks = [await line.next_frame() for _ in range(4)]
    assert [block.pts for block in blocks] == [0, 960, 1_920, 2_880]
    for block in blocks:
        assert isinstance(block, av.AudioFrame)
        assert (block.samples, block.sample_rate) == (960, 48_000)
        assert (block.format.name, block.layout.name) == ("s16", "stereo")


@emulated
async def test_a_gap_in_the_sound_is_one_in_its_timestamps() -> None:
    line = Line("audio")
    line.begin()
    line.put(sound(960, 0))
    line.put(sound(960, 48_000))
    line.put(sound(960, 48_960))
    assert [(await line.next_frame()).pts for _ in range(3)] == [0, 48_000, 48_960]


@emulated
async def test_the_oldest_pictures_give_way_to_new_ones() -> None:
    line = Line("video")
    line.begin()
    for number in range(5):
        line.put(image(float(number)))
    assert (await line.next_frame()).pts == 3 * 90_000


@emulated
async def test_an_encoder_waits_for_a_frame() -> None:
    line = Line("video")
    line.begin()
    waiting = asyncio.ensure_future(line.next_frame())
    await asyncio.sleep(10)
    assert not waiting.done()
    line.put(image())
    assert isinstance(await waiting, av.VideoFrame)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@emulated
async def test_a_feed_goes_on_without_a_line_and_when_it_is_muted() -> None:
    source = Source("video", image())
    feed = Feed(source)
    running = asyncio.ensure_future(feed.run())
    await settle()
    assert (feed.frames, source.frames.qsize()) == (0, 0)

    line = Line("video")
    feed.put_on(line)
    source.frames.put_nowait(image())
    await settle()
    assert feed.frames == 1

    feed.is_muted = True
    source.frames.put_nowait(image())
    await settle()
    feed.is_muted = False
    source.frames.put_nowait(None)
    await running
    assert feed.frames == 1
    assert source.is_closed


@emulated
async def test_a_feed_that_is_cancelled_closes_its_source() -> None:
    source = Source()
    running = asyncio.ensure_future(Feed(source).run())
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert source.is_closed


@emulated
async def test_what_goes_wrong_in_a_source_ends_the_feed() -> None:
    for bad in (OSError("unplugged"), sound(10, 0)):
        source = Source("video", bad)
        with pytest.raises((OSError, TypeError)):
            await Feed(source).run()
        assert source.is_closed

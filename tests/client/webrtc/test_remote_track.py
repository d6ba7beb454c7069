"""Readers of a track."""

from __future__ import annotations

import asyncio
from typing import Any

import av
import pytest

from peerbus.client.webrtc.encryption import CallEncryption
from peerbus.client.webrtc.records import RemotePublication
from peerbus.client.webrtc.remote_track import DeliverFrame, OpenFrame, RemoteTrack
from peerbus.protocol.signals import MediaKind
from tests.support.key_ring import KeyRing


class Slot:
    """A slot that a test puts frames into."""

    def __init__(self) -> None:
        self.deliver: DeliverFrame | None = None
        self.open: OpenFrame | None = None
        self.starts = 0

    def start_decoding(self, deliver: DeliverFrame, open_frame: OpenFrame) -> None:
        self.starts += 1
        self.open = open_frame
        self.deliver = deliver

    def stop_decoding(self, deliver: DeliverFrame) -> None:
        assert deliver == self.deliver
        self.deliver = None

    def put(self, frame: Any) -> None:
        assert self.deliver is not None
        self.deliver(frame)


def a_track(kind: MediaKind = "video") -> tuple[RemoteTrack, Slot]:
    publication = RemotePublication(
        id="id-ann/cam", identity="id-ann", name="ann", media=kind, source="camera", is_muted=False
    )
    track, slot = RemoteTrack(publication, CallEncryption(KeyRing(), e2ee=None), lambda track: None), Slot()
    track.attach(slot)
    return track, slot


def image() -> av.VideoFrame:
    return av.VideoFrame(16, 16)


async def begin(frames: Any) -> asyncio.Future[Any]:
    """The next frame of an iterator, which waits for it already."""
    waiting = asyncio.ensure_future(anext(frames, None))
    for _ in range(3):
        await asyncio.sleep(0)
    return waiting


async def test_it_says_whose_it_is() -> None:
    track, _ = a_track()
    assert (track.kind, track.participant, track.name, track.source) == ("video", "id-ann", "ann", "camera")
    assert (track.publication.id, track.is_muted, track.is_ended, track.is_read) == (
        "id-ann/cam",
        False,
        False,
        False,
    )


async def test_it_is_decoded_while_somebody_reads() -> None:
    track, slot = a_track()
    assert slot.starts == 0
    one, two = track.frames(), track.frames()
    waiting = [await begin(one), await begin(two)]
    assert (slot.starts, track.is_read) == (1, True)
    frame = image()
    slot.put(frame)
    assert [await future for future in waiting] == [frame, frame]
    await one.aclose()
    assert slot.deliver is not None
    await two.aclose()
    assert slot.deliver is None


async def test_leaving_the_loop_is_enough_to_stop() -> None:
    track, slot = a_track()

    async def read_one() -> None:
        async for _ in track.frames():
            break

    reading = asyncio.ensure_future(read_one())
    await asyncio.sleep(0)
    slot.put(image())
    await reading
    await asyncio.sleep(0)
    assert not track.is_read


async def test_a_slow_reader_gets_the_newest() -> None:
    track, slot = a_track()
    frames = track.frames()
    waiting = await begin(frames)
    sent = [image() for _ in range(40)]
    for frame in sent:
        slot.put(frame)
    assert await waiting is sent[10]
    assert track.frames_dropped == 10
    assert await anext(frames) is sent[11]
    await frames.aclose()


async def test_the_end_comes_after_what_waits() -> None:
    track, slot = a_track()
    frames = track.frames()
    waiting = await begin(frames)
    sent = [image(), image()]
    for frame in sent:
        slot.put(frame)
    track.end()
    assert [await waiting, await anext(frames)] == sent
    assert await anext(frames, None) is None
    assert [frame async for frame in track.frames()] == []
    assert slot.deliver is None


async def test_readers_stay_when_it_comes_on_another_slot() -> None:
    track, slot = a_track()
    frames = track.frames()
    waiting = await begin(frames)
    other = Slot()
    track.attach(None)
    assert slot.deliver is None
    track.attach(other)
    frame = image()
    other.put(frame)
    assert await waiting is frame
    await frames.aclose()


async def test_sound_comes_in_the_form_that_is_wanted() -> None:
    track, slot = a_track("audio")
    blocks = track.pcm(sample_rate=16_000, channels=1)
    waiting = await begin(blocks)
    frame = av.AudioFrame(format="s16", layout="stereo", samples=960)
    frame.sample_rate = 48_000
    frame.planes[0].update(b"\x00\x10" * 1_920)
    for _ in range(3):
        slot.put(frame)
    first = await waiting
    second = await anext(blocks)
    assert len(first) % 2 == 0
    # A resampler holds a little back at first; from the second block on it is 20 ms each.
    assert len(second) == 320 * 2
    samples = memoryview(second).cast("h")
    assert all(3_900 < sample < 4_300 for sample in samples)
    await blocks.aclose()


async def test_only_sound_can_be_read_as_sound() -> None:
    track, _ = a_track()
    with pytest.raises(ValueError, match="audio"):
        await anext(track.pcm())
    with pytest.raises(ValueError, match="video"):
        await anext(a_track("audio")[0].pictures())
    with pytest.raises(ValueError, match="channels"):
        await anext(a_track("audio")[0].pcm(channels=3))


async def test_frames_of_a_track_that_is_not_sealed_pass_as_they_are() -> None:
    track, slot = a_track()
    waiting = await begin(track.frames())
    assert slot.open is not None
    assert slot.open("H264", b"a frame") == b"a frame"
    assert (track.encryption, track.frames_opened, track.frames_refused) == ("open", 0, 0)
    track.end()
    assert await waiting is None

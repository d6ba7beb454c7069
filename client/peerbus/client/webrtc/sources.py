"""
Where published media come from: generators, tracks, and whatever has the same two methods.

Owns the pace: a source gives each frame when its time has come, never before. A source that was late goes on from
where it is, it does not hurry. Never encodes anything. Files are in `file_source`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import Any, Final, Protocol, get_args

import av

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.frames import SAMPLE_RATE_HZ, audio_frame, copy_of, position_s, video_frame
from peerbus.protocol.signals import MediaKind, Source

FPS_MAX: Final = 240
LATE_S: Final = 0.2
"""A source that is later than this moves its timeline."""


class FrameSource(Protocol):
    """One stream of frames, in real time."""

    @property
    def kind(self) -> MediaKind:
        """Which media it is of."""

    async def next_frame(self) -> av.AudioFrame | av.VideoFrame | None:
        """The next frame, when it is its time, with `pts` and `time_base`; None at the end."""

    async def close(self) -> None:
        """Gives back what the source holds; `next_frame` is not called any more."""


class Timeline:
    """Positions in a stream, on the clock of the event loop. Sources that belong together share one."""

    def __init__(self) -> None:
        self._starts_at: float | None = None

    async def wait_for(self, position: float) -> float:
        """Waits until the position (seconds) has come; gives how late it already was, in seconds."""
        now = asyncio.get_running_loop().time()
        if self._starts_at is None:
            self._starts_at = now - position
        ahead = self._starts_at + position - now
        if ahead > 0:
            await asyncio.sleep(ahead)
            return 0.0
        return -ahead

    def shift(self, seconds: float) -> None:
        """Everything from here on comes later by this much."""
        if self._starts_at is not None:
            self._starts_at += seconds


class GeneratedAudio:
    """PCM from an async generator: bytes, arrays or `av.AudioFrame`s."""

    kind: Final[MediaKind] = "audio"

    def __init__(self, items: AsyncIterator[Any], *, sample_rate: int, channels: int) -> None:
        self._items: Final = items
        self._sample_rate: Final = sample_rate
        self._channels: Final = channels
        self._timeline: Final = Timeline()
        self._position = Fraction(0)

    async def next_frame(self) -> av.AudioFrame | None:
        """See `FrameSource`."""
        item = await anext(self._items, None)
        if item is None:
            return None
        frame = audio_frame(item, sample_rate=self._sample_rate, channels=self._channels)
        late = await self._timeline.wait_for(float(self._position))
        if late > LATE_S:
            # What was not there in time is silence, not to be caught up with.
            self._position += Fraction(int(late * 1000), 1000)
        rate = frame.sample_rate
        frame.time_base = Fraction(1, rate)
        frame.pts = int(self._position * rate)
        self._position += Fraction(frame.samples, rate)
        return frame

    async def close(self) -> None:
        """See `FrameSource`."""
        await close_iterator(self._items)


class GeneratedVideo:
    """Pictures from an async generator: arrays or `av.VideoFrame`s; one that has a `pts` is shown at that time."""

    kind: Final[MediaKind] = "video"

    def __init__(self, items: AsyncIterator[Any], *, fps: float) -> None:
        self._items: Final = items
        self._interval: Final = 1 / fps
        self._timeline: Final = Timeline()
        self._next = 0.0

    async def next_frame(self) -> av.VideoFrame | None:
        """See `FrameSource`."""
        item = await anext(self._items, None)
        if item is None:
            return None
        frame = video_frame(item)
        own = position_s(frame)
        position = self._next if own is None else own
        late = await self._timeline.wait_for(position)
        if late > LATE_S:
            if own is None:
                position += late
            else:
                self._timeline.shift(late)
        if own is None:
            frame.time_base = Fraction(1, 90_000)
            frame.pts = int(position * 90_000)
            self._next = position + self._interval
        return frame

    async def close(self) -> None:
        """See `FrameSource`."""
        await close_iterator(self._items)


class TrackSource:
    """Another track, which paces itself: of aiortc (`recv`), or one that is received (`frames`)."""

    def __init__(self, kind: MediaKind, track: Any) -> None:
        self.kind: Final[MediaKind] = kind
        self._track: Final = track
        self._frames: Final[AsyncIterator[Any] | None] = track.frames() if hasattr(track, "frames") else None

    async def next_frame(self) -> av.AudioFrame | av.VideoFrame | None:
        """See `FrameSource`."""
        if self._frames is not None:
            frame: av.AudioFrame | av.VideoFrame | None = await anext(self._frames, None)
            # Other readers of the track have the same frame, and its timestamp will be changed.
            return None if frame is None else copy_of(frame)
        if self._track.readyState != "live":
            return None
        received: av.AudioFrame | av.VideoFrame = await self._track.recv()
        return received

    async def close(self) -> None:
        """See `FrameSource`; the track itself belongs to whoever made it, and goes on."""
        if self._frames is not None:
            await close_iterator(self._frames)


def source_of(
    source: Any,
    *,
    kind: MediaKind | None,
    source_kind: Source | None,
    fps: float,
    sample_rate: int | None,
    channels: int,
) -> FrameSource:
    """A generator or a track as a source. Raises `PeerbusError` (`bad_request`) for anything else."""
    if not hasattr(source, "__anext__") and getattr(source, "kind", "") in get_args(MediaKind):
        return TrackSource("audio" if source.kind == "audio" else "video", source)
    if not isinstance(source, AsyncIterator):
        raise PeerbusError(
            ErrorCode.BAD_REQUEST,
            f"publish takes a path, an async generator or a track, not {type(source).__name__}.",
        )
    if kind is None:
        is_audio = sample_rate is not None or source_kind in ("microphone", "screen_audio")
        kind = "audio" if is_audio else "video"
    if kind == "audio":
        return GeneratedAudio(source, sample_rate=sample_rate or SAMPLE_RATE_HZ, channels=channels)
    if not 0 < fps <= FPS_MAX:
        raise PeerbusError(ErrorCode.BAD_REQUEST, f"fps is more than 0 and at most {FPS_MAX}, not {fps}.")
    return GeneratedVideo(source, fps=fps)


async def close_iterator(items: AsyncIterator[Any]) -> None:
    """Ends an async generator, so that what stands in its `finally` runs now."""
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()

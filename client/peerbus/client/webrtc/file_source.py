"""
Media from a file of any container that av reads.

Owns the container, its decoding (in the event loop's executor, only of the streams that are published, a few frames
ahead) and the clock that its audio and video share. Never encodes anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.frames import position_s
from peerbus.client.webrtc.sources import LATE_S, Timeline
from peerbus.protocol.signals import MediaKind

_MOST_AHEAD: Final = 500
"""How many frames of one stream may be decoded because the other one wanted some."""


class MediaFile:
    """
    An open file; `sources` are its first audio and its first video stream, each for one publication.

    `loop` begins again at the end, without a gap. Closed with the last of its sources, or by `close`.
    """

    def __init__(self, path: str | Path, *, loop: bool = False, kind: MediaKind | None = None) -> None:
        """
        Opens the file; with a `kind` only that stream of it.

        Raises `PeerbusError`: `not_found`, or `bad_request` for what is no medium.
        """
        self._loop: Final = loop
        try:
            self._container = av.open(str(path))
        except FileNotFoundError:
            raise PeerbusError(ErrorCode.NOT_FOUND, f"There is no file {str(path)!r}.") from None
        except (av.FFmpegError, OSError) as error:
            raise PeerbusError(ErrorCode.BAD_REQUEST, f"{str(path)!r} could not be read: {error}") from None
        streams: list[AudioStream | VideoStream] = []
        if kind != "audio":
            streams += self._container.streams.video[:1]
        if kind != "video":
            streams += self._container.streams.audio[:1]
        if not streams:
            self._container.close()
            missing = "neither video nor audio" if kind is None else f"no {kind}"
            raise PeerbusError(ErrorCode.BAD_REQUEST, f"{str(path)!r} has {missing}.")
        self.sources: Final = [FileSource(self, stream) for stream in streams]
        self._streams: Final = streams
        self._packets = self._container.demux(streams)
        self.timeline: Final = Timeline()
        self._lock: Final = asyncio.Lock()
        self._offset = Fraction(0)
        self._end = Fraction(0)
        self._is_over = False
        self._is_closed = False

    async def fill(self, wanting: FileSource) -> None:
        """Decodes until this source has a frame, or the file is at its end."""
        async with self._lock:
            while not wanting.waiting and not self._is_over and not self._is_closed:
                decoding = asyncio.get_running_loop().run_in_executor(None, self._decode_some)
                try:
                    await asyncio.shield(decoding)
                except asyncio.CancelledError:
                    # The container is not to be closed while the other thread reads it.
                    await asyncio.wait([decoding])
                    raise

    async def close(self) -> None:
        """Closes the file. Its sources are at their end."""
        self._is_closed = True
        async with self._lock:
            self._container.close()

    async def release(self) -> None:
        """Closes the file if no source is in use any more."""
        if not self._is_closed and not any(source.is_used for source in self.sources):
            await self.close()

    def _decode_some(self) -> None:
        """In the executor: decodes one packet's frames, and begins again at the end."""
        try:
            packet = next(self._packets, None)
        except av.FFmpegError:
            packet = None
        if packet is None:
            self._is_over = not self._rewind()
            return
        for source in self.sources:
            if source.is_used and source.stream.index == packet.stream_index:
                self._take(source, packet)

    def _take(self, source: FileSource, packet: av.Packet[Any]) -> None:
        try:
            frames = source.stream.decode(packet)
        except av.FFmpegError:
            # A packet that is damaged costs its frames only.
            return
        for frame in frames:
            position = position_s(frame)
            if position is None:
                continue
            if len(source.waiting) < _MOST_AHEAD:
                source.waiting.append((float(self._offset) + position, frame))
            length = (
                Fraction(frame.samples, frame.sample_rate)
                if isinstance(frame, av.AudioFrame)
                else source.interval
            )
            self._end = max(self._end, self._offset + Fraction(position) + length)

    def _rewind(self) -> bool:
        """Whether the file begins again. The last packets of each stream have flushed its decoder."""
        if not self._loop or self._end == self._offset:
            return False
        try:
            self._container.seek(0)
        except av.FFmpegError:
            return False
        self._packets = self._container.demux(self._streams)
        self._offset = self._end
        return True


class FileSource:
    """One stream of a file, as a `FrameSource`."""

    def __init__(self, file: MediaFile, stream: AudioStream | VideoStream) -> None:
        self.stream: Final = stream
        self.kind: Final[MediaKind] = "video" if isinstance(stream, VideoStream) else "audio"
        rate = stream.average_rate if isinstance(stream, VideoStream) else None
        self.interval: Final = 1 / Fraction(rate or 25)
        """How long a picture is shown."""
        self.waiting: Final[deque[tuple[float, av.AudioFrame | av.VideoFrame]]] = deque()
        self.is_used = True
        self._file: Final = file

    async def next_frame(self) -> av.AudioFrame | av.VideoFrame | None:
        """See `FrameSource`."""
        while True:
            if not self.waiting:
                await self._file.fill(self)
            if not self.waiting:
                return None
            position, frame = self.waiting.popleft()
            late = await self._file.timeline.wait_for(position)
            if late > LATE_S:
                if self.kind == "video" and self.waiting:
                    continue  # Pictures are left out so that the sound is not kept waiting.
                self._file.timeline.shift(late)
            frame.time_base = Fraction(1, 90_000)
            frame.pts = int(position * 90_000)
            return frame

    async def close(self) -> None:
        """See `FrameSource`."""
        self.is_used = False
        self.waiting.clear()
        await self._file.release()

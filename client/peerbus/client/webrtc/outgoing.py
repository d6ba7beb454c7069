"""
What goes out: the feed of one publication, and the line (a sending m-line) that it is on at present.

Owns the timestamps of lines, the conversion of audio to what Opus takes, and muting. A feed lives as long as its
publication and reads its source all the time, as a camera does; a line lives as long as its connection, and never ends,
since aiortc's sender could not be used again after an end. Never encodes anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from fractions import Fraction
from typing import Final, TypeAlias

import av

from peerbus.client.webrtc.frames import BLOCK_SAMPLES, SAMPLE_RATE_HZ, copy_of, position_s, widened
from peerbus.client.webrtc.sources import FrameSource
from peerbus.protocol.signals import MediaKind

_VIDEO_CLOCK_HZ: Final = 90_000
_JUMP_S: Final = 0.1
"""Audio whose timestamp is off by more than this has a gap, which stays one."""
_MOST_WAITING: Final[dict[MediaKind, int]] = {"video": 2, "audio": 25}
"""More frames than the encoder keeps up with are dropped, the oldest first."""

Frame: TypeAlias = av.AudioFrame | av.VideoFrame


class Line:
    """The frames for one sender of a connection, on one timeline, whichever feeds they come from."""

    def __init__(self, kind: MediaKind) -> None:
        self.kind: Final[MediaKind] = kind
        self._waiting: Final[deque[Frame]] = deque(maxlen=_MOST_WAITING[kind])
        self._waiter: asyncio.Future[None] | None = None
        self._epoch: Final = asyncio.get_running_loop().time()
        self._offset_s: float | None = None
        self._resampler: av.AudioResampler | None = None
        self._next_sample = 0
        self._last_pts = -1

    def begin(self) -> None:
        """Another feed comes now."""
        self._offset_s = None
        self._resampler = None
        self._waiting.clear()

    def put(self, frame: Frame) -> None:
        """Takes a frame of the present feed; its timestamp is changed."""
        if isinstance(frame, av.AudioFrame):
            self._waiting.extend(self._blocks(frame))
        else:
            self._waiting.append(self._stamped(frame))
        if self._waiting and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next_frame(self) -> Frame:
        """The next frame to encode; waits for ever if there is none."""
        while not self._waiting:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._waiting.popleft()

    def _position_s(self, frame: Frame) -> float:
        """Where the frame goes on the timeline of the line, which began with it."""
        elapsed = asyncio.get_running_loop().time() - self._epoch
        position = position_s(frame)
        if position is None:
            return elapsed
        if self._offset_s is None:
            self._offset_s = elapsed - position
        return position + self._offset_s

    def _stamped(self, frame: av.VideoFrame) -> av.VideoFrame:
        self._last_pts = max(int(self._position_s(frame) * _VIDEO_CLOCK_HZ), self._last_pts + 1)
        frame.pts = self._last_pts
        frame.time_base = Fraction(1, _VIDEO_CLOCK_HZ)
        return frame

    def _blocks(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        """The frame as blocks of 20 ms, 48 kHz, stereo; what is left over goes into the next block."""
        position = self._position_s(frame)
        if self._resampler is None or abs(position - self._next_sample / SAMPLE_RATE_HZ) > _JUMP_S:
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = av.AudioResampler(
                format="s16", layout=layout, rate=SAMPLE_RATE_HZ, frame_size=BLOCK_SAMPLES
            )
            self._next_sample = max(int(position * SAMPLE_RATE_HZ), self._next_sample)
        frame.pts = None
        blocks = [widened(block) for block in self._resampler.resample(frame)]
        for block in blocks:
            block.pts = self._next_sample
            block.time_base = Fraction(1, SAMPLE_RATE_HZ)
            self._next_sample += block.samples
        return blocks


class Feed:
    """Reads one source and puts its frames on the line of the moment; without one, or muted, they are dropped."""

    def __init__(self, source: FrameSource, *, is_muted: bool = False) -> None:
        self.is_muted = is_muted
        self.frames = 0
        """How many frames went onto lines."""
        self._source: Final = source
        self._line: Line | None = None
        self._shared: SharedLine | None = None

    @property
    def kind(self) -> MediaKind:
        """Which media it is of."""
        return self._source.kind

    def put_on(self, line: Line | None) -> None:
        """Goes on this line from now on."""
        self._line = line
        if line is not None:
            line.begin()

    def share(self, line: SharedLine) -> None:
        """Goes on this shared line, too, from now on."""
        self._shared = line
        line.begin()

    def unshare(self, line: SharedLine) -> None:
        """Does not go on it any more."""
        if self._shared is line:
            self._shared = None

    async def run(self) -> None:
        """
        Until the source ends; then the source is closed.

        Raises what the source raises, and `TypeError` when it gives frames of the other kind.
        """
        try:
            while (frame := await self._source.next_frame()) is not None:
                if isinstance(frame, av.AudioFrame) is not (self.kind == "audio"):
                    raise TypeError(f"a source of {self.kind} gave an {type(frame).__name__}")
                if not self.is_muted and (self._line is not None or self._shared is not None):
                    self._put(frame)
                    self.frames += 1
        finally:
            await self._source.close()

    def _put(self, frame: Frame) -> None:
        if self._shared is not None:
            # Lines change the timestamp of what they take.
            self._shared.put(frame if self._line is None else copy_of(frame))
        if self._line is not None:
            self._line.put(frame)


class Outlet:
    """What one connection takes from a shared line."""

    def __init__(self, kind: MediaKind) -> None:
        self.kind: Final[MediaKind] = kind
        self._waiting: Final[deque[Frame]] = deque(maxlen=_MOST_WAITING[kind])
        self._came: Final = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Takes a frame, which is not changed any more."""
        self._waiting.append(frame)
        self._came.set()

    async def next_frame(self) -> Frame:
        """The next frame to encode; waits for ever if there is none."""
        while not self._waiting:
            self._came.clear()
            await self._came.wait()
        return self._waiting.popleft()


class SharedLine(Line):
    """The frames of one feed for several connections, on one timeline."""

    def __init__(self, kind: MediaKind) -> None:
        super().__init__(kind)
        self.outlets: Final[list[Outlet]] = []

    def put(self, frame: Frame) -> None:
        """Takes a frame; its timestamp is changed."""
        super().put(frame)
        while self._waiting:
            stamped = self._waiting.popleft()
            for outlet in self.outlets:
                outlet.put(stamped)

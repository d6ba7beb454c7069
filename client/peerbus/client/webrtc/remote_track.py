"""
A track that is received: its frames and its sound as async iterators.

Owns the readers of one track. Never decodes anything itself: a slot decodes while `RemoteTrack` has a reader, and only
then. What a reader does not fetch in time is dropped, the oldest first, so that a slow one stays near the present.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Final, Protocol, TypeAlias

import av

from peerbus.client.webrtc.encryption import CallEncryption
from peerbus.client.webrtc.frame_sealing import EncryptionState, EncryptionWatch
from peerbus.client.webrtc.frames import SAMPLE_RATE_HZ
from peerbus.client.webrtc.records import RemotePublication
from peerbus.protocol.signals import MediaKind, Source

Frame: TypeAlias = av.AudioFrame | av.VideoFrame
DeliverFrame: TypeAlias = Callable[[Frame], None]
"""Takes a decoded frame, in the event loop."""
OpenFrame: TypeAlias = Callable[[str, bytes], bytes | None]
"""Takes the codec's name and a frame as it came; gives the one to decode, None if it is not to be shown."""

_MOST_WAITING: Final[dict[MediaKind, int]] = {"video": 30, "audio": 150}


class Decoding(Protocol):
    """A slot that can begin and stop to decode."""

    def start_decoding(self, deliver: DeliverFrame, open_frame: OpenFrame) -> None:
        """Hands every frame that `open_frame` lets through to `deliver`, from the next keyframe on."""

    def stop_decoding(self, deliver: DeliverFrame) -> None:
        """Decodes nothing from now on, unless somebody else's start came after the own one."""


class RemoteTrack:
    """
    One track of somebody else.

        async for frame in track.frames(): ...                      # av.VideoFrame or av.AudioFrame
        async for picture in track.pictures(): ...                  # av.VideoFrame
        async for block in track.pcm(sample_rate=16_000): ...       # bytes, 16 bits

    Iterators end with the track. It survives a reconnect of this client; frames are missing then.
    """

    def __init__(
        self,
        publication: RemotePublication,
        encryption: CallEncryption,
        on_encryption_state: Callable[[RemoteTrack], None],
    ) -> None:
        self._publication = publication
        self._encryption: Final = encryption
        self._watch: EncryptionWatch = encryption.watch(publication)
        self._on_encryption_state: Final = on_encryption_state
        self._intake: _Intake | None = None
        self._former: _Intake | None = None
        """How it came before, until the first frame of the new way."""
        self._is_direct = False
        self._readers: list[_Reader] = []
        self._ended = asyncio.Event()
        self.frames_dropped = 0
        """Frames that a reader did not fetch in time."""

    @property
    def kind(self) -> MediaKind:
        """`audio` or `video`."""
        return self._publication.media

    @property
    def publication(self) -> RemotePublication:
        """What it is, as it was announced: its `id`, `source`, whether it `is_muted`, …"""
        return self._publication

    @property
    def participant(self) -> str:
        """The identity of its sender."""
        return self._publication.identity

    @property
    def name(self) -> str:
        """The name of its sender."""
        return self._publication.name

    @property
    def source(self) -> Source:
        """What the sender says it is: `camera`, `screen`, …"""
        return self._publication.source

    @property
    def is_muted(self) -> bool:
        """Whether the sender holds it back; nothing arrives then."""
        return self._publication.is_muted

    @property
    def encryption(self) -> EncryptionState:
        """
        How its end-to-end encryption stands: `open` (there is none), `waiting`, `sealed`, or why nothing comes.

        `undecryptable`: it was sealed with another key; `not_sealed`: its sender does not encrypt, this side does;
        `not_opened`: its sender does, this side does not. Frames are opened while somebody reads the track.
        """
        return self._watch.state

    @property
    def frames_opened(self) -> int:
        """How many sealed frames were opened."""
        return self._watch.opened

    @property
    def frames_refused(self) -> int:
        """How many frames were dropped because they could not be opened, were replayed, or were not sealed."""
        return self._watch.refused

    @property
    def is_direct(self) -> bool:
        """Whether it comes by a connection to its sender, not through the SFU."""
        return self._is_direct

    @property
    def is_ended(self) -> bool:
        """Whether nothing will arrive any more."""
        return self._ended.is_set()

    @property
    def is_read(self) -> bool:
        """Whether somebody reads it now, so that it is decoded."""
        return bool(self._readers)

    def __repr__(self) -> str:
        return f"RemoteTrack({self.kind}, {self._publication.id!r}, {self.source})"

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """
        Every frame from now on, as av has it; for video from the next keyframe on, which is asked for.

        All readers of a track get the same objects: copy a frame before changing it.
        Frames of a video may change their size at any time.
        """
        reader = _Reader(_MOST_WAITING[self.kind])
        self._open(reader)
        try:
            while True:
                while reader.waiting:
                    yield reader.waiting.popleft()
                if self.is_ended:
                    return
                await reader.wait()
        finally:
            self._close(reader)

    async def pictures(self) -> AsyncGenerator[av.VideoFrame, None]:
        """The same as `frames`. Raises `ValueError` for a track of audio."""
        if self.kind != "video":
            raise ValueError("pictures() reads tracks of video; this one is audio")
        async for frame in self.frames():
            assert isinstance(frame, av.VideoFrame)
            yield frame

    async def pcm(
        self, *, sample_rate: int = SAMPLE_RATE_HZ, channels: int = 1
    ) -> AsyncGenerator[bytes, None]:
        """
        The sound from now on: blocks of 16-bit samples, little-endian, interleaved if there are two channels.

        Nothing comes while the sender is muted. Raises `ValueError` for a track of video.
        """
        if self.kind != "audio":
            raise ValueError("pcm() reads tracks of audio; this one is video")
        if channels not in (1, 2):
            raise ValueError(f"there are 1 or 2 channels, not {channels}")
        layout = "mono" if channels == 1 else "stereo"
        resampler = av.AudioResampler(format="s16", layout=layout, rate=sample_rate)
        async for frame in self.frames():
            assert isinstance(frame, av.AudioFrame)
            for block in resampler.resample(frame):
                yield bytes(block.planes[0])[: block.samples * channels * 2]

    # --- for the helper -----------------------------------------------------------------------------------------

    def attach(self, slot: Decoding | None, *, is_direct: bool = False) -> None:
        """
        Comes on this slot from now on; on none until there is a new connection.

        `is_direct`: by a connection to the sender itself, whose frames nobody else could see. Between such a one and
        the SFU it is shown without a gap: what comes the old way goes on until the first frame of the new one.
        """
        is_other_way = slot is not None and is_direct is not self._is_direct
        former, self._intake = self._intake, None
        if is_other_way:
            self._is_direct = is_direct
            self._watch = self._new_watch()
            self._on_encryption_state(self)
            self._stop(self._former)
            self._former = former
        else:
            self._stop(former)
            if slot is None:
                self._stop(self._former)
                self._former = None
        if slot is not None:
            self._intake = _Intake(self, slot, self._watch)
            if self._readers:
                self._intake.start()

    def update(self, publication: RemotePublication) -> None:
        """The sender changed something about it."""
        was_sealed, self._publication = self._publication.is_sealed, publication
        if publication.is_sealed is not was_sealed:
            self._watch = self._new_watch()
            self._on_encryption_state(self)

    def _new_watch(self) -> EncryptionWatch:
        if self._is_direct:
            return EncryptionWatch(is_sealed=False, is_on=False)
        return self._encryption.watch(self._publication)

    def end(self) -> None:
        """Nothing arrives any more."""
        self.attach(None)
        self._ended.set()
        for reader in self._readers:
            reader.wake()

    def _open(self, reader: _Reader) -> None:
        self._readers.append(reader)
        if len(self._readers) == 1 and self._intake is not None:
            self._intake.start()

    def _close(self, reader: _Reader) -> None:
        self._readers.remove(reader)
        if not self._readers:
            for intake in (self._intake, self._former):
                if intake is not None:
                    intake.stop()
            self._former = None

    def _stop(self, intake: _Intake | None) -> None:
        if intake is not None and self._readers:
            intake.stop()

    def _open_frame(self, codec: str, data: bytes) -> bytes | None:
        """A frame that comes the present way."""
        return self._open_by(self._watch, codec, data)

    def _open_by(self, watch: EncryptionWatch, codec: str, data: bytes) -> bytes | None:
        frame, has_changed = self._encryption.open(watch, self._publication, codec, data)
        if has_changed:
            self._on_encryption_state(self)
        return frame

    def _open_from(self, intake: _Intake, codec: str, data: bytes) -> bytes | None:
        if intake is self._intake:
            return self._open_frame(codec, data)
        return self._open_by(intake.watch, codec, data)

    def _deliver(self, intake: _Intake, frame: Frame) -> None:
        if intake is self._intake and self._former is not None:
            self._stop(self._former)
            self._former = None
        for reader in self._readers:
            if not reader.put(frame):
                self.frames_dropped += 1


class _Intake:
    """One way by which a track comes."""

    def __init__(self, track: RemoteTrack, slot: Decoding, watch: EncryptionWatch) -> None:
        self._track: Final = track
        self._slot: Final = slot
        self.watch: Final = watch
        """What the track had when it began to come this way."""

    def start(self) -> None:
        """Decodes."""
        self._slot.start_decoding(self.deliver, self.open_frame)

    def stop(self) -> None:
        """Decodes no more."""
        self._slot.stop_decoding(self.deliver)

    def deliver(self, frame: Frame) -> None:
        """See `Decoding`."""
        self._track._deliver(self, frame)  # noqa: SLF001 - a part of the track

    def open_frame(self, codec: str, data: bytes) -> bytes | None:
        """See `Decoding`."""
        return self._track._open_from(self, codec, data)  # noqa: SLF001 - a part of the track


class _Reader:
    """Frames between a track and one iterator."""

    def __init__(self, most: int) -> None:
        self.waiting: Final[deque[Frame]] = deque(maxlen=most)
        self._waiter: asyncio.Future[None] | None = None

    def put(self, frame: Frame) -> bool:
        """Whether there was room without dropping another."""
        has_room = len(self.waiting) != self.waiting.maxlen
        self.waiting.append(frame)
        self.wake()
        return has_room

    async def wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

"""
Frames that only those with the channel's password can see or hear: how one is sealed, and how it is opened.

Owns the byte form of sealed frames, the replay windows and the state of a received track. Never touches a packet or
aiortc (`media_seam`), and draws no random numbers: key ids are passed in. See PROTOCOL.md, section 14.

    sealed = clear bytes ‖ AES-256-GCM(frame key, rest of the frame) with its tag ‖ counter (4) ‖ key id (8)
"""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from peerbus.protocol.secrets import SecretBytes

FrameCodec: TypeAlias = Literal["vp8", "opus"]
"""What can be sealed."""
EncryptionState: TypeAlias = Literal["open", "waiting", "sealed", "undecryptable", "not_sealed", "not_opened"]
"""How a received track stands; PROTOCOL.md has the table. Only `open` and `sealed` are shown."""
RefusalReason: TypeAlias = Literal["undecryptable", "replayed"]

KEY_ID_BYTES: Final = 8
COUNTER_LIMIT: Final = 1 << 30
"""A transform that has sealed so many frames takes a new key id."""
WINDOW: Final = 1_024
FAILURES_TO_TELL: Final = 10
"""So many frames in a row that do not authenticate make a track `undecryptable`."""
OVERHEAD_BYTES: Final = 28

_LABEL: Final = b"peerbus/frame/1"
_TAG_BYTES: Final = 16
_TRAILER_BYTES: Final = 12
_NONCE_ZEROS: Final = bytes(8)
_CLEAR_OF_VP8_KEYFRAME: Final = 10
_CLEAR_OF_VP8: Final = 3
_STREAMS_MAX: Final = 4_096
_RETIRED_MAX: Final = 4_096


class FrameRefused(Exception):
    """A frame that is not to be shown."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason)
        self.reason: Final = reason


def clear_bytes(codec: FrameCodec, frame: bytes) -> int:
    """How many bytes at the beginning of a frame stay readable, so that it can be packetised and forwarded."""
    if codec == "opus" or not frame:
        return 0
    return min(len(frame), _CLEAR_OF_VP8 if frame[0] & 1 else _CLEAR_OF_VP8_KEYFRAME)


def codec_of(name: str) -> FrameCodec | None:
    """The codec by its name in SDP; None for one that is not sealed."""
    lower = name.lower()
    return "vp8" if lower == "vp8" else "opus" if lower == "opus" else None


class FrameSealer:
    """Seals the frames of one publication, from one start of its encoder on."""

    def __init__(
        self,
        media_key: SecretBytes,
        new_key_id: Callable[[], bytes],
        *,
        sender: str,
        publication: str,
        counter: int = 0,
    ) -> None:
        """`new_key_id` draws 8 random bytes. `sender` is the own name, `publication` the full id."""
        self._media_key: Final = media_key
        self._new_key_id: Final = new_key_id
        self._context: Final = _context(sender, publication)
        self._counter = counter
        self._key_id = new_key_id()
        self._key = AESGCM(frame_key(media_key, self._key_id))

    def seal(self, codec: FrameCodec, frame: bytes) -> bytes:
        """The sealed frame, 28 bytes longer."""
        if self._counter >= COUNTER_LIMIT:
            self._counter = 0
            self._key_id = self._new_key_id()
            self._key = AESGCM(frame_key(self._media_key, self._key_id))
        counter = self._counter.to_bytes(4, "big")
        self._counter += 1
        trailer = counter + self._key_id
        at = clear_bytes(codec, frame)
        clear = frame[:at]
        secret = self._key.encrypt(_NONCE_ZEROS + counter, frame[at:], clear + trailer + self._context)
        return clear + secret + trailer

    def begin_anew(self) -> None:
        """Forsakes the key id: a copy of this object may exist, and count on under it."""
        self._counter = COUNTER_LIMIT


class FrameOpener:
    """Opens the frames of all publications of a call; outlives its connections."""

    def __init__(self, media_key: SecretBytes) -> None:
        self._media_key: Final = media_key
        self._streams: Final[OrderedDict[str, _Stream]] = OrderedDict()
        """That of the key id that counts, by publication; the one that was begun last is the last."""
        self._retired: Final[OrderedDict[bytes, None]] = OrderedDict()

    def open(self, codec: FrameCodec, sealed: bytes, *, sender: str, publication: str) -> bytes:
        """The frame, as it was sealed. Raises `FrameRefused`."""
        body_end = len(sealed) - _TRAILER_BYTES
        if body_end < _TAG_BYTES:
            raise FrameRefused("undecryptable")
        trailer = sealed[body_end:]
        counter, key_id = int.from_bytes(trailer[:4], "big"), trailer[4:]
        if key_id in self._retired:
            raise FrameRefused("replayed")
        stream = self._streams.get(publication)
        if stream is None or stream.key_id != key_id:
            stream = _Stream(key_id, frame_key(self._media_key, key_id))
        at = min(clear_bytes(codec, sealed[:body_end]), body_end - _TAG_BYTES)
        clear = sealed[:at]
        aad = clear + trailer + _context(sender, publication)
        try:
            rest = stream.key.decrypt(_NONCE_ZEROS + trailer[:4], sealed[at:body_end], aad)
        except InvalidTag:
            raise FrameRefused("undecryptable") from None
        if not stream.window.takes(counter):
            raise FrameRefused("replayed")
        if self._streams.get(publication) is not stream:
            self._retire(self._streams.pop(publication, None))
            self._streams[publication] = stream
            if len(self._streams) > _STREAMS_MAX:
                self._retire(self._streams.popitem(last=False)[1])
        return clear + rest

    def _retire(self, stream: _Stream | None) -> None:
        """What comes under its key id from now on is old."""
        if stream is not None:
            self._retired[stream.key_id] = None
            if len(self._retired) > _RETIRED_MAX:
                self._retired.popitem(last=False)


class _Stream:
    """One key id."""

    def __init__(self, key_id: bytes, key: bytes) -> None:
        self.key_id: Final = key_id
        self.key: Final = AESGCM(key)
        self.window: Final = Window()


class Window:
    """Which of the newest 1024 counters were seen."""

    def __init__(self) -> None:
        self._highest = -1
        self._seen = 0
        """A bit for each counter, that of the highest being the lowest."""

    def takes(self, counter: int) -> bool:
        """Whether the counter is new, and not too old to tell; it is noted."""
        ahead = counter - self._highest
        if ahead > 0:
            self._seen = 1 if ahead >= WINDOW else ((self._seen << ahead) | 1) & ((1 << WINDOW) - 1)
            self._highest = counter
            return True
        bit = 1 << -ahead
        if -ahead >= WINDOW or self._seen & bit:
            return False
        self._seen |= bit
        return True


class EncryptionWatch:
    """How one received track stands, and how many of its frames were opened or refused."""

    def __init__(self, *, is_sealed: bool, is_on: bool) -> None:
        """`is_sealed`: its sender says so. `is_on`: this side encrypts."""
        if is_on:
            self.state: EncryptionState = "waiting" if is_sealed else "not_sealed"
        else:
            self.state = "not_opened" if is_sealed else "open"
        self.opened = 0
        self.refused = 0
        """Frames that were not shown: those that did not authenticate, and those that were `replayed`."""
        self.replayed = 0
        self._failures = 0

    @property
    def is_opening(self) -> bool:
        """Whether frames are to be opened; else they pass (`open`) or are refused unseen."""
        return self.state in ("waiting", "sealed", "undecryptable")

    def frame_opened(self) -> bool:
        """Whether the state changed by it."""
        self.opened += 1
        self._failures = 0
        return self._become("sealed")

    def frame_refused(self, reason: RefusalReason) -> bool:
        """Whether the state changed by it."""
        self.refused += 1
        if reason == "replayed":
            self.replayed += 1
            return False
        if not self.is_opening:
            return False
        self._failures += 1
        return self._failures >= FAILURES_TO_TELL and self._become("undecryptable")

    def _become(self, state: EncryptionState) -> bool:
        changed, self.state = self.state != state, state
        return changed


def frame_key(media_key: SecretBytes, key_id: bytes) -> bytes:
    """The 32-byte key of all frames under this key id."""
    return HKDF(SHA256(), 32, salt=None, info=_LABEL + key_id).derive(media_key.reveal())


def _context(sender: str, publication: str) -> bytes:
    return b"".join(
        len(text).to_bytes(4, "big") + text
        for text in (unicodedata.normalize("NFC", one).encode() for one in (sender, publication))
    )

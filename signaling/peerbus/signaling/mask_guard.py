"""
Refuses WebSocket frames that a client has not masked.

Owns nothing but the place in the stream where the next frame begins; everything else about frames is the reader's
behind it, which takes unmasked frames, too. See RFC 6455, section 5.1: a server must close the connection then.
"""

from __future__ import annotations

from typing import Final, Protocol

_MASKED: Final = 0x80
_MASK_BYTES: Final = 4
_EXTENDED: Final = {126: 2, 127: 8}
_RESERVED_BITS_SET: Final = b"\xf0\x80"
"""The head of a frame that every reader refuses with close code 1002."""


class FrameReader(Protocol):
    """What stands behind the guard."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes from the connection."""

    def feed_eof(self) -> None:
        """The connection has ended."""


class MaskGuard:
    """Hands on all bytes up to the first unmasked frame, and a frame in its place that the reader refuses."""

    __slots__ = ("_held", "_is_broken", "_reader", "_skip")

    def __init__(self, reader: FrameReader) -> None:
        self._reader: Final = reader
        self._skip = 0
        """How many bytes there are still before the head of the next frame."""
        self._held = b""
        """The beginning of a head that is not whole yet."""
        self._is_broken = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes from the connection; the answer is the reader's."""
        if not self._is_broken:
            data = self._held + data
            self._held = b""
            data = self._checked(data)
        return self._reader.feed_data(data)

    def feed_eof(self) -> None:
        """The connection has ended."""
        self._reader.feed_eof()

    def _checked(self, data: bytes) -> bytes:
        """What the reader may have: without the head that is not whole yet, without what follows a bad frame."""
        position, size = self._skip, len(data)
        while position < size:
            if size - position < 2:
                break
            second = data[position + 1]
            if not second & _MASKED:
                self._is_broken = True
                return data[:position] + _RESERVED_BITS_SET
            length = second & 0x7F
            body_at = position + 2 + _EXTENDED.get(length, 0)
            if size < body_at:
                break
            if length > 125:
                length = int.from_bytes(data[position + 2 : body_at], "big")
            position = body_at + _MASK_BYTES + length
        if position < size:
            self._held = data[position:]
            self._skip = 0
            return data[:position]
        self._skip = position - size
        return data

"""
The frames that peers send each other, byte by byte (PROTOCOL.md, section 16).

Owns their MessagePack forms, the forms of payloads, and what is refused. Never keeps anything: `peer_delivery` knows
which frames follow which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from peerbus.client.errors import ErrorCode, PeerbusError

FRAME_BYTES_MAX: Final = 65_536
"""A larger frame is dropped unread."""
PIECE_BYTES: Final = 16_000
"""Larger messages are sent in pieces of this size; lossy ones are refused."""
MESSAGE_BYTES_MAX: Final = 64 * 1_048_576
LOSSY_FRAME_BYTES: Final = 1_100
"""Lossy messages share a frame up to this size, which one datagram can carry."""
STREAM_MAX: Final = 0xFFFF_FFFF
SEQ_MAX: Final = 2**53 - 1
"""What a number in a browser can count to."""

MORE: Final = 1
CONTINUES: Final = 8
VOID: Final = 16
"""It keeps its place in the order, and tells nothing: a check of the server refused its message."""
VALUE, TEXT, BINARY = range(3)
_FLAGS_MAX: Final = 31

RELIABLE, LOSSY, ACK, FLUSHED, AGAIN = range(5)


class Reliable(Struct, frozen=True, gc=False):
    """One piece of a message that must arrive, in order."""

    stream: int
    seq: int
    prev: int
    """The `seq` of the frame before it that was for the receiver."""
    flags: int
    body: bytes

    @property
    def kind(self) -> int:
        """What the message is: `VALUE`, `TEXT` or `BINARY`."""
        return (self.flags >> 1) & 3


class Lossy(Struct, frozen=True):
    """Messages that may be lost."""

    stream: int
    payloads: list[Any]


class Mark(Struct, frozen=True, gc=False):
    """An `ACK`, a `FLUSHED` or an `AGAIN`, up to a frame."""

    kind: Literal[2, 3, 4]
    stream: int
    seq: int


Frame: TypeAlias = Reliable | Lossy | Mark


def encode_reliable(
    stream: int, seq: int, prev: Mapping[str, int] | None, flags: int, body: bytes | memoryview
) -> bytes:
    """A piece of a message; `prev` as in the section."""
    return msgspec.msgpack.encode([RELIABLE, stream, seq, prev or None, flags, body])


def encode_lossy(stream: int, payloads: Sequence[bytes]) -> bytes:
    """Messages in their MessagePack form."""
    return msgspec.msgpack.encode([LOSSY, stream, *map(msgspec.Raw, payloads)])


def encode_mark(kind: int, stream: int, seq: int) -> bytes:
    """See `Mark`."""
    return msgspec.msgpack.encode([kind, stream, seq])


def decode_frame(data: bytes, receiver: str) -> Frame:
    """Reads a frame for `receiver`. Raises `PeerbusError` (`bad_frame`) for what is none."""
    if len(data) > FRAME_BYTES_MAX:
        raise bad_frame(f"it has {len(data)} bytes")
    try:
        fields = msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise bad_frame(str(error)) from None
    if not isinstance(fields, list) or len(fields) < 3:
        raise bad_frame("it is no array of three or more")
    kind, stream = fields[0], fields[1]
    if not _is_number(kind, 0, AGAIN) or not _is_number(stream, 0 if kind == AGAIN else 1, STREAM_MAX):
        raise bad_frame("its kind or its stream is none")
    if kind == LOSSY:
        return Lossy(stream, fields[2:])
    if kind == RELIABLE:
        return _reliable(fields, receiver)
    if len(fields) != 3 or not _is_number(fields[2], 0, SEQ_MAX):
        raise bad_frame("it has no place in a stream")
    return Mark(kind, stream, fields[2])


def is_lossy_frame(data: bytes) -> bool:
    """Whether this is a lossy frame, or would be if it is none."""
    # An array of up to 15, or of more with its length in two or four bytes; then the kind.
    kind_at = {0xDC: 3, 0xDD: 5}.get(data[0], 1) if data else 0
    return data[kind_at : kind_at + 1] == bytes([LOSSY])


def form_of(payload: Any) -> tuple[int, bytes]:
    """What a payload is, and its bytes. Raises `PeerbusError`: `bad_request`, `too_large`."""
    try:
        if isinstance(payload, str):
            kind, data = TEXT, payload.encode()
        elif isinstance(payload, bytes | bytearray | memoryview):
            kind, data = BINARY, bytes(payload)
        else:
            kind, data = VALUE, msgspec.msgpack.encode(payload)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _no_form(error) from None
    if len(data) > MESSAGE_BYTES_MAX:
        raise too_large(len(data), MESSAGE_BYTES_MAX)
    return kind, data


def lossy_form_of(payload: Any) -> bytes:
    """The bytes of a payload in a lossy frame. Raises `PeerbusError`: `bad_request`, `too_large`."""
    try:
        data = msgspec.msgpack.encode(payload)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _no_form(error) from None
    if len(data) > PIECE_BYTES:
        raise too_large(len(data), PIECE_BYTES)
    return data


def payload_of(kind: int, data: bytes) -> Any:
    """The payload that has these bytes. Raises `PeerbusError` (`bad_frame`)."""
    if kind == BINARY:
        return data
    try:
        return data.decode() if kind == TEXT else msgspec.msgpack.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise bad_frame(f"its message is not what it says: {error}") from None


def bad_frame(why: str) -> PeerbusError:
    """What is told of bytes that are no frame."""
    return PeerbusError(ErrorCode.BAD_FRAME, f"A frame of a peer could not be read: {why}.")


def too_large(size_bytes: int, limit_bytes: int) -> PeerbusError:
    """What is told of too large a message."""
    text = f"Such a message has at most {limit_bytes} bytes; this one has {size_bytes}."
    details = {"limit_bytes": limit_bytes, "size_bytes": size_bytes}
    return PeerbusError(ErrorCode.TOO_LARGE, text, details=details)


def _reliable(fields: list[Any], receiver: str) -> Reliable:
    if len(fields) != 6:
        raise bad_frame("it has not six fields")
    _, stream, seq, prevs, flags, body = fields
    if not _is_number(seq, 1, SEQ_MAX) or not _is_number(flags, 0, _FLAGS_MAX):
        raise bad_frame("its number or its flags are none")
    if not isinstance(body, bytes) or len(body) > PIECE_BYTES or (flags >> 1) & 3 > BINARY:
        raise bad_frame("its body is none")
    if prevs is not None and not isinstance(prevs, dict):
        raise bad_frame("what came before it is not said")
    prev = seq - 1 if prevs is None else prevs.get(receiver, seq - 1)
    if not _is_number(prev, 0, seq - 1):
        raise bad_frame("what came before it is not said")
    return Reliable(stream, seq, prev, flags, body)


def _is_number(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _no_form(error: Exception) -> PeerbusError:
    return PeerbusError(ErrorCode.BAD_REQUEST, f"The payload has no MessagePack form: {error}")

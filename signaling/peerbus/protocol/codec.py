"""
Turns frames into bytes and back, in JSON and in MessagePack.

Owns the two encodings, batches, the size limit, and the rules for values inside a message (JSON-shaped,
bounded depth, integers a browser can hold). Never knows what a frame means.

A transport message is one frame or a batch: an array of frames. See RFC 8259, RFC 7493 (I-JSON) for the
number range, and the MessagePack specification.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import ClientFrame, Connect, Message, Send, ServerFrame, Update
from peerbus.protocol.secrets import dec_hook, enc_hook

EncodingName: TypeAlias = Literal["json", "msgpack"]

SUBPROTOCOLS: Final[dict[str, EncodingName]] = {
    "peerbus.v1.msgpack": "msgpack",
    "peerbus.v1.json": "json",
}
"""WebSocket subprotocol to encoding, in the server's order of preference."""

CONTENT_TYPES: Final[dict[str, EncodingName]] = {
    "application/msgpack": "msgpack",
    "application/json": "json",
}
"""HTTP media type to encoding, for long-poll."""

MAX_DEPTH: Final = 64
"""How deep arrays and objects may nest in content, metadata and attributes."""
MAX_SAFE_INTEGER: Final = 2**53 - 1
"""RFC 7493, section 2.2: beyond it a JavaScript number loses digits."""
MAX_BATCH_FRAMES: Final = 256

F = TypeVar("F")


class _OnlyId(msgspec.Struct):
    """What can be saved of a frame that is otherwise wrong, so that the error can name the request."""

    id: int = 0


class Rejected(msgspec.Struct, frozen=True):
    """A frame that could not be read: the reason, and the request id if it had a readable one."""

    error: ProtocolError
    id: int | None = None


class Codec(Generic[F]):
    """
    One encoding, for one direction.

    `decode` gives one item per frame of the transport message: the frame, or a `Rejected` in its place, so
    that one bad frame of a batch costs only itself.
    """

    def __init__(self, encoding: EncodingName, frame_type: Any, *, max_bytes: int) -> None:
        self.encoding: Final[EncodingName] = encoding
        self.max_bytes: Final = max_bytes
        if encoding == "json":
            self._encoder: msgspec.json.Encoder | msgspec.msgpack.Encoder = msgspec.json.Encoder(
                enc_hook=enc_hook
            )
            self._frame: Any = msgspec.json.Decoder(frame_type, dec_hook=dec_hook)
            self._batch: Any = msgspec.json.Decoder(list[msgspec.Raw])
            self._only_id: Any = msgspec.json.Decoder(_OnlyId)
        else:
            self._encoder = msgspec.msgpack.Encoder(enc_hook=enc_hook)
            self._frame = msgspec.msgpack.Decoder(frame_type, dec_hook=dec_hook)
            self._batch = msgspec.msgpack.Decoder(list[msgspec.Raw])
            self._only_id = msgspec.msgpack.Decoder(_OnlyId)

    def encode(self, frame: Any) -> bytes:
        """The bytes of one frame."""
        return self._encoder.encode(frame)

    def join(self, frames: Iterable[bytes]) -> bytes:
        """A batch, from frames that are encoded already."""
        parts = list(frames)
        if self.encoding == "json":
            return b"[" + b",".join(parts) + b"]"
        return _array_header(len(parts)) + b"".join(parts)

    def decode(self, data: bytes) -> list[F | Rejected]:
        """The frames of one transport message, in order; never raises for bad input."""
        if len(data) > self.max_bytes:
            text = f"{len(data)} bytes in one transport message; at most {self.max_bytes} are taken."
            return [Rejected(ProtocolError(ErrorCode.TOO_LARGE, text))]
        if not self._is_batch(data):
            return [self._decode_one(data)]
        try:
            raws = self._batch.decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            return [Rejected(_bad_frame(error))]
        if not raws:
            return [Rejected(ProtocolError(ErrorCode.BAD_FRAME, "A batch has at least one frame."))]
        if len(raws) > MAX_BATCH_FRAMES:
            text = f"{len(raws)} frames in one batch; at most {MAX_BATCH_FRAMES} are taken."
            return [Rejected(ProtocolError(ErrorCode.TOO_LARGE, text))]
        return [self._decode_one(bytes(raw)) for raw in raws]

    def _decode_one(self, data: bytes) -> F | Rejected:
        try:
            frame: F = self._frame.decode(data)
            check_frame(frame)
        except ProtocolError as error:
            return Rejected(error, self._saved_id(data))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            return Rejected(_bad_frame(error), self._saved_id(data))
        return frame

    def _saved_id(self, data: bytes) -> int | None:
        try:
            saved: _OnlyId = self._only_id.decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return None
        return saved.id if 1 <= saved.id <= MAX_SAFE_INTEGER else None

    def _is_batch(self, data: bytes) -> bool:
        if self.encoding == "json":
            return data[:64].lstrip(b" \t\r\n").startswith(b"[")
        return bool(data) and (0x90 <= data[0] <= 0x9F or data[0] in (0xDC, 0xDD))


def client_codec(encoding: EncodingName, *, max_bytes: int) -> Codec[ServerFrame]:
    """What a client needs: encodes any frame, decodes the server's."""
    return Codec(encoding, ServerFrame, max_bytes=max_bytes)


def server_codec(encoding: EncodingName, *, max_bytes: int) -> Codec[ClientFrame]:
    """What the server needs: encodes any frame, decodes the client's."""
    return Codec(encoding, ClientFrame, max_bytes=max_bytes)


def check_frame(frame: object) -> None:
    """
    Checks the free-form values of a frame.

    Raises `ProtocolError` (`bad_request`) where content is not JSON-shaped, too deep or out of the number
    range, or where a message carries not exactly one of `content`, `binary` and `sealed`.
    """
    if isinstance(frame, Send | Message):
        content = frame.content
        unset = msgspec.UNSET
        if (content is not unset) + (frame.binary is not unset) + (frame.sealed is not unset) != 1:
            raise ProtocolError(
                ErrorCode.BAD_REQUEST, "A message has exactly one of content, binary and sealed."
            )
        if type(content) is not str and content is not msgspec.UNSET:
            check_value(content)
        if frame.metadata is not msgspec.UNSET:
            check_value(frame.metadata)
    elif isinstance(frame, Connect | Update):
        check_value(frame.attributes)


def check_value(value: Any, depth: int = 0) -> None:
    """Raises `ProtocolError` (`bad_request`) unless JSON, MessagePack and JavaScript agree on `value`."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if kind is int:
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            raise ProtocolError(
                ErrorCode.BAD_REQUEST,
                "An integer lies beyond 2^53-1, where a browser loses digits; send it as a string.",
            )
    elif kind is float:
        if not math.isfinite(value):
            raise ProtocolError(ErrorCode.BAD_REQUEST, "NaN and infinities have no JSON form.")
    elif kind is dict or kind is list:
        if depth >= MAX_DEPTH:
            raise ProtocolError(
                ErrorCode.BAD_REQUEST, f"Values nest deeper than {MAX_DEPTH} arrays and objects."
            )
        if kind is dict:
            for key, item in value.items():
                if type(key) is not str:
                    raise ProtocolError(ErrorCode.BAD_REQUEST, "The keys of an object are strings.")
                check_value(item, depth + 1)
        else:
            for item in value:
                check_value(item, depth + 1)
    else:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST,
            f"Content is JSON-shaped; {kind.__name__} is not (bytes go into binary, alone).",
        )


def _array_header(length: int) -> bytes:
    if length < 16:
        return bytes((0x90 | length,))
    if length < 1 << 16:
        return b"\xdc" + length.to_bytes(2, "big")
    return b"\xdd" + length.to_bytes(4, "big")


def _bad_frame(error: Exception) -> ProtocolError:
    if isinstance(error, RecursionError):
        return ProtocolError(ErrorCode.BAD_FRAME, "The frame nests too deep to be read.")
    if isinstance(error, UnicodeDecodeError):
        return ProtocolError(ErrorCode.BAD_FRAME, "A string of the frame is not valid UTF-8.")
    return ProtocolError(ErrorCode.BAD_FRAME, str(error)[:300])

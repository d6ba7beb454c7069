"""
A frame that is encoded at most once per encoding, however many sessions get it.

Owns the shared bytes, bare (for a long-poll batch) and as a finished WebSocket frame. Never decides who gets them.
See RFC 6455, section 5.2.
"""

from __future__ import annotations

from typing import Final

from peerbus.protocol.codec import Codec, EncodingName
from peerbus.protocol.messages import AnyFrame, ClientFrame, ServerFrame

_FIN_TEXT: Final = 0x81
_FIN_BINARY: Final = 0x82

_MSGPACK: Final[Codec[ClientFrame]] = Codec("msgpack", ClientFrame, max_bytes=0)
_JSON: Final[Codec[ClientFrame]] = Codec("json", ClientFrame, max_bytes=0)


class EncodedFrame:
    """One frame of the server and its bytes; `size_bytes` is that of the MessagePack form."""

    __slots__ = ("_json", "_text_message", "binary_message", "frame", "msgpack", "size_bytes")

    def __init__(self, frame: ServerFrame | AnyFrame) -> None:
        self.frame: Final = frame
        self.msgpack: Final = _MSGPACK.encode(frame)
        self.size_bytes: Final = len(self.msgpack)
        self.binary_message: Final = _header(_FIN_BINARY, self.size_bytes) + self.msgpack
        """The MessagePack form as one unmasked WebSocket message, header included."""
        self._json: bytes | None = None
        self._text_message: bytes | None = None

    def payload(self, encoding: EncodingName) -> bytes:
        """The bare frame."""
        if encoding == "msgpack":
            return self.msgpack
        if self._json is None:
            self._json = _JSON.encode(self.frame)
        return self._json

    @property
    def text_message(self) -> bytes:
        """The JSON form as one unmasked WebSocket message, header included."""
        if self._text_message is None:
            payload = self.payload("json")
            self._text_message = _header(_FIN_TEXT, len(payload)) + payload
        return self._text_message


def join_payloads(encoding: EncodingName, payloads: list[bytes]) -> bytes:
    """A batch of bare frames in one encoding."""
    return (_MSGPACK if encoding == "msgpack" else _JSON).join(payloads)


def _header(first_byte: int, length: int) -> bytes:
    if length < 126:
        return bytes((first_byte, length))
    if length < 1 << 16:
        return bytes((first_byte, 126)) + length.to_bytes(2, "big")
    return bytes((first_byte, 127)) + length.to_bytes(8, "big")

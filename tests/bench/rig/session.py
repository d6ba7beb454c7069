"""
A session over a raw blocking or polled socket: as little client as possible.

Owns the WebSocket handshake, masked frames out, and counting frames in without decoding them. See RFC 6455.
"""

from __future__ import annotations

import os
import socket
from typing import Any, Final

import msgspec

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder()


class RawSession:
    """One member of a channel; `send` takes frames as dictionaries, `counted` counts what comes."""

    def __init__(self, port: int, api_key: str, channel: str, agent: str, **connect: Any) -> None:
        self.socket, self._rest = upgraded(port, "/v1/ws", "peerbus.v1.msgpack")
        self.last_id = 1
        self.send(
            {
                "op": "connect",
                "id": 1,
                "api_key": api_key,
                "channel": channel,
                "agent": agent,
                "lineage_secret": os.urandom(16),
                **connect,
            }
        )
        self.connected = self.next_frame()
        if self.connected.get("op") != "connected":
            raise ConnectionError(str(self.connected))

    def send(self, *frames: dict[str, Any]) -> None:
        """Each frame as a WebSocket message of its own, in one write."""
        self.socket.sendall(b"".join(masked(_ENCODER.encode(frame)) for frame in frames))

    def next_frame(self) -> dict[str, Any]:
        """The next frame, decoded; for the slow parts."""
        while True:
            length, start = _next_length(self._rest)
            if start and len(self._rest) >= start + length:
                payload = self._rest[start : start + length]
                self._rest = self._rest[start + length :]
                frame: dict[str, Any] = _DECODER.decode(payload)
                return frame
            self._rest += self._receive()

    def frames(self) -> list[dict[str, Any]]:
        """The frames that one read of the socket completed, decoded."""
        data = self._rest + self._receive()
        position = 0
        frames: list[dict[str, Any]] = []
        while True:
            length, start = _next_length(data, position)
            if not start or len(data) < start + length:
                self._rest = data[position:]
                return frames
            frames.append(_DECODER.decode(data[start : start + length]))
            position = start + length

    def discard(self) -> None:
        """Throws away the frames that have come in, without waiting."""
        self.socket.setblocking(False)
        try:
            while True:
                self.counted()
        except BlockingIOError:
            pass
        self.socket.setblocking(True)

    def settle(self) -> None:
        """Waits until the server has worked off what was sent before."""
        self.last_id += 1
        self.send({"op": "members", "id": self.last_id})
        while self.next_frame().get("op") != "members_reply":
            pass

    def counted(self) -> int:
        """How many frames came in with one read of the socket."""
        data = self._rest + self._receive()
        position = frames = 0
        while True:
            length, start = _next_length(data, position)
            if not start or len(data) < start + length:
                break
            position = start + length
            frames += 1
        self._rest = data[position:]
        return frames

    def _receive(self) -> bytes:
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def upgraded(port: int, path: str, subprotocol: str = "") -> tuple[socket.socket, bytes]:
    """A socket that speaks WebSocket from here on, and what came behind the handshake. Raises `ConnectionError`."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    offered = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offered}\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = connection.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        answer += data
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b" 101 " not in head.partition(b"\r\n")[0]:
        raise ConnectionError(head.decode())
    return connection, rest


def framed(payload: bytes) -> bytes:
    """A binary WebSocket message of a server."""
    length = len(payload)
    if length < 126:
        return bytes((0x82, length)) + payload
    if length < 1 << 16:
        return bytes((0x82, 126)) + length.to_bytes(2, "big") + payload
    return bytes((0x82, 127)) + length.to_bytes(8, "big") + payload


def masked(payload: bytes) -> bytes:
    """A binary WebSocket message of a client; the mask is zero, which leaves the payload as it is."""
    length = len(payload)
    if length < 126:
        header = bytes((0x82, 0x80 | length))
    elif length < 1 << 16:
        header = bytes((0x82, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        header = bytes((0x82, 0x80 | 127)) + length.to_bytes(8, "big")
    return header + b"\0\0\0\0" + payload


def _next_length(data: bytes, position: int = 0) -> tuple[int, int]:
    """Length and start of the payload of the message at `position`; (0, 0) if its header is not whole."""
    if len(data) < position + 2:
        return 0, 0
    length = data[position + 1]
    if length < 126:
        return length, position + 2
    size = 2 if length == 126 else 8
    if len(data) < position + 2 + size:
        return 0, 0
    return int.from_bytes(data[position + 2 : position + 2 + size], "big"), position + 2 + size

"""
HTTP and WebSocket by hand over a blocking socket: what no well-behaved client would send.

Owns framing and parsing of its own, so that it shares no mistake with the server.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Self

from tests.support.live_server import LiveServer

TIMEOUT_S: Final = 20.0

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Answer(NamedTuple):
    """One HTTP response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document."""
        assert self.headers["content-type"] == "application/problem+json", self
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        return problem


class RawSocket:
    """One TCP connection to a server."""

    def __init__(self, server: LiveServer, *, receive_buffer: int | None = None) -> None:
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect((server.host, server.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.host = f"{server.host}:{server.port}"
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Ends the connection by RST, without a word."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def detach(self) -> socket.socket:
        """The socket itself, for whoever goes on with it."""
        return self._socket

    def set_timeout(self, timeout_s: float) -> None:
        self._socket.settimeout(timeout_s)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_some(self, data: bytes) -> int:
        """As much as is taken at once; how much that was."""
        return self._socket.send(data)

    def receive(self) -> bytes:
        """Whatever comes next; empty at the end of the connection, also one by RST."""
        try:
            data = self._socket.recv(65_536)
        except ConnectionError:
            return b""
        self.buffer += data
        return data

    def until_closed(self) -> bytes:
        """Everything up to the end of the connection."""
        while self.receive():
            pass
        everything, self.buffer = self.buffer, b""
        return everything

    def take(self, size: int) -> bytes:
        """Exactly so many bytes. Raises `EOFError` when the connection ends before."""
        while len(self.buffer) < size:
            if not self.receive():
                raise EOFError
        taken, self.buffer = self.buffer[:size], self.buffer[size:]
        return taken

    # --- HTTP ---------------------------------------------------------------------------------------------------

    def send_request(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> None:
        """A request that is in order, but for what is given."""
        lines = {"Host": self.host, **(headers or {})}
        if body or method == "POST":
            lines.setdefault("Content-Length", str(len(body)))
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(
            f"{name}: {text}\r\n" for name, text in lines.items()
        )
        self.send(head.encode("latin-1") + b"\r\n" + body)

    def answer(self) -> Answer:
        """The next response."""
        while b"\r\n\r\n" not in self.buffer:
            if not self.receive():
                raise EOFError(self.buffer)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, text = line.partition(":")
            headers[name.lower()] = text.strip()
        status = int(first.split()[1])
        size = 0 if status in (101, 204) else int(headers.get("content-length", "0"))
        return Answer(status, headers, self.take(size))


def request(
    server: LiveServer, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> Answer:
    """One request over a connection of its own."""
    with RawSocket(server) as raw:
        raw.send_request(method, path, headers, body)
        return raw.answer()


class Closed(NamedTuple):
    """How a WebSocket ended: the code of the close frame, None where there was none."""

    code: int | None


class RawWebSocket(RawSocket):
    """A WebSocket in JSON, from its upgrade on."""

    def __init__(
        self,
        server: LiveServer,
        *,
        headers: dict[str, str] | None = None,
        receive_buffer: int | None = None,
        protocol: str = "peerbus.v1.json",
    ) -> None:
        super().__init__(server, receive_buffer=receive_buffer)
        self.server = server
        self.closed: Closed | None = None
        self.send_request(
            "GET",
            "/v1/ws",
            {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
                "Sec-WebSocket-Protocol": protocol,
                **(headers or {}),
            },
        )
        self.upgrade = self.answer()

    def join(
        self, channel: str = "lobby", agent: str = "", key: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Sends `connect`; the first frame of the answer."""
        self.send_json(connect_frame(self.server, channel, agent, key, **fields))
        return self.next()

    def send_json(self, *frames: Any) -> None:
        """Frames, each as a message of its own."""
        self.send(b"".join(masked(TEXT, json.dumps(frame).encode()) for frame in frames))

    def send_text(self, text: bytes) -> None:
        self.send(masked(TEXT, text))

    def next(self, *ops: str) -> dict[str, Any]:
        """The next frame of the protocol, of these kinds if any are named. Raises `EOFError` at the end."""
        for frame in self.frames():
            if not ops or frame["op"] in ops:
                return frame
        raise EOFError(self.closed)

    def frames(self) -> Iterator[dict[str, Any]]:
        """All frames of the protocol up to the end of the connection."""
        while self.closed is None:
            try:
                opcode, payload = self.next_frame()
            except EOFError:
                self.closed = Closed(None)
                return
            if opcode == TEXT:
                yield json.loads(payload)
            elif opcode == CLOSE:
                self.closed = Closed(int.from_bytes(payload[:2], "big"))

    def next_frame(self) -> tuple[int, bytes]:
        """The next frame of the WebSocket."""
        first, second = self.take(2)
        assert first & 0x70 == 0
        assert second & 0x80 == 0
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(self.take(2 if size == 126 else 8), "big")
        return first & 0x0F, self.take(size)

    def ending(self) -> tuple[str | None, int | None]:
        """Reads to the end: the code of the last `closing` frame, and the close code of the WebSocket."""
        code = None
        for frame in self.frames():
            if frame["op"] == "closing":
                code = frame["code"]
                assert isinstance(frame["correlation_id"], str)
        assert self.closed is not None
        return code, self.closed.code


def connect_frame(
    server: LiveServer, channel: str = "lobby", agent: str = "", key: str | None = None, **fields: Any
) -> dict[str, Any]:
    """A `connect` frame, in order but for what is given."""
    return {
        "op": "connect",
        "id": 1,
        "api_key": server.developer_key if key is None else key,
        "channel": channel,
        "agent": agent,
        "lineage_secret": base64.b64encode(os.urandom(16)).decode(),
        **fields,
    }


def masked(
    opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, mask: bytes | None = None
) -> bytes:
    """A frame as clients send it."""
    mask = os.urandom(4) if mask is None else mask
    return head(opcode, len(payload), fin=fin, reserved=reserved) + mask + _mask(mask, payload)


def unmasked(opcode: int, payload: bytes) -> bytes:
    """A frame as only servers may send it."""
    return head(opcode, len(payload), is_masked=False) + payload


def head(opcode: int, size: int, *, fin: bool = True, reserved: int = 0, is_masked: bool = True) -> bytes:
    """The head of a frame, up to the mask."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    mask_bit = 0x80 if is_masked else 0
    if size < 126:
        return bytes((first, mask_bit | size))
    if size < 65_536:
        return bytes((first, mask_bit | 126)) + size.to_bytes(2, "big")
    return bytes((first, mask_bit | 127)) + size.to_bytes(8, "big")


def _mask(mask: bytes, payload: bytes) -> bytes:
    if not payload:
        return b""
    repeated = mask * (len(payload) // 4 + 1)
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")
    return number.to_bytes(len(payload), "big")

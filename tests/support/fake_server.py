"""
A small server over real sockets that does what a test says: answers wrongly, twice, late or not at all.

It speaks the framing of PROTOCOL.md (WebSocket and long-poll) and answers `connect`, `send` and `ping` by itself; all
that happens to the messages is that they are kept in `received`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from peerbus.protocol.codec import CONTENT_TYPES, SUBPROTOCOLS, Codec, EncodingName, Rejected, server_codec
from peerbus.protocol.messages import (
    Ack,
    Bye,
    ClientFrame,
    Connect,
    History,
    IceServers,
    IceServersReply,
    Kick,
    Lock,
    Members,
    MembersReply,
    Ping,
    Pong,
    Receive,
    Renew,
    Send,
    Update,
)
from tests.support.fake_transport import connected, member, message

MAX_BYTES = 1_048_576


class FakeServer:
    """What one test server does, and what it has seen."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[ClientFrame] = []
        self.batches: list[int] = []
        """How many frames each transport message had."""
        self.requests: list[tuple[str, str, str]] = []
        """Method, path with query, and Authorization of every HTTP request."""
        self.faults: deque[Any] = deque()
        """Taken by the next requests: None (no fault), a status, "drop" (the connection), or a whole response."""
        self.is_websocket_off = False
        self.sockets: list[web.WebSocketResponse] = []
        self.close_codes: list[int | None] = []
        self._codec: Codec[ClientFrame] = server_codec("json", max_bytes=MAX_BYTES)
        self._offset = 0
        self._number = 0
        self._kept: bytes | None = None
        self._outgoing: list[bytes] = []
        self._changed = asyncio.Condition()
        self.posts: list[int] = []

    # --- what a test does ---------------------------------------------------------------------------------------------

    async def push(self, *frames: Any) -> None:
        """Says this on the latest connection, whatever it is; bytes go out as they are."""
        encoded = [frame if isinstance(frame, bytes) else self._codec.encode(frame) for frame in frames]
        if self.sockets:
            await self._write(self.sockets[-1], encoded)
        else:
            async with self._changed:
                self._outgoing += encoded
                self._changed.notify_all()

    async def sees(self, count: int, kind: type[Any]) -> list[Any]:
        """Waits until so many frames of a kind have come."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: sum(isinstance(f, kind) for f in self.received) >= count)
        return [frame for frame in self.received if isinstance(frame, kind)]

    # --- the server -----------------------------------------------------------------------------------------------

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._faulty])
        app.router.add_get("/v1/ws", self._websocket)
        app.router.add_post("/v1/longpoll", self._longpoll_connect)
        app.router.add_get("/v1/longpoll/{session}", self._poll)
        app.router.add_post("/v1/longpoll/{session}", self._post)
        app.router.add_post("/v1/demo/key", self._demo_key)
        return app

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path_qs, request.headers.get("Authorization", "")))
        fault = self.faults.popleft() if self.faults else None
        if fault == "drop":
            assert request.transport is not None
            request.transport.abort()
            raise web.HTTPServiceUnavailable
        if isinstance(fault, int):
            return web.Response(status=fault, text="a proxy says no")
        if isinstance(fault, web.Response):
            return fault
        response: web.StreamResponse = await handler(request)
        return response

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if self.is_websocket_off:
            raise web.HTTPForbidden
        socket = web.WebSocketResponse(protocols=tuple(SUBPROTOCOLS), max_msg_size=0)
        await socket.prepare(request)
        encoding: EncodingName = SUBPROTOCOLS[socket.ws_protocol or "peerbus.v1.json"]
        self._codec = server_codec(encoding, max_bytes=MAX_BYTES)
        self.sockets.append(socket)
        async for incoming in socket:
            assert incoming.type is (WSMsgType.TEXT if encoding == "json" else WSMsgType.BINARY)
            data = incoming.data.encode() if isinstance(incoming.data, str) else incoming.data
            replies = await self._take(data)
            if replies:
                await self._write(socket, replies)
        self.close_codes.append(socket.close_code)
        return socket

    async def _write(self, socket: web.WebSocketResponse, encoded: list[bytes]) -> None:
        for data in encoded:
            if self._codec.encoding == "json":
                await socket.send_str(data.decode())
            else:
                await socket.send_bytes(data)

    async def _longpoll_connect(self, request: web.Request) -> web.Response:
        self._codec = server_codec(CONTENT_TYPES[request.content_type], max_bytes=MAX_BYTES)
        self._outgoing = await self._take(await request.read())
        self._number, self._kept = 0, None
        self.posts = []
        return self._answer()

    async def _poll(self, request: web.Request) -> web.Response:
        if int(request.query["ack"]) == self._number:
            self._kept = None
        async with self._changed:
            try:
                async with asyncio.timeout(0.5):
                    await self._changed.wait_for(lambda: self._outgoing or self._kept)
            except TimeoutError:
                return self._response(self._number, [])
        return self._answer()

    async def _post(self, request: web.Request) -> web.Response:
        number = int(request.query["post"])
        if number == len(self.posts) + 1:
            replies = await self._take(await request.read())
            async with self._changed:
                self._outgoing += replies
                self._changed.notify_all()
            self.posts.append(number)
        return web.Response(status=204)

    async def _demo_key(self, request: web.Request) -> web.Response:
        return web.json_response({"api_key": "demo-jwt", "expires_in_ms": 3_600_000, "project": "demo"})

    def _answer(self) -> web.Response:
        if self._kept is None:
            self._number += 1
            frames, self._outgoing = self._outgoing, []
            self._kept = self._body(self._number, frames)
        return self._http(self._kept)

    def _response(self, number: int, frames: list[bytes]) -> web.Response:
        return self._http(self._body(number, frames))

    def _http(self, body: bytes) -> web.Response:
        return web.Response(body=body, content_type=f"application/{self._codec.encoding}")

    def _body(self, number: int, frames: list[bytes]) -> bytes:
        if self._codec.encoding == "json":
            return b'{"n":%d,"frames":%b}' % (number, self._codec.join(frames))
        return b"\x82\xa1n" + msgspec.msgpack.encode(number) + b"\xa6frames" + self._codec.join(frames)

    async def _take(self, data: bytes) -> list[bytes]:
        frames = self._codec.decode(data)
        replies: list[Any] = []
        async with self._changed:
            self.batches.append(len(frames))
            for frame in frames:
                assert not isinstance(frame, Rejected), frame.error
                self.received.append(frame)
                if isinstance(frame, Connect):
                    replies.append(connected(frame.id, agent=frame.agent or "alice"))
                elif isinstance(frame, Send):
                    self._offset += 1
                    if isinstance(frame.id, int):
                        replies.append(Ack(id=frame.id, promise="memory", offset=self._offset))
                elif isinstance(frame, Ping):
                    replies.append(Pong())
                elif not isinstance(frame, Bye):
                    replies.append(_reply(frame))
            self._changed.notify_all()
        return [self._codec.encode(reply) for reply in replies]


def _reply(frame: Update | Kick | Lock | Members | IceServers | Receive | Renew) -> Any:
    if isinstance(frame, Members):
        return MembersReply(id=frame.id, members=[member("s2", "bob")])
    if isinstance(frame, IceServers):
        return IceServersReply(id=frame.id)
    if isinstance(frame, Receive):
        kept = [message("kept", 1)]
        return History(id=frame.id, epoch="e1", head=1, tail=1, messages=kept, is_complete=True)
    return Ack(id=frame.id)


@asynccontextmanager
async def running(server: FakeServer) -> AsyncIterator[FakeServer]:
    """Serves on a free port of the loopback interface."""
    runner = web.AppRunner(server.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()

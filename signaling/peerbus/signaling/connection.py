"""
A WebSocket connection: bytes in, frames to the server; outbox to bytes.

Owns the socket of one session: the handshake deadline, the read loop, one joined write per flush, and the closing
handshake. Never decides what a frame means. See RFC 6455 and PROTOCOL.md, sections 1 and 3.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Final

from aiohttp import WSMsgType, web

from peerbus.protocol.codec import SUBPROTOCOLS, Codec, EncodingName, Rejected, server_codec
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import ClientFrame, Closing, Connect
from peerbus.signaling.clock import monotonic_ms
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.member import Member, Peer
from peerbus.signaling.reading_pace import ReadingPace
from peerbus.signaling.refusal import closing_frame, error_frame
from peerbus.signaling.server import Server

_log: Final = logging.getLogger("peerbus.signaling")

_CLOSE_TIMEOUT_S: Final = 2.0
"""How long the other end may take for its part of the closing handshake, and for reading what is left."""
_ABRUPT_CLOSE_S: Final = 1.0


class WebSocketConnection:
    """The server's end of one WebSocket, for one session."""

    __slots__ = (
        "_closing",
        "_descriptor",
        "_is_binary",
        "_loop",
        "_server",
        "_socket_bytes",
        "_transport",
        "_ws",
    )

    def __init__(
        self, ws: web.WebSocketResponse, transport: asyncio.Transport, encoding: EncodingName, server: Server
    ) -> None:
        self._ws: Final = ws
        self._transport: Final = transport
        self._is_binary: Final = encoding == "msgpack"
        self._server: Final = server
        self._loop: Final = asyncio.get_running_loop()
        self._socket_bytes: Final = server.limits.socket_buffer_bytes
        self._closing: asyncio.Task[None] | None = None
        socket = transport.get_extra_info("socket")
        is_encrypted = transport.get_extra_info("sslcontext") is not None
        self._descriptor: Final[int | None] = None if socket is None or is_encrypted else socket.fileno()

    @property
    def is_open(self) -> bool:
        """Whether frames may still come and go."""
        return self._closing is None and not self._transport.is_closing()

    def flush(self, member: Member) -> bool:
        """See `Connection`."""
        if self._closing is not None:
            return True
        transport = self._transport
        outbox = member.session.outbox
        waiting_bytes = transport.get_write_buffer_size()
        room = self._socket_bytes - waiting_bytes
        if room > 0 and not transport.is_closing():
            frame = outbox.take_only()
            if frame is not None:
                data = frame.binary_message if self._is_binary else frame.text_message
                self._write(data, waiting_bytes)
                return True
            frames = outbox.take(room)
            if frames:
                self._write(self._joined(frames), waiting_bytes)
        return outbox.is_empty

    def _write(self, data: bytes, waiting_bytes: int) -> None:
        """
        Writes past a transport that is not closing and has nothing waiting: it would queue this, and come back later.

        What the socket does not take, and what is wrong with it, is the transport's business.
        """
        if waiting_bytes == 0 and self._descriptor is not None:
            try:
                written = os.write(self._descriptor, data)
            except OSError:
                written = 0
            if written == len(data):
                return
            data = data[written:]
        self._transport.write(data)

    def _joined(self, frames: list[EncodedFrame]) -> bytes:
        if self._is_binary:
            return b"".join([frame.binary_message for frame in frames])
        return b"".join([frame.text_message for frame in frames])

    def close(self, member: Member | None, closing: Closing, *, is_abrupt: bool) -> None:
        """See `Connection`."""
        if not self.is_open:
            return
        if member is not None:
            self.flush(member)
        self._transport.write(self._joined([EncodedFrame(closing)]))
        patience_s = _ABRUPT_CLOSE_S if is_abrupt else _CLOSE_TIMEOUT_S
        self._closing = self._loop.create_task(self._say_goodbye(closing, patience_s))

    def refuse(self, error: ProtocolError, request_id: int | None, peer: Peer) -> None:
        """Ends a connection that has no session, or must lose it: `error`, then `closing`."""
        if self.is_open:
            self._transport.write(self._joined([EncodedFrame(error_frame(error, request_id, peer))]))
        self.close(None, closing_frame(error, peer), is_abrupt=False)

    async def _say_goodbye(self, closing: Closing, patience_s: float) -> None:
        # Nobody may be reading at the other end; closing a socket waits for that without end, aborting does not.
        end = self._loop.call_later(patience_s, self._transport.abort)
        try:
            await self._ws.close(code=closing.close_code, message=closing.code.encode(), drain=False)
        finally:
            if not self._transport.get_write_buffer_size():
                end.cancel()

    async def wait_closed(self) -> None:
        """Returns once the closing handshake that `close` began is over."""
        if self._closing is not None:
            await self._closing


async def serve_websocket(request: web.Request, server: Server, peer: Peer) -> web.WebSocketResponse:
    """One WebSocket from its upgrade to its end."""
    ws = web.WebSocketResponse(
        protocols=tuple(SUBPROTOCOLS),
        max_msg_size=server.limits.frame_bytes,
        compress=False,
        timeout=_CLOSE_TIMEOUT_S,
    )
    await ws.prepare(request)
    transport = request.transport
    if transport is None:
        return ws
    encoding = SUBPROTOCOLS.get(ws.ws_protocol or "", "json")
    connection = WebSocketConnection(ws, transport, encoding, server)
    try:
        admitted = await _handshake(ws, connection, encoding, server, peer)
        if admitted is not None:
            member, rest = admitted
            if rest:
                server.receive(member, connection, rest)
            codec = server_codec(encoding, max_bytes=server.limits.frame_bytes)
            await _read(ws, connection, codec, server, member)
    except ConnectionError:
        # The other end went away while a pong was written to it; that it is gone has been noticed.
        return ws
    except Exception:  # noqa: BLE001  the boundary of one connection: logged, and answered by a code
        _log.exception("a connection failed: %s", peer.correlation_id)
        connection.refuse(ProtocolError(ErrorCode.INTERNAL), None, peer)
    await connection.wait_closed()
    return ws


async def _handshake(
    ws: web.WebSocketResponse,
    connection: WebSocketConnection,
    encoding: EncodingName,
    server: Server,
    peer: Peer,
) -> tuple[Member, list[ClientFrame | Rejected]] | None:
    """The member that the first frame made, and the frames that came along with it; None if it was refused."""
    request_id: int | None = None
    codec = server_codec(encoding, max_bytes=server.limits.connect_bytes)
    try:
        async with asyncio.timeout(server.limits.handshake_timeout_ms / 1000):
            data = await _next_message(ws)
        if data is None:
            return None
        frames = codec.decode(data)
        first = frames[0]
        if isinstance(first, Rejected):
            request_id = first.id
            raise first.error
        if not isinstance(first, Connect):
            raise ProtocolError(ErrorCode.PROTOCOL_VIOLATION, "The first frame is connect.")
        request_id = first.id
        member = await server.connect(first, connection, peer)
    except TimeoutError:
        error = ProtocolError(ErrorCode.HANDSHAKE_TIMEOUT)
    except ProtocolError as refusal:
        error = refusal
    else:
        return member, frames[1:]
    server.gate.refused(peer, error, monotonic_ms())
    connection.refuse(error, request_id, peer)
    return None


async def _read(
    ws: web.WebSocketResponse,
    connection: WebSocketConnection,
    codec: Codec[ClientFrame],
    server: Server,
    member: Member,
) -> None:
    limits = server.limits
    pace = ReadingPace(server.membership.limits_of(member.admission).frames_per_s)
    bad_frames = 0
    try:
        while (data := await _next_message(ws)) is not None:
            began_s = time.monotonic()
            frames = codec.decode(data)
            server.receive(member, connection, frames)
            bad_frames += sum(isinstance(frame, Rejected) for frame in frames)
            if bad_frames > limits.bad_frames_per_connection:
                server.lose(member, connection, ErrorCode.PROTOCOL_VIOLATION, "Too many unreadable frames.")
            ended_s = time.monotonic()
            pace.took(len(frames), began_s, ended_s)
            if wait_s := pace.wait_s(ended_s):
                await asyncio.sleep(wait_s)
    finally:
        server.detached(member, connection)


async def _next_message(ws: web.WebSocketResponse) -> bytes | None:
    """The next message; None when there are no more."""
    message = await ws.receive()
    if message.type is WSMsgType.BINARY:
        data: bytes = message.data
        return data
    if message.type is WSMsgType.TEXT:
        text: str = message.data
        return text.encode()
    return None

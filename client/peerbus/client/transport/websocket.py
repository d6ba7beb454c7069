"""
The WebSocket transport.

Owns one socket: opening, joined writes, reading, the closing handshake. See RFC 6455 and PROTOCOL.md, section 1.
"""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp
from aiohttp import ClientWebSocketResponse, WSMsgType

from peerbus.client.transport import MAX_SERVER_BYTES, Sink, TransportSettings, batches, describe
from peerbus.protocol.codec import MAX_BATCH_FRAMES, SUBPROTOCOLS, Codec, client_codec
from peerbus.protocol.messages import ClientFrame, ServerFrame

_CLOSE_TIMEOUT_S: Final = 2.0
_ABORT_AFTER_S: Final = 3.0
"""A peer that takes nothing any more does not hold up the end."""


class WebSocketTransport:
    """See `Transport`."""

    def __init__(self, settings: TransportSettings, sink: Sink) -> None:
        self._settings: Final = settings
        self._sink: Sink | None = sink
        self._codec: Codec[ServerFrame] = client_codec(settings.encoding, max_bytes=MAX_SERVER_BYTES)
        self._socket: ClientWebSocketResponse | None = None
        self._unsent: list[bytes] = []
        self._has_unsent: Final = asyncio.Event()
        self._max_batch_bytes = MAX_SERVER_BYTES
        self._goodbye: tuple[int, str] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """See `Transport`."""
        self._tasks.append(asyncio.create_task(self._run(), name="peerbus-websocket"))

    def send(self, frames: list[ClientFrame], max_batch_bytes: int) -> None:
        """See `Transport`."""
        self._max_batch_bytes = max_batch_bytes
        self._unsent.extend(self._codec.encode(frame) for frame in frames)
        self._has_unsent.set()

    def close(self, close_code: int, reason: str) -> None:
        """See `Transport`."""
        self._sink = None
        if self._goodbye is None:
            self._goodbye = (close_code, reason)
            self._has_unsent.set()
            if self._socket is None:
                self._abort()
            else:
                asyncio.get_running_loop().call_later(_ABORT_AFTER_S, self._abort)

    async def wait_closed(self) -> None:
        """See `Transport`."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self) -> None:
        async with self._settings.new_http() as http:
            await self._carry(http)

    async def _carry(self, http: aiohttp.ClientSession) -> None:
        names = [name for name, encoding in SUBPROTOCOLS.items() if encoding == self._settings.encoding]
        try:
            socket = await http.ws_connect(
                self._settings.api.websocket,
                protocols=names,
                max_msg_size=MAX_SERVER_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_TIMEOUT_S),
            )
        except aiohttp.WSServerHandshakeError as error:
            self._lost(None, f"The server refused the WebSocket (HTTP {error.status}).")
            return
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._lost(None, describe(error))
            return
        self._socket = socket
        writer = asyncio.create_task(self._write(socket), name="peerbus-websocket-writer")
        self._tasks.append(writer)
        if self._sink is not None:
            self._sink.opened()
        try:
            await self._read(socket)
        finally:
            if self._goodbye is None:
                writer.cancel()
            if not socket.closed:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await socket.close()

    async def _read(self, socket: ClientWebSocketResponse) -> None:
        while True:
            message = await socket.receive()
            if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
                data = message.data.encode() if isinstance(message.data, str) else message.data
                if self._sink is not None:
                    self._sink.received(self._codec.decode(data))
            elif message.type is WSMsgType.CLOSE:
                self._lost(message.data, message.extra or "")
                return
            elif message.type in (WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                # 1006 stands for an end without a closing handshake (RFC 6455, section 7.1.5).
                code = socket.close_code
                self._lost(None if code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE else code, "")
                return

    async def _write(self, socket: ClientWebSocketResponse) -> None:
        try:
            while True:
                await self._has_unsent.wait()
                self._has_unsent.clear()
                frames, self._unsent = self._unsent, []
                for batch in batches(frames, max_frames=MAX_BATCH_FRAMES, max_bytes=self._max_batch_bytes):
                    data = batch[0] if len(batch) == 1 else self._codec.join(batch)
                    if self._settings.encoding == "json":
                        await socket.send_str(data.decode())
                    else:
                        await socket.send_bytes(data)
                if self._goodbye is not None and not self._unsent:
                    code, reason = self._goodbye
                    await socket.close(code=code, message=reason.encode())
                    return
        except (aiohttp.ClientError, OSError, TimeoutError):
            # The reader sees the end of the socket, too, and reports it.
            await socket.close()

    def _abort(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _lost(self, close_code: int | None, reason: str) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.lost(close_code, reason)

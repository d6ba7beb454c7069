"""
A TCP proxy that can be cut, or frozen so that both ends believe the connection is there.

Owns the losses of the network between a client and a server in one test. Bytes pass unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class TcpProxy:
    """`url` is what the client connects to."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        self._target = (parts.hostname, parts.port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._frozen: set[asyncio.StreamWriter] = set()
        self.is_down = False
        """New connections are refused, too."""
        self.connections = 0
        self.bytes_per_s: int | None = None
        """How fast each connection is read by its client; None: as fast as it can."""
        self.is_recording = False
        """What passes on new connections is kept."""
        self._recordings: list[bytearray] = []

    @property
    def recorded(self) -> bytes:
        """All that has passed, as it was and with the masks of WebSocket frames taken off."""
        return b"\n".join(part for stream in self._recordings for part in (bytes(stream), _unmasked(stream)))

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers | self._frozen:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Resets every connection; what is under way is lost."""
        for writer in list(self._writers):
            writer.transport.abort()

    def freeze(self) -> None:
        """Nothing passes any more on the connections of now, which stay open: half-open sockets."""
        self._frozen |= self._writers

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_down:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self.connections += 1
        pair = (writer, server_writer)
        self._writers.update(pair)
        for source, sink in ((reader, server_writer), (server_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink, pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        recording = bytearray()
        if self.is_recording:
            self._recordings.append(recording)
        try:
            while data := await source.read(65_536):
                if self.is_recording:
                    recording += data
                if sink in self._frozen:
                    continue
                if self.bytes_per_s is not None and sink is pair[0]:
                    # Nothing more is taken from the server meanwhile.
                    await asyncio.sleep(len(data) / self.bytes_per_s)
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            if sink not in self._frozen:
                for writer in pair:
                    writer.transport.abort()
            self._writers.difference_update(pair)


def _unmasked(stream: bytes | bytearray) -> bytes:
    """The payloads of a client's WebSocket frames (RFC 6455, section 5.2) in a row; nothing of other streams."""
    if not stream.startswith(b"GET /v1/ws"):
        return b""
    payloads = []
    at = stream.index(b"\r\n\r\n") + 4
    while at + 2 <= len(stream):
        length = stream[at + 1] & 0x7F
        assert stream[at + 1] & 0x80, "a client's frame without a mask"
        at += 2
        if length >= 126:
            extended = 2 if length == 126 else 8
            length = int.from_bytes(stream[at : at + extended], "big")
            at += extended
        mask, data = stream[at : at + 4], stream[at + 4 : at + 4 + length]
        payloads.append(bytes(byte ^ mask[index % 4] for index, byte in enumerate(data)))
        at += 4 + length
    return b"\n".join(payloads)


@asynccontextmanager
async def proxying(target: str) -> AsyncIterator[TcpProxy]:
    """A proxy on a free port in front of a server."""
    proxy = TcpProxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()

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
        try:
            while data := await source.read(65_536):
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


@asynccontextmanager
async def proxying(target: str) -> AsyncIterator[TcpProxy]:
    """A proxy on a free port in front of a server."""
    proxy = TcpProxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()

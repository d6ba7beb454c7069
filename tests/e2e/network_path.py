"""
The network between one client and the server: a TCP path that a test can cut, half cut, or close to WebSockets.

Owns the sockets of both sides, and a copy of what the client sent. Never changes what passes.
"""

from __future__ import annotations

import asyncio
from typing import Final

_CHUNK_BYTES: Final = 65_536
_ASKS_FOR_WEBSOCKET: Final = b"GET /v1/ws "
_ports_used: Final[set[int]] = set()


class NetworkPath:
    """An address of its own that leads to a server on this machine, from `open` to `close`."""

    def __init__(self, server_port: int) -> None:
        self.refuses_websockets = False
        self.websockets_refused = 0
        self.sent = bytearray()
        """All that the client sent; WebSocket frames are masked (RFC 6455, section 5.3), and cannot be read in it."""
        self.server_port = server_port
        """Where it leads; a server that starts anew may be found elsewhere."""
        self._is_cut = False
        self._listener: asyncio.Server | None = None
        self._links: set[_Link] = set()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:12345`."""
        assert self._listener is not None
        return f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def open(self) -> None:
        """Begins to listen, on a port that no path had before: to a browser it is another origin."""
        while True:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            port = self._listener.sockets[0].getsockname()[1]
            if port not in _ports_used:
                _ports_used.add(port)
                return
            self._listener.close()

    async def close(self) -> None:
        """Ends everything."""
        self.cut()
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()

    def cut(self) -> None:
        """The network is gone for both sides: connections break, new ones are refused, until `mend`."""
        self._is_cut = True
        for link in self._links:
            link.abort()

    def mend(self) -> None:
        """The network is back."""
        self._is_cut = False

    def cut_half(self) -> None:
        """As `cut`, but the server does not notice: its side of the connections stays open."""
        self._is_cut = True
        for link in self._links:
            link.abort_client()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            server = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:
            # Nobody listens there for now.
            writer.transport.abort()
            return
        link = _Link(self, (reader, writer), server)
        self._links.add(link)
        try:
            await asyncio.gather(link.pass_up(), link.pass_down())
        finally:
            self._links.discard(link)
            link.abort()


class _Link:
    """One connection of the client, and the one to the server that it goes on in."""

    def __init__(
        self,
        path: NetworkPath,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._path: Final = path
        self._client_reader, self._client_writer = client
        self._server_reader, self._server_writer = server
        self._is_client_gone = False

    def abort(self) -> None:
        self._client_writer.transport.abort()
        self._server_writer.transport.abort()

    def abort_client(self) -> None:
        self._is_client_gone = True
        self._client_writer.transport.abort()

    async def pass_up(self) -> None:
        try:
            while chunk := await self._client_reader.read(_CHUNK_BYTES):
                if self._path.refuses_websockets and _ASKS_FOR_WEBSOCKET in chunk:
                    self._path.websockets_refused += 1
                    self.abort()
                    return
                self._path.sent += chunk
                self._server_writer.write(chunk)
                await self._server_writer.drain()
        except ConnectionError:
            pass
        if not self._is_client_gone:
            self._server_writer.close()

    async def pass_down(self) -> None:
        try:
            while chunk := await self._server_reader.read(_CHUNK_BYTES):
                if not self._is_client_gone:
                    self._client_writer.write(chunk)
                    await self._client_writer.drain()
        except ConnectionError:
            pass
        self._client_writer.close()

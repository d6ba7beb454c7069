"""
The listening sockets, and what connections owe: a request's head in time, and reading what they asked for.

Owns binding (a taken port is one clear line), the number of connections, and the end of those that are overdue. Never
reads a request. See RFC 9112, section 9.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from aiohttp import web

from peerbus.signaling.http_connection import HttpConnection
from peerbus.signaling.limits import Limits

_log: Final = logging.getLogger("peerbus.signaling")

_BACKLOG: Final = 1024
_TLS_SHUTDOWN_S: Final = 1.0
_LOOK_FOR_CLOSING_MS: Final = 3_000


class ListenError(Exception):
    """The address cannot be listened on; the text is one line for a person."""


def bind(host: str, port: int) -> list[socket.socket]:
    """
    Sockets bound to all addresses of `host`, `localhost` in both families where there are both.

    Raises `ListenError`.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
    except OSError as error:
        raise ListenError(f"cannot listen on {host!r}: {error.strerror}") from None
    sockets: list[socket.socket] = []
    chosen_port = port
    for family, kind, protocol, _, address in dict.fromkeys(found):
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address[0], chosen_port, *address[2:]))
            listener.setblocking(False)
        except OSError as error:
            for opened in (*sockets, listener):
                opened.close()
            raise ListenError(f"cannot listen on {host} port {port}: {error.strerror}") from None
        sockets.append(listener)
        chosen_port = listener.getsockname()[1]
    return sockets


class Listener:
    """
    Accepts connections for an application, at most `connections` of them at a time.

    It is told by middleware when a request begins and ends, and by the connections of everything else (`Clerk`).
    """

    def __init__(self, limits: Limits, connections: int) -> None:
        self._limits: Final = limits
        self._max_connections: Final = connections
        self._open: set[HttpConnection] = set()
        # Both by the time of the entry, the oldest first.
        self._owe_head: dict[HttpConnection, int] = {}
        self._owe_reading: dict[HttpConnection, int] = {}
        self._closing: set[HttpConnection] = set()
        self._looked_at_ms = 0
        self._now_ms: Callable[[], int] = lambda: 0
        self._server: web.Server | None = None
        self._listening: list[asyncio.Server] = []

    async def listen(
        self,
        server: web.Server,
        sockets: list[socket.socket],
        tls: ssl.SSLContext | None,
        now_ms: Callable[[], int],
    ) -> None:
        """Begins to accept."""
        self._server = server
        self._now_ms = now_ms
        loop = asyncio.get_running_loop()
        for listener in sockets:
            self._listening.append(
                await loop.create_server(
                    self._accept,
                    sock=listener,
                    ssl=tls,
                    backlog=_BACKLOG,
                    ssl_handshake_timeout=None if tls is None else self._limits.handshake_timeout_ms / 1000,
                    ssl_shutdown_timeout=None if tls is None else _TLS_SHUTDOWN_S,
                )
            )

    def close(self) -> None:
        """Accepts no more; connections that are open stay."""
        for listening in self._listening:
            listening.close()

    def abort(self) -> None:
        """Ends every connection that is left."""
        for connection in list(self._open):
            connection.abort()

    def request_began(self, request: web.Request) -> None:
        """The head of a request is here."""
        connection = request.protocol
        assert isinstance(connection, HttpConnection)
        self._owe_head.pop(connection, None)
        connection.request_began()

    def request_ended(self, request: web.Request) -> None:
        """Its answer is made."""
        connection = request.protocol
        assert isinstance(connection, HttpConnection)
        connection.request_ended()

    def sweep(self, now_ms: int) -> None:
        """Ends the connections that are overdue."""
        self._abort_overdue(self._owe_head, now_ms - self._limits.handshake_timeout_ms)
        self._abort_overdue(self._owe_reading, now_ms - self._limits.stalled_reader_ms)
        if now_ms - self._looked_at_ms >= _LOOK_FOR_CLOSING_MS:
            self._looked_at_ms = now_ms
            # Closing waits for the other end to read what is left, without end; twice seen is long enough.
            closing = {connection for connection in self._open if connection.is_closing}
            for connection in closing & self._closing:
                connection.abort()
            self._closing = closing

    # --- told by the connections ----------------------------------------------------------------------------------

    def owes_head(self, connection: HttpConnection) -> None:
        """See `Clerk`."""
        self._owe_head[connection] = self._now_ms()

    def owes_reading(self, connection: HttpConnection) -> None:
        """See `Clerk`."""
        self._owe_reading[connection] = self._now_ms()

    def reads(self, connection: HttpConnection) -> None:
        """See `Clerk`."""
        self._owe_reading.pop(connection, None)

    def lost(self, connection: HttpConnection) -> None:
        """See `Clerk`."""
        self._open.discard(connection)
        self._closing.discard(connection)
        self._owe_head.pop(connection, None)
        self._owe_reading.pop(connection, None)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _accept(self) -> asyncio.Protocol:
        assert self._server is not None
        if len(self._open) >= self._max_connections:
            _log.warning("a connection was refused: %d are open", len(self._open))
            return _Refused()
        connection = HttpConnection(self._server, self, keepalive_s=self._limits.keepalive_ms / 1000)
        self._open.add(connection)
        self.owes_head(connection)
        return connection

    def _abort_overdue(self, since_ms: dict[HttpConnection, int], latest_ms: int) -> None:
        for connection, entered_ms in list(since_ms.items()):
            if entered_ms > latest_ms:
                return
            del since_ms[connection]
            if connection.is_there:
                connection.abort()
            else:
                # Its TLS handshake came to nothing; there is nobody else to say that it ended.
                self._open.discard(connection)


class _Refused(asyncio.Protocol):
    """A connection there is no room for; it ends as it begins."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        cast(asyncio.Transport, transport).abort()

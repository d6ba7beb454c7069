"""
The listening sockets, and a deadline for connections that never say what they want.

Owns binding (a taken port is one clear line), and ends TCP connections whose first request has not arrived whole
in time. Never reads a request. See RFC 9112, section 9.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

_BACKLOG: Final = 1024


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
    """Accepts connections for an application; `first_request` is told when a connection has said something."""

    def __init__(self, deadline_ms: int) -> None:
        self._deadline_ms: Final = deadline_ms
        self._silent: dict[RequestHandler, int] = {}
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
                await loop.create_server(self._accept, sock=listener, ssl=tls, backlog=_BACKLOG)
            )

    def close(self) -> None:
        """Accepts no more; connections that are open stay."""
        for listening in self._listening:
            listening.close()

    def first_request(self, request: web.Request) -> None:
        """A request has arrived; its connection is no longer on the clock."""
        if self._silent:
            self._silent.pop(request.protocol, None)

    def sweep(self, now_ms: int) -> None:
        """Ends connections whose first request is overdue."""
        for handler, since_ms in list(self._silent.items()):
            if now_ms - since_ms < self._deadline_ms:
                return
            del self._silent[handler]
            if handler.transport is not None:
                handler.transport.abort()

    def _accept(self) -> RequestHandler:
        assert self._server is not None
        handler: RequestHandler = self._server()
        self._silent[handler] = self._now_ms()
        return handler

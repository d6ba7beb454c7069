"""
One accepted TCP connection while it speaks HTTP, and what it may take its time for.

Owns the moments at which a connection begins to owe something (a request's head, reading an answer), the answer to
what is not HTTP at all, and the check of WebSocket masks. Never routes or handles a request: that is aiohttp, whose
handler this is. See RFC 9112.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import msgspec
from aiohttp import hdrs, web

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.signaling.mask_guard import MaskGuard
from peerbus.signaling.refusal import problem

_log: Final = logging.getLogger("peerbus.signaling")

SERVER_HEADER: Final = "peerbus"
"""Instead of the versions of Python and aiohttp."""
_LINGERING_S: Final = 2.0
"""How long the rest of a body that nobody wants is read, so that the client gets to read the answer."""


class Clerk(Protocol):
    """Who keeps the deadlines."""

    def owes_head(self, connection: HttpConnection) -> None:
        """A request has begun to arrive, or may: its head is due."""

    def owes_reading(self, connection: HttpConnection) -> None:
        """The other end does not read what was written to it."""

    def reads(self, connection: HttpConnection) -> None:
        """It reads again."""

    def lost(self, connection: HttpConnection) -> None:
        """The connection is over."""


class HttpConnection(web.RequestHandler):
    """The handler of aiohttp for one connection, with a clerk told of what is due."""

    __slots__ = ("_clerk", "_is_between_requests", "_socket", "is_upgraded")

    def __init__(self, server: web.Server, clerk: Clerk, *, keepalive_s: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=keepalive_s,
            lingering_time=_LINGERING_S,
            # A body is taken as it is, or refused: nobody sends a compressed one in good faith.
            auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # annotated without None, which turns the access log off
        )
        self._clerk: Final = clerk
        self._is_between_requests = False
        self.is_upgraded = False
        # aiohttp forgets its transport when it closes it, which is not yet the end of the connection.
        self._socket: asyncio.Transport | None = None

    @property
    def is_there(self) -> bool:
        """Whether it has begun (with TLS: its handshake is over) and not ended."""
        return self._socket is not None

    @property
    def is_closing(self) -> bool:
        """Whether it is to end as soon as the other end has read what is left."""
        return self._socket is not None and self._socket.is_closing()

    def abort(self) -> None:
        """Ends the connection now."""
        if self._socket is not None:
            self._socket.abort()

    def request_began(self) -> None:
        """The head of a request is here."""
        self._is_between_requests = False

    def request_ended(self) -> None:
        """Its answer is made; the next request may come."""
        self._is_between_requests = not self.is_upgraded

    # --- called by the event loop -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        super().connection_made(transport)
        self._socket = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._is_between_requests:
            self._is_between_requests = False
            self._clerk.owes_head(self)
        super().data_received(data)

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        super().pause_writing()
        # A session notices by itself when its client reads nothing, and has a close code for it.
        if not self.is_upgraded:
            self._clerk.owes_reading(self)

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        super().resume_writing()
        self._clerk.reads(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._socket = None
        self._clerk.lost(self)
        super().connection_lost(exc)

    # --- called by aiohttp --------------------------------------------------------------------------------------

    def set_parser(self, parser: Any, data_received_cb: Callable[[], None] | None = None) -> None:
        """A WebSocket begins; what comes from now on are its frames."""
        self.is_upgraded = True
        super().set_parser(cast(Any, MaskGuard(parser)), data_received_cb)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What cannot be read as a request is answered without quoting it, and is one line in the log."""
        if isinstance(exc, ConnectionError):
            # The client went away in the middle of its request; aiohttp ends the connection then.
            raise exc
        if status >= 500:
            _log.error("a request failed: %s", message, exc_info=exc)
            error = ProtocolError(ErrorCode.INTERNAL)
        else:
            _log.info("not a request: %s from %s", type(exc).__name__, request.remote)
            error = ProtocolError(ErrorCode.BAD_REQUEST, "This could not be read as an HTTP request.")
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        response = web.Response(
            status=status,
            body=msgspec.json.encode(problem(error, "")),
            content_type="application/problem+json",
            headers={hdrs.SERVER: SERVER_HEADER},
        )
        response.force_close()
        return response

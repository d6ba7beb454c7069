"""
The HTTP surface: WebSocket upgrade, long-poll, keys, status, health and metrics.

Owns routes, headers (CORS, content security policy) and problem documents. Never decides what a frame means.
Bearer keys and no cookies: a foreign page can do nothing here that its own key does not allow, so CORS is open;
only the demo key, which the server hands out itself, goes to pages of the same origin alone.
See RFC 9110, RFC 9457 and PROTOCOL.md, sections 1 and 8.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.web import RequestPayloadError
from prometheus_client import CONTENT_TYPE_LATEST

from peerbus.protocol.codec import CONTENT_TYPES, SUBPROTOCOLS, EncodingName
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.secrets import Secret
from peerbus.signaling.clock import monotonic_ms, wall_ms
from peerbus.signaling.config import ServeConfig
from peerbus.signaling.connection import serve_websocket
from peerbus.signaling.http_connection import SERVER_HEADER
from peerbus.signaling.keys import KeyStoreError
from peerbus.signaling.keys_api import KeysApi
from peerbus.signaling.longpoll import LongPolls
from peerbus.signaling.member import Peer
from peerbus.signaling.metrics import ServerMetrics
from peerbus.signaling.parting import read_parting
from peerbus.signaling.refusal import problem
from peerbus.signaling.server import Server
from peerbus.signaling.turnstile import Turnstile

_log: Final = logging.getLogger("peerbus.signaling")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Watcher = Callable[[web.Request], None]

_API_PREFIX: Final = "/v1/"
_REQUESTS_PER_TURN: Final = 8
_METRICS_KEPT_MS: Final = 250
_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Max-Age": "86400",
}
_PEER: Final = web.RequestKey("peer", Peer)
_NO_STORE: Final = {"Cache-Control": "no-store"}


class HttpApi:
    """The handlers of one server. `add_to` puts their routes into an application."""

    def __init__(
        self, config: ServeConfig, server: Server, *, on_request: Watcher, on_response: Watcher
    ) -> None:
        self._config: Final = config
        self._on_request: Final = on_request
        self._on_response: Final = on_response
        self._metrics: Final = ServerMetrics(server)
        self._exposition = b""
        self._exposed_at_ms = -_METRICS_KEPT_MS
        self._server: Final = server
        self._long_polls: Final = LongPolls(server)
        self._keys: Final = KeysApi(server)
        self._turnstile: Final = Turnstile(_REQUESTS_PER_TURN)

    def add_to(self, app: web.Application) -> None:
        """Adds the middleware and the routes."""
        app.middlewares.append(self._guard)
        app.on_response_prepare.append(_name_server)
        app.add_routes(
            [
                web.get("/v1/ws", self._websocket),
                web.post("/v1/longpoll", self._longpoll_connect),
                web.get("/v1/longpoll/{session_id}", self._longpoll_poll),
                web.post("/v1/longpoll/{session_id}", self._longpoll_post),
                web.post("/v1/leave", self._leave),
                web.post("/v1/demo/key", self._demo_key),
                web.post("/v1/keys/temporary", self._issue_key),
                web.post("/v1/keys/revoke", self._revoke_key),
                web.get("/v1/status", self._status),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._show_metrics),
            ]
        )

    # --- all requests -----------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turns refusals into problem documents, and says who may read the answer."""
        self._on_request(request)
        await self._turnstile.enter()
        try:
            return await self._answer(request, handler)
        finally:
            self._on_response(request)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = peer_of(request)
        request[_PEER] = peer
        try:
            response = await handler(request)
        except ProtocolError as error:
            response = _problem_response(error, peer)
        except web.HTTPException as error:
            if request.method == hdrs.METH_OPTIONS and request.path.startswith(_API_PREFIX):
                # A preflight request of CORS; the headers below are the answer.
                response = web.Response(status=204)
            elif request.path.startswith(_API_PREFIX) and error.status >= 400:
                code = ErrorCode.TOO_LARGE if error.status == 413 else ErrorCode.NOT_FOUND
                if error.status in (400, 405):
                    code = ErrorCode.BAD_REQUEST
                response = _problem_response(ProtocolError(code, error.reason), peer, status=error.status)
            else:
                raise
        except (asyncio.CancelledError, ConnectionResetError):
            raise
        except RequestPayloadError:
            refusal = ProtocolError(ErrorCode.BAD_REQUEST, "The body of the request could not be read.")
            response = _problem_response(refusal, peer)
        except Exception:  # noqa: BLE001  the boundary of one request: logged, and answered by a code
            _log.exception("request failed: %s %r", peer.correlation_id, request.path)
            response = _problem_response(ProtocolError(ErrorCode.INTERNAL), peer)
        if request.path.startswith(_API_PREFIX) and not response.prepared:
            response.headers.update(_CORS)
        return response

    # --- sessions ---------------------------------------------------------------------------------------

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        offered = request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, [])
        names = {name.strip() for value in offered for name in value.split(",")}
        if names and not names & SUBPROTOCOLS.keys():
            raise ProtocolError(ErrorCode.UNSUPPORTED_VERSION, details={"supported": list(SUBPROTOCOLS)})
        if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
            raise ProtocolError(ErrorCode.BAD_REQUEST, "This address is for WebSocket connections.")
        if not request.headers.get(hdrs.SEC_WEBSOCKET_KEY, "").isascii():
            raise ProtocolError(ErrorCode.BAD_REQUEST, "The Sec-WebSocket-Key is base64.")
        peer = request[_PEER]
        self._server.gate.admit(peer, monotonic_ms())
        return await serve_websocket(request, self._server, peer)

    async def _longpoll_connect(self, request: web.Request) -> web.Response:
        peer = request[_PEER]
        self._server.gate.admit(peer, monotonic_ms())
        encoding = _encoding(request)
        body = await self._body(request)
        try:
            response = await self._long_polls.connect(encoding, body, peer)
        except ProtocolError as error:
            self._server.gate.refused(peer, error, monotonic_ms())
            raise
        return _frames(response, encoding)

    async def _longpoll_poll(self, request: web.Request) -> web.Response:
        connection = self._long_polls.find(request.match_info["session_id"], _bearer(request))
        response = await connection.poll(_number(request, "ack"))
        return _frames(response, connection.encoding)

    async def _longpoll_post(self, request: web.Request) -> web.Response:
        connection = self._long_polls.find(request.match_info["session_id"], _bearer(request))
        number = _number(request, "post")
        await connection.wait_for_turn()
        connection.post(number, await self._body(request))
        return web.Response(status=204)

    async def _leave(self, request: web.Request) -> web.Response:
        self._server.gate.admit(request[_PEER], monotonic_ms())
        self._server.part(read_parting(await self._body(request, self._server.limits.connect_bytes)))
        return web.Response(status=204)

    async def _body(self, request: web.Request, bytes_max: int | None = None) -> bytes:
        bytes_max = bytes_max or self._server.limits.frame_bytes
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            raise ProtocolError(ErrorCode.BAD_REQUEST, "Bodies are taken without Content-Encoding only.")
        if (request.content_length or 0) > bytes_max:
            raise web.HTTPRequestEntityTooLarge(bytes_max)
        try:
            async with asyncio.timeout(self._server.limits.body_timeout_ms / 1000):
                body = await request.read()
        except TimeoutError:
            raise ProtocolError(
                ErrorCode.HANDSHAKE_TIMEOUT, "The body of the request did not come in time."
            ) from None
        if len(body) > bytes_max:
            # Sent in chunks, without a length at its head.
            raise web.HTTPRequestEntityTooLarge(bytes_max)
        return body

    # --- the server's own --------------------------------------------------------------------------------------

    async def _demo_key(self, request: web.Request) -> web.Response:
        if not self._config.is_demo_on:
            raise ProtocolError(
                ErrorCode.NOT_FOUND, "This server has no demo project; use a key of your own."
            )
        if not self._is_same_origin(request):
            raise ProtocolError(ErrorCode.FORBIDDEN, "Demo keys go to pages of this server only.")
        peer = request[_PEER]
        self._server.gate.admit(peer, monotonic_ms())
        now_ms = wall_ms()
        try:
            issued = self._server.keys.issue_demo_key(now_ms)
        except KeyStoreError as error:
            _log.error("no demo key could be made: %s", error)
            raise ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, "No key can be made at the moment.") from None
        return web.json_response(
            {
                "api_key": issued.credential.reveal(),
                "expires_in_ms": issued.expires_ms - now_ms,
                "project": "demo",
            },
            headers=_NO_STORE,
        )

    async def _issue_key(self, request: web.Request) -> web.Response:
        return await self._about_keys(request, self._keys.issue)

    async def _revoke_key(self, request: web.Request) -> web.Response:
        return await self._about_keys(request, self._keys.revoke)

    async def _about_keys(
        self, request: web.Request, answer: Callable[[str, Peer, bytes], dict[str, Any]]
    ) -> web.Response:
        peer = request[_PEER]
        self._server.gate.admit(peer, monotonic_ms())
        body = await self._body(request, self._server.limits.connect_bytes)
        authorization = request.headers.get(hdrs.AUTHORIZATION, "")
        return web.json_response(answer(authorization, peer, body), headers=_NO_STORE)

    def _is_same_origin(self, request: web.Request) -> bool:
        """Not from a page of somebody else, nor from one that had its name pointed at this server."""
        if not self._config.accepts_host(request.host):
            return False
        site = request.headers.get("Sec-Fetch-Site")
        if site is not None and site not in ("same-origin", "none"):
            return False
        origin = request.headers.get(hdrs.ORIGIN)
        return origin is None or origin.partition("://")[2] == request.host

    async def _status(self, request: web.Request) -> web.Response:
        membership = self._server.membership
        calls, groups = self._server.calls, self._server.groups
        states = {} if calls is None else calls.worker_states()
        # Workers and the channel they are in are not what is asked for.
        services = sum(states.values())
        return web.json_response(
            {
                "name": "peerbus",
                "version": self._server.version,
                "uptime_ms": monotonic_ms() - self._server.started_ms,
                "channels": len(membership.channels) - bool(services),
                "members": len(membership.members) - services,
                "workers": states.get("ready", 0),
                "rooms": 0 if calls is None else calls.rooms,
                "groups": 0 if groups is None else len(groups),
                "demo": self._config.is_demo_on,
            },
            headers=_NO_STORE,
        )

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        if self._server.membership.is_draining:
            return web.Response(status=503, text="draining\n")
        return web.Response(text="ready\n")

    async def _show_metrics(self, request: web.Request) -> web.Response:
        now_ms = monotonic_ms()
        if now_ms - self._exposed_at_ms >= _METRICS_KEPT_MS:
            # They cost a look at every member, and anybody may ask.
            self._exposed_at_ms = now_ms
            self._exposition = self._metrics.exposition()
        headers = {"Content-Type": CONTENT_TYPE_LATEST, **_NO_STORE}
        return web.Response(body=self._exposition, headers=headers)


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.SERVER] = SERVER_HEADER


def peer_of(request: web.Request) -> Peer:
    """Where a request comes from."""
    return Peer(_address(request.remote), request.headers.get(hdrs.ORIGIN), secrets.token_hex(6))


def _address(remote: str | None) -> str | None:
    try:
        return str(ipaddress.ip_address((remote or "").partition("%")[0]))
    except ValueError:
        return None


def _problem_response(error: ProtocolError, peer: Peer, *, status: int | None = None) -> web.Response:
    headers = dict(_NO_STORE)
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    status = status or error.info.http_status
    return web.Response(
        body=msgspec.json.encode({**problem(error, peer.correlation_id), "status": status}),
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )


def _encoding(request: web.Request) -> EncodingName:
    encoding = CONTENT_TYPES.get(request.content_type)
    if encoding is None:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, f"The Content-Type is one of {', '.join(sorted(CONTENT_TYPES))}."
        )
    return encoding


def _frames(body: bytes, encoding: EncodingName) -> web.Response:
    return web.Response(body=body, content_type=f"application/{encoding}", headers=_NO_STORE)


def _bearer(request: web.Request) -> Secret:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ProtocolError(ErrorCode.UNAUTHORIZED, "The resume token goes into `Authorization: Bearer …`.")
    return Secret(token.strip())


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise ProtocolError(ErrorCode.BAD_REQUEST, f"`{name}` is a whole number in the address.")
    return int(text)

"""
The long-poll transport: the same frames over plain HTTP requests.

Owns the numbers of polls and posts, and their repetition after a failure. See PROTOCOL.md, section 8.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp
import msgspec
from msgspec import Struct

from peerbus.client.transport import MAX_SERVER_BYTES, Sink, TransportSettings, batches, describe
from peerbus.protocol.codec import MAX_BATCH_FRAMES, Codec, Rejected, client_codec
from peerbus.protocol.errors import ERRORS, ErrorCode
from peerbus.protocol.messages import ClientFrame, Connected, Error, ServerFrame

_ATTEMPTS: Final = 3
"""How often one request is tried; the session machine decides what then."""
_RETRY_DELAY_S: Final = 0.5
_HOLD_S: Final = 25.0
"""How long the server may hold a poll."""
_MARGIN_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 2.0


class _Response(Struct):
    n: int
    frames: list[msgspec.Raw]


class _Refused(Exception):
    """The server answered with an error."""

    def __init__(self, error: Error, close_code: int | None) -> None:
        self.error = error
        self.close_code = close_code
        super().__init__(error.message)


class LongPollTransport:
    """See `Transport`. The first batch that is sent begins with `connect`, and makes the session's address."""

    def __init__(self, settings: TransportSettings, sink: Sink) -> None:
        self._settings: Final = settings
        self._sink: Sink | None = sink
        self._codec: Codec[ServerFrame] = client_codec(settings.encoding, max_bytes=MAX_SERVER_BYTES)
        self._response: Any = (
            msgspec.json.Decoder(_Response)
            if settings.encoding == "json"
            else msgspec.msgpack.Decoder(_Response)
        )
        self._media_type: Final = f"application/{settings.encoding}"
        self._http: aiohttp.ClientSession | None = None
        self._unsent: list[bytes] = []
        self._has_unsent: Final = asyncio.Event()
        self._max_batch_bytes = MAX_SERVER_BYTES
        self._address = ""
        self._token = ""
        self._last_n = 0
        self._is_closing = False
        self._task: asyncio.Task[None] | None = None
        self._poller: asyncio.Task[None] | None = None

    def start(self) -> None:
        """See `Transport`. There is nothing to open before the first frame."""
        self._task = asyncio.create_task(self._run(), name="peerbus-longpoll")

    def send(self, frames: list[ClientFrame], max_batch_bytes: int) -> None:
        """See `Transport`."""
        self._max_batch_bytes = max_batch_bytes
        self._unsent.extend(self._codec.encode(frame) for frame in frames)
        self._has_unsent.set()

    def close(self, close_code: int, reason: str) -> None:
        """See `Transport`. HTTP has no close code: a `bye` that was sent before says it."""
        self._sink = None
        self._is_closing = True
        self._has_unsent.set()
        if self._poller is not None:
            self._poller.cancel()
        if self._task is None:
            return
        if self._address and self._unsent:
            asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT_S, self._task.cancel)
        else:
            self._task.cancel()

    async def wait_closed(self) -> None:
        """See `Transport`."""
        tasks = [task for task in (self._task, self._poller) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        async with self._settings.new_http() as self._http:
            await self._carry()
            await asyncio.gather(*([] if self._poller is None else [self._poller]), return_exceptions=True)

    async def _carry(self) -> None:
        if self._sink is not None:
            self._sink.opened()
        try:
            await self._connect()
            self._poller = asyncio.create_task(self._poll(), name="peerbus-longpoll-poll")
            await self._post_all()
        except _Refused as refusal:
            if not self._address and self._sink is not None:
                # A refused handshake: the machine reads it as it would from a WebSocket.
                self._sink.received([refusal.error])
            self._lost(refusal.close_code, refusal.error.message)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._lost(None, describe(error))
        finally:
            if self._poller is not None:
                self._poller.cancel()

    async def _connect(self) -> None:
        await self._has_unsent.wait()
        self._has_unsent.clear()
        body, self._unsent = self._codec.join(self._unsent), []
        data = await self._request("POST", self._settings.api.longpoll, body, timeout_s=_HOLD_S)
        number, frames = self._read(data)
        connected = frames[0] if frames else None
        if not isinstance(connected, Connected):
            raise aiohttp.ClientPayloadError("The server's first long-poll answer is not connected.")
        self._address = self._settings.api.longpoll_session(connected.session_id)
        self._token = connected.resume_token.reveal()
        self._take(number, frames)

    async def _poll(self) -> None:
        try:
            while not self._is_closing:
                url = f"{self._address}?ack={self._last_n}"
                data = await self._request("GET", url, None, timeout_s=_HOLD_S + _MARGIN_S)
                self._take(*self._read(data))
        except _Refused as refusal:
            self._lost(refusal.close_code, refusal.error.message)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._lost(None, describe(error))

    async def _post_all(self) -> None:
        number = 0
        while True:
            if not self._unsent:
                if self._is_closing:
                    return
                await self._has_unsent.wait()
            self._has_unsent.clear()
            frames, self._unsent = self._unsent, []
            for batch in batches(frames, max_frames=MAX_BATCH_FRAMES, max_bytes=self._max_batch_bytes):
                number += 1
                url = f"{self._address}?post={number}"
                timeout_s = _CLOSE_TIMEOUT_S if self._is_closing else _MARGIN_S
                # That a post is taken is no sign of life: the poll's connection may be half-open all the same.
                await self._request("POST", url, self._codec.join(batch), timeout_s=timeout_s)

    async def _request(self, method: str, url: str, body: bytes | None, *, timeout_s: float) -> bytes:
        """
        The body of a good answer. Polls and posts are numbered, so repeating one after a failure is safe.

        Raises `_Refused`, or what aiohttp raises once the attempts are used up.
        """
        attempts = _ATTEMPTS if self._address and not self._is_closing else 1
        while True:
            attempts -= 1
            try:
                return await self._request_once(method, url, body, timeout_s)
            except (aiohttp.ClientError, OSError, TimeoutError):
                if attempts <= 0:
                    raise
            await asyncio.sleep(_RETRY_DELAY_S)

    async def _request_once(self, method: str, url: str, body: bytes | None, timeout_s: float) -> bytes:
        headers = {"Accept": self._media_type}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = self._media_type
        assert self._http is not None
        async with self._http.request(
            method,
            url,
            data=body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            allow_redirects=False,
        ) as response:
            data = await response.read()
            if response.status in (200, 204):
                return data
            refusal = read_problem(data)
            if refusal is not None:
                raise _Refused(*refusal)
            # Not our server's words: a proxy, or another server altogether.
            raise aiohttp.ClientPayloadError(f"The server answered HTTP {response.status}.")

    def _read(self, data: bytes) -> tuple[int, list[ServerFrame | Rejected]]:
        try:
            response: _Response = self._response.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise aiohttp.ClientPayloadError("What answered is no long-poll response of a server.") from None
        return response.n, [self._codec.decode(bytes(raw))[0] for raw in response.frames]

    def _take(self, number: int, frames: list[ServerFrame | Rejected]) -> None:
        if self._sink is None:
            return
        if number > self._last_n:
            self._last_n = number
            self._sink.received(frames)
        else:
            # Nothing to say, or what was received before.
            self._sink.heard()

    def _lost(self, close_code: int | None, reason: str) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.lost(close_code, reason)
        self._is_closing = True
        for task in (self._task, self._poller):
            if task is not None and task is not asyncio.current_task():
                task.cancel()


def read_problem(data: bytes) -> tuple[Error, int | None] | None:
    """The error in a problem document (RFC 9457) of our server, and its close code; None if it is none."""
    try:
        document = msgspec.json.decode(data, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    error = Error(
        code=document.code,
        message=document.detail or document.title,
        is_retryable=document.is_retryable,
        retry_after_ms=document.retry_after_ms,
        correlation_id=document.correlation_id,
        details=document.details,
    )
    try:
        info = ERRORS[ErrorCode(document.code)]
    except ValueError:
        return error, None
    return error, info.close_code


class _Problem(Struct):
    code: str
    title: str = ""
    detail: str = ""
    is_retryable: bool = False
    retry_after_ms: int | msgspec.UnsetType = msgspec.UNSET
    correlation_id: str = ""
    details: dict[str, Any] = {}

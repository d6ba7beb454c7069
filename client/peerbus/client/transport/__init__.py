"""
What carries a session's frames: a WebSocket, or HTTP long-poll.

Owns the contract between a transport and the loop that runs the session machine. A transport moves bytes and
reports; it never decides whether to reconnect, and never knows what a frame means.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from peerbus.client.api import Api
from peerbus.protocol.codec import EncodingName, Rejected
from peerbus.protocol.messages import ClientFrame, ServerFrame

MAX_SERVER_BYTES = 16 * 1_048_576
"""The largest transport message that is taken from a server."""


class Transport(Protocol):
    """One attempt to reach the server. Made, started once, closed once; all methods return at once."""

    def start(self) -> None:
        """Begins to open it; the sink hears `opened`, or `lost`."""

    def send(self, frames: list[ClientFrame], max_batch_bytes: int) -> None:
        """Sends frames in order, as batches."""

    def close(self, close_code: int, reason: str) -> None:
        """Ends it once all is sent; the sink hears nothing more."""

    async def wait_closed(self) -> None:
        """Returns when nothing of it is left."""


class Sink(Protocol):
    """Who hears of a transport. Each transport has its own, and stops calling it once closed."""

    def opened(self) -> None:
        """Frames can be sent."""

    def received(self, frames: list[ServerFrame | Rejected]) -> None:
        """Frames came, in order."""

    def heard(self) -> None:
        """The server gave a sign of life without a frame."""

    def lost(self, close_code: int | None, reason: str) -> None:
        """It could not be opened, or is over; None: without a close code."""


@dataclass(frozen=True)
class TransportSettings:
    """What every transport of one agent shares."""

    api: Api
    encoding: EncodingName
    ssl: ssl.SSLContext | bool
    """As aiohttp takes it: True checks certificates, False does not."""
    user_agent: str

    def new_http(self) -> aiohttp.ClientSession:
        """
        An HTTP client for one transport.

        Each has its own connections: those of a transport that was given up may be half-open, and whoever took
        one from a common pool would wait in vain.
        """
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self.user_agent},
            timeout=aiohttp.ClientTimeout(total=None),
        )


MakeTransport = Callable[[TransportSettings, Sink], Transport]


def batches(encoded: list[bytes], *, max_frames: int, max_bytes: int) -> list[list[bytes]]:
    """Cuts encoded frames into batches; a frame that is larger than `max_bytes` travels alone."""
    result: list[list[bytes]] = []
    size = 0
    for frame in encoded:
        # Brackets and commas are a byte a frame, or five for MessagePack's longest array header.
        if not result or len(result[-1]) >= max_frames or size + len(frame) + 6 > max_bytes:
            result.append([])
            size = 0
        result[-1].append(frame)
        size += len(frame) + 1
    return result


def describe(error: BaseException) -> str:
    """What a network failure says to people."""
    if isinstance(error, TimeoutError):
        return "The server did not answer in time."
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            f"The certificate of {error.host} is not trusted; for a self-signed one pass "
            "ssl=ssl.create_default_context(cafile=...), or ssl=False to check none."
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"No connection to {error.host}:{error.port} ({error.os_error.strerror or error.os_error})."
    return str(error) or type(error).__name__

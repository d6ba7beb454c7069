"""Whether a peerbus server is at an address, and the ways in which none is, against real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from peerbus.client.api import parse_api
from peerbus.client.doctor.facts import Attempt
from peerbus.client.doctor.server_check import is_address_secure, try_server
from peerbus.client.transport import TransportSettings
from tests.support.turn_server import write_certificate

PATIENCE_S = 10.0
Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def saying(text: str) -> Answering:
    """Answers every request with these bytes, and ends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text.replace("\n", "\r\n").encode())
        await end(writer)

    return answer


def ok(body: str) -> Answering:
    return saying(f"HTTP/1.1 200 OK\nContent-Length: {len(body)}\n\n{body}")


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await end(writer)


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await end(writer)


async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await end(writer)


@asynccontextmanager
async def somebody(answering: Answering, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A port where somebody listens."""
    server = await asyncio.start_server(answering, "127.0.0.1", 0, ssl=context)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def attempt(base: str, timeout_s: float = PATIENCE_S) -> Attempt:
    return await try_server(TransportSettings(parse_api(base), "json", True, "tester"), timeout_s)


@pytest.mark.parametrize(
    ("answering", "code"),
    [
        (ok('{"name": "peerbus"}'), None),
        (ok("[]"), "not_peerbus"),
        (ok("<html>"), "not_peerbus"),
        (saying("HTTP/1.1 404 Not Found\nContent-Length: 0\n\n"), "not_peerbus"),
        (saying("HTTP/1.1 301 Moved\nLocation: https://h/v1/status\nContent-Length: 0\n\n"), "moved"),
        (hang_up, "hung_up"),
    ],
)
async def test_what_answers_is_told_apart(answering: Answering, code: str | None) -> None:
    async with somebody(answering) as port:
        told = await attempt(f"http://127.0.0.1:{port}")
    assert (told.code if not told.is_ok else None) == code
    assert told.is_ok or told.error


async def test_what_does_not_answer_is_told_apart(tmp_path: Path) -> None:
    async with somebody(say_nothing) as port:
        assert await attempt(f"http://127.0.0.1:{port}", 0.1) == Attempt(error="No answer within 0.1 s.")
    assert (await attempt(f"http://127.0.0.1:{port}")).code == "closed"
    assert (await attempt("http://no-such-name.invalid")).code == "unknown_host"


async def test_tls_and_its_absence_are_told_apart(tmp_path: Path) -> None:
    async with somebody(speak_plainly) as port:
        assert (await attempt(f"https://127.0.0.1:{port}")).code == "no_tls"
    certificate, key = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with somebody(hang_up, context) as port:
        told = await attempt(f"https://127.0.0.1:{port}")
    assert told.code == "certificate"
    assert "self-signed certificate" in told.error


@pytest.mark.parametrize(
    ("base", "is_secure"),
    [
        ("https://bus.example.org", True),
        ("http://localhost:8080", True),
        ("http://a.localhost", True),
        ("http://127.0.0.2:8080", True),
        ("http://[::1]:8080", True),
        ("http://192.168.0.7:8080", False),
        ("http://bus.example.org", False),
        ("http://localhost.example.org", False),
    ],
)
def test_addresses_that_browsers_take_for_secure(base: str, is_secure: bool) -> None:
    assert is_address_secure(base) == is_secure

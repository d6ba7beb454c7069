"""
Whether a peerbus server answers at the address, by one plain HTTP request.

Owns the request, and telling the ways apart in which it fails. Never says what they mean (`server_findings`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from peerbus.client.doctor.facts import Attempt
from peerbus.client.transport import TransportSettings, describe

_REDIRECTION: Final = 3


async def try_server(settings: TransportSettings, timeout_s: float) -> Attempt:
    """Asks for the server's status."""
    began = time.monotonic()
    url = f"{settings.api.base}/v1/status"
    try:
        async with (
            asyncio.timeout(timeout_s),
            settings.new_http() as http,
            http.get(url, allow_redirects=False) as response,
        ):
            data = await response.read()
    except TimeoutError:
        return Attempt(error=f"No answer within {timeout_s:g} s.")
    except aiohttp.ClientConnectorCertificateError as error:
        return Attempt(error=str(error.certificate_error), code="certificate")
    except (aiohttp.ClientError, OSError) as error:
        return Attempt(error=describe(error), code=_code_of(error))
    moved_to = response.headers.get("Location", "")
    if moved_to and response.status // 100 == _REDIRECTION:
        return Attempt(error=f"GET {url}: HTTP {response.status}, {moved_to}", code="moved")
    if response.status != HTTPStatus.OK or not _is_peerbus(data):
        return Attempt(error=f"GET {url}: HTTP {response.status}", code="not_peerbus")
    return Attempt(ms=round((time.monotonic() - began) * 1000))


def is_address_secure(base: str) -> bool:
    """Whether browsers take pages of an address for secure: https, or this machine's own names."""
    parts = urlsplit(base)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return True
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def _is_peerbus(data: bytes) -> bool:
    try:
        status: Any = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return False
    return isinstance(status, dict) and status.get("name") == "peerbus"


def _code_of(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "no_tls"
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, socket.gaierror):
            return "unknown_host"
        return "closed" if isinstance(error.os_error, ConnectionRefusedError) else ""
    return "hung_up" if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError) else ""

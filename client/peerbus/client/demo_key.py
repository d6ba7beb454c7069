"""
Short-lived keys of a server's demo project.

Owns the one request. Never keeps a key. Only servers that were started with a demo project give any.
"""

from __future__ import annotations

import aiohttp
import msgspec
from msgspec import Struct

from peerbus.client.errors import ErrorCode, PeerbusError, error_of
from peerbus.client.transport import TransportSettings, describe
from peerbus.client.transport.longpoll import read_problem
from peerbus.protocol.secrets import Secret

_TIMEOUT_S = 10.0


class _DemoKey(Struct):
    api_key: str
    expires_in_ms: int
    project: str


async def fetch_demo_key(settings: TransportSettings) -> Secret:
    """Gets one. Raises `PeerbusError`: `not_found` where the server has no demo, `connect_failed`, and others."""
    url = settings.api.demo_key
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with settings.new_http() as http, http.post(url, timeout=timeout) as response:
            data = await response.read()
            status = response.status
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise PeerbusError(ErrorCode.CONNECT_FAILED, describe(error)) from None
    if status == 200:
        try:
            return Secret(msgspec.json.decode(data, type=_DemoKey).api_key)
        except msgspec.MsgspecError:
            pass
    refusal = read_problem(data)
    if refusal is not None:
        failure = error_of(refusal[0])
        if failure.code is ErrorCode.NOT_FOUND:
            text = "This server has no demo project: pass api_key=..., or start it with --demo."
            raise PeerbusError(ErrorCode.NOT_FOUND, text, correlation_id=failure.correlation_id)
        raise failure
    raise PeerbusError(ErrorCode.CONNECT_FAILED, f"{settings.api.base} gave no demo key (HTTP {status}).")

"""
Temporary keys, asked of a server with a developer key.

Owns the two requests: one gives out a key that ends by itself and allows what you say, the other ends it before. Never
keeps a key. For the server side of an application, which hands such keys to its browsers and bots:

    key = await create_temporary_key(
        "https://bus.example", api_key=developer_key, channels=["lobby"], agents=["alice"], claim="alice", uses=1
    )
    key.api_key, key.token_id, key.expires_ms
    await revoke_token("https://bus.example", api_key=developer_key, token_id=key.token_id)

Blocking programs call them by `asyncio.run`. A `ParticipantToken` (see `token`) is the same without asking a server.
See PROTOCOL.md, section 9.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec
from msgspec import Struct

from peerbus.client.api import parse_api
from peerbus.client.errors import ErrorCode, PeerbusError, error_of
from peerbus.client.token import USER_OPERATIONS
from peerbus.client.transport import describe
from peerbus.client.transport.longpoll import read_problem
from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.grants import Operation, grant_from_json, grant_to_json
from peerbus.protocol.patterns import EVERY

_TIMEOUT_S: Final = 10.0


class _Issued(Struct):
    api_key: str
    token_id: str
    expires_ms: int


class _Revoked(Struct):
    revoked: str


@dataclass(frozen=True)
class TemporaryKey:
    """A key that ends by itself."""

    api_key: str = field(repr=False)
    """What `AgentConnection` takes as `api_key`; a secret."""
    token_id: str
    """Its name, no secret: `revoke_token` takes it."""
    expires_ms: int
    """Milliseconds since 1970."""


async def create_temporary_key(
    api: str,
    *,
    api_key: str,
    channels: Iterable[str],
    agents: Iterable[str] = EVERY,
    claim: str | None = None,
    operations: Iterable[Operation | str] = USER_OPERATIONS,
    types: Iterable[str] = EVERY,
    ttl_s: float = 3600,
    uses: int | None = None,
    ssl_context: ssl.SSLContext | bool = True,
    **limits: Any,
) -> TemporaryKey:
    """
    A key for `channels` (names or patterns) that allows no more than `api_key` does.

    Without `operations` it allows what the role `user` of a `ParticipantToken` does. `limits` are further sections of
    a grant: `storage`, `rate_per_s`, `members`, `addresses`, `origins`, `sessions`, `public`. Raises `PeerbusError`:
    `unauthorized`, `forbidden`, `bad_request`, `connect_failed`, and others.
    """
    sections: dict[str, Any] = {
        "channels": list(channels),
        "agents": list(agents),
        "operations": sorted(operations),
        "types": list(types),
        "claim": claim,
        "uses": uses,
        **limits,
    }
    try:
        grant = grant_from_json(sections)
    except ProtocolError as error:
        raise PeerbusError(ErrorCode.BAD_REQUEST, error.message) from None
    body = {"grant": grant_to_json(grant), "ttl_ms": int(ttl_s * 1000)}
    issued = await _post(api, "temporary", api_key, body, _Issued, ssl_context)
    return TemporaryKey(issued.api_key, issued.token_id, issued.expires_ms)


async def revoke_token(
    api: str, *, api_key: str, token_id: str, ssl_context: ssl.SSLContext | bool = True
) -> None:
    """
    Ends a token before its time, and the sessions that are there by it.

    `api_key` is the developer key that signed it, or one of its project that allows `admin`. Raises `PeerbusError`:
    `not_found`, `unauthorized`, `forbidden`, `connect_failed`, and others.
    """
    await _post(api, "revoke", api_key, {"token_id": token_id}, _Revoked, ssl_context)


async def _post(
    api: str,
    what: str,
    api_key: str,
    body: dict[str, Any],
    form: type[Any],
    ssl_context: ssl.SSLContext | bool,
) -> Any:
    url = f"{parse_api(api).keys}/{what}"
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as http,
            http.post(url, data=msgspec.json.encode(body), headers=headers, ssl=ssl_context) as response,
        ):
            data = await response.read()
            status = response.status
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise PeerbusError(ErrorCode.CONNECT_FAILED, describe(error)) from None
    if status == 200:
        try:
            return msgspec.json.decode(data, type=form)
        except msgspec.MsgspecError:
            pass
    refusal = read_problem(data)
    if refusal is not None:
        raise error_of(refusal[0])
    raise PeerbusError(
        ErrorCode.CONNECT_FAILED, f"{url} answered what no server of this kind does (HTTP {status})."
    )

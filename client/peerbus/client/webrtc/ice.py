"""
Which STUN and TURN servers a connection gets, and by which of their ways.

Owns the choice. aiortc uses one STUN server and one TURN server at a time, over UDP, TCP or TLS; so each attempt after
a failed one goes by the next way, and what one network lets through is found within a few attempts. Browsers try all
ways at once. Never opens a socket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.protocol.messages import IceServer
from peerbus.protocol.secrets import Secret, dec_hook

IcePolicy: TypeAlias = Literal["all", "relay"]
"""`relay`: through a TURN server only, so that the other side does not learn this side's addresses."""


class IceSetup(msgspec.Struct, frozen=True, kw_only=True):
    """What one connection is made with: at most one STUN and one TURN address."""

    servers: tuple[IceServer, ...] = ()
    policy: IcePolicy = "all"


def read_servers(given: Sequence[IceServer | Mapping[str, Any]]) -> list[IceServer]:
    """
    The form of `RTCPeerConnection`'s `iceServers`: `urls` (one or several), `username`, `credential`.

    Raises `PeerbusError` (`bad_request`).
    """
    servers = []
    for one in given:
        if isinstance(one, IceServer):
            servers.append(one)
            continue
        urls = one.get("urls")
        try:
            fields = {**one, "urls": [urls] if isinstance(urls, str) else urls}
            servers.append(msgspec.convert(fields, IceServer, dec_hook=dec_hook))
        except msgspec.ValidationError as error:
            raise PeerbusError(ErrorCode.BAD_REQUEST, f"This is no ICE server: {error}") from None
    return servers


def setup(
    servers: Sequence[IceServer], policy: IcePolicy = "all", *, attempt: int = 0, has_stun: bool = True
) -> IceSetup:
    """
    The servers for the `attempt`-th connection in a row that is not up yet, counted from 0.

    Without `has_stun` no STUN server is used: the own address as others see it is of no use towards an SFU, which
    learns it by itself.
    """
    stun = [IceServer(urls=[url]) for server in servers for url in server.urls if _scheme(url) == "stun"]
    turn = [
        IceServer(urls=[url], username=server.username, credential=server.credential or Secret())
        for server in servers
        for url in server.urls
        if _scheme(url) in ("turn", "turns")
    ]
    chosen = stun[:1] if has_stun and policy == "all" else []
    if turn:
        chosen.append(turn[attempt % len(turn)])
    return IceSetup(servers=tuple(chosen), policy=policy)


def _scheme(url: str) -> str:
    return url.partition(":")[0]

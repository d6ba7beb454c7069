"""
Which STUN and TURN servers answer, how fast, and how the network maps this machine's ports.

Owns the attempts: a binding request (RFC 8489) or an allocation (RFC 8656) for each address. Never decides what a
failure means (`judgement`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aioice import stun, turn
from aioice.ice import get_host_addresses

from peerbus.client.doctor.facts import Candidates, Nat, ServerAttempt
from peerbus.client.doctor.network_findings import TLS_ERROR
from peerbus.protocol.messages import IceServer

_RESEND_S: Final = 0.5
_DEFAULT_PORTS: Final = {"stun": 3478, "turn": 3478, "turns": 5349}


class IceFindings(NamedTuple):
    """What all servers together tell."""

    servers: tuple[ServerAttempt, ...]
    candidates: Candidates
    nat: Nat


class _Address(NamedTuple):
    scheme: str
    host: str
    port: int
    transport: str


async def try_servers(
    servers: Sequence[IceServer], trusting: ssl.SSLContext | bool, timeout_s: float
) -> IceFindings:
    """All addresses at once; `trusting` is for TURN by TLS, False checks no certificate."""
    probe = _StunProbe()
    loop = asyncio.get_running_loop()
    every = "0.0.0.0"  # noqa: S104 - any interface may lead out
    transport, _ = await loop.create_datagram_endpoint(lambda: probe, local_addr=(every, 0))
    probe.transport = transport
    try:
        attempts = await asyncio.gather(
            *(_try(url, server, probe, trusting, timeout_s) for server in servers for url in server.urls)
        )
    finally:
        transport.close()
    own = get_host_addresses(use_ipv4=True, use_ipv6=True)
    mappings = tuple(dict.fromkeys(f"{host}:{port}" for host, port in probe.mappings))
    is_direct = any(host in own or ipaddress.ip_address(host).is_loopback for host, _ in probe.mappings)
    candidates = Candidates(
        host=len(own),
        srflx=0 if is_direct else len(mappings),
        relay=sum(one.is_ok and one.url.startswith("turn") for one in attempts),
        ipv6=sum(":" in address for address in own),
    )
    nat = Nat(servers=len(probe.answered), mappings=mappings, is_direct=is_direct)
    return IceFindings(tuple(attempts), candidates, nat)


async def _try(
    url: str, server: IceServer, probe: _StunProbe, trusting: ssl.SSLContext | bool, timeout_s: float
) -> ServerAttempt:
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            address = _parse(url)
            if address.scheme == "stun":
                await probe.ask(address)
            else:
                await _allocate(address, server, trusting)
    except stun.TransactionFailed as error:
        code, reason = error.response.attributes.get("ERROR-CODE", (0, ""))
        return ServerAttempt(url=url, error=reason or f"error {code}", code=str(code))
    except (TimeoutError, stun.TransactionTimeout):
        return ServerAttempt(url=url, error=f"No answer within {timeout_s:g} s.")
    except ssl.SSLError as error:
        return ServerAttempt(
            url=url, error=f"{TLS_ERROR}{getattr(error, 'verify_message', '') or error.reason or error}"
        )
    except (OSError, ValueError) as error:
        return ServerAttempt(url=url, error=getattr(error, "strerror", None) or str(error))
    return ServerAttempt(url=url, ms=round((time.monotonic() - began) * 1000))


def _parse(url: str) -> _Address:
    scheme, _, rest = url.partition(":")
    where, _, query = rest.partition("?")
    host, _, port = where.rpartition(":")
    if not host or port.endswith("]"):
        host, port = where, ""
    transport = query.removeprefix("transport=") or ("tcp" if scheme == "turns" else "udp")
    return _Address(scheme, host.strip("[]"), int(port) if port else _DEFAULT_PORTS[scheme], transport)


class _Relayed(asyncio.DatagramProtocol):
    """An allocation that nobody uses; says when it is gone."""

    def __init__(self) -> None:
        self.is_gone: Final = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone.set()


async def _allocate(address: _Address, server: IceServer, trusting: ssl.SSLContext | bool) -> None:
    context: Any = None
    if address.scheme == "turns":
        context = trusting if trusting is not False else _unchecked()
    transport, protocol = await turn.create_turn_endpoint(
        _Relayed,
        server_addr=(address.host, address.port),
        username=server.username,
        password="" if server.credential is None else server.credential.reveal(),
        ssl=context,
        transport=address.transport,
    )
    transport.close()
    await protocol.is_gone.wait()


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _StunProbe(asyncio.DatagramProtocol):
    """One port, from which several servers are asked how they see it."""

    def __init__(self) -> None:
        self.mappings: Final[list[tuple[str, int]]] = []
        self.answered: Final[set[tuple[str, int]]] = set()
        self._waiting: Final[dict[bytes, asyncio.Future[None]]] = {}
        self.transport: asyncio.DatagramTransport | None = None
        """Set by whoever opens it."""

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        try:
            message = stun.parse_message(data)
            mapped = message.attributes["XOR-MAPPED-ADDRESS"]
        except (ValueError, KeyError):
            return
        waiting = self._waiting.get(message.transaction_id)
        if waiting is not None and not waiting.done():
            self.answered.add((addr[0], addr[1]))
            self.mappings.append((str(mapped[0]), int(mapped[1])))
            waiting.set_result(None)

    async def ask(self, address: _Address) -> None:
        """Returns when it has answered; asks again and again."""
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            address.host, address.port, family=socket.AF_INET, type=socket.SOCK_DGRAM
        )
        request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        answer = self._waiting[request.transaction_id] = loop.create_future()
        while not answer.done():
            self.transport.sendto(bytes(request), found[0][4])
            await asyncio.wait([answer], timeout=_RESEND_S)

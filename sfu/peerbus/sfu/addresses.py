"""
Which addresses clients are told to send media to.

Owns choosing among the addresses of this machine, reading `--advertise`, and the warning where what is left cannot be
reached from elsewhere. Never opens a socket; names are resolved by the caller's `resolve`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from peerbus.sfu.negotiation import Candidate

_BRIDGES: Final = re.compile(r"(docker|br-[0-9a-f]{12}$|veth|virbr|cni|flannel|podman|lxcbr)")


class LocalAddress(Struct, frozen=True):
    """An address of an interface of this machine."""

    interface: str
    host: str


class AdvertiseError(ValueError):
    """`--advertise` has no usable form; the text says why."""


def advertised(wanted: Iterable[str], port: int, resolve: Callable[[str], list[str]]) -> list[Candidate]:
    """Candidates from `HOST`, `HOST:PORT` or `[IPV6]:PORT`. Raises `AdvertiseError`."""
    found: dict[Candidate, None] = {}
    for text in wanted:
        host, own_port = _split(text)
        try:
            hosts = [str(ipaddress.ip_address(host))]
        except ValueError:
            hosts = resolve(host)
            if not hosts:
                raise AdvertiseError(f"--advertise {text}: the name {host!r} has no address") from None
        for one in hosts:
            found[Candidate(_plain(one), own_port or port)] = None
    return list(found)


def _plain(host: str) -> str:
    """IPv4 where an IPv6 address only wraps one: clients ignore such candidates."""
    mapped = getattr(ipaddress.ip_address(host.partition("%")[0]), "ipv4_mapped", None)
    return host if mapped is None else str(mapped)


def _split(text: str) -> tuple[str, int | None]:
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?", text)
    if match is None and text.count(":") > 1:
        match = re.fullmatch(r"([0-9A-Fa-f:.]+)()", text)
    elif match is None:
        match = re.fullmatch(r"([^:\s]+)(?::(\d{1,5}))?", text)
    if match is None:
        raise AdvertiseError(f"--advertise {text}: expected HOST, HOST:PORT or [IPV6]:PORT")
    port = int(match[2]) if match[2] else None
    if port is not None and not 1 <= port <= 65_535:
        raise AdvertiseError(f"--advertise {text}: a port is between 1 and 65535")
    return match[1], port


def local_candidates(
    addresses: Iterable[LocalAddress], port: int, *, has_ipv4: bool = True, has_ipv6: bool = True
) -> list[Candidate]:
    """
    Candidates from the addresses of this machine, the likeliest first.

    Left out are link-local addresses, and those of container bridges. Loopback comes last: a browser on this very
    machine may have no other way while it has no network.
    """
    ranked: list[tuple[int, Candidate]] = []
    for one in addresses:
        address = ipaddress.ip_address(one.host.partition("%")[0])
        if address.is_link_local or address.is_unspecified or address.is_multicast:
            continue
        if not (has_ipv4 if address.version == 4 else has_ipv6):
            continue
        if _BRIDGES.match(one.interface):
            continue
        rank = 2 if address.is_loopback else 1 if address.version == 6 else 0
        ranked.append((rank, Candidate(str(address), port)))
    ranked.sort(key=lambda entry: entry[0])
    return list(dict.fromkeys(candidate for _, candidate in ranked))


def warning(candidates: Iterable[Candidate], *, is_container: bool) -> str | None:
    """What to tell an operator whose clients will find nobody; None if all looks well."""
    hosts = [candidate.host for candidate in candidates]
    outside = [host for host in hosts if not ipaddress.ip_address(host).is_loopback]
    if not outside:
        return (
            "This machine has no address but loopback: only clients on it can join calls. "
            "Name the address that clients reach it by: --advertise HOST"
        )
    if is_container and all(ipaddress.ip_address(host).is_private for host in outside):
        return (
            f"This seems to be a container, whose address {outside[0]} is not reached from outside. "
            "Publish the UDP port and name the host's address: --advertise HOST[:PORT]"
        )
    return None

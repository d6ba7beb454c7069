"""
How one setting is read from text.

Owns the forms of values and what is said where one makes no sense. Never knows which settings there are (that is
`settings`). Each reader takes the flag or variable that the message is to name, then the text, and raises
`ConfigError`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Final

from peerbus.signaling.turn import check_url
from peerbus.signaling.turn_server import RelayPorts

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


class ConfigError(Exception):
    """A flag or a variable has a value that makes no sense; the text is one line for a person."""


def read_text(source: str, text: str) -> str:
    """What is there, without blanks around it."""
    if not text.strip():
        raise ConfigError(f"{source}: the value is empty")
    return text.strip()


def read_host(source: str, text: str) -> str:
    """A host name or an address, without brackets."""
    host = read_text(source, text)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if "/" in host or (":" in host and as_address(host) is None):
        raise ConfigError(
            f"{source}: {host!r} is not a host name or an address (the port has its own setting)"
        )
    return host


def read_port(source: str, text: str) -> int:
    """A port; 0 for any."""
    return read_number(source, text, 0, 65535)


def read_number(source: str, text: str, lowest: int, highest: int) -> int:
    """A whole number in decimal."""
    # str.isdecimal is true of other scripts' digits too, and int() takes "1_000" and " 1".
    if not (text.isascii() and text.isdecimal()) or not lowest <= int(text[:20]) <= highest:
        raise ConfigError(f"{source}: {text!r} is not a whole number from {lowest} to {highest}")
    return int(text)


def read_path(source: str, text: str) -> Path:
    """A path; `~` is a home folder."""
    path = Path(read_text(source, text))
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(f"{source}: {text!r} names a user that does not exist") from None


def read_switch(source: str, value: bool | str) -> bool:
    """Yes or no."""
    if isinstance(value, bool):
        return value
    text = value.strip().lower()
    if text not in _TRUE | _FALSE:
        raise ConfigError(f"{source}: {value!r} is neither yes nor no (1, true, yes, on; 0, false, no, off)")
    return text in _TRUE


def read_hosts(source: str, text: str) -> tuple[str, ...]:
    """Host names, in lower case."""
    return tuple(read_host(source, host).lower() for host in text.split(","))


def read_workers(source: str, text: str) -> int:
    """How many media workers."""
    return read_number(source, text, 0, 64)


def read_advertised(source: str, text: str) -> tuple[str, ...]:
    """Addresses that are told to clients."""
    # What each of them may look like is the worker's to say, which resolves the names.
    return tuple(read_text(source, one) for one in text.split(","))


def read_urls(source: str, text: str) -> tuple[str, ...]:
    """URLs of STUN and TURN servers."""
    try:
        return tuple(check_url(one.strip()) for one in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None


def read_addresses(source: str, text: str) -> tuple[str, ...]:
    """IP addresses."""
    for one in (addresses := [one.strip() for one in text.split(",")]):
        if as_address(one) is None:
            raise ConfigError(f"{source}: {one!r} is not an IP address")
    return tuple(addresses)


def read_networks(source: str, text: str) -> tuple[str, ...]:
    """IP networks."""
    try:
        return tuple(str(ipaddress.ip_network(one.strip())) for one in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None


def read_relay_ports(source: str, text: str) -> RelayPorts:
    """A range of ports, `A-B`."""
    low, _, high = text.strip().partition("-")
    ports = RelayPorts(read_number(source, low, 1, 65535), read_number(source, high or low, 1, 65535))
    if ports.first > ports.last:
        raise ConfigError(f"{source}: {text!r} ends before it begins")
    return ports


def read_choice(*choices: str) -> Callable[[str, str], str]:
    """One of these words."""

    def read(source: str, text: str) -> str:
        choice = text.strip().lower()
        if choice not in choices:
            raise ConfigError(f"{source}: {text!r} is not {' or '.join(choices)}")
        return choice

    return read


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    if host.lower() == "localhost":
        return True
    address = as_address(host)
    return address is not None and address.is_loopback


def as_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, if it is one."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

"""
The one UDP port of a worker: a socket for IPv4 and one for IPv6, on the same number.

Owns the sockets and reading them in bulk. Never looks into a datagram. What cannot be sent at once is dropped and
counted: media that waits is worse than media that is lost.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final, TypeAlias

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""As the socket gives it, and as it is sent to: host, port and, with IPv6, flow and scope."""

_DATAGRAM_BYTES_MAX: Final = 2_048
_DATAGRAMS_AT_ONCE: Final = 64
_BUFFER_BYTES: Final = 4 * 1024 * 1024
_BIND_ATTEMPTS: Final = 20


class PortTaken(OSError):
    """Another program has the port; the text names it."""


class UdpPort:
    """
    `receive(data, source)` gets every datagram that is not empty.

    Opens on construction; port 0 takes a free one. `host` is one address to bind to, or empty for all of both families.
    """

    def __init__(self, host: str, port: int, receive: Callable[[bytes, Address], None]) -> None:
        self._receive = receive
        self._by_family: dict[int, socket.socket] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.port: Final = self._open(host, port)
        self.dropped = 0
        """Datagrams that the system would not take."""
        self.empty = 0
        """Empty datagrams that came."""
        self._ipv4 = self._by_family.get(socket.AF_INET)
        self._ipv6 = self._by_family.get(socket.AF_INET6)

    def start(self) -> None:
        """Begins to read, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        for one in self._by_family.values():
            self._loop.add_reader(one.fileno(), self._read, one)

    def close(self) -> None:
        """Gives the port back."""
        for one in self._by_family.values():
            if self._loop is not None:
                self._loop.remove_reader(one.fileno())
            one.close()
        self._by_family.clear()

    @property
    def has_ipv6(self) -> bool:
        """Whether the port takes IPv6."""
        return self._ipv6 is not None

    @property
    def has_ipv4(self) -> bool:
        """Whether the port takes IPv4."""
        return self._ipv4 is not None

    def send(self, data: bytes, to: Address) -> None:
        """Sends now or never."""
        one = self._ipv4 if len(to) == 2 else self._ipv6
        if one is None:
            self.dropped += 1
            return
        try:
            one.sendto(data, to)
        except OSError:
            # A full buffer, or an address that cannot be reached: lost like any other datagram.
            self.dropped += 1

    def _read(self, one: socket.socket) -> None:
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                data, source = one.recvfrom(_DATAGRAM_BYTES_MAX)
            except OSError:
                # Nothing more, or what an earlier datagram met on its way (ICMP).
                return
            if data:
                self._receive(data, source)
            else:
                self.empty += 1

    def _open(self, host: str, port: int) -> int:
        for _ in range(_BIND_ATTEMPTS):
            try:
                return self._open_once(host, port)
            except OSError as error:
                self.close()
                # A port that is free for IPv4 may be taken for IPv6; with 0 another one is tried.
                if port != 0 or error.errno != errno.EADDRINUSE:
                    raise _named(error, host, port) from None
        raise PortTaken(errno.EADDRINUSE, "no port is free for both IPv4 and IPv6")

    def _open_once(self, host: str, port: int) -> int:
        for family, address in _bind_addresses(host):
            try:
                one = socket.socket(family, socket.SOCK_DGRAM)
            except OSError:
                # A system without this family.
                continue
            one.setblocking(False)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                one.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                one.bind((address, port))
            except OSError as error:
                one.close()
                if family == socket.AF_INET6 and not host and error.errno == errno.EADDRNOTAVAIL:
                    continue
                raise
            self._by_family[family] = one
            port = one.getsockname()[1]
        if not self._by_family:
            raise OSError(errno.EADDRNOTAVAIL, f"no address to bind to: {host!r}")
        return port


def _bind_addresses(host: str) -> list[tuple[int, str]]:
    if not host:
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104 — a media port is for everybody
    return [(socket.AF_INET6 if ":" in host else socket.AF_INET, host)]


def _named(error: OSError, host: str, port: int) -> OSError:
    if error.errno == errno.EADDRINUSE:
        return PortTaken(errno.EADDRINUSE, f"UDP port {port} is taken by another program")
    return OSError(error.errno, f"cannot bind UDP {host or '*'}:{port}: {error.strerror}")

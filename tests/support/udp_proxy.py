"""
A UDP path between clients and a worker that a test can change: loss, delay, another address, silence.

Owns one socket towards clients, whose address the worker advertises, and one towards the worker for each client. What
is lost is drawn from a seed.
"""

from __future__ import annotations

import asyncio
import random
import socket
from typing import TypeAlias

Address: TypeAlias = tuple[str, int]


class UdpProxy:
    """`async with UdpProxy(worker_port) as proxy`; advertise 127.0.0.1 with `proxy.port`."""

    def __init__(self, worker_port: int = 0, *, seed: int = 1) -> None:
        self.worker_port = worker_port
        self.loss = 0.0
        """The share of datagrams that vanish, each way."""
        self.delay_s = 0.0
        self.is_silent = False
        self.relayed = 0
        self._random = random.Random(seed)
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._front.bind(("127.0.0.1", 0))
        self._front.setblocking(False)
        self.port: int = self._front.getsockname()[1]
        self._backs: dict[Address, socket.socket] = {}

    async def __aenter__(self) -> UdpProxy:
        asyncio.get_running_loop().add_reader(self._front.fileno(), self._from_client)
        return self

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for one in [self._front, *self._backs.values()]:
            loop.remove_reader(one.fileno())
            one.close()

    @property
    def clients(self) -> list[Address]:
        """Everyone who has sent something, in the order of their first datagrams."""
        return list(self._backs)

    def move(self, client: Address) -> None:
        """The worker sees this client under another address from now on, as after a change of its network."""
        old = self._backs.pop(client)
        asyncio.get_running_loop().remove_reader(old.fileno())
        old.close()
        self._open(client)

    def move_all(self) -> None:
        """Everybody moves."""
        for client in self.clients:
            self.move(client)

    def _open(self, client: Address) -> socket.socket:
        back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        back.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        back.bind(("127.0.0.1", 0))
        back.setblocking(False)
        self._backs[client] = back
        asyncio.get_running_loop().add_reader(back.fileno(), self._from_worker, back, client)
        return back

    def _from_client(self) -> None:
        for _ in range(64):
            try:
                data, client = self._front.recvfrom(65_536)
            except OSError:
                return
            back = self._backs.get(client) or self._open(client)
            self._pass(back, data, ("127.0.0.1", self.worker_port))

    def _from_worker(self, back: socket.socket, client: Address) -> None:
        for _ in range(64):
            try:
                data = back.recv(65_536)
            except OSError:
                return
            self._pass(self._front, data, client)

    def _pass(self, through: socket.socket, data: bytes, to: Address) -> None:
        if self.is_silent or (self.loss and self._random.random() < self.loss):
            return
        self.relayed += 1
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self._send, through, data, to)
        else:
            self._send(through, data, to)

    def _send(self, through: socket.socket, data: bytes, to: Address) -> None:
        try:
            through.sendto(data, to)
        except OSError:
            # The path was changed or closed while it was on its way.
            return

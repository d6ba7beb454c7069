"""
A worker in a process of its own, driven over pipes.

Owns the process, and control messages to and from it: a length and MessagePack each way, as signaling would send them.
Run as a program it is that worker.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType

import msgspec
import uvloop

from peerbus.protocol.signals import Deliver, Forward, Offer, Participant, Room, SfuSignal, WorkerToServer
from peerbus.sfu.negotiation import Candidate
from peerbus.sfu.worker import Worker
from tests.bench.rig.process import cpu_s

ROOM = Room(scope="bench", channel_id=b"bench", term=1)


class SfuProcess:
    """`tell(identity, signal)` gets what the worker says to its participants."""

    def __init__(self, tell: Callable[[str, SfuSignal], None]) -> None:
        self._tell = tell
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.rig.sfu_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._rest = b""
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    async def __aenter__(self) -> SfuProcess:
        assert self._process.stdout is not None
        asyncio.get_running_loop().add_reader(self._process.stdout.fileno(), self._read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asyncio.get_running_loop().remove_reader(self._process.stdout.fileno())
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The worker's."""
        return self._process.pid

    def cpu_s(self) -> float:
        """Its CPU time so far."""
        return cpu_s(self.pid)

    def rss_bytes(self) -> int:
        """Its resident memory."""
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def ask(self, participant: Participant, offer: Offer) -> None:
        """An offer of a participant."""
        assert self._process.stdin is not None
        data = msgspec.msgpack.encode(Forward(room=ROOM, participant=participant, signal=offer))
        self._process.stdin.write(len(data).to_bytes(4, "big") + data)
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._rest += os.read(self._process.stdout.fileno(), 1 << 20)
        while len(self._rest) >= 4 and len(self._rest) >= 4 + (size := int.from_bytes(self._rest[:4], "big")):
            message = msgspec.msgpack.decode(self._rest[4 : 4 + size], type=WorkerToServer)
            self._rest = self._rest[4 + size :]
            if isinstance(message, Deliver):
                for identity in message.identities:
                    self._tell(identity, message.signal)


async def _serve() -> None:
    def send(message: WorkerToServer) -> None:
        data = msgspec.msgpack.encode(message)
        sys.stdout.buffer.write(len(data).to_bytes(4, "big") + data)
        sys.stdout.buffer.flush()

    worker = Worker("127.0.0.1", 0, send)
    worker.candidates = (Candidate("127.0.0.1", worker.port),)
    worker.start()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    os.set_blocking(0, False)
    rest = b""

    def read() -> None:
        nonlocal rest
        data = os.read(0, 1 << 20)
        if not data:
            loop.remove_reader(0)
            ended.set()
            return
        rest += data
        while len(rest) >= 4 and len(rest) >= 4 + (size := int.from_bytes(rest[:4], "big")):
            worker.receive(msgspec.msgpack.decode(rest[4 : 4 + size], type=Forward))
            rest = rest[4 + size :]

    loop.add_reader(0, read)
    await ended.wait()
    await worker.close()


if __name__ == "__main__":
    uvloop.run(_serve())

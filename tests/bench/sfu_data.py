"""
What relaying data costs the SFU: CPU per message, messages a second, delay.

Run as a program: `python -m tests.bench.sfu_data`. One client sends to another through a worker; sender, worker and
receiver are processes of their own, clients are aiortc's. What the two clients need of their cores is printed too: they
do the same SCTP once each, the worker does it twice.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

import msgspec

from peerbus.protocol.signals import SfuSignal
from tests.bench.rig.figures import machine, percentile
from tests.bench.rig.process import cpu_s
from tests.bench.rig.sfu_process import SfuProcess
from tests.support.raw_peer import RawPeer

_RUN_S: Final = 4.0
_QUEUED_BYTES_MAX: Final = 8_192
_PAYLOAD: Final = bytes(100)


class Order(NamedTuple):
    """One run of the sender."""

    label: str
    rate_per_s: int


async def _peer(identity: str, pipe: Connection) -> tuple[RawPeer, asyncio.Queue[object]]:
    """A client in a process of its own; offers and what is said go through the parent."""
    loop = asyncio.get_running_loop()
    orders: asyncio.Queue[object] = asyncio.Queue()
    peer = RawPeer(identity, lambda participant, offer: pipe.send(("ask", participant, offer)), has_data=True)

    def read() -> None:
        while pipe.poll():
            kind, value = pipe.recv()
            if kind == "told":
                peer.told(value)
            else:
                orders.put_nowait(value)

    loop.add_reader(pipe.fileno(), read)
    await peer.connect()
    pipe.send(("ready", identity, None))
    return peer, orders


async def _sender(pipe: Connection) -> None:
    peer, orders = await _peer("sender", pipe)
    while (order := await orders.get()) is not None:
        assert isinstance(order, Order)
        label, rate_per_s = order.label, order.rate_per_s
        channel = peer.channels[label]
        started_s, sent, cpu_before_s = time.monotonic(), 0, time.process_time()
        while (elapsed_s := time.monotonic() - started_s) < _RUN_S:
            while (
                sent < elapsed_s * rate_per_s
                and channel.bufferedAmount + peer.sctp._flight_size < _QUEUED_BYTES_MAX
            ):
                channel.send(
                    msgspec.msgpack.encode((["receiver"], time.monotonic_ns().to_bytes(8, "big") + _PAYLOAD))
                )
                sent += 1
            await asyncio.sleep(0.0005)
        peer.check()
        pipe.send(("sent", sent, (time.process_time() - cpu_before_s) / _RUN_S))
    await peer.close()


async def _receiver(pipe: Connection) -> None:
    delays_ms: list[float] = []

    def received(_: str, data: bytes) -> None:
        _, payload = msgspec.msgpack.decode(data)
        delays_ms.append((time.monotonic_ns() - int.from_bytes(payload[:8], "big")) / 1e6)

    peer, orders = await _peer("receiver", pipe)
    peer.on_data = received
    while await orders.get() is not None:
        pipe.send(("heard", list(delays_ms), None))
        delays_ms.clear()
        peer.check()
    await peer.close()


def _run(role: str, pipe: Connection) -> None:
    asyncio.run(_sender(pipe) if role == "sender" else _receiver(pipe))


async def measure() -> None:
    """Prints the figures."""
    spawn = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}

    def tell(identity: str, signal: SfuSignal) -> None:
        pipes[identity].send(("told", signal))

    async with SfuProcess(tell) as worker:
        processes = []
        answers: asyncio.Queue[tuple[str, object, object]] = asyncio.Queue()
        for role in ("receiver", "sender"):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_run, args=(role, theirs), daemon=True)
            process.start()
            processes.append(process)
            pipes[role] = ours

            def read(pipe: Connection = ours) -> None:
                while pipe.poll():
                    kind, first, second = pipe.recv()
                    if kind == "ask":
                        worker.ask(first, second)
                    else:
                        answers.put_nowait((kind, first, second))

            asyncio.get_running_loop().add_reader(ours.fileno(), read)
            assert (await answers.get())[0] == "ready"
        for label, rate_per_s in (
            ("reliable", 1_000),
            ("reliable", 100_000),
            ("lossy", 1_000),
            ("lossy", 100_000),
        ):
            before_s, receiver_before_s = cpu_s(worker.pid), cpu_s(processes[0].pid or 0)
            pipes["sender"].send(("order", Order(label, rate_per_s)))
            _, sent, sender_share = await answers.get()
            await asyncio.sleep(0.3)
            used_s = cpu_s(worker.pid) - before_s
            receiver_share = (cpu_s(processes[0].pid or 0) - receiver_before_s) / _RUN_S
            pipes["receiver"].send(("order", "report"))
            _, delays, _ = await answers.get()
            assert isinstance(delays, list)
            assert isinstance(sent, int)
            how = "paced" if rate_per_s == 1_000 else "as fast as it goes"
            print(
                f"  {label:8} {how:18} {len(delays) / _RUN_S:7.0f} messages/s of {sent / _RUN_S:.0f} sent, "
                f"{used_s / max(1, len(delays)) * 1e6:5.0f} µs CPU each, "
                f"delay p50 {percentile(delays, 0.5):.2f} ms, p99 {percentile(delays, 0.99):.2f} ms "
                f"(cores: sender {sender_share:.2f}, worker {used_s / _RUN_S:.2f}, receiver {receiver_share:.2f})",
                flush=True,
            )
        for pipe in pipes.values():
            asyncio.get_running_loop().remove_reader(pipe.fileno())
        for role, process in zip(("receiver", "sender"), processes, strict=True):
            pipes[role].send(("order", None))
            process.join(5)


def main() -> int:
    """Prints the figures."""
    print(f"data messages of {len(_PAYLOAD) + 8} bytes from one client to another through the worker")
    print(machine())
    asyncio.run(measure())
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())

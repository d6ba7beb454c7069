"""
What one message to 500 sessions costs the server, and how long it takes when it gets 50,000 deliveries a second.

Run as a program: `python -m tests.bench.fanout`. The server is measured from outside. Receivers sit in a process of
their own that drains sockets in bulk; latency is taken on five witness sessions in another. Beside it, in the same
run, the floor: a bare aiohttp WebSocket server that sends one encoded frame to as many sockets.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Final

from tests.bench.rig.figures import machine, percentile, verdict
from tests.bench.rig.process import FloorProcess, ServerProcess, cpu_s
from tests.bench.rig.readers import Readers, void_note
from tests.bench.rig.session import RawSession, masked, upgraded
from tests.bench.rig.witness import Witnesses

SESSIONS: Final = 500
_SINGLE_RATE_PER_S: Final = 60
_BURST: Final = 10
_BURST_RATE_PER_S: Final = 1000
_RUN_S: Final = 5.0
_CONTENT: Final = "x" * 100


def message(number: int, delivery: str) -> dict[str, object]:
    """One message of a game or chat: a hundred characters and the time it was sent."""
    return {
        "op": "send",
        "id": number,
        "delivery": delivery,
        "type": "bench",
        "content": {"at_ns": time.monotonic_ns(), "text": _CONTENT},
    }


def run(
    server: ServerProcess, readers: Readers, sender: RawSession, rate_per_s: float, burst: int, delivery: str
) -> tuple[float, float, str]:
    """CPU µs of the server per delivery, deliveries a second, and a note if the run is void."""
    number = sender.last_id
    sender.settle()
    before, cpu_before = readers.drained(), cpu_s(server.pid)
    started_s = time.monotonic()
    sent = 0
    while (elapsed_s := time.monotonic() - started_s) < _RUN_S:
        due = int(elapsed_s * rate_per_s / burst) * burst
        while sent < due:
            sender.send(*(message(number + sent + index + 1, delivery) for index in range(burst)))
            sent += burst
        sender.discard()
        time.sleep(0.0005)
    sender.last_id = number + sent
    sender.settle()
    cpu_after, after = cpu_s(server.pid), readers.drained()
    deliveries = sent * (SESSIONS + Witnesses.COUNT)
    return (cpu_after - cpu_before) / deliveries * 1e6, deliveries / elapsed_s, void_note(before, after)


def print_floor() -> None:
    """The same load on the bare server."""
    with FloorProcess() as floor, Readers() as readers:
        readers.open_floor(floor.port, SESSIONS)
        connection, _ = upgraded(floor.port, "/ws?role=sender")
        payload = masked(b"x" * 250)
        for name, burst, rate_per_s in (
            ("singly", 1, _SINGLE_RATE_PER_S),
            ("in bursts", _BURST, _BURST_RATE_PER_S),
        ):
            before_s, started_s, sent = cpu_s(floor.pid), time.monotonic(), 0
            while (elapsed_s := time.monotonic() - started_s) < _RUN_S:
                due = int(elapsed_s * rate_per_s / burst) * burst
                while sent < due:
                    connection.sendall(payload * burst)
                    sent += burst
                time.sleep(0.0005)
            time.sleep(0.3)
            cost_us = (cpu_s(floor.pid) - before_s) / (sent * SESSIONS) * 1e6
            print(
                f"  floor    {name:11} {cost_us:6.2f} µs CPU a delivery   (bare aiohttp, one write a frame)"
            )
        connection.close()


def main() -> int:
    """Prints the figures; 1 if a bound that must hold does not."""
    print(f"fan-out to {SESSIONS} sessions, {len(_CONTENT)}-character messages, MessagePack")
    print(machine())
    print_floor()
    with (
        ServerProcess() as server,
        Readers() as readers,
        Witnesses(server.port, server.api_key, "bench") as witnesses,
    ):
        readers.open(server.port, server.api_key, "bench", SESSIONS)
        sender = RawSession(server.port, server.api_key, "bench", "sender", auto_receive=False)
        missed = 0
        for delivery in ("live", "durable", "lossy"):
            single = statistics.median(
                run(server, readers, sender, _SINGLE_RATE_PER_S, 1, delivery)[0] for _ in range(3)
            )
            line = verdict(single, 10, 7)
            missed += "MISSED" in line
            print(f"  {delivery:8} singly      {single:6.2f} µs CPU a delivery   ({line})")
            figures = [run(server, readers, sender, _BURST_RATE_PER_S, _BURST, delivery) for _ in range(3)]
            burst = statistics.median(figure[0] for figure in figures)
            line = verdict(burst, 2.5, 1.2)
            missed += "MISSED" in line
            print(f"  {delivery:8} in bursts   {burst:6.2f} µs CPU a delivery   ({line}){figures[0][2]}")
        witnesses.reset()
        _, rate, note = run(server, readers, sender, 100, 1, "live")
        latencies_ms = witnesses.latencies_ms()
        p50, p99 = percentile(latencies_ms, 0.5), percentile(latencies_ms, 0.99)
        line = verdict(p99, 50, 20)
        missed += "MISSED" in line
        print(
            f"  paced at {rate:,.0f} deliveries/s: p50 {p50:.2f} ms, p99 {p99:.2f} ms on "
            f"{len(latencies_ms)} witnessed   ({line}){note}"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

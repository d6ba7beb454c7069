"""
What one message to 500 sessions costs the server, and how long it takes when it gets 50,000 deliveries a second.

Run as a program: `python -m tests.bench.fanout`. The server is measured from outside. Receivers sit in a process of
their own that drains sockets in bulk; latency is taken on five witness sessions in another. Beside it, in alternating
rounds, the floor: a bare aiohttp WebSocket server that sends one encoded frame to as many sockets.
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
_RUN_S: Final = 3.0
_ROUNDS: Final = 5
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


class Floor:
    """The same load on the bare server, whose rounds alternate with ours: a machine's speed is not constant."""

    def __init__(self, floor: FloorProcess, readers: Readers) -> None:
        readers.open_floor(floor.port, SESSIONS)
        self._readers: Final = readers
        self._pid: Final = floor.pid
        self._connection, _ = upgraded(floor.port, "/ws?role=sender")
        self._payload: Final = masked(b"x" * 250)

    def run(self, rate_per_s: float, burst: int) -> float:
        """CPU µs per delivery."""
        before_s, started_s, sent = cpu_s(self._pid), time.monotonic(), 0
        while (elapsed_s := time.monotonic() - started_s) < _RUN_S:
            due = int(elapsed_s * rate_per_s / burst) * burst
            while sent < due:
                self._connection.sendall(self._payload * burst)
                sent += burst
            time.sleep(0.0005)
        received, now = -1, self._readers.drained().received_bytes
        while received != now:
            time.sleep(0.3)
            received, now = now, self._readers.drained().received_bytes
        return (cpu_s(self._pid) - before_s) / (sent * SESSIONS) * 1e6

    def close(self) -> None:
        """Leaves."""
        self._connection.close()


def main() -> int:
    """Prints the figures; 1 if a bound that must hold does not."""
    print(f"fan-out to {SESSIONS} sessions, {len(_CONTENT)}-character messages, MessagePack")
    print(machine())
    print("beside the floor in the same rounds: bare aiohttp, one write a frame")
    with (
        FloorProcess() as floor_process,
        Readers() as floor_readers,
        ServerProcess() as server,
        Readers() as readers,
        Witnesses(server.port, server.api_key, "bench") as witnesses,
    ):
        floor = Floor(floor_process, floor_readers)
        readers.open(server.port, server.api_key, "bench", SESSIONS)
        sender = RawSession(server.port, server.api_key, "bench", "sender", auto_receive=False)
        missed = 0
        for delivery in ("live", "durable", "lossy"):
            for name, burst, rate_per_s, must_us, aim_us in (
                ("singly", 1, _SINGLE_RATE_PER_S, 10.0, 7.0),
                ("in bursts", _BURST, _BURST_RATE_PER_S, 2.5, 1.2),
            ):
                pairs = [
                    (run(server, readers, sender, rate_per_s, burst, delivery), floor.run(rate_per_s, burst))
                    for _ in range(_ROUNDS)
                ]
                cost_us = statistics.median(ours[0] for ours, _ in pairs)
                floor_us = statistics.median(bare for _, bare in pairs)
                ratio = statistics.median(ours[0] / bare for ours, bare in pairs)
                line = verdict(cost_us, must_us, aim_us)
                missed += "MISSED" in line
                note = next((ours[2] for ours, _ in pairs if ours[2]), "")
                print(
                    f"  {delivery:8} {name:10} {cost_us:6.2f} µs CPU a delivery, {ratio:4.2f} x the floor of "
                    f"{floor_us:5.2f}   ({line}){note}"
                )
        floor.close()
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

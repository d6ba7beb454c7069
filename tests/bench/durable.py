"""
How many durable messages a second are acknowledged, each synced to the disk, and how long one takes.

Run as a program: `python -m tests.bench.durable`. Fifty senders, each in a channel of its own, keep a window of
messages unacknowledged. Beside it, in the same run, the floor: the same rows written by bare SQLite in batches.
The load program reads acks in bulk and only counts them; a run in which it needs more than 90 % of a core is void.
"""

from __future__ import annotations

import selectors
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.bench.rig.figures import machine, percentile, verdict
from tests.bench.rig.process import ServerProcess, cpu_s
from tests.bench.rig.readers import VOID_ABOVE
from tests.bench.rig.session import RawSession

_SENDERS: Final = 50
_WINDOW: Final = 64
_RUN_S: Final = 6.0
_SINGLE: Final = 300
_FLOOR_ROWS: Final = 40_000
_FLOOR_BATCH: Final = 200
_CONTENT: Final = "x" * 100


class Sender:
    """One session that keeps its window full; acks are counted, not read."""

    def __init__(self, server: ServerProcess, run: int, number: int) -> None:
        self.session = RawSession(server.port, server.api_key, f"bench-{run}-{number}", "sender")
        self.number = number
        self.sent = 0
        self.acked = 0

    def fill(self) -> None:
        """Sends until the window is full."""
        count = _WINDOW - (self.sent - self.acked)
        if count < _WINDOW // 2:
            return
        first = self.sent
        self.sent += count
        self.session.send(*(self._message(first + index) for index in range(count)))

    def take(self) -> None:
        """Counts the acks that came."""
        self.acked += self.session.counted()

    def _message(self, index: int) -> dict[str, object]:
        return {
            "op": "send",
            "id": index + 2,
            "type": "bench",
            "content": _CONTENT,
            "idempotency_key": f"{self.number:04}-{index:012}",
        }


def throughput(server: ServerProcess, run: int) -> tuple[float, float, str]:
    """Acked messages a second, server CPU µs for each, and a note if the run is void."""
    senders = [Sender(server, run, number) for number in range(_SENDERS)]
    selector = selectors.DefaultSelector()
    for sender in senders:
        selector.register(sender.session.socket, selectors.EVENT_READ, sender)
        sender.fill()
    cpu_before_s, own_before_s, started_s = cpu_s(server.pid), time.process_time(), time.monotonic()
    acked_before = sum(sender.acked for sender in senders)
    while time.monotonic() - started_s < _RUN_S:
        for key, _ in selector.select(0.1):
            key.data.take()
            key.data.fill()
    elapsed_s = time.monotonic() - started_s
    acked = sum(sender.acked for sender in senders) - acked_before
    own_share = (time.process_time() - own_before_s) / elapsed_s
    note = f"  VOID: the load program used {own_share:.0%} of a core" if own_share > VOID_ABOVE else ""
    cost_us = (cpu_s(server.pid) - cpu_before_s) / acked * 1e6
    for sender in senders:
        sender.session.socket.close()
    return acked / elapsed_s, cost_us, note


def single_ms(server: ServerProcess) -> list[float]:
    """How long one message takes from send to ack when nothing else happens."""
    session = RawSession(server.port, server.api_key, "single", "sender")
    times_ms: list[float] = []
    for number in range(_SINGLE):
        started_s = time.perf_counter()
        session.send(
            {"op": "send", "id": number + 2, "content": _CONTENT, "idempotency_key": f"s{number:09}"}
        )
        while session.next_frame().get("id") != number + 2:
            pass
        times_ms.append((time.perf_counter() - started_s) * 1000)
    return times_ms


def floor_per_s() -> float:
    """Rows a second of bare SQLite on the same disk: WAL, synchronous FULL, batches of 200."""
    with tempfile.TemporaryDirectory(prefix="peerbus-bench-") as folder:
        db = sqlite3.connect(Path(folder) / "floor.db", isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(
            "CREATE TABLE rows (channel INTEGER, offset INTEGER, body BLOB, PRIMARY KEY (channel, offset))"
        )
        body = _CONTENT.encode()
        started_s = time.perf_counter()
        for start in range(0, _FLOOR_ROWS, _FLOOR_BATCH):
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO rows VALUES (?, ?, ?)",
                [(row % _SENDERS, row, body) for row in range(start, start + _FLOOR_BATCH)],
            )
            db.execute("COMMIT")
        elapsed_s = time.perf_counter() - started_s
        db.close()
    return _FLOOR_ROWS / elapsed_s


def main() -> int:
    """Prints the figures; 1 if a bound that must hold does not."""
    print(f"durable messages of {len(_CONTENT)} characters, synced before they are acknowledged")
    print(machine())
    floor = floor_per_s()
    print(f"  floor    {floor:10,.0f} rows/s      (bare SQLite, batches of {_FLOOR_BATCH})")
    missed = 0
    with ServerProcess() as server:
        runs = [throughput(server, run) for run in range(3)]
        rate = statistics.median(run[0] for run in runs)
        cost_us = statistics.median(run[1] for run in runs)
        line = verdict(rate, 8_000, 20_000, higher_is_better=True)
        missed += "MISSED" in line
        print(
            f"  acked    {rate:10,.0f} messages/s  from {_SENDERS} senders, {cost_us:.1f} µs CPU each, "
            f"{rate / floor:.0%} of the floor   ({line}){runs[0][2]}"
        )
        times_ms = single_ms(server)
        p50 = percentile(times_ms, 0.5)
        line = verdict(p50, 4, 2)
        missed += "MISSED" in line
        print(
            f"  single   p50 {p50:.2f} ms, p99 {percentile(times_ms, 0.99):.2f} ms from send to ack   ({line})"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""How fast the message log stores: run it as a program, `python tests/bench/log.py --help`.

Prints the machine, the cost of one fsync, a bare batched insert into SQLite, and then the log itself: many senders
with a window of appends under way, and one append at a time. `--busy-us` burns that much of the loop's time
per append, as a server does that also reads sockets.
"""

import argparse
import asyncio
import os
import platform
import sqlite3
import statistics
import tempfile
import time
import uuid
from pathlib import Path

from peerbus.signaling.log import (
    Append,
    Appended,
    AppendResult,
    ChannelKey,
    LogWriter,
    MemoryStore,
    SqliteStore,
    Store,
    WriterLimits,
)

CHANNEL = ChannelKey("private:bench", b"c" * 32)


def new_epoch() -> str:
    return uuid.uuid4().hex[:12]


def percentile(samples: list[float], share: float) -> float:
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * share))]


def print_machine() -> None:
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    print(
        f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def measure_fsync(folder: Path) -> None:
    samples = []
    descriptor = os.open(folder / "fsync", os.O_CREAT | os.O_WRONLY)
    for _ in range(300):
        os.write(descriptor, b"x" * 4096)
        started = time.perf_counter()
        os.fdatasync(descriptor)
        samples.append((time.perf_counter() - started) * 1e3)
    os.close(descriptor)
    print(
        f"fdatasync of 4 KiB: p50 {percentile(samples, 0.5):.3f} ms, p99 {percentile(samples, 0.99):.3f} ms"
    )


def measure_bare(folder: Path, count: int, group: int, body: bytes) -> None:
    """The same bytes into one plain table, in transactions of the same size, from prepared rows."""
    db = sqlite3.connect(folder / "bare.db", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(
        "CREATE TABLE entries (id INTEGER PRIMARY KEY, time_ms INTEGER, identity TEXT, key TEXT, body BLOB)"
    )
    rows = [(i, 1_700_000_000_000 + i, f"lineage:{i % 50:064}", f"{i:022}", body) for i in range(count)]
    cpu, started = time.process_time(), time.perf_counter()
    for first in range(0, count, group):
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", rows[first : first + group])
        db.execute("COMMIT")
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    db.close()
    print(f"bare insert, groups of {group}: {count / wall:,.0f}/s, {cpu / count * 1e6:.1f} us CPU each")


async def measure_log(label: str, store: Store, args: argparse.Namespace) -> float:
    """`args.count` appends from `args.senders`, each with a window under way. Returns the mean group's size."""
    writer = LogWriter(store, limits=WriterLimits(group=args.group))
    await writer.open_channel(CHANNEL, "bench", "open", 0)
    body = bytes(args.body)
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    latencies: list[float] = []
    left = args.count
    acked = 0

    def send(sender: int) -> None:
        nonlocal left
        if left == 0:
            return
        left -= 1
        if args.busy_us:
            until = time.perf_counter() + args.busy_us / 1e6
            while time.perf_counter() < until:
                pass
        key = uuid.uuid4().hex if args.random_keys else f"{sender:010}{left:012}"
        started = time.perf_counter()
        append = Append(
            CHANNEL,
            f"lineage:{sender:064}",
            "sender",
            None,
            "chat-text",
            None,
            body,
            1_700_000_000_000 + args.count - left,
            key,
            b"f" * 16,
        )
        assert writer.submit(append, lambda result: acknowledge(sender, started, result)) is None

    def acknowledge(sender: int, started: float, result: AppendResult) -> None:
        nonlocal acked
        assert isinstance(result, Appended)
        acked += 1
        latencies.append((time.perf_counter() - started) * 1e3)
        if acked == args.count:
            done.set_result(None)
        # In a turn of its own, as a frame from a socket would come.
        loop.call_soon(send, sender)

    cpu, begun = time.process_time(), time.perf_counter()
    for sender in range(args.senders):
        for _ in range(args.window):
            send(sender)
    await done
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    status = writer.status()
    group = status.appends / status.groups
    print(
        f"{label}, {args.senders} senders x {args.window}: {args.count / wall:,.0f}/s,"
        f" {cpu / args.count * 1e6:.1f} us CPU each, groups of {group:.0f}, {status.commit_s / wall:.0%} in commits,"
        f" ack p50 {percentile(latencies, 0.5):.2f} p99 {percentile(latencies, 0.99):.2f} ms"
    )
    singles = []
    for i in range(args.singles):
        answer: asyncio.Future[AppendResult] = loop.create_future()
        started = time.perf_counter()
        append = Append(CHANNEL, "lineage:one", "one", None, "chat-text", None, body, 0, f"s{i:08}", b"f")
        writer.submit(append, answer.set_result)
        await answer
        singles.append((time.perf_counter() - started) * 1e3)
    print(
        f"{label}, one at a time: p50 {percentile(singles, 0.5):.3f} p99 {percentile(singles, 0.99):.3f} ms"
        f" (mean {statistics.fmean(singles):.3f})"
    )
    await writer.close()
    return group


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="appends to measure")
    parser.add_argument("--senders", type=int, default=50)
    parser.add_argument("--window", type=int, default=8, help="appends each sender has under way")
    parser.add_argument("--body", type=int, default=200, help="bytes")
    parser.add_argument("--group", type=int, default=400, help="appends in one commit at most")
    parser.add_argument("--singles", type=int, default=1_000, help="appends of the one-at-a-time run")
    parser.add_argument("--busy-us", type=float, default=0.0, help="time of the loop burnt per append")
    parser.add_argument("--random-keys", action="store_true", help="idempotency keys without any order")
    parser.add_argument("--folder", type=Path, help="where to write (default: the system's temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        print_machine()
        measure_fsync(folder)
        group = asyncio.run(measure_log("log in SQLite", SqliteStore(folder / "data", new_epoch), args))
        measure_bare(folder, args.count, round(group), bytes(args.body))
        asyncio.run(measure_log("log in memory", MemoryStore(new_epoch), args))


if __name__ == "__main__":
    main()

"""
What each mode costs, and how late messages are: four members, each 60 times a second 100 bytes to all others.

Run as a program: `python -m tests.bench.modes`. Members are Python programs, each a process of its own, and move from
mode to mode; server and media worker are measured from outside. Beside it, in the same run, a floor: two processes with
three bare aiortc connections between them, so that each end sends and receives as many messages as a member of a mesh.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

from tests.bench.rig.figures import machine, percentile
from tests.bench.rig.mode_member import PAYLOAD_BYTES, RATE_PER_S
from tests.bench.rig.process import cpu_s
from tests.support.processes import children_running
from tests.support.server_process import ServerProcess

_MEMBERS: Final = 4
_MODES: Final = ("mesh", "host", "relay", "datachannel", "sfu")
_RUN_S: Final = 5.0
_VOID_ABOVE: Final = 0.9
_OTHERS_MAX: Final = 0.15
"""The part of the machine that may be busy with other things."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_LIMITS: Final = {
    "PEERBUS_SEND_RATE_PER_S": "1000000",
    "PEERBUS_LOSSY_RATE_PER_S": "1000000",
    "PEERBUS_CHANNEL_SEND_RATE_PER_S": "1000000000",
    "PEERBUS_KEY_SEND_RATE_PER_S": "1000000000",
}
"""The load is the point here, not the server's limits."""


class Figures(NamedTuple):
    """What one run came to."""

    cpu_shares: list[float]
    """Of a core, by member."""
    p50_ms: float
    p99_ms: float
    arrived: float
    """The part of the messages."""
    void: str
    """Why the run says nothing; empty: it does."""


class Worker:
    """A process of `rig.mode_member`."""

    def __init__(self, *arguments: str) -> None:
        self._arguments: Final = arguments

    async def __aenter__(self) -> Worker:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.bench.rig.mode_member",
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 24,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(20):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ask(self, kind: str, value: object) -> Any:
        """A command, and its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps([kind, value]) + "\n").encode())
        return await self.answer()

    async def answer(self) -> Any:
        """What it says next."""
        assert self._process.stdout is not None
        return json.loads(await self._process.stdout.readline())


async def run(workers: Sequence[Worker], reliable: bool, number: int, outside: Sequence[int] = ()) -> Figures:
    """All send at once."""
    pids = [os.getpid(), *(worker.pid for worker in workers), *outside]
    idle_before_s, ours_before_s, began_s = idle_s(), sum(map(cpu_s, pids)), time.monotonic()
    orders = (worker.ask("run", [reliable, number, _RUN_S]) for worker in workers)
    told = await asyncio.gather(*orders)
    whole_s = (time.monotonic() - began_s) * (os.cpu_count() or 1)
    ours_s = sum(map(cpu_s, pids)) - ours_before_s
    others = 1 - (idle_s() - idle_before_s + ours_s) / whole_s
    delays = [delay for one in told for delay in one["delays_ms"]]
    highest = max(one["cpu_share"] for one in told)
    void = "  VOID: a member used its whole core" if highest > _VOID_ABOVE else ""
    if others > _OTHERS_MAX:
        void = f"  VOID: other programs took {others:.0%} of the machine"
    return Figures(
        [one["cpu_share"] for one in told],
        percentile(delays, 0.5),
        percentile(delays, 0.99),
        len(delays) / (sum(one["sent"] for one in told) * (_MEMBERS - 1)),
        void,
    )


async def floor() -> dict[bool, Figures]:
    """Bare data channels, with as many messages a process as in a mesh."""
    links = str(_MEMBERS - 1)
    async with Worker("offerer", links) as offerer, Worker("answerer", links) as answerer:
        answers = await answerer.ask("described", await offerer.answer())
        await offerer.ask("described", answers)
        await asyncio.gather(*(worker.ask("reach", None) for worker in (offerer, answerer)))
        return {
            reliable: await run((offerer, answerer), reliable, number)
            for number, reliable in enumerate((False, True), 1)
        }


def idle_s() -> float:
    """Time that the processors had nothing to do, since the machine was started."""
    return int(Path("/proc/stat").read_text().split()[4]) / _TICKS_PER_S


def line(name: str, figures: Figures, bare: Figures, around: str) -> str:
    """For people."""
    mean = sum(figures.cpu_shares) / len(figures.cpu_shares)
    bare_mean = sum(bare.cpu_shares) / len(bare.cpu_shares)
    highest = max(figures.cpu_shares)
    return (
        f"  {name:22} CPU a member {mean:4.0%} of a core ({mean / bare_mean:4.2f} x floor; highest {highest:.0%})"
        f"{around}, delay p50 {figures.p50_ms:5.1f} ms, p99 {figures.p99_ms:5.1f} ms "
        f"({figures.p99_ms / bare.p99_ms:4.2f} x floor), {figures.arrived:.2%} arrived{figures.void}"
    )


async def measure(process: ServerProcess, address: str, key: str) -> None:
    """Prints the figures."""
    bare = await floor()
    for reliable, how in ((False, "lossy"), (True, "reliable")):
        print(line(f"floor, {how}", bare[reliable], bare[reliable], ""), flush=True)
    outside = {
        name: children_running(process.pid, module)[0].pid
        for name, module in (("server", "peerbus.signaling"), ("worker", "peerbus.sfu"))
    }
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(Worker("member", address, key, f"member-{at}", str(_MEMBERS)))
            for at in range(_MEMBERS)
        ]
        number = 0
        for mode in _MODES:
            if mode != _MODES[0]:
                await workers[0].ask("switch", mode)
            await asyncio.gather(*(worker.ask("reach", mode) for worker in workers))
            for reliable, how in ((False, "lossy"), (True, "reliable")):
                before = {name: cpu_s(pid) for name, pid in outside.items()}
                number += 1
                figures = await run(workers, reliable, number, list(outside.values()))
                used = {name: (cpu_s(pid) - before[name]) / _RUN_S for name, pid in outside.items()}
                around = "".join(f", {name} {share:3.0%}" for name, share in used.items())
                print(line(f"{mode}, {how}", figures, bare[reliable], around), flush=True)


def main() -> int:
    """Prints the figures."""
    print(
        f"{_MEMBERS} members, each {PAYLOAD_BYTES} bytes to all others {RATE_PER_S} times a second, "
        f"for {_RUN_S:.0f} s in each mode"
    )
    print(machine())
    with tempfile.TemporaryDirectory(prefix="peerbus-bench-") as folder:
        options = ("--sfu-workers", "1", "--sfu-port", "0", "--advertise", "127.0.0.1")
        with ServerProcess(Path(folder), *options, env=_LIMITS) as process:
            address = process.next_address_with_worker()
            (key,) = (
                found[1] for text in process.output if (found := re.search(r"developer key\s+(pb_\S+)", text))
            )
            asyncio.run(measure(process, address, key))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""
The draining process, driven from the benchmark.

Owns starting `drain`, and the check that makes a run void: a load program that needs more than 90 % of a core was
the bottleneck itself.
"""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Final, NamedTuple

VOID_ABOVE: Final = 0.9


class Drained(NamedTuple):
    """What the draining process has seen and used so far."""

    received_bytes: int
    cpu_s: float
    at_s: float


class Readers:
    """Sessions in a process of their own that only read."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.rig.drain"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def open(self, port: int, api_key: str, channel: str, count: int) -> None:
        """Opens more sessions."""
        self._ask(f"open {port} {api_key} {channel} {count}")

    def open_floor(self, port: int, count: int) -> None:
        """Opens sockets to the bare server."""
        self._ask(f"floor {port} {count}")

    def drained(self) -> Drained:
        """What came in so far."""
        return self._ask("bytes")

    def _ask(self, command: str) -> Drained:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        received_bytes, cpu_s, at_s = self._process.stdout.readline().split()
        return Drained(int(received_bytes), float(cpu_s), float(at_s))

    def __enter__(self) -> Readers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def void_note(before: Drained, after: Drained) -> str:
    """Empty, or why the run between the two says nothing."""
    share = (after.cpu_s - before.cpu_s) / (after.at_s - before.at_s)
    return f"  VOID: the load program used {share:.0%} of a core" if share > VOID_ABOVE else ""

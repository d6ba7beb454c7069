"""
A server process measured from outside.

Owns starting and stopping it on a fresh data folder, and reading its CPU time and memory from /proc.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_UNLIMITED: Final = {
    "PEERBUS_SEND_RATE_PER_S": "1000000",
    "PEERBUS_LOSSY_RATE_PER_S": "1000000",
    "PEERBUS_REQUEST_RATE_PER_S": "1000000",
    "PEERBUS_CHANNEL_SEND_RATE_PER_S": "1000000000",
    "PEERBUS_KEY_SEND_RATE_PER_S": "1000000000",
    "PEERBUS_MEMBERS_PER_CHANNEL": "10000",
    "PEERBUS_CONNECTS_PER_ADDRESS_PER_S": "100000",
    "PEERBUS_SILENCE_TIMEOUT_MS": "600000",
    "PEERBUS_PING_INTERVAL_MS": "300000",
}


class ServerProcess:
    """One signaling process, with rates raised so that the benchmark and not a limit decides."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="peerbus-bench-")
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "peerbus.signaling",
                "serve",
                "--port",
                "0",
                "--data-dir",
                self._folder.name,
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, **_UNLIMITED, "PEERBUS_LOG_LEVEL": "warning"},
            text=True,
        )
        self.port = 0
        self.api_key = ""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"^peerbus .* on \w+://[^:]+:(\d+)", line):
                self.port = int(found[1])
            if found := re.search(r"developer key\s+(pb_\S+)", line):
                self.api_key = found[1]
            if self.port and self.api_key:
                break
        else:
            raise RuntimeError("the server did not start")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        with suppress(OSError):
            self._folder.cleanup()


class FloorProcess:
    """The bare server of `floor`, in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.rig.floor"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __enter__(self) -> FloorProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def cpu_s(pid: int) -> float:
    """User and system time that a process has used, all threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def resident_kib(pid: int) -> int:
    """Memory of its own that a process holds, in KiB (private and resident)."""
    total = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1])
    return total

"""
Five sessions in a process of their own that decode what they get and note how long it took.

Owns taking latencies: messages carry the sender's monotonic time (`content.at_ns`), which all processes of one
machine share.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import time
from types import TracebackType
from typing import ClassVar, Final

from tests.bench.rig.session import RawSession

_COMMANDS: Final = "commands"


class Witnesses:
    """The witnessing process, driven from the benchmark."""

    COUNT: ClassVar = 5

    def __init__(self, port: int, api_key: str, channel: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.rig.witness", str(port), api_key, channel],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask("reset")

    def reset(self) -> None:
        """Forgets what was noted."""
        self._ask("reset")

    def latencies_ms(self) -> list[float]:
        """What was noted since the last reset."""
        latencies: list[float] = json.loads(self._ask("tell"))
        return latencies

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def __enter__(self) -> Witnesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def main() -> None:
    """The witnessing process."""
    port, api_key, channel = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ, _COMMANDS)
    for number in range(Witnesses.COUNT):
        session = RawSession(port, api_key, channel, f"witness-{number}")
        selector.register(session.socket, selectors.EVENT_READ, session)
    latencies_ms: list[float] = []
    while True:
        for key, _ in selector.select():
            if key.data != _COMMANDS:
                frames = key.data.frames()
                now_ns = time.monotonic_ns()
                latencies_ms += [
                    (now_ns - frame["content"]["at_ns"]) / 1e6 for frame in frames if frame["op"] == "message"
                ]
                continue
            command = sys.stdin.readline().strip()
            if not command:
                return
            sys.stdout.write((json.dumps(latencies_ms) if command == "tell" else "ok") + "\n")
            sys.stdout.flush()
            latencies_ms = []


if __name__ == "__main__":
    main()

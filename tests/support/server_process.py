"""`peerbus serve` as a process of its own: the supervisor, and the server below it."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.processes import Process, children, children_running

START_S = 60.0
"""How long a start may take on a machine that is busy with other things."""
END_S = 60.0


class ServerProcess:
    """
    A server on a free port of 127.0.0.1, with its data in `data_dir`.

    `env` is added to a clean environment without any `PEERBUS_*`, and without media workers. Use it as a context:
    nothing is left after.
    """

    def __init__(self, data_dir: Path, *options: str, env: dict[str, str] | None = None) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PEERBUS_")}
        command = [sys.executable, "-m", "peerbus.client.cli", "serve", "--port", "0"]
        self._process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir), *options],
            env={**clean, "PEERBUS_SFU_WORKERS": "0", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.output: list[str] = []
        """The lines of standard output so far."""
        self.errors: list[str] = []
        """The lines of standard error so far."""
        self._addresses: queue.Queue[str | None] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read_output),
            threading.Thread(target=self._read_errors),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            # Its children notice the end of their parent; nobody waits for a drain here.
            left = children(self.pid)
            self._process.kill()
            self._process.wait()
            for child in left:
                child.kill()
                assert child.has_ended(END_S)
        for reader in self._readers:
            reader.join()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def next_address(self) -> str:
        """The address of the next start that was announced: `http://localhost:…`. Waits for it."""
        address = self._addresses.get(timeout=START_S)
        assert address is not None, "\n".join(["it ended without a start:", *self.errors])
        return address

    def next_address_with_worker(self) -> str:
        """As `next_address`; waits for a media worker, too."""
        address = self.next_address()
        ends_at = time.monotonic() + START_S
        while True:
            with urllib.request.urlopen(f"{address}/v1/status", timeout=START_S) as response:
                if json.load(response)["workers"]:
                    return address
            assert time.monotonic() < ends_at, "no worker came"
            time.sleep(0.05)

    def signaling(self) -> Process:
        """The server's own process."""
        (child,) = children_running(self.pid, "peerbus.signaling")
        return child

    def supervisor(self) -> Process:
        """The process that watches over it."""
        return Process(self.pid)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the supervisor."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Waits for the end of the supervisor and of all output; the exit code."""
        code = self._process.wait(END_S)
        for reader in self._readers:
            reader.join(END_S)
        return code

    def stop(self) -> int:
        """SIGTERM, and what `wait` gives."""
        self.send(signal.SIGTERM)
        return self.wait()

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line.rstrip("\n"))
            if found := re.match(r"peerbus \S+ on (https?://\S+)$", self.output[-1]):
                self._addresses.put(found[1])
        self._addresses.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.errors.append(line.rstrip("\n"))

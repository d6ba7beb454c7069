"""
A real signaling process on a free port, with a fresh data folder.

    # The fixtures are `start_server`, and `live_server` for one with the default settings.
    def test_it(start_server: StartServer) -> None:
        server = start_server(silence_timeout_ms=2_000)   # limits and settings by their names
        server.url, server.developer_key, server.pid, server.log
        server.stop()                                     # SIGTERM; exit code 0 and a clean log, or it fails

Whatever a test leaves running is stopped at its end in the same way. All methods block: in an asyncio test whose
clients have to go on, call them by `await asyncio.to_thread(server.restart)`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import pytest

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 60.0

_ON_A_SMALL_DISK: Final = """
disk=$0 size=$1; shift
inside='mount -t tmpfs -o "size=$1,mode=700" none "$0" && shift && exec "$@"'
for namespace in 'unshare --mount' 'unshare --map-root-user --mount'; do
    if $namespace true 2>/dev/null; then
        exec $namespace sh -c "$inside" "$disk" "$size" "$@"
    fi
done
echo 'cannot make a mount namespace: run as root, or allow unprivileged user namespaces' >&2
exit 1
"""

UNCLEAN: Final = re.compile(r"Traceback|never retrieved|Unclosed|was destroyed|Warning:|Fatal |failed:")
"""What never stands in the log of a healthy server, whatever its clients did."""


class LiveServer:
    """
    One data folder, and the process that serves it now.

    `settings` are the names of limits and flags as in `config`, without `PEERBUS_`: `demo=True`, `frame_bytes=4096`.
    With `disk_bytes` the data folder is a file system of that size, which is gone with the process.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, object],
        *,
        disk_bytes: int | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.data_dir: Final = folder / "data"
        self.host: Final = host
        self.port = 0
        self.developer_key = ""
        self._prefix: list[str] = []
        if disk_bytes is not None:
            self.data_dir.mkdir()
            self._prefix = ["sh", "-c", _ON_A_SMALL_DISK, str(self.data_dir), str(disk_bytes)]
        self._log_path: Final = folder / "server.log"
        self._log_path.touch()
        self._environment: Final = _environment(settings)
        self._process: subprocess.Popen[str] | None = None
        self._output: _Lines | None = None

    # --- what it is -------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """`http://127.0.0.1:12345`; the port stays over restarts."""
        scheme = "https" if "PEERBUS_TLS" in self._environment else "http"
        return f"{scheme}://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that every process over this folder has written to standard error."""
        return self._log_path.read_text("utf-8", "replace")

    @property
    def data_dir_as_it_sees_it(self) -> Path:
        """The data folder by a path that leads there also when it is in a mount namespace of its own."""
        return Path(f"/proc/{self.pid}/root{self.data_dir}")

    @property
    def rss_bytes(self) -> int:
        """Resident memory."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    @property
    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def sockets(self) -> int:
        """Those of them that are sockets, the listening one included."""
        return sum(self._is_socket(name) for name in os.listdir(f"/proc/{self.pid}/fd"))

    def _is_socket(self, name: str) -> bool:
        try:
            return os.readlink(f"/proc/{self.pid}/fd/{name}").startswith("socket:")
        except FileNotFoundError:
            return False

    # --- what can be done with it -------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts a process and returns when it is ready; on the same port as before, if there was one."""
        assert not self.is_running, "the server runs already"
        is_first = not (self.data_dir / "keys.db").exists()
        command = [*self._prefix, sys.executable, "-W", "default", "-m", "peerbus.signaling", "serve"]
        command += ["--host", self.host, "--port", str(self.port), "--data-dir", str(self.data_dir)]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,
            )
        self._output = _Lines(self._process)
        where = self._output.wait_for(r"^peerbus \S+ on https?://\S+:(\d+)$")
        if where is not None and is_first:
            key = self._output.wait_for(r"^  developer key  (\S+)$")
            self.developer_key = key or ""
        if where is None or not self.developer_key:
            code = self._process.wait(timeout=STOP_TIMEOUT_S)
            raise AssertionError(f"the server did not start (exit code {code}):\n{self.log}")
        self.port = int(where)

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """SIGTERM; fails unless it ends with exit code 0 and the log is clean."""
        self.terminate()
        code = self.wait(timeout_s)
        assert code == 0, f"exit code {code}:\n{self.log}"
        self.assert_clean_log()

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9`, and waits until the process is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait(STOP_TIMEOUT_S)

    def wait(self, timeout_s: float) -> int:
        """Waits for the end of the process; the exit code."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        if self._output is not None:
            self._output.close()
        return code

    def restart(self) -> None:
        """`stop`, then `start` on the same port and folder."""
        self.stop()
        self.start()

    def keys(self, *arguments: str) -> str:
        """`peerbus keys …` on this data folder; its standard output."""
        command = [sys.executable, "-m", "peerbus.signaling", "keys", *arguments]
        done = subprocess.run(
            [*command, "--data-dir", str(self.data_dir)],
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=START_TIMEOUT_S,
        )
        return done.stdout.strip()

    def assert_clean_log(self) -> None:
        """Fails where the log has a traceback, or what Python says of forgotten tasks and sockets."""
        log = self.log
        for found in UNCLEAN.finditer(log):
            raise AssertionError(
                f"{found.group()!r} in the log:\n{log[max(0, found.start() - 2000) :][:4000]}"
            )


class _Lines:
    """Standard output, read by a thread so that the process never waits for us."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._stream = process.stdout
        self._lines: list[str] = []
        self._has_ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, pattern: str) -> str | None:
        """The first group of the first line that matches; None when the output ends without one."""
        expression = re.compile(pattern)
        with self._changed:
            found: list[str] = []

            def is_there() -> bool:
                found.extend(match[1] for line in self._lines if (match := expression.match(line)))
                return bool(found) or self._has_ended

            self._changed.wait_for(is_there, START_TIMEOUT_S)
            return found[0] if found else None

    def close(self) -> None:
        self._thread.join(STOP_TIMEOUT_S)
        self._stream.close()

    def _read(self) -> None:
        for line in self._stream:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()


class StartServer(Protocol):
    """The fixture `start_server`."""

    def __call__(self, *, disk_bytes: int | None = None, **settings: object) -> LiveServer:
        """Starts a server; the arguments are those of `LiveServer`."""


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers, each with a folder of its own, and stops what still runs at the end of the test."""
    started: list[LiveServer] = []

    def start(*, disk_bytes: int | None = None, **settings: object) -> LiveServer:
        folder = tmp_path / f"server-{len(started)}"
        folder.mkdir()
        server = LiveServer(folder, settings, disk_bytes=disk_bytes)
        started.append(server)
        server.start()
        return server

    try:
        yield start
        for server in started:
            if server.is_running:
                server.stop()
    finally:
        for server in started:
            if server.is_running:
                server.kill()


@pytest.fixture
def live_server(start_server: StartServer) -> LiveServer:
    """One server with the default settings."""
    return start_server()


def _environment(settings: dict[str, object]) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PEERBUS_")}
    for name, value in settings.items():
        environment[f"PEERBUS_{name.upper()}"] = str(value)
    return environment

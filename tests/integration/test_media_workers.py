"""Media workers as processes: those that `peerbus serve` starts, and one from elsewhere."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.processes import Process, children_running
from tests.support.server_process import END_S, ServerProcess

_POLL_S = 0.1


def status(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}/v1/status", timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def metrics(address: str) -> str:
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as response:
        text: str = response.read().decode()
    return text


def wait_for(is_so: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + END_S
    while not is_so():
        assert time.monotonic() < ends_at, "it did not come to be in time"
        time.sleep(_POLL_S)


def workers_of(server: ServerProcess) -> list[Process]:
    return children_running(server.pid, "peerbus.sfu")


def test_workers_come_with_the_server_come_back_and_go_with_it(tmp_path: Path) -> None:
    env = {"PEERBUS_SFU_WORKERS": "2", "PEERBUS_SFU_PORT": "0"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        address = server.next_address()
        wait_for(lambda: status(address)["workers"] == 2)
        # What they say of themselves is there for the operator.
        wait_for(lambda: metrics(address).count('peerbus_worker_events_total{event="forwarded"') == 2)
        # They are no guests of anybody's channels.
        assert status(address)["channels"] == status(address)["members"] == 0
        workers = workers_of(server)
        for worker in workers:
            assert worker.command
            assert "pb_" not in worker.command
        workers[0].kill()
        assert workers[0].has_ended(END_S)
        wait_for(lambda: len(workers_of(server)) == 2 and status(address)["workers"] == 2)
        workers = workers_of(server)
        assert server.stop() == 0
        assert all(worker.has_ended(END_S) for worker in workers)
    assert not any("Traceback" in line for line in server.errors)


def test_workers_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    env = {"PEERBUS_SFU_WORKERS": "1", "PEERBUS_SFU_PORT": "0"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        address = server.next_address()
        wait_for(lambda: status(address)["workers"] == 1)
        (worker,) = workers_of(server)
        server.supervisor().kill()
        assert worker.has_ended(END_S)


def test_a_taken_media_port_is_one_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 0))
        port = other.getsockname()[1]
        env = {"PEERBUS_SFU_WORKERS": "1", "PEERBUS_SFU_PORT": str(port)}
        with ServerProcess(tmp_path / "data", env=env) as server:
            address = server.next_address()
            wait_for(lambda: any("going on without it" in line for line in server.errors))
            assert [line for line in server.errors if line.startswith("peerbus sfu: ")] == [
                f"peerbus sfu: UDP port {port} is taken by another program"
            ]
            assert status(address)["workers"] == 0
            assert server.stop() == 0


def test_a_worker_from_elsewhere_comes_with_a_key_and_goes_when_it_is_revoked(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"

    def keys(*arguments: str) -> str:
        command = [sys.executable, "-m", "peerbus.signaling", "keys", *arguments, "--data-dir", str(data_dir)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with ServerProcess(data_dir) as server:
        address = server.next_address()
        key = keys("create", "--worker", "--name", "peerbus:sfu-far")
        command = [sys.executable, "-m", "peerbus.client.cli", "sfu", "--signaling", address]
        worker = subprocess.Popen(
            [*command, "--port", "0", "--name", "peerbus:sfu-far"],
            env={**os.environ, "PEERBUS_WORKER_TOKEN": key},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_for(lambda: status(address)["workers"] == 1)
            keys("revoke", key.split("_")[1])
            _output, errors = worker.communicate(timeout=END_S)
        finally:
            worker.kill()
            worker.communicate()
        assert worker.returncode == 1
        assert "does not take this worker" in errors
        assert key not in errors
        wait_for(lambda: status(address)["workers"] == 0)

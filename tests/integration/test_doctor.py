"""`peerbus doctor` against real servers: when all is well, and each planted fault by its name and remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.support.server_process import ServerProcess
from tests.support.turn_server import HOST, RELAY_PORTS, TurnServer, free_port, write_certificate

ROOT: Final = Path(__file__).parents[2]
WITH_SFU: Final = ("--sfu-workers", "1", "--sfu-port", "0", "--advertise", HOST)
DOCTOR: Final = (sys.executable, "-m", "peerbus.client.cli", "doctor")
PATIENCE_S: Final = 120.0


class Report:
    """What the command printed."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        assert "Traceback" not in done.stderr, done.stderr
        self.code: Final = done.returncode
        document: dict[str, Any] = json.loads(done.stdout)
        self.correlation_id: Final[str] = document["circumstances"]["correlation_id"]
        self.headline: Final[str] = document["verdict"]["headline"]
        self.remedies: Final = " ".join(document["verdict"].get("remedies", []))
        self.status: Final = {one["check"].split("?")[0]: one["status"] for one in document["findings"]}
        self.detail: Final = " ".join(one.get("detail", "") for one in document["findings"])


def doctor(address: str, **env: str) -> Report:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PEERBUS_")}
    return Report(
        subprocess.run(
            [*DOCTOR, "--api", address, "--json"],
            env=clean | env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    )


def test_all_is_well_and_the_log_has_the_id(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    tls = ("--turn-tls-port", str(free_port()), "--turn-cert", str(certificate), "--turn-key", str(key))
    with ServerProcess(tmp_path / "data", "--with-turn", "--turn-port", "0", *tls, *WITH_SFU) as server:
        report = doctor(server.next_address_with_worker(), SSL_CERT_FILE=str(certificate))
        assert report.code == 0
        assert set(report.status.values()) == {"ok"}, report.status
        assert {"signaling_websocket", "signaling_longpoll", "candidates", "nat"} < report.status.keys()
        assert {"call", "relay_call", "throughput", "quality"} < report.status.keys()
        assert sum(check.startswith("ice_server turn") for check in report.status) == 2
        assert server.stop() == 0
        assert any(report.correlation_id in line for line in server.errors)


def test_a_wrong_turn_password_is_named(tmp_path: Path) -> None:
    with TurnServer(tmp_path) as turn:
        told = ("--turn-host", HOST, "--turn-port", str(turn.port))
        with ServerProcess(tmp_path / "server", *told) as server:
            report = doctor(server.next_address())
    assert report.code == 1
    assert report.headline == "The TURN server refuses the credential."
    assert "`peerbus turn-config`" in report.remedies
    assert "401" in report.detail


def test_a_server_that_is_not_there_is_named() -> None:
    report = doctor(f"http://{HOST}:{free_port()}")
    assert report.code == 1
    assert report.headline == "The signaling server cannot be reached."
    assert "`peerbus serve`" in report.remedies
    assert report.status == {"signaling_websocket": "fail", "signaling_longpoll": "fail"}


def test_a_wrong_key_and_a_server_without_a_worker_are_named(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        address = server.next_address()
        refused = doctor(address, PEERBUS_API_KEY="pb_nobody_knows")
        alone = doctor(address)
    assert refused.code == alone.code == 1
    assert refused.headline == "The server refuses the key."
    assert alone.headline == "The server has no media worker."
    assert "--sfu-workers" in alone.remedies


_BEHIND_A_FIREWALL: Final = """
import sys, pathlib, subprocess
from tests.support.firewall import udp_blocked
from tests.support.server_process import ServerProcess
options = sys.argv[2:]
with ServerProcess(pathlib.Path(sys.argv[1]), *options) as server:
    address = server.next_address_with_worker()
    with udp_blocked():
        done = subprocess.run([sys.executable, "-m", "peerbus.client.cli", "doctor", "--api", address, "--json"])
sys.exit(done.returncode)
"""


def test_udp_that_is_blocked_is_named_and_turn_by_tcp_gets_around_it(tmp_path: Path) -> None:
    ports = f"{RELAY_PORTS.start}-{RELAY_PORTS.stop - 1}"
    turn = ("--with-turn", "--turn-port", "0", "--turn-relay-ports", ports)
    namespace = str(ROOT / "scripts/in-loopback-namespace.sh")
    report = Report(
        subprocess.run(
            [namespace, sys.executable, "-c", _BEHIND_A_FIREWALL, str(tmp_path / "data"), *turn, *WITH_SFU],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    )
    assert report.headline == "UDP is blocked on this network: calls go through the TURN server by TCP."
    assert report.code == 0
    assert "TURN by TLS on port 443" in report.remedies
    assert report.status["signaling_websocket"] == "ok"
    assert (report.status["call"], report.status["relay_call"]) == ("warn", "ok")

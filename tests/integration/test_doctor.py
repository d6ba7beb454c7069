"""
`peerbus doctor` against real servers: when all is well, and each planted fault by its name and remedy.

All of it is staged at once, in `reports`: the command waits for most of its time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.server_process import ServerProcess
from tests.support.turn_server import HOST, RELAY_PORTS, TurnServer, free_port, write_certificate

ROOT: Final = Path(__file__).parents[2]
WITH_SFU: Final = ("--sfu-workers", "1", "--sfu-port", "0", "--advertise", HOST)
DOCTOR: Final = (sys.executable, "-m", "peerbus.client.cli", "doctor")
PATIENCE_S: Final = 120.0
LINE: Final = ("throughput", "quality")
"""What a machine that does much at once may make worse."""


class Report:
    """What the command printed."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.stderr == ""
        self.code: Final = done.returncode
        document: dict[str, Any] = json.loads(done.stdout)
        self.correlation_id: Final[str] = document["circumstances"]["correlation_id"]
        self.headline: Final[str] = document["verdict"]["headline"]
        self.remedies: Final = " ".join(document["verdict"].get("remedies", []))
        self.status: Final = {one["check"].split("?")[0]: one["status"] for one in document["findings"]}
        self.detail: Final = " ".join(one.get("detail", "") for one in document["findings"])


def doctor(address: str, *options: str, **env: str) -> Report:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PEERBUS_")}
    return Report(
        subprocess.run(
            [*DOCTOR, "--api", address, "--json", *options],
            env=clean | env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    )


def all_is_well(folder: Path) -> list[Report]:
    certificate, key = write_certificate(folder)
    tls = ("--turn-tls-port", str(free_port()), "--turn-cert", str(certificate), "--turn-key", str(key))
    with ServerProcess(folder / "data", "--with-turn", "--turn-port", "0", *tls, *WITH_SFU) as server:
        report = doctor(server.next_address_with_worker(), SSL_CERT_FILE=str(certificate))
        assert server.stop() == 0
        assert any(report.correlation_id in line for line in server.errors)
    return [report]


def poorly_set_up(folder: Path) -> list[Report]:
    """A server without a worker, and with another secret than its TURN server: as it is, by a wrong key, and path."""
    with TurnServer(folder) as turn:
        told = ("--turn-host", HOST, "--turn-port", str(turn.port))
        with ServerProcess(folder / "server", *told) as server, ThreadPoolExecutor() as at_once:
            address = server.next_address()
            as_it_is = at_once.submit(doctor, address)
            wrong_key = at_once.submit(doctor, address, PEERBUS_API_KEY="pb_nobody_knows")
            wrong_path = at_once.submit(doctor, f"{address}/wrong/path")
            done = [as_it_is.result(), wrong_key.result(), wrong_path.result()]
            for report in done[:2]:
                assert any(report.correlation_id in line for line in server.errors)
    return done


def nobody_there(_: Path) -> list[Report]:
    return [doctor(f"http://{HOST}:{free_port()}")]


_BEHIND_A_FIREWALL: Final = """
import sys, pathlib, subprocess
from tests.support.firewall import udp_blocked
from tests.support.server_process import ServerProcess
options = sys.argv[2:]
command = [sys.executable, "-m", "peerbus.client.cli", "doctor", "--timeout", "4", "--json", "--api"]
with ServerProcess(pathlib.Path(sys.argv[1]), *options) as server:
    address = server.next_address_with_worker()
    with udp_blocked():
        done = subprocess.run([*command, address])
sys.exit(done.returncode)
"""


def behind_a_firewall(folder: Path) -> list[Report]:
    ports = f"{RELAY_PORTS.start}-{RELAY_PORTS.stop - 1}"
    turn = ("--with-turn", "--turn-port", "0", "--turn-relay-ports", ports)
    namespace = str(ROOT / "scripts/in-loopback-namespace.sh")
    return [
        Report(
            subprocess.run(
                [namespace, sys.executable, "-c", _BEHIND_A_FIREWALL, str(folder / "data"), *turn, *WITH_SFU],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        )
    ]


STAGES: Final = (all_is_well, poorly_set_up, nobody_there, behind_a_firewall)
Reports = dict[Callable[[Path], list[Report]], Future[list[Report]]]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reports]:
    """What the command says on each stage, as soon as it has."""
    with ThreadPoolExecutor() as at_once:
        yield {stage: at_once.submit(stage, tmp_path_factory.mktemp(stage.__name__)) for stage in STAGES}


def test_all_is_well_and_the_log_has_the_id(reports: Reports) -> None:
    (report,) = reports[all_is_well].result()
    assert report.code == 0
    assert {report.status.pop(device) for device in ("camera", "microphone")} == {"skipped"}
    assert {report.status.pop(check) for check in LINE} <= {"ok", "warn"}
    assert set(report.status.values()) == {"ok"}, report.status
    assert {"server", "secure_context", "signaling_websocket", "signaling_longpoll"} < report.status.keys()
    assert {"candidates", "nat", "call", "relay_call"} < report.status.keys()
    assert sum(check.startswith("ice_server turn") for check in report.status) == 2


def test_a_wrong_turn_password_and_a_missing_worker_are_named(reports: Reports) -> None:
    report, _, _ = reports[poorly_set_up].result()
    assert report.code == 1
    assert report.headline == "The TURN server refuses the credential."
    assert "`peerbus turn-config`" in report.remedies
    assert "401" in report.detail
    assert report.status["call"] == "fail"
    assert "no_worker" in report.detail
    assert "--sfu-workers" in report.remedies


def test_a_wrong_key_and_a_wrong_path_are_named(reports: Reports) -> None:
    _, key, path = reports[poorly_set_up].result()
    assert (key.code, key.headline) == (1, "The server refuses the key.")
    assert (path.code, path.headline) == (1, "Something that is no peerbus server answers there.")
    assert path.status["server"] == "fail"


def test_a_server_that_is_not_there_is_named(reports: Reports) -> None:
    (report,) = reports[nobody_there].result()
    assert report.code == 1
    assert report.headline == "The signaling server cannot be reached."
    assert "`peerbus serve`" in report.remedies
    assert report.status["server"] == "fail"


def test_udp_that_is_blocked_is_named_and_turn_by_tcp_gets_around_it(reports: Reports) -> None:
    (report,) = reports[behind_a_firewall].result()
    assert report.headline == "UDP is blocked on this network: calls go through the TURN server by TCP."
    assert report.code == 0
    assert "TURN by TLS on port 443" in report.remedies
    assert report.status["signaling_websocket"] == "ok"
    assert (report.status["call"], report.status["relay_call"]) == ("warn", "ok")

"""`peerbus serve` with real processes: starts, ends, and what it says when it cannot start."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from peerbus.protocol.errors import ERRORS, ErrorCode
from tests.support.processes import Process
from tests.support.server_process import END_S, ServerProcess


def get(url: str, trusting: ssl.SSLContext | None = None) -> tuple[int, bytes]:
    with urllib.request.urlopen(url, timeout=30, context=trusting) as response:
        return response.status, response.read()


def demo_key(address: str) -> str:
    request = urllib.request.Request(f"{address}/v1/demo/key", method="POST")
    with urllib.request.urlopen(request, timeout=30) as response:
        key = json.load(response)["api_key"]
    assert isinstance(key, str)
    return key


def refusal(server: ServerProcess) -> str:
    """The one line of a server that could not start."""
    assert server.wait() == 2
    assert server.output == []
    (line,) = server.errors
    assert line.startswith("peerbus: ")
    assert "Traceback" not in line
    return line


def test_it_starts_answers_and_ends_at_sigterm(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        address = server.next_address()
        assert get(f"{address}/healthz")[0] == 200
        assert get(f"{address}/readyz")[0] == 200
        status, metrics = get(f"{address}/metrics")
        assert status == 200
        assert b"# TYPE peerbus_" in metrics
        signaling = server.signaling()
        assert server.stop() == 0
        assert signaling.has_ended(0)
    assert not any("Traceback" in line or "ERROR" in line for line in server.errors)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_end_it_as_well(tmp_path: Path, number: signal.Signals) -> None:
    with ServerProcess(tmp_path / "data") as server:
        server.next_address()
        signaling = server.signaling()
        server.send(number)
        assert server.wait() == 0
        assert signaling.has_ended(0)


def test_its_settings_come_from_the_environment_as_well(tmp_path: Path) -> None:
    env = {"PEERBUS_DEMO": "0", "PEERBUS_LOG_FORMAT": "json", "PEERBUS_MEMBER_PER_CHANNEL": "3"}
    with ServerProcess(tmp_path / "data", env=env) as server:
        server.next_address()
        assert server.stop() == 0
    logged = [json.loads(line) for line in server.errors]
    assert any("did you mean PEERBUS_MEMBERS_PER_CHANNEL?" in line["message"] for line in logged)
    assert not any("demo" in line for line in server.output)


def test_only_its_owner_can_read_the_data_folder(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        server.next_address()
        assert server.stop() == 0
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


def connect_frame(key: str) -> dict[str, Any]:
    return {"op": "connect", "id": 1, "api_key": key, "channel": "lobby", "lineage_secret": "A" * 22 + "=="}


async def next_of(ws: aiohttp.ClientWebSocketResponse, op: str) -> dict[str, Any]:
    """The next frame with this tag; presence and the like are passed over."""
    while True:
        frame: dict[str, Any] = await ws.receive_json()
        if frame["op"] == op:
            return frame


async def test_a_client_is_told_that_the_server_goes_and_finds_its_message_after(tmp_path: Path) -> None:
    goes = ERRORS[ErrorCode.SERVER_RESTARTING]
    with ServerProcess(tmp_path / "data") as server:
        address = await asyncio.to_thread(server.next_address)
        key = await asyncio.to_thread(demo_key, address)
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{address}/v1/ws", protocols=["peerbus.v1.json"]) as ws,
        ):
            await ws.send_json(connect_frame(key))
            assert (await next_of(ws, "connected"))["head"] == 0
            await ws.send_json({"op": "send", "id": 2, "content": "kept", "idempotency_key": "k"})
            ack = await next_of(ws, "ack")
            assert (ack["offset"], ack["promise"]) == (1, "local-fsync")
            server.send(signal.SIGTERM)
            assert (await next_of(ws, "closing"))["code"] == ErrorCode.SERVER_RESTARTING
            assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
            assert ws.close_code == goes.close_code
        assert await asyncio.to_thread(server.wait) == 0
    with ServerProcess(tmp_path / "data") as server:
        address = await asyncio.to_thread(server.next_address)
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{address}/v1/ws", protocols=["peerbus.v1.json"]) as ws,
        ):
            await ws.send_json(connect_frame(key))
            assert (await next_of(ws, "connected"))["head"] == 1
            await ws.send_json({"op": "receive", "id": 2})
            history = await next_of(ws, "history")
            assert [message["content"] for message in history["messages"]] == ["kept"]
        assert await asyncio.to_thread(server.stop) == 0


def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        server.next_address()
        first = server.signaling()
        first.kill()
        address = server.next_address()
        assert get(f"{address}/healthz")[0] == 200
        assert server.signaling().pid != first.pid
        assert "signaling was ended by SIGKILL; starting it again" in "\n".join(server.errors)
        assert server.stop() == 0


def test_a_killed_supervisor_leaves_no_server(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    with ServerProcess(tmp_path / "data", env={"TMPDIR": str(runs)}) as server:
        server.next_address()
        assert len(list(runs.glob("peerbus-*/worker.json"))) == 1
        signaling = server.signaling()
        server.supervisor().kill()
        assert signaling.has_ended(END_S)
        assert list(runs.iterdir()) == [], "the key of its workers"
        assert server.wait() == -signal.SIGKILL


def test_a_hanging_server_does_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", env={"PEERBUS_DRAIN_MS": "1"}) as server:
        server.next_address()
        signaling = server.signaling()
        # A stopped process cannot even read the end of the pipe; continued, it has to notice by itself.
        os.kill(signaling.pid, signal.SIGSTOP)
        server.supervisor().kill()
        assert signaling.is_alive()
        os.kill(signaling.pid, signal.SIGCONT)
        assert signaling.has_ended(END_S)


@pytest.mark.parametrize(
    "options", [["--port", "70000"], ["--prot", "1"], ["extra"], ["--tls", "maybe"], ["--tls-cert", "x.pem"]]
)
def test_a_bad_option_is_one_line_and_code_2(tmp_path: Path, options: list[str]) -> None:
    with ServerProcess(tmp_path / "data", *options) as server:
        refusal(server)
    assert not (tmp_path / "data").exists()


def test_a_taken_port_is_one_line_and_code_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with ServerProcess(tmp_path / "data", "--port", port) as server:
            assert port in refusal(server)


def test_an_address_of_another_machine_is_one_line_and_code_2(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--host", "192.0.2.254") as server:
        assert "192.0.2.254" in refusal(server)


@pytest.mark.parametrize("place", ["file", "below-a-file", "proc"])
def test_a_data_folder_that_cannot_be_written_is_one_line_and_code_2(tmp_path: Path, place: str) -> None:
    # Permissions would not stop root, who may run these tests.
    file = tmp_path / "file"
    file.write_text("in the way")
    folder = {"file": file, "below-a-file": file / "data", "proc": Path("/proc/self/data")}[place]
    with ServerProcess(folder) as server:
        assert str(folder) in refusal(server)


def test_two_servers_do_not_share_a_data_folder(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as first:
        first.next_address()
        with ServerProcess(tmp_path / "data") as second:
            assert str(tmp_path / "data") in refusal(second)
        assert first.stop() == 0


@pytest.mark.parametrize(
    ("database", "damage"),
    [
        ("peerbus.db", "garbage"),
        ("peerbus.db", "torn"),
        ("peerbus.db", "somebody else's"),
        ("keys.db", "garbage"),
        ("keys.db", "torn"),
    ],
)
def test_a_damaged_database_is_one_line_and_code_2(tmp_path: Path, database: str, damage: str) -> None:
    data = tmp_path / "data"
    with ServerProcess(data) as server:
        server.next_address()
        assert server.stop() == 0
    path = data / database
    if damage == "garbage":
        path.write_bytes(b"this is no database " * 1000)
    elif damage == "torn":
        whole = path.read_bytes()
        path.write_bytes(whole[:100] + bytes(len(whole) - 100))
    else:
        path.unlink()
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE somebody_elses (x)")
        connection.close()
    with ServerProcess(data) as server:
        assert database in refusal(server)


def test_self_signed_https(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ServerProcess(data, "--tls", "self-signed") as server:
        address = server.next_address()
        assert address.startswith("https://localhost:")
        trusting = ssl.create_default_context(cafile=str(data / "tls" / "cert.pem"))
        assert get(f"{address}/healthz", trusting)[0] == 200
        assert server.stop() == 0


def test_a_missing_certificate_is_one_line_and_code_2(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    with ServerProcess(tmp_path / "data", "--tls-cert", missing, "--tls-key", missing) as server:
        assert missing in refusal(server)


def test_processes_are_seen_to_end() -> None:
    # The other tests rest on it.
    assert Process(os.getpid()).is_alive()

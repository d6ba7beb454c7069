"""
A server that runs out of something (descriptors, room, disk, readers): who is there goes on, and it recovers.

The longer versions of some of these are soaks (`tests/soak`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import resource
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.joins_and_leaves import join_and_leave
from tests.support.live_server import LiveServer, StartServer
from tests.support.raw_socket import RawSocket, RawWebSocket, request
from tests.support.witness import watching

MANY: dict[str, Any] = {
    "connects_per_address_per_s": 100_000,
    "send_rate_per_s": 5_000,
    "handshake_timeout_ms": 2_000,
}
LATER_IDS = itertools.count(100_000)


# --- descriptors and connections --------------------------------------------------------------------------------


@contextlib.contextmanager
def connections(server: LiveServer, count: int) -> Iterator[list[RawSocket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(RawSocket(server)) for _ in range(count)]


def is_served(raw: RawSocket) -> bool:
    try:
        raw.send_request("GET", "/healthz")
        return raw.answer().status == 200
    except (EOFError, ConnectionError, TimeoutError):
        return False


def test_without_descriptors_those_who_are_there_go_on(start_server: StartServer) -> None:
    server = start_server(**MANY)
    with watching(server) as witness:
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        few = server.descriptors + 5
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (few, hard))
        with connections(server, 50) as attempts:
            for raw in attempts:
                raw.set_timeout(0.2)
            served = [is_served(raw) for raw in attempts]
            assert 1 <= served.count(True) <= 5
            witness.check()
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert request(server, "GET", "/metrics").status == 200
    assert len(server.log) < 10_000


def test_connections_are_limited_before_descriptors_are_gone(start_server: StartServer) -> None:
    server = start_server(connections=20, **MANY)
    with watching(server) as witness:
        with connections(server, 100) as attempts:
            served = [is_served(raw) for raw in attempts]
            # The witness has three or four of the twenty.
            assert 10 <= served.count(True) <= 18
            witness.check()
        assert wait_until(lambda: request_is_served(server))
    assert server.log.count("a connection was refused") <= 25


def request_is_served(server: LiveServer) -> bool:
    with RawSocket(server) as raw:
        return is_served(raw)


def wait_until(is_so: Any) -> bool:
    """Whether it becomes so in reasonable time."""
    ends_at = time.monotonic() + 30
    while not is_so():
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.02)
    return True


def test_joins_and_leaves_leave_nothing_behind(start_server: StartServer) -> None:
    server = start_server(**MANY)
    with watching(server):
        join_and_leave(server, by_websocket=50, by_long_poll=500)
        memory, sockets = server.rss_bytes, server.sockets
        join_and_leave(server, by_websocket=200, by_long_poll=2_000)
        # Less than 2 KB for each who came and went: no session, channel or connection is kept.
        assert server.rss_bytes - memory < 6_000_000
        assert wait_until(lambda: server.sockets <= sockets)
        assert status(server)["channels"] == 1
        assert status(server)["members"] == 3


def status(server: LiveServer) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(request(server, "GET", "/v1/status").body)
    return answer


# --- readers that do not read -----------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", ["durable", "live", "lossy"])
def test_who_stops_reading_costs_little_and_is_closed(start_server: StartServer, delivery: str) -> None:
    server = start_server(stalled_reader_ms=2_000, lossy_rate_per_s=5_000, resume_window_ms=1_500, **MANY)
    with watching(server) as witness, contextlib.ExitStack() as stack:
        sockets = server.sockets
        stuck = [stack.enter_context(RawWebSocket(server, receive_buffer=4_096)) for _ in range(10)]
        for number, raw in enumerate(stuck):
            raw.join("busy", f"stuck-{number}")
        sender = stack.enter_context(RawWebSocket(server))
        sender.join("busy", "sender")
        before = server.rss_bytes
        content = "x" * 100_000
        for number in range(2, 202):
            sender.send_json({"op": "send", "id": number, "delivery": delivery, "content": content})
            assert sender.next("ack", "error")["op"] == "ack"
            if number % 50 == 0:
                witness.check()
        # 20 MB for each of them, of which the server keeps two at most.
        assert server.rss_bytes - before < 60_000_000
        assert wait_until(lambda: members(sender) == ["sender"])
        witness.check()
        # Of all these only the sender is left.
        assert wait_until(lambda: server.sockets <= sockets + 1)


def members(raw: RawWebSocket) -> list[str]:
    """Who is in its channel."""
    raw.send_json({"op": "members", "id": next(LATER_IDS)})
    return [member["name"] for member in raw.next("members_reply")["members"]]


def test_a_stuck_reader_is_closed_whatever_the_reason(start_server: StartServer) -> None:
    server = start_server(**MANY)
    with RawWebSocket(server, receive_buffer=4_096) as stuck, RawWebSocket(server) as sender:
        stuck.join("busy", "stuck")
        sender.join("busy", "sender")
        before = server.sockets
        for number in range(2, 102):
            sender.send_json({"op": "send", "id": number, "content": "x" * 100_000})
            sender.next("ack")
        sender.send_json({"op": "kick", "id": 200, "agent": "stuck"})
        sender.next("ack")
        # It never reads that it was kicked; its socket is cut off nevertheless.
        assert wait_until(lambda: server.sockets < before)


# --- a full disk ------------------------------------------------------------------------------------------------


def test_with_a_full_disk_nothing_is_acknowledged_that_is_not_stored(start_server: StartServer) -> None:
    server = start_server(disk_bytes=3_000_000, **MANY)
    filler = server.data_dir_as_it_sees_it / "filler"
    with RawWebSocket(server) as raw, RawWebSocket(server) as reader:
        raw.join("lobby", "writer")
        reader.join("lobby", "reader")
        acked = {}
        refused = []
        fill(filler)
        for number in range(2, 80):
            raw.send_json({"op": "send", "id": number, "content": f"{number} {'x' * 20_000}"})
            answer = raw.next("ack", "error")
            if answer["op"] == "ack":
                acked[answer["offset"]] = number
            else:
                assert (answer["code"], answer["is_retryable"]) == ("storage_unavailable", True)
                refused.append(number)
        assert len(refused) > 10
        # What needs no disk goes on.
        raw.send_json({"op": "send", "id": 100, "delivery": "live", "content": "without a disk"})
        assert raw.next("ack", "error")["promise"] == "memory"
        assert request(server, "GET", "/metrics").status == 200
        filler.unlink()
        number = 200
        while True:
            number += 1
            raw.send_json({"op": "send", "id": number, "content": f"{number} after"})
            answer = raw.next("ack", "error")
            if answer["op"] == "ack":
                acked[answer["offset"]] = number
                break
        pushed: list[int] = []
        while max(acked) not in pushed:
            message = reader.next("message")
            if message["delivery"] == "durable":
                pushed.append(message["offset"])
        assert pushed == sorted(acked)
        stored = history(reader)
        assert {offset: int(text.split()[0]) for offset, text in stored.items()} == acked
        assert sorted(acked) == list(range(1, len(acked) + 1))
    assert server.log.count("messages can't be stored") <= 3


def fill(path: Path) -> None:
    """Takes all the room there is but a little."""
    with path.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65_536))
            file.flush()
    os.truncate(path, path.stat().st_size - 262_144)


def history(raw: RawWebSocket) -> dict[int, str]:
    """All that is stored, by offset."""
    found: dict[int, str] = {}
    raw.send_json({"op": "receive", "id": 2, "after": 0, "limit": 1000})
    answer = raw.next("history")
    while True:
        found |= {message["offset"]: message["content"] for message in answer["messages"]}
        if answer["is_complete"]:
            return found
        raw.send_json({"op": "receive", "id": len(found) + 10, "after": answer["next"], "limit": 1000})
        answer = raw.next("history")


# --- TLS --------------------------------------------------------------------------------------------------------


def test_noise_on_a_tls_port_is_ended_and_fills_no_log(start_server: StartServer) -> None:
    server = start_server(tls="self-signed", **MANY)
    before = server.sockets
    noises = [
        b"",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"\xfe" + os.urandom(300),
        bytes.fromhex("1603010200010001fc0303"),
    ]
    with connections(server, 80) as attempts:
        for number, raw in enumerate(attempts):
            raw.send(noises[number % len(noises)])
        for raw in attempts:
            raw.until_closed()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with RawSocket(server) as raw, context.wrap_socket(raw.detach()) as wrapped:
        wrapped.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert wrapped.recv(100).startswith(b"HTTP/1.1 200 ")
    assert wait_until(lambda: server.sockets <= before)
    assert len(server.log) < 10_000

"""
SIGTERM: everyone is told, what was acknowledged is there, and nobody can hold up the end.

See PROTOCOL.md, sections 7 and 10.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any, Final

from tests.support.live_server import LiveServer, StartServer
from tests.support.raw_socket import RawSocket, RawWebSocket, connect_frame, request

END_S: Final = 10.0
"""Far more than the three seconds that a shutdown may take, far less than any deadline of a client."""


class LongPoll:
    """A long-poll session with a poll that waits."""

    def __init__(self, server: LiveServer, name: str) -> None:
        body = json.dumps([connect_frame(server, "lobby", name)]).encode()
        answer = request(server, "POST", "/v1/longpoll", {"Content-Type": "application/json"}, body)
        connected = json.loads(answer.body)["frames"][0]
        self._address = f"/v1/longpoll/{connected['session_id']}"
        self._authorization = {"Authorization": f"Bearer {connected['resume_token']}"}
        self._raw = RawSocket(server)
        self._acked = 1

    def ask(self) -> None:
        self._raw.send_request("GET", f"{self._address}?ack={self._acked}", self._authorization)

    def frames(self) -> Iterator[dict[str, Any]]:
        """All that comes, until the server has gone."""
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                answer = self._raw.answer()
                if answer.status != 200:
                    return
                response = json.loads(answer.body)
                self._acked = max(self._acked, response["n"])
                yield from response["frames"]
                self.ask()

    def close(self) -> None:
        self._raw.close()


def test_everyone_is_told_when_to_come_back(start_server: StartServer) -> None:
    server = start_server()
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(RawWebSocket(server)) for _ in range(10)]
        for number, raw in enumerate(sockets):
            raw.join("lobby", f"member-{number}")
        polls = [LongPoll(server, f"poller-{number}") for number in range(5)]
        for poll in polls:
            stack.callback(poll.close)
            poll.ask()
        server.terminate()
        delays = set()
        for raw in sockets:
            (closing,) = (frame for frame in raw.frames() if frame["op"] == "closing")
            assert (closing["code"], closing["is_retryable"]) == ("server_restarting", True)
            assert raw.closed is not None
            assert raw.closed.code == closing["close_code"] == 3000
            delays.add(closing["retry_after_ms"])
        for poll in polls:
            (closing,) = (frame for frame in poll.frames() if frame["op"] == "closing")
            assert closing["code"] == "server_restarting"
            delays.add(closing["retry_after_ms"])
        # Spread, so that they do not all come back at the same moment.
        assert len(delays) > 5
        assert all(0 < delay <= 5_000 for delay in delays)
        assert server.wait(END_S) == 0
    server.assert_clean_log()


def test_nobody_holds_up_the_end(start_server: StartServer) -> None:
    server = start_server(send_rate_per_s=5_000)
    with contextlib.ExitStack() as stack:
        # One reads nothing and has a lot to read, others are in the middle of something, one says nothing at all.
        stuck = stack.enter_context(RawWebSocket(server, receive_buffer=4_096))
        stuck.join("lobby", "stuck")
        sender = stack.enter_context(RawWebSocket(server))
        sender.join("lobby", "sender")
        for number in range(2, 102):
            sender.send_json({"op": "send", "id": number, "content": "x" * 100_000})
            sender.next("ack")
        silent, idle, drips, half, upgraded, asks = (stack.enter_context(RawSocket(server)) for _ in range(6))
        idle.send_request("GET", "/healthz")
        assert idle.answer().status == 200
        drips.send(b"GET /healthz HTTP/1.1\r\nX")
        half.send_request("POST", "/v1/longpoll", {"Content-Length": "100"}, b"[")
        asks.send(f"GET /metrics HTTP/1.1\r\nHost: {asks.host}\r\n\r\n".encode() * 2_000)
        stack.enter_context(RawWebSocket(server))
        deaf = stack.enter_context(RawWebSocket(server))
        deaf.join("lobby", "deaf")
        poll = LongPoll(server, "poller")
        poll.ask()
        stack.callback(poll.close)
        server.terminate()
        # None of them answers the closing handshake.
        assert server.wait(END_S) == 0
        for raw in (silent, idle, drips, upgraded):
            assert raw.until_closed() == b""
    server.assert_clean_log()


def test_what_was_acknowledged_in_the_last_moment_is_there(start_server: StartServer) -> None:
    server = start_server(send_rate_per_s=100_000)
    with RawWebSocket(server) as raw:
        raw.join("lobby", "writer")
        frames = [{"op": "send", "id": n, "content": n, "idempotency_key": f"k{n}"} for n in range(2, 3_002)]
        raw.send_json(*frames[:1_500])
        raw.next("ack")
        server.terminate()
        with contextlib.suppress(ConnectionError):
            raw.send_json(*frames[1_500:])
        acks = {1: 0} | {frame["id"]: frame["offset"] for frame in raw.frames() if frame["op"] == "ack"}
    assert server.wait(END_S) == 0
    server.assert_clean_log()
    server.start()
    with RawWebSocket(server) as raw:
        head = raw.join("lobby", "reader")["head"]
        assert head >= max(acks.values())
        stored: dict[int, int] = {}
        while len(stored) < head:
            raw.send_json({"op": "receive", "id": len(stored) + 2, "after": len(stored), "limit": 500})
            stored |= {one["offset"]: one["content"] for one in raw.next("history")["messages"]}
    # Content and request id are the same number; the first ack of all was read before the signal.
    assert stored == {offset: offset + 1 for offset in range(1, head + 1)}
    assert all(stored[offset] == number for number, offset in acks.items() if number > 1)


def test_nobody_can_join_a_server_that_goes(start_server: StartServer) -> None:
    server = start_server()
    with socket.create_connection((server.host, server.port)) as early, RawWebSocket(server) as raw:
        server.terminate()
        raw.send_json(connect_frame(server))
        code, close_code = raw.ending()
        # Whichever of the two was first: refused, or told to go at once.
        assert (code, close_code) in (("server_restarting", 3000), (None, 1001), (None, None))
        early.settimeout(END_S)
        assert early.recv(1) == b""
        assert server.wait(END_S) == 0
    server.assert_clean_log()

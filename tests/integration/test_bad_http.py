"""
HTTP that no browser sends: each has its answer, and a witness in a channel of the same server notices nothing.

See RFC 9110 and 9112, and the fixture `attacked`.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import zlib

import pytest

from tests.support.live_server import LiveServer
from tests.support.raw_socket import Answer, RawSocket, connect_frame, request

JSON = {"Content-Type": "application/json"}
ZEROS = bytes(20_000_000)


def sent(server: LiveServer, data: bytes) -> bytes:
    """What the server says to these bytes, until it closes the connection."""
    with RawSocket(server) as raw:
        raw.send(data.replace(b"HOST", raw.host.encode()))
        return raw.until_closed()


MALFORMED = {
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "length and chunks": b"POST /v1/longpoll HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /v1/longpoll HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "a negative length": b"POST /v1/longpoll HTTP/1.1\r\nHost: HOST\r\nContent-Length: -1\r\n\r\n",
    "a signed length": b"POST /v1/longpoll HTTP/1.1\r\nHost: HOST\r\nContent-Length: +1\r\n\r\na",
    "chunked is not last": b"POST /v1/longpoll HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
    "a size that is none": b"POST /v1/longpoll HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "an enormous chunk": b"POST /v1/longpoll HTTP/1.1\r\nHost: HOST\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
    "a folded header": b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nX: a\r\n b\r\n\r\n",
    "a space before the colon": b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nX : a\r\n\r\n",
    "NUL in a header": b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nX: a\0b\r\n\r\n",
    "bare line feeds": b"GET /healthz HTTP/1.1\nHost: HOST\n\n",
    "a long line": b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: HOST\r\nX: " + b"a" * 10_000 + b"\r\n\r\n",
    "a thousand headers": b"GET / HTTP/1.1\r\nHost: HOST\r\n" + b"X: a\r\n" * 1_000 + b"\r\n",
    "an unknown method": b"BREW /v1/status HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "an unknown version": b"GET / HTTP/3.7\r\nHost: HOST\r\n\r\n",
    "bytes in the path": b"GET /\x80\xff HTTP/1.1\r\nHost: HOST\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + os.urandom(190),
    "noise": b"\xfe" + os.urandom(500) + b"\r\n\r\n",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_not_a_request_is_answered_400_and_closed(attacked: LiveServer, what: str) -> None:
    answer = sent(attacked, MALFORMED[what])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 ")), answer
    assert json.loads(body)["code"] == "bad_request"


def test_a_smuggled_second_request_is_not_answered(attacked: LiveServer) -> None:
    smuggled = b"GET /readyz HTTP/1.1\r\nHost: HOST\r\n\r\n"
    data = (
        b"POST /v1/longpoll HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = sent(attacked, data + b"0\r\n\r\n" + smuggled)
    assert answer.count(b"HTTP/1.") == 1
    assert b" 400 " in answer


# --- too slow -------------------------------------------------------------------------------------------------


def test_who_says_nothing_is_closed(attacked: LiveServer) -> None:
    with RawSocket(attacked) as raw:
        assert raw.until_closed() == b""


def drip(raw: RawSocket) -> bytes:
    """A header that never ends, a byte at a time, until the server has had enough; what it said to it."""
    raw.set_timeout(0.05)
    for byte in itertools.chain(b"GET /healthz HTTP/1.1\r\nX: ", itertools.repeat(ord("a"))):
        try:
            raw.send(bytes((byte,)))
            if not raw.receive():
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    return raw.buffer


def test_a_header_that_drips_is_cut_off(attacked: LiveServer) -> None:
    with RawSocket(attacked) as raw:
        assert drip(raw) == b""


def test_so_is_one_of_a_later_request(attacked: LiveServer) -> None:
    with RawSocket(attacked) as raw:
        raw.send_request("GET", "/healthz")
        assert raw.answer().status == 200
        assert drip(raw) == b""


def test_a_connection_that_is_not_used_again_is_closed(attacked: LiveServer) -> None:
    with RawSocket(attacked) as raw:
        raw.send_request("GET", "/healthz")
        assert raw.answer().status == 200
        assert raw.until_closed() == b""


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 100\r\n\r\na",
        b"Content-Length: 60000\r\n\r\n" + b"a" * 50_000,
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
def test_a_body_that_stalls_is_given_up(attacked: LiveServer, rest: bytes) -> None:
    with RawSocket(attacked) as raw:
        raw.send(b"POST /v1/longpoll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + rest)
        answer = raw.answer()
    assert (answer.status, answer.problem["code"]) == (408, "handshake_timeout")


def test_a_body_that_nobody_reads_does_not_keep_the_connection(attacked: LiveServer) -> None:
    answer = sent(attacked, b"GET /healthz HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1000000\r\n\r\na")
    assert answer.startswith(b"HTTP/1.1 200 ")


# --- too much -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_body_is_not_inflated(attacked: LiveServer, encoding: str) -> None:
    bomb = zlib.compress(ZEROS) if encoding == "deflate" else gzip.compress(ZEROS)
    before = attacked.rss_bytes
    for _ in range(5):
        answer = request(attacked, "POST", "/v1/longpoll", {**JSON, "Content-Encoding": encoding}, bomb)
        assert (answer.status, answer.problem["code"]) == (400, "bad_request")
    assert attacked.rss_bytes - before < 20_000_000


def test_a_compressed_transfer_is_refused_too(attacked: LiveServer) -> None:
    headers = {**JSON, "Transfer-Encoding": "gzip, chunked", "Content-Length": ""}
    del headers["Content-Length"]
    body = gzip.compress(ZEROS)
    lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items()).encode()
    chunk = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    answer = sent(
        attacked,
        b"POST /v1/longpoll HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n" + lines + b"\r\n" + chunk,
    )
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("size", [70_000, 1_000_000_000_000])
def test_a_body_that_is_too_large_is_not_waited_for(attacked: LiveServer, size: int) -> None:
    with RawSocket(attacked) as raw:
        raw.send_request("POST", "/v1/longpoll", {**JSON, "Content-Length": str(size)}, b"[" * 70_000)
        answer = raw.answer()
        assert (answer.status, answer.problem["code"]) == (413, "too_large")


def test_chunks_without_end_are_cut_off_at_the_limit(attacked: LiveServer) -> None:
    with RawSocket(attacked) as raw:
        raw.send(
            b"POST /v1/longpoll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b"[" * 0x10000 + b"\r\n"
        for _ in range(40):
            if not is_taken(raw, chunk):
                break
        assert raw.answer().status == 413


def test_ten_thousand_requests_at_once_are_answered_in_order(attacked: LiveServer) -> None:
    paths = [f"/v1/nowhere-{number}" if number % 2 else "/healthz" for number in range(10_000)]
    with RawSocket(attacked) as raw:
        text = "".join(f"GET {path} HTTP/1.1\r\nHost: {raw.host}\r\n\r\n" for path in paths).encode()
        before = attacked.rss_bytes
        while text:
            try:
                raw.set_timeout(0.01)
                text = text[raw.send_some(text) :]
            except TimeoutError:
                raw.receive()
        raw.set_timeout(20)
        assert [raw.answer().status for _ in paths] == [404 if "nowhere" in path else 200 for path in paths]
        assert attacked.rss_bytes - before < 20_000_000


def test_who_asks_and_never_reads_is_closed(attacked: LiveServer) -> None:
    before = attacked.rss_bytes
    with RawSocket(attacked, receive_buffer=4_096) as raw:
        text = f"GET /metrics HTTP/1.1\r\nHost: {raw.host}\r\n\r\n".encode() * 100
        raw.set_timeout(30)
        # The server stops taking requests when its answers are not taken, and ends the connection later on.
        while is_taken(raw, text):
            pass
        assert attacked.rss_bytes - before < 20_000_000


def is_taken(raw: RawSocket, data: bytes) -> bool:
    """Whether the other end is still there to take it."""
    try:
        raw.send(data)
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/v1/longpoll/AAAAAAAAAAAA?ack=0"])
def test_a_crowd_of_requests_does_not_keep_sessions_waiting(attacked: LiveServer, path: str) -> None:
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(RawSocket(attacked)) for _ in range(200)]
        text = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n".encode() * 20
        for raw in crowd:
            raw.set_timeout(10)
            raw.send(text)
        for raw in crowd:
            assert [raw.answer().status for _ in range(20)].count(200) == (0 if "longpoll" in path else 20)


def test_hundreds_of_connections_that_end_in_the_middle(attacked: LiveServer) -> None:
    texts = [
        b"",
        b"GET /heal",
        b"POST /v1/longpoll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    for number in range(400):
        raw = RawSocket(attacked)
        raw.send(texts[number % len(texts)])
        if number % 2:
            raw.reset()
        else:
            raw.close()


# --- wrong places ---------------------------------------------------------------------------------------------

PATHS = [
    "/v1/longpoll/..%2f..%2fetc%2fpasswd?ack=0",
    "/v1/longpoll/%00?ack=0",
    "/v1/longpoll/a%2Fb?ack=0",
    "/v1/longpoll/a/b?ack=0",
    "/v1/../v1/nothing",
    "/sdk/../../keys.db",
    "/sdk/%2e%2e/%2e%2e/pyproject.toml",
    "/sdk/..%2f..%2fserver.py",
    "/sdk//etc/passwd",
    "/assets/%00",
    "//etc/passwd",
    "/%ff%fe",
    "/v1/%0d%0aSet-Cookie:%20a=b",
    "/master.key",
    "/data/keys.db",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_looked_up_and_never_opened(attacked: LiveServer, path: str) -> None:
    answer = request(attacked, "GET", path, {"Authorization": "Bearer x"})
    assert answer.status == 404
    assert "set-cookie" not in answer.headers
    if path.startswith("/v1/longpoll"):
        assert answer.problem["code"] in ("session_unknown", "not_found")


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "TRACE"])
def test_other_methods_are_refused(attacked: LiveServer, method: str) -> None:
    answer = request(attacked, method, "/v1/status")
    assert (answer.status, answer.problem["code"]) == (405, "bad_request")


def test_pages_of_others_may_ask_with_keys_of_their_own(attacked: LiveServer) -> None:
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    answer = request(attacked, "OPTIONS", "/v1/longpoll/AAAAAAAAAAAA?post=1", headers)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    assert "access-control-allow-origin" not in request(attacked, "OPTIONS", "/metrics", headers).headers


def test_nobody_learns_what_the_server_is_made_of(attacked: LiveServer) -> None:
    answers = [request(attacked, "GET", "/healthz"), request(attacked, "GET", "/nothing")]
    with RawSocket(attacked) as raw:
        raw.send(b"noise\r\n\r\n")
        answers.append(raw.answer())
    assert [answer.headers["server"] for answer in answers] == ["peerbus"] * 3
    assert not any(b"aiohttp" in answer.body or b"Python" in answer.body for answer in answers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"},
        {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "short",
        },
        {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "\xff",
        },
        {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "99",
            "Sec-WebSocket-Key": "A" * 24,
        },
        {"Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "A" * 24},
        {"Upgrade": "h2c", "Connection": "Upgrade"},
        {},
    ],
)
def test_an_upgrade_that_is_none_is_refused(attacked: LiveServer, headers: dict[str, str]) -> None:
    answer = request(attacked, "GET", "/v1/ws", headers)
    assert (answer.status, answer.problem["code"]) == (400, "bad_request")


def test_a_subprotocol_of_another_version_is_refused_with_what_there_is(attacked: LiveServer) -> None:
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "A" * 22 + "==",
        "Sec-WebSocket-Protocol": "peerbus.v9.json, chat",
    }
    answer = request(attacked, "GET", "/v1/ws", headers)
    assert (answer.status, answer.problem["code"]) == (400, "unsupported_version")
    assert answer.problem["details"]["supported"] == ["peerbus.v1.msgpack", "peerbus.v1.json"]


# --- long-poll ------------------------------------------------------------------------------------------------


class LongPoll:
    """A long-poll session by hand."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        answer = self.post("/v1/longpoll", [connect_frame(server, "corner")])
        assert answer.status == 200, answer
        connected = json.loads(answer.body)["frames"][0]
        self.address = f"/v1/longpoll/{connected['session_id']}"
        self.authorization = {"Authorization": f"Bearer {connected['resume_token']}"}

    def post(self, address: str, frames: object, headers: dict[str, str] | None = None) -> Answer:
        return request(self.server, "POST", address, {**JSON, **(headers or {})}, json.dumps(frames).encode())

    def leave(self) -> None:
        assert self.post(f"{self.address}?post=1", [{"op": "bye"}], self.authorization).status == 204


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        ("text/plain", b"[]", 400, "bad_request"),
        ("application/json; charset=nope", b"[]", 400, "bad_frame"),
        ('a\x80b/;;="', b"[]", 400, "bad_request"),
        ("application/json", b"", 400, "bad_frame"),
        ("application/json", b"[]", 400, "bad_frame"),
        ("application/json", b"{}", 400, "bad_frame"),
        ("application/json", b'{"op":"bye"}', 400, "protocol_violation"),
        ("application/json", b"[" * 60_000, 400, "bad_frame"),
        ("application/msgpack", b"\x91" * 60_000, 400, "bad_frame"),
        ("application/msgpack", b"\xdd\xff\xff\xff\xff", 400, "bad_frame"),
        ("application/msgpack", b"\xc1", 400, "bad_frame"),
    ],
)
def test_a_connect_that_is_none_is_refused(
    attacked: LiveServer, content_type: str, body: bytes, status: int, code: str
) -> None:
    answer = request(attacked, "POST", "/v1/longpoll", {"Content-Type": content_type}, body)
    assert (answer.status, answer.problem["code"]) == (status, code)


def test_an_unknown_session_and_a_wrong_token_look_the_same(attacked: LiveServer) -> None:
    session = LongPoll(attacked)
    answers = []
    for address in (session.address, "/v1/longpoll/AAAAAAAAAAAA"):
        for token in ("wrong", "x" * 7_000, "\xff\xfe"):
            answers.append(request(attacked, "GET", f"{address}?ack=0", {"Authorization": f"Bearer {token}"}))
            answers.append(
                request(attacked, "POST", f"{address}?post=1", {"Authorization": f"Bearer {token}"})
            )
    problems = [{**answer.problem, "correlation_id": ""} for answer in answers]
    assert problems[0]["code"] == "session_unknown"
    assert all(problem == problems[0] for problem in problems)
    session.leave()


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic dTpw"])
def test_a_poll_without_a_token_is_refused(attacked: LiveServer, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = request(attacked, "GET", "/v1/longpoll/AAAAAAAAAAAA?ack=0", headers)
    assert (answer.status, answer.problem["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    "number", ["", "-1", "1.5", "x", "%EF%BC%91", "9" * 20, "%00", "1%0a", " 1", "0x1", "1_0"]
)
def test_numbers_of_polls_and_posts_are_plain_digits(attacked: LiveServer, number: str) -> None:
    session = LongPoll(attacked)
    poll = request(attacked, "GET", f"{session.address}?ack={number}", session.authorization)
    post = request(attacked, "POST", f"{session.address}?post={number}", session.authorization, b"[]")
    assert [(answer.status, answer.problem["code"]) for answer in (poll, post)] == [(400, "bad_request")] * 2
    session.leave()


def test_numbers_out_of_sequence_are_refused(attacked: LiveServer) -> None:
    session = LongPoll(attacked)
    poll = request(attacked, "GET", f"{session.address}?ack=99", session.authorization)
    post = session.post(f"{session.address}?post=3", [{"op": "ping"}], session.authorization)
    assert [(answer.status, answer.problem["code"]) for answer in (poll, post)] == [
        (409, "out_of_sequence")
    ] * 2
    assert post.problem["details"] == {"expected": 1}
    session.leave()


def test_unreadable_posts_end_the_session_after_a_while(attacked: LiveServer) -> None:
    session = LongPoll(attacked)
    for number in range(1, 18):
        assert (
            session.post(f"{session.address}?post={number}", {"op": "?"}, session.authorization).status == 204
        )
    answer = request(attacked, "GET", f"{session.address}?ack=1", session.authorization)
    frames = json.loads(answer.body)["frames"]
    assert [frame["code"] for frame in frames if frame["op"] == "error"] == ["bad_frame"] * 17
    assert (frames[-1]["op"], frames[-1]["code"]) == ("closing", "protocol_violation")
    answer = request(attacked, "GET", f"{session.address}?ack=2", session.authorization)
    assert (answer.status, answer.problem["code"]) == (404, "session_unknown")

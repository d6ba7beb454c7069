"""Both transports against a server over real sockets; what they have in common, and what each must survive."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.transport import batches, describe
from peerbus.client.transport.longpoll import read_problem
from peerbus.protocol.codec import EncodingName
from peerbus.protocol.messages import Bye, Closing, Connect, Send
from tests.support.fake_server import FakeServer
from tests.support.fake_transport import message

ENCODINGS: tuple[EncodingName, ...] = ("json", "msgpack")


@pytest.fixture(params=["websocket", "longpoll"])
def use_websocket(request: pytest.FixtureRequest) -> bool:
    is_websocket: bool = request.param == "websocket"
    return is_websocket


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerbus.protocol.session.backoff.FIRST_DELAY_MS", 1)
    monkeypatch.setattr("peerbus.client.transport.longpoll._RETRY_DELAY_S", 0.001)


@pytest.fixture
async def polling(server: FakeServer) -> AsyncIterator[AgentConnection]:
    """An agent that has joined by long-poll."""
    async with AgentConnection(server.url, "k") as agent:
        await agent.connect("lobby", "alice", use_websocket=False)
        yield agent


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_there_and_back(server: FakeServer, use_websocket: bool, encoding: EncodingName) -> None:
    async with AgentConnection(server.url, "k", encoding=encoding) as agent:
        stream = agent.messages()
        await agent.connect("lobby", "alice", use_websocket=use_websocket)
        assert agent.state.transport == ("websocket" if use_websocket else "longpoll")
        acks = await asyncio.gather(*(agent.send_message({"n": number}) for number in range(40)))
        assert [ack.offset for ack in acks] == list(range(1, 41))
        await server.push(message("hello", 41), message(b"\0\xff", 42))
        assert [(await anext(stream)).content, (await anext(stream)).content] == ["hello", b"\0\xff"]
    assert isinstance(server.received[-1], Bye)
    assert [frame.content for frame in server.received if isinstance(frame, Send)] == [
        {"n": number} for number in range(40)
    ]
    # What is asked for at once travels together.
    assert len(server.batches) < 20
    if use_websocket:
        await server.sockets[-1].close()
        assert server.close_codes == [1000]


async def test_nobody_listens(unused_tcp_port: int, use_websocket: bool) -> None:
    agent = AgentConnection(f"http://127.0.0.1:{unused_tcp_port}", "k", connect_timeout=0.05)
    with pytest.raises(PeerbusError, match=r"No connection to 127\.0\.0\.1") as caught:
        await agent.connect("lobby", use_websocket=use_websocket)
    assert caught.value.code is ErrorCode.CONNECT_FAILED
    await agent.disconnect()


async def test_a_refused_websocket_falls_back(server: FakeServer) -> None:
    server.is_websocket_off = True
    async with AgentConnection(server.url, "k") as agent:
        await agent.connect("lobby", "alice")
        assert agent.state.transport == "longpoll"
        assert [path for _, path, _ in server.requests[:3]] == ["/v1/ws", "/v1/ws", "/v1/longpoll"]


async def test_a_closed_websocket_says_why(server: FakeServer) -> None:
    async with AgentConnection(server.url, "k") as agent:
        closed = asyncio.Event()
        agent.on_disconnect = closed.set
        agent.on_error = lambda error: None
        await agent.connect("lobby", "alice")
        await server.sockets[-1].close(code=3512, message=b"kicked: spam")
        await closed.wait()
        assert (agent.state.name, agent.state.code, agent.state.why) == ("closed", "kicked", "kicked: spam")


async def test_a_cut_websocket_is_opened_again(server: FakeServer) -> None:
    async with AgentConnection(server.url, "k") as agent:
        await agent.connect("lobby", "alice")
        transport = server.sockets[-1].get_extra_info("peername") and server.sockets[-1]._req
        assert transport is not None
        assert transport.transport is not None
        transport.transport.abort()
        connects = await server.sees(2, Connect)
        assert connects[1].resume is not None
        assert (await agent.send_message("still here")).offset == 1


async def test_a_peer_that_reads_nothing_does_not_hold_up_the_end(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerbus.client.transport.websocket._ABORT_AFTER_S", 0.05)
    agent = AgentConnection(server.url, "k")
    await agent.connect("lobby", "alice")
    request = server.sockets[-1]._req
    assert request is not None
    assert request.transport is not None
    assert isinstance(request.transport, asyncio.Transport)
    request.transport.pause_reading()
    for _ in range(60):
        agent.on_error = lambda error: None
        agent.send_message("x" * 200_000)
    async with asyncio.timeout(10):
        await agent.disconnect(timeout=0.01)
    request.transport.abort()


# --- long-poll ----------------------------------------------------------------------------------------------------


async def test_the_token_stands_only_in_the_header(polling: AgentConnection, server: FakeServer) -> None:
    await polling.send_message("x")
    later = server.requests[1:]
    assert later
    assert {authorization for _, _, authorization in later} == {"Bearer t1"}
    assert not any("t1" in path for _, path, _ in server.requests)


@pytest.mark.parametrize("fault", ["drop", 502])
async def test_a_failed_poll_or_post_is_repeated(
    polling: AgentConnection, server: FakeServer, fault: object
) -> None:
    stream = polling.messages()
    server.faults += [fault, fault]
    sending = polling.send_message("once")
    assert (await sending).offset == 1
    server.faults += [fault]
    await server.push(message("hello", 2))
    assert (await anext(stream)).content == "hello"
    assert [frame.content for frame in await server.sees(1, Send)] == ["once"]
    assert len(await server.sees(1, Connect)) == 1


async def test_a_response_that_comes_twice_counts_once(polling: AgentConnection, server: FakeServer) -> None:
    stream = polling.messages()
    await server.push(message("first", 1))
    assert (await anext(stream)).content == "first"
    again = server._response(server._number, [server._codec.encode(message("again", 2))])
    server.faults += [again]
    await server.push(message("second", 3))
    assert (await anext(stream)).content == "second"


async def test_a_session_that_is_not_known_is_begun_anew(
    polling: AgentConnection, server: FakeServer
) -> None:
    problem = web.json_response(
        {"code": "session_unknown", "detail": "Not known.", "is_retryable": True},
        status=404,
        content_type="application/problem+json",
    )
    server.faults += [problem]
    await server.push(message("wakes the poll", 1))
    connects = await server.sees(2, Connect)
    assert connects[1].resume is not None


async def test_a_refused_longpoll_handshake(server: FakeServer) -> None:
    server.faults += [
        web.json_response(
            {"code": "unauthorized", "detail": "Unknown key.", "correlation_id": "c3", "details": {"a": 1}},
            status=401,
            content_type="application/problem+json",
        )
    ]
    agent = AgentConnection(server.url, "k")
    with pytest.raises(PeerbusError, match="Unknown key") as caught:
        await agent.connect("lobby", use_websocket=False)
    assert caught.value.code is ErrorCode.UNAUTHORIZED
    assert (caught.value.correlation_id, caught.value.details) == ("c3", {"a": 1})
    await agent.disconnect()


async def test_something_else_answers(server: FakeServer) -> None:
    server.faults += [web.Response(text="<html>It works!</html>") for _ in range(50)]
    agent = AgentConnection(server.url, "k", connect_timeout=0.2)
    with pytest.raises(PeerbusError, match="no long-poll response") as caught:
        await agent.connect("lobby", use_websocket=False)
    assert caught.value.code is ErrorCode.CONNECT_FAILED
    await agent.disconnect()


async def test_the_end_comes_by_the_poll(polling: AgentConnection, server: FakeServer) -> None:
    errors: list[Exception] = []
    polling.on_error = errors.append
    closed = asyncio.Event()
    polling.on_disconnect = closed.set
    await server.push(Closing(close_code=3512, code="kicked", reason="spam"))
    await closed.wait()
    assert polling.state.code == "kicked"


async def test_an_unreadable_frame_in_a_response(polling: AgentConnection, server: FakeServer) -> None:
    errors: list[Exception] = []
    polling.on_error = errors.append
    await server.push(b"\x81\xa2op\xa5dance")
    await server.sees(2, Connect)
    assert isinstance(errors[0], PeerbusError)
    assert errors[0].code is ErrorCode.BAD_FRAME


# --- pieces -------------------------------------------------------------------------------------------------------


def test_batches_keep_to_both_bounds() -> None:
    frames = [b"x" * 10] * 7
    assert [len(batch) for batch in batches(frames, max_frames=3, max_bytes=1000)] == [3, 3, 1]
    assert [len(batch) for batch in batches(frames, max_frames=100, max_bytes=40)] == [3, 3, 1]
    assert [len(batch) for batch in batches([b"x" * 99, b"y"], max_frames=9, max_bytes=40)] == [1, 1]
    assert batches([], max_frames=3, max_bytes=10) == []
    for batch in batches(frames, max_frames=100, max_bytes=40):
        assert len(b"[" + b",".join(batch) + b"]") <= 40


def test_a_problem_document_is_an_error() -> None:
    found = read_problem(b'{"code":"overloaded","title":"Too much","is_retryable":true,"retry_after_ms":9}')
    assert found is not None
    error, close_code = found
    assert (error.code, error.message, error.retry_after_ms, close_code) == (
        "overloaded",
        "Too much",
        9,
        3005,
    )
    found = read_problem(b'{"code":"brand_new"}')
    assert found is not None
    assert found[1] is None
    assert read_problem(b"<html>") is None
    assert read_problem(b'{"title":"no code"}') is None
    assert read_problem(b"\xff") is None


def test_failures_in_words() -> None:
    assert "in time" in describe(TimeoutError())
    assert describe(aiohttp.ServerDisconnectedError()) == "Server disconnected"
    assert describe(OSError()) == "OSError"
    key = aiohttp.client_reqrep.ConnectionKey("host", 443, True, True, None, None, None)
    refused = aiohttp.ClientConnectorCertificateError(key, ssl.SSLCertVerificationError("self-signed"))
    assert "ssl=False" in describe(refused)

"""Keys of the demo project."""

from __future__ import annotations

import pytest
from aiohttp import web

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.protocol.messages import Connect
from tests.support.fake_server import FakeServer


@pytest.mark.parametrize("api_key", [None, "demo"])
async def test_an_agent_without_a_key_gets_one(server: FakeServer, api_key: str | None) -> None:
    async with AgentConnection(server.url, api_key) as agent:
        await agent.connect("lobby")
    connect = (await server.sees(1, Connect))[0]
    assert connect.api_key.reveal() == "demo-jwt"
    assert [path for _, path, _ in server.requests][:2] == ["/v1/demo/key", "/v1/ws"]


async def test_a_server_without_a_demo_says_so(server: FakeServer) -> None:
    server.faults += [
        web.json_response({"code": "not_found", "detail": "no demo"}, status=404),
    ]
    agent = AgentConnection(server.url)
    with pytest.raises(PeerbusError, match="pass api_key") as caught:
        await agent.connect("lobby")
    assert caught.value.code is ErrorCode.NOT_FOUND
    await agent.disconnect()


async def test_a_refusal_that_passes_is_waited_for(server: FakeServer) -> None:
    server.faults += [
        web.json_response({"code": "rate_limited", "is_retryable": True, "retry_after_ms": 1}, status=429),
        web.Response(text="not what was asked for"),
        web.Response(status=502),
    ]
    async with AgentConnection(server.url) as agent:
        await agent.connect("lobby")
        assert agent.is_connected

"""STUN and TURN servers of the agent: from the handshake, and renewed before their credentials end."""

from __future__ import annotations

from typing import Any

import pytest

from peerbus.client import AgentConnection
from peerbus.client.errors import PeerbusError
from peerbus.client.ice_servers import IceServers
from peerbus.protocol import messages as wire
from peerbus.protocol.messages import IceServer
from peerbus.protocol.secrets import Secret
from tests.support.fake_transport import FakeNetwork, settle

HOUR_MS = 3_600_000


def turn(number: int) -> list[IceServer]:
    return [IceServer(urls=["turn:t"], username=f"{number}:x", credential=Secret("p"))]


def test_new_ones_are_wanted_at_half_time_and_after_a_failure_at_half_of_the_rest() -> None:
    ice = IceServers()
    assert ice.are_fresh(0)
    ice.told(turn(1), HOUR_MS, 1_000)
    assert ice.renew_at_ms == 1_000 + HOUR_MS // 2
    assert ice.are_fresh(ice.renew_at_ms - 1)
    assert not ice.are_fresh(ice.renew_at_ms)
    ice.failed(1_000 + HOUR_MS // 2)
    assert ice.renew_at_ms == 1_000 + HOUR_MS * 3 // 4
    assert ice.are_good(1_000 + HOUR_MS - 1)
    assert not ice.are_good(1_000 + HOUR_MS)
    ice.failed(1_000 + 2 * HOUR_MS)
    assert ice.renew_at_ms == 1_000 + 2 * HOUR_MS + 5_000


def test_what_does_not_end_is_never_renewed() -> None:
    ice = IceServers()
    ice.told([IceServer(urls=["stun:s"])], None, 0)
    ice.failed(1)
    assert ice.renew_at_ms is None
    assert ice.are_fresh(1 << 50)
    assert ice.are_good(1 << 50)
    ice.told([], HOUR_MS, 0)
    assert ice.renew_at_ms is None


async def test_they_come_with_the_handshake_and_are_renewed_in_time(network: FakeNetwork) -> None:
    agent = AgentConnection("http://server:1", "pb_k")
    told: list[Any] = []
    agent.on("ice_servers", told.append)
    assert agent.ice_servers == []
    agent.connect("lobby", "alice")
    # Half of this is over at once, so the agent asks by itself.
    await network.join(ice_servers=turn(1), ice_expires_in_ms=10)
    assert agent.ice_servers == turn(1)
    (asked,) = await network.sees(1, wire.IceServers)
    network.say(wire.IceServersReply(id=asked.id, ice_servers=turn(2), ice_expires_in_ms=HOUR_MS))
    await settle()
    assert agent.ice_servers == turn(2) == await agent.get_ice_servers()
    assert told == [turn(1), turn(2)]
    assert len(await network.sees(1, wire.IceServers)) == 1
    network.cut(1006)
    # A new connect brings new ones.
    connect = (await network.sees(2, wire.Connect))[1]
    assert connect.resume is not None
    await network.join(ice_servers=turn(3), ice_expires_in_ms=HOUR_MS)
    assert agent.ice_servers == turn(3)
    await agent.disconnect(timeout=0)


async def test_a_refusal_is_that_of_who_asked_and_what_is_there_stays(network: FakeNetwork) -> None:
    agent = AgentConnection("http://server:1", "pb_k")
    asking = agent.get_ice_servers()
    with pytest.raises(PeerbusError, match="connect"):
        await asking
    agent.connect("lobby", "alice")
    await network.join(ice_servers=turn(1), ice_expires_in_ms=10)
    (asked,) = await network.sees(1, wire.IceServers)
    # Everybody who asks meanwhile shares the question.
    asking = agent.get_ice_servers()
    network.say(wire.Error(id=asked.id, code="rate_limited", message="slow down", is_retryable=True))
    with pytest.raises(PeerbusError, match="slow down"):
        await asking
    assert agent.ice_servers == turn(1)
    assert len(await network.sees(1, wire.IceServers)) == 1
    await agent.disconnect(timeout=0)

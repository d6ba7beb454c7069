"""Mode `host` between Python programs, on a real server: one order, the state, and hosts that leave or die."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peerbus.client import AgentConnection, PeerbusError
from peerbus.client.webrtc import HOST, WebRTCHelper
from peerbus.client.webrtc.group_call import GroupCall
from peerbus.client.webrtc.host_way import HostWay
from tests.support.server_process import ServerProcess

WAIT_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("host")
    with ServerProcess(folder / "data", "--port", "0", "--sfu-workers", "0") as the_server:
        yield the_server.next_address()
        assert the_server.stop() == 0


class Player:
    """Somebody in the group; its application, as host, is a list of all that came for the host."""

    def __init__(self, agent: AgentConnection) -> None:
        self.agent = agent
        self.helper = WebRTCHelper(agent, mode="host")
        self.data: list[Any] = []
        self.hosts: list[tuple[str, int]] = []
        self.state: list[Any] = []
        self.errors: list[Exception] = []
        self.helper.on_data_received = lambda data, peer: self.came(data, peer.name)
        self.helper.on_host_change = lambda host, term, state: self.host_changed(host.name, term, state)
        self.helper.on_error = self.errors.append

    def came(self, data: Any, sender: str) -> None:
        if isinstance(data, dict) and "for_host" in data:
            self.state.append(data["for_host"])
            self.helper.set_host_state(self.state)
        else:
            self.data.append((sender, data))

    def host_changed(self, name: str, term: int, state: Any) -> None:
        self.hosts.append((name, term))
        if name == self.agent.agent_name:
            self.state = list(state or [])
            self.helper.set_host_state(self.state)


async def until(is_so: Callable[[], Any]) -> None:
    for _ in range(int(WAIT_S / 0.01)):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


@contextlib.asynccontextmanager
async def game(url: str, channel: str, *names: str) -> AsyncIterator[list[Player]]:
    async with contextlib.AsyncExitStack() as stack:
        players: list[Player] = []
        for name in names:
            agent = await stack.enter_async_context(AgentConnection(url))
            await agent.connect(channel, name)
            player = Player(agent)
            await stack.enter_async_context(player.helper)
            players.append(player)
        await until(lambda: all(len(player.helper.peers) == len(names) - 1 for player in players))
        await until(
            lambda: all(
                player.helper.is_connected_to(peer) for player in players for peer in player.helper.peers
            )
        )
        yield players


async def test_everybody_sees_one_order(server: str) -> None:
    async with game(server, "order", "ann", "bob", "cyd") as players:
        ann, bob, cyd = players
        assert ann.helper.is_host
        assert [player.helper.host and player.helper.host.name for player in players] == ["ann"] * 3
        for number in range(50):
            for player in players:
                player.helper.broadcast([player.agent.agent_name, number])
        await bob.helper.send_data("for cyd", "cyd")
        large = bytes(range(256)) * 2_000
        await cyd.helper.broadcast(large)
        await until(lambda: all(len(player.data) >= 101 for player in players))
        assert cyd.data[-1] == ("bob", "for cyd") or ("bob", "for cyd") in cyd.data
        seen = [[data for _, data in player.data if isinstance(data, list)] for player in players]
        for one in seen:
            for other in seen:
                common = [data for data in one if data in other]
                assert common == [data for data in other if data in one]
        await until(lambda: ("cyd", large) in ann.data and ("cyd", large) in bob.data)
        bob.helper.send_data({"lossy": 1}, reliable=False)
        await until(lambda: ("bob", {"lossy": 1}) in cyd.data and ("bob", {"lossy": 1}) in ann.data)
        with pytest.raises(PeerbusError):
            bob.helper.set_host_state([])
        assert not [error for player in players for error in player.errors]


@pytest.mark.parametrize("is_killed", [False, True])
async def test_the_next_host_goes_on_where_the_last_one_was(server: str, is_killed: bool) -> None:
    async with game(server, f"state-{is_killed}", "ann", "bob", "cyd") as (ann, bob, cyd):
        for number in range(20):
            bob.helper.send_data({"for_host": f"bob {number}"}, HOST)
            cyd.helper.send_data({"for_host": f"cyd {number}"}, HOST)
        await until(lambda: len(ann.state) >= 10)
        if is_killed:
            # Nothing of it comes any more, and nothing is said: as of a program that was killed.
            call = ann.helper._call
            assert isinstance(call, GroupCall)
            way = call.group.way
            assert isinstance(way, HostWay)
            way._is_closed = True
        else:
            await ann.helper.close()
        for number in range(20, 30):
            bob.helper.send_data({"for_host": f"bob {number}"}, HOST)
            cyd.helper.send_data({"for_host": f"cyd {number}"}, HOST)
        await until(lambda: len(bob.state) >= 60)
        assert sorted(bob.state) == sorted(
            f"{who} {number}" for who in ("bob", "cyd") for number in range(30)
        )
        for who in ("bob", "cyd"):
            assert [name for name in bob.state if name.startswith(who)] == [
                f"{who} {number}" for number in range(30)
            ]
        assert ann.state == bob.state[: len(ann.state)]
        assert [name for name, _ in cyd.hosts] == ["ann", "bob"]
        assert bob.helper.is_host

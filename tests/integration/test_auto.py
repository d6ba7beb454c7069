"""Without a mode the server chooses: real programs, more of them and fewer again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peerbus.client import AgentConnection
from peerbus.client.webrtc import WebRTCHelper
from tests.support.server_process import ServerProcess

WAIT_S = 60.0


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The address of a server with one worker."""
    with ServerProcess(tmp_path / "data", "--sfu-workers", "1", "--sfu-port", "0") as server:
        yield server.next_address_with_worker()
        assert server.stop() == 0


class Player:
    """Somebody who says no mode."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.agent = AgentConnection(url)
        self.helper = WebRTCHelper(self.agent)
        self.modes: list[tuple[str, str]] = []
        self.data: list[Any] = []
        self.helper.on_mode_change = lambda mode, reason: self.modes.append((mode, reason))
        self.helper.on_data_received = lambda data, peer: self.data.append(data)

    async def join(self) -> None:
        await self.agent.connect("arena", self.name)
        await self.helper.connect()

    async def leave(self) -> None:
        await self.helper.close()
        await self.agent.disconnect()


async def until(what: str, is_so: Callable[[], bool]) -> None:
    """Waits for something that is about to happen."""
    for _ in range(int(WAIT_S / 0.05)):
        if is_so():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(what)


async def test_a_group_of_two_is_a_mesh_of_four_has_a_host_and_of_seven_goes_by_the_worker_and_back(
    url: str,
) -> None:
    players = [Player(url, f"p{number}") for number in range(7)]
    first = players[0]

    async def grow(count: int, mode: str) -> None:
        for player in players[:count]:
            if player.agent.state.name == "idle":
                await player.join()
        await agreed(players[:count], mode)

    async def agreed(present: list[Player], mode: str) -> None:
        await until(mode, lambda: all(player.helper.mode == mode for player in present))
        await until(
            f"all reach all by {mode}",
            lambda: all(
                len(player.helper.peers) == len(present) - 1
                and all(player.helper.is_connected_to(peer) for peer in player.helper.peers)
                for player in present
            ),
        )

    await grow(2, "mesh")
    await grow(4, "host")
    await grow(7, "datachannel")
    assert first.modes == [("mesh", "first"), ("host", "grown"), ("datachannel", "grown")]
    await first.helper.send_data("to all")
    await until("data", lambda: all(player.data == ["to all"] for player in players[1:]))

    # One less is not worth a change, and fewer only after a while.
    for player in players[4:]:
        await player.leave()
    await agreed(players[:4], "host")
    for player in players[2:4]:
        await player.leave()
    await agreed(players[:2], "mesh")
    assert first.modes[3:] == [("host", "shrunk"), ("mesh", "shrunk")]
    for player in players[:2]:
        await player.leave()

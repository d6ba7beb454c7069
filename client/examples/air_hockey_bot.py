"""
A bot that plays air hockey with whoever has the table's page open, and can be the table's host.

    python client/examples/air_hockey_bot.py 'http://localhost:8080/games/air-hockey#channel=lobby&project=demo' [MODE]

The mode (`host` by default) counts if the bot is the first at the table; later ones take what they find. For a project
of your own put its key into PEERBUS_API_KEY; the demo project needs none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from typing import Any

from air_hockey.game import Game
from air_hockey.opponent import Opponent
from air_hockey.rink import STEPS_PER_S
from peerbus.client import AgentConnection
from peerbus.client.link import parse_link
from peerbus.client.webrtc import WebRTCHelper


def now_ms() -> float:
    """The time, on a clock that never goes back."""
    return time.monotonic() * 1000


class Player:
    """The bot at the table."""

    def __init__(self, agent: AgentConnection, peers: WebRTCHelper) -> None:
        self.agent = agent
        self.peers = peers
        self.game = Game(agent.identity)
        self.opponent: Opponent | None = None
        self.asks_in = 0
        self.told = ""
        peers.on_data_received = lambda data, peer: self.game.receive(peer.identity, data, now_ms())

    def step(self) -> None:
        """What is to be done 60 times a second."""
        game, now = self.game, now_ms()
        others = {peer.identity for peer in self.peers.peers}
        present = [
            member.identity
            for member in self.agent.members
            if member.identity in others or member.identity == self.agent.identity
        ]
        host = self.peers.host.identity if self.peers.host is not None else None
        if self.peers.mode != "host" and self.peers.is_connected:
            # The other modes have none: it is whoever is here the longest.
            host = present[0]
        game.members_are(present, host if host in present else None, now)
        rink, seat = game.rink(now), game.seat
        if rink is not None and seat is not None:
            if self.opponent is None or self.opponent.seat != seat:
                self.opponent = Opponent(seat, random.Random())  # noqa: S311 - a game
            game.aim(self.opponent.aim(rink))
        game.pass_time(now)
        self.play_again()
        for payload, to, is_reliable in game.take():
            self.peers.send_data(payload, to, reliable=is_reliable)
        self.tell()

    def play_again(self) -> None:
        """It always wants to; asked until the host has heard it."""
        match, seat = self.game.match, self.game.seat
        if match is None or seat is None or match.phase != "over" or match.wants_rematch[seat]:
            self.asks_in = 0
        elif self.asks_in == 0:
            self.game.again()
            self.asks_in = STEPS_PER_S
        else:
            self.asks_in -= 1

    def tell(self) -> None:
        """Prints the score, and who is host, when they change."""
        match = self.game.match
        score = (
            "looking for the table" if match is None else f"{match.score[0]}:{match.score[1]}, {match.phase}"
        )
        line = f"{score}{', host' if self.game.is_host else ''}"
        if line != self.told:
            self.told = line
            print(line, flush=True)


async def play(link_text: str, mode: Any) -> None:
    """Sits down at the table of the link and plays until it is ended."""
    link = parse_link(link_text)
    api_key = None if link.project == "demo" else os.environ.get("PEERBUS_API_KEY")
    async with AgentConnection(link.origin, api_key) as agent:
        await agent.connect(
            link.channel, "hockey-bot", link.password, sealed=link.seals, api_key_scope=link.scope
        )
        async with WebRTCHelper(agent, mode=mode) as peers:
            peers.on_error = lambda error: print(f"error: {error}", flush=True)
            print(f"{agent.agent_name} is at the table {link.channel!r}; Ctrl-C ends it.", flush=True)
            player = Player(agent, peers)
            due = asyncio.get_running_loop().time()
            while True:
                player.step()
                due = max(due + 1 / STEPS_PER_S, asyncio.get_running_loop().time() - 0.1)
                await asyncio.sleep(due - asyncio.get_running_loop().time())


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: air_hockey_bot.py LINK [MODE]")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(play(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "host"))

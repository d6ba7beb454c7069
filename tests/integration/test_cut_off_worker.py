"""
A media worker while signaling stands still: credentials end all the same, and revocations are made up for.

Real processes: the server is stopped by SIGSTOP, so that it can neither say anything nor be started again.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from peerbus.client import AgentConnection
from peerbus.client.records import Message
from peerbus.client.token import ParticipantToken
from peerbus.protocol.signals import SFU_AGENT, Offer, Participant, SfuSignal, Slots
from peerbus.signaling.keys import KeyStore
from tests.support.raw_peer import RawPeer
from tests.support.server_process import ServerProcess
from tests.support.sfu_room import Video, until

CLOSED_WITHIN_S = 2.0
TTL_S = 5
_PICTURE = 1000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    env = {"PEERBUS_SFU_WORKERS": "1", "PEERBUS_SFU_PORT": "0", "PEERBUS_ADVERTISE": "127.0.0.1"}
    with ServerProcess(tmp_path / "data", env=env) as the_server:
        yield the_server


class Caller:
    """An agent, and a peer of packets that signals by it."""

    def __init__(self, agent: AgentConnection, **media: Any) -> None:
        self.agent = agent
        self.peer = RawPeer("whoever", self._ask, **media)
        agent.on("signal", self._told)

    def _ask(self, _participant: Participant, offer: Offer) -> None:
        content = msgspec.to_builtins(offer)
        self.agent.send_message({"content": content}, type="signal", to=[SFU_AGENT], delivery="live")

    def _told(self, message: Message) -> None:
        self.peer.told(msgspec.convert(message.content, SfuSignal))

    @property
    def is_bound(self) -> bool:
        slots = [one for one in self.peer.signals if isinstance(one, Slots)]
        return bool(slots) and any(isinstance(one.publication, str) for one in slots[-1].bindings)


class Stage:
    """The callers of one test; all are closed in the end."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key
        self.callers: list[Caller] = []

    def token(self, name: str) -> ParticipantToken:
        token = ParticipantToken(name=name, project_id="default", api_key_id=self.key.split("_")[1])
        token.add_room_grant(room_name="lobby")
        return token

    async def join(self, api_key: str, **media: Any) -> Caller:
        agent = AgentConnection(self.url, api_key)
        caller = Caller(agent, **media)
        self.callers.append(caller)
        await agent.connect("lobby")
        await caller.peer.connect()
        return caller

    async def close(self) -> None:
        for caller in self.callers:
            await caller.peer.close()
            await caller.agent.disconnect(timeout=1)


@pytest_asyncio.fixture
async def stage(server: ServerProcess) -> AsyncIterator[Stage]:
    url = await asyncio.to_thread(server.next_address)
    await until(lambda: any("developer key" in line for line in server.output))
    found = re.search(r"developer key  (\S+)", "\n".join(server.output))
    assert found is not None
    one = Stage(url, found[1])
    async with aiohttp.ClientSession() as http:
        workers = 0
        while not workers:
            async with http.get(f"{url}/v1/status") as response:
                workers = (await response.json())["workers"]
            await asyncio.sleep(0.05)
    try:
        yield one
    finally:
        await one.close()


def revoke(folder: Path, token: ParticipantToken) -> None:
    """As the command beside a running server does it."""
    store = KeyStore.open(folder / "data")
    store.revoke_token(token.token_id, now_ms=int(time.time() * 1000))
    store.close()


async def flows(picture: Video, peer: RawPeer) -> bool:
    """Whether the next packets of the picture reach a peer."""
    before = len(peer.packets)
    for _ in range(20):
        picture.send(2, is_keyframe=True)
        await asyncio.sleep(0.02)
        if len(peer.packets) > before:
            return True
    return False


async def test_a_worker_ends_credentials_by_itself_and_makes_up_for_revocations(
    server: ServerProcess, stage: Stage, tmp_path: Path
) -> None:
    publisher = await stage.join(stage.key, videos=(_PICTURE,))
    brief, lasting, doomed = (stage.token(name) for name in ("brief", "lasting", "doomed"))
    cleo = await stage.join(lasting.to_jwt(secret=stage.key), video_slots=1)
    dora = await stage.join(doomed.to_jwt(secret=stage.key), video_slots=1)
    await until(lambda: cleo.is_bound and dora.is_bound)
    picture = Video(publisher.peer, _PICTURE)
    assert await flows(picture, cleo.peer)
    assert await flows(picture, dora.peer)
    # While all is well a revocation is there at once.
    revoked_s = time.monotonic()
    revoke(tmp_path, doomed)
    while await flows(picture, dora.peer):
        assert time.monotonic() - revoked_s < CLOSED_WITHIN_S
    assert await flows(picture, cleo.peer)
    ends_s = int(time.time()) + TTL_S
    bob = await stage.join(brief.to_jwt(secret=stage.key, ttl_s=TTL_S), video_slots=1)
    await until(lambda: bob.is_bound)
    signaling = server.signaling()
    os.kill(signaling.pid, signal.SIGSTOP)
    try:
        assert await flows(picture, bob.peer)
        while await flows(picture, bob.peer):
            assert time.time() < ends_s + CLOSED_WITHIN_S
        assert time.time() >= ends_s
        assert await flows(picture, cleo.peer)
        # A command beside the server revokes the other one, which nobody can tell the worker yet.
        revoke(tmp_path, lasting)
        assert await flows(picture, cleo.peer)
    finally:
        os.kill(signaling.pid, signal.SIGCONT)
    resumed_s = time.monotonic()
    while await flows(picture, cleo.peer):
        assert time.monotonic() - resumed_s < CLOSED_WITHIN_S
    await until(lambda: not cleo.agent.is_connected and not bob.agent.is_connected)

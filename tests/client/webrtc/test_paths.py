"""Calls over a path that changes, loses and goes silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from peerbus.client.webrtc import RemoteTrack, WebRTCHelper
from peerbus.client.webrtc.generated import picture
from peerbus.sfu.negotiation import Candidate
from tests.support.call_world import CallWorld, call_world
from tests.support.udp_proxy import UdpProxy

WAIT_S = 30.0


@pytest.fixture
async def proxied() -> AsyncIterator[tuple[CallWorld, UdpProxy]]:
    """A world whose worker is reached through a proxy."""
    async with call_world() as world, UdpProxy(world.worker.port) as proxy:
        world.worker.candidates = (Candidate("127.0.0.1", proxy.port),)
        yield world, proxy


async def pictures(track: RemoteTrack, count: int) -> None:
    """Waits for so many pictures."""
    async with asyncio.timeout(WAIT_S):
        async for _ in track.pictures():
            count -= 1
            if count == 0:
                return
    raise AssertionError("the track ended")


async def until(is_so: Callable[[], Any]) -> None:
    """Waits for something that is about to happen."""
    for _ in range(int(WAIT_S / 0.05)):
        if is_so():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


async def one_to_one(world: CallWorld) -> tuple[WebRTCHelper, WebRTCHelper, RemoteTrack]:
    """Ann shows a picture, bob sees it."""
    ann, bob = (
        WebRTCHelper(world.agent(name), mode="sfu")  # type: ignore[arg-type]  # as much of an agent as it needs
        for name in ("ann", "bob")
    )
    tracks: asyncio.Queue[RemoteTrack] = asyncio.Queue()
    bob.on_track = tracks.put_nowait
    await bob.connect()
    await ann.publish(picture(96, 64, fps=25))
    track = await asyncio.wait_for(tracks.get(), WAIT_S)
    await pictures(track, 5)
    return ann, bob, track


async def test_another_address_of_everybody_ends_nothing(proxied: tuple[CallWorld, UdpProxy]) -> None:
    world, proxy = proxied
    ann, bob, track = await one_to_one(world)
    offers = [len(agent.offers()) for agent in world.agents.values()]
    proxy.move_all()
    await pictures(track, 20)
    assert not track.is_ended
    assert [len(agent.offers()) for agent in world.agents.values()] == offers
    await ann.close()
    await bob.close()


async def test_what_is_lost_is_sent_again(proxied: tuple[CallWorld, UdpProxy]) -> None:
    world, proxy = proxied
    ann, bob, track = await one_to_one(world)
    proxy.loss = 0.05
    await pictures(track, 75)
    proxy.loss = 0.0
    (stats,) = (await bob.stats()).received
    assert stats.frames_decoded >= 75
    await ann.close()
    await bob.close()


async def test_a_path_that_is_silent_for_long_is_replaced(
    proxied: tuple[CallWorld, UdpProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerbus.client.webrtc.reconnect.SILENCE_MS", 1_500)
    world, proxy = proxied
    ann, bob, _ = await one_to_one(world)
    before = len(world.agents["id-bob"].offers())
    proxy.is_silent = True
    await until(lambda: not ann.is_connected and not bob.is_connected)
    proxy.is_silent = False
    await until(lambda: ann.is_connected and bob.is_connected and bob.tracks)
    await pictures(bob.tracks[0], 5)
    assert len(world.agents["id-bob"].offers()) > before
    await ann.close()
    await bob.close()

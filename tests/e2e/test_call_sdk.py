"""`WebRTCHelper` of the public SDK in pages: tracks, figures, data, and coming back after a loss."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.e2e.call_stage import Callers, CallServer, call_server, somebody
from tests.e2e.in_call import Stage

__all__ = ["call_server", "somebody"]


@pytest_asyncio.fixture(loop_scope="session")
async def join(somebody: Callers) -> AsyncIterator[Stage]:
    """`ada = await join(browser, channel, "ada")`."""
    yield Stage(somebody)


async def test_members_come_and_go_and_cost_nobody_an_offer(
    chromium: Browser, firefox: Browser, join: Stage, channel: str
) -> None:
    ada = await join(chromium, channel, "ada")
    bob = await join(firefox, channel, "bob")
    for one, other in ((ada, "bob"), (bob, "ada")):
        await one.receives(other)
        picture = await one.is_shown(other)
        assert (picture["width"], picture["height"], picture["codec"]) == (320, 240, "VP8")
        assert picture["packetsLost"] == 0
    connections = await ada.page.evaluate("connections.length")
    slots = "connections[0].getReceivers().length"
    before = await ada.page.evaluate(slots)
    offers = [await ada.offers(), await bob.offers()]
    for _ in range(3):
        eve = await join(chromium, channel, "eve")
        await ada.receives("bob", "eve")
        await bob.receives("ada", "eve")
        await eve.is_shown("bob")
        await eve.page.evaluate("call.agent.disconnect()")
        await ada.receives("bob")
        await ada.becomes("calls.look().peers", ["bob"])
        await bob.receives("ada")
    await ada.is_shown("bob")
    assert [await ada.offers(), await bob.offers()] == offers
    assert await ada.page.evaluate(slots) == before
    assert await ada.page.evaluate("connections.length") == connections
    assert await ada.page.evaluate("call.errors") == []


async def test_data_reaches_all_or_those_it_is_for(
    chromium: Browser, firefox: Browser, join: Stage, channel: str
) -> None:
    ada = await join(chromium, channel, "ada", media=False)
    bob = await join(firefox, channel, "bob", media=False)
    cleo = await join(chromium, channel, "cleo", media=False)
    for one, others in ((ada, ["bob", "cleo"]), (bob, ["ada", "cleo"]), (cleo, ["ada", "bob"])):
        await one.becomes("calls.look()", {"isConnected": True, "peers": others, "tracks": []})
        await one.becomes("connections[0].sctp.state", "connected")
    # A message that is answered shows that the way stands in both directions.
    move = {"type": "game-state", "position": {"x": 10, "y": 20.5}, "name": "é"}
    assert await ada.send(move) is True
    await bob.gets(["ada", move])
    await cleo.gets(["ada", move])
    assert await bob.send("only you", to="ada") is True
    await ada.gets(["bob", "only you"])
    assert await cleo.send(["fast"], lossy=True, to=["ada", "bob"]) is True
    await ada.gets(["bob", "only you"], ["cleo", ["fast"]])
    await bob.gets(["ada", move], ["cleo", ["fast"]])
    sent = await ada.page.evaluate("call.webrtc.sendData(new Uint8Array([1, 2, 255]), { to: 'cleo' })")
    assert sent is True
    await cleo.gets(["ada", move], ["ada", [1, 2, 255]])

    assert await ada.send("x" * 16_001, lossy=True) == "too_large"
    assert await ada.send("x", to=["bob", "nobody"]) == "unknown_recipient"
    results = await ada.page.evaluate(
        "Promise.all(Array.from({ length: 200 }, (_, at) => calls.send(String(at).padEnd(5000), { to: 'bob' })))"
    )
    assert results == [True] * 200
    await bob.becomes("call.data.length", 202)
    order = await bob.page.evaluate("call.data.slice(2).map(([, text]) => Number(text))")
    assert order == list(range(200))
    assert await ada.page.evaluate("call.errors") == []


async def test_the_snippet_of_old_works(
    browser: Browser, chromium: Browser, join: Stage, somebody: Callers, channel: str
) -> None:
    """With nothing awaited, and data sent before there is a connection."""
    friend = await join(chromium, channel, "friend", media=False)
    caller = await somebody(browser)
    await caller.opens("/")
    for script in ("web-agent.libs.js", "web-agent.js", "web-agent.webrtc.js"):
        await caller.page.add_script_tag(url=f"/js/{script}")
    async with caller.page.expect_console_message(
        lambda message: message.text == "Received from friend : hello back"
    ):
        await caller.page.evaluate(
            """
            (channelName) => {
              const agent = new AgentConnection();
              agent.connect({ channelName, agentName: 'player-1' });

              const webrtc = new WebRTCHelper(agent, { mode: "sfu" });
              webrtc.onDataReceived = (data, peerId) => {
                console.log('Received from', peerId, ':', data);
              };
              webrtc.sendData({ type: 'game-state', position: { x: 10, y: 20 } });
            }
            """,
            channel,
        )
        await friend.gets(["player-1", {"type": "game-state", "position": {"x": 10, "y": 20}}])
        assert await friend.send("hello back") is True


async def test_the_picture_comes_back_when_the_worker_is_killed(
    chromium: Browser, firefox: Browser, call_server: CallServer, join: Stage, channel: str
) -> None:
    ada = await join(chromium, channel, "ada")
    bob = await join(firefox, channel, "bob")
    await ada.is_shown("bob")
    await bob.is_shown("ada")
    call_server.kill("peerbus.sfu")
    for one, other in ((ada, "bob"), (bob, "ada")):
        await one.becomes("connections.length > 1", True)
        await one.receives(other)
        await one.is_shown(other)
    assert await ada.page.evaluate("call.published.every(({ isPublished }) => isPublished)")


async def test_the_picture_goes_on_when_signaling_is_killed(
    chromium: Browser,
    firefox: Browser,
    call_server: CallServer,
    join: Stage,
    somebody: Callers,
    channel: str,
) -> None:
    somebody.pages.network_may_fail = True
    ada = await join(chromium, channel, "ada")
    bob = await join(firefox, channel, "bob")
    await ada.is_shown("bob")
    connections = await ada.page.evaluate("connections.length")
    call_server.kill("peerbus.signaling")
    await ada.becomes("call.agent.state.name", "reconnecting")
    await ada.is_shown("bob")
    await somebody.server_came_back()
    for one in (ada, bob):
        await one.becomes("call.agent.isConnected && call.webrtc.isConnected()", True)
    await ada.is_shown("bob")
    # The connections were not replaced: nothing stood still.
    assert await ada.page.evaluate("connections.length") == connections
    cleo = await join(chromium, channel, "cleo")
    await cleo.receives("ada", "bob")
    await ada.receives("bob", "cleo")

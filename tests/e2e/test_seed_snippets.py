"""
The snippets by which the messaging platform of old was taught, with our address and key: they work unchanged.

Each runs in a page of another site, as classic scripts. Storage and WebRTC are not there yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page

from tests.e2e.conftest import Elsewhere, Pages, Stage
from tests.e2e.members import Station

FRIEND = Station("python", "websocket")
FORMER_PATH = "/messaging-platform/api/v1/messaging-service"

RunSnippet = Callable[[str], Coroutine[Any, Any, Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def run(
    browser: Browser, new_page: Pages, elsewhere: Elsewhere, join: Stage, channel: str
) -> RunSnippet:
    """Runs a snippet in a page that loads the SDK by the script tags of old."""

    async def run_snippet(script: str) -> Page:
        page = await new_page(browser)
        base = f"{join.server.url}/js"
        tags = [f'<script src="{base}/web-agent{part}.js"></script>' for part in (".libs", "", ".webrtc")]
        constants = {
            "CHANNEL": channel,
            "API": f"{join.server.url}{FORMER_PATH}",
            "KEY": join.server.developer_key,
        }
        given = "".join(f"const {name} = {json.dumps(value)};" for name, value in constants.items())
        await page.goto(elsewhere(f"{''.join(tags)}<script>{given}</script><script>{script}</script>"))
        return page

    return run_snippet


def _says(text: str) -> Callable[[ConsoleMessage], bool]:
    return lambda message: message.text == text


async def test_three_steps(run: RunSnippet, join: Stage, channel: str) -> None:
    second = await join(FRIEND, channel, "player-2", password="secret123")
    third = await join(FRIEND, channel, "player-3", password="secret123")
    page = await run(
        """
        const agent = new AgentConnection();
        agent.connect({
          channelName:     CHANNEL,
          channelPassword: 'secret123',
          agentName:       'player-1',
          api:             API,
          apiKey:          KEY
        });
        agent.sendTextMessage('Hello, World!');
        agent.sendMessage({
          content: 'Hello, you!',
          type:    'chat-text',
          to:      'player-2'
        });
        agent.onMessage = (msg) => {
          console.log(msg.content);
        };
        """
    )
    assert (await second.hears("Hello, World!")).type == "chat-text"
    assert (await second.hears("Hello, you!")).to == ["player-2"]
    await third.hears("Hello, World!")
    async with page.expect_console_message(_says("Welcome")):
        await third.send("Welcome")
    await third.send("fence")
    await second.hears("fence")
    assert third.contents == ["Hello, World!"]


async def test_all_connection_options_and_handlers(run: RunSnippet, join: Stage, channel: str) -> None:
    friend = await join(FRIEND, channel, "friend", password="secret123")
    page = await run(
        """
        const agent = new AgentConnection();
        const told = [];
        agent.onMessage = (msg) => { told.push(`Received: ${msg.content}`); };
        agent.onConnect = () => { told.push('Connected!'); };
        agent.onDisconnect = () => { told.push('Disconnected'); console.log(told.join(', ')); };
        agent.onError = (err) => { told.push(`Error: ${err.code}`); };
        agent.connect({
          channelName: CHANNEL,
          channelPassword: 'secret123',
          agentName: 'player-1',
          apiKey: KEY,
          apiKeyScope: 'private',
          api: API,
          autoReceive: true,
          useWebsocket: true,
          enableWebrtcRelay: false,
          sessionId: null,
          channelId: null,
          customEventType: 'game,chat',
          pollSource: 'CACHE'
        });
        agent.sendMessage({ content: 'nobody', to: 'not here' });
        """
    )
    await friend.sees("player-1")
    await friend.send("not wanted")
    await friend.send("a move", type="game")
    await page.wait_for_function("told.length === 3")
    async with page.expect_console_message(lambda message: message.text.startswith("Connected!")) as ended:
        await page.evaluate("agent.disconnect()")
    parts = (await ended.value).text.split(", ")
    assert sorted(parts[1:3]) == ["Error: unknown_recipient", "Received: a move"]
    assert [parts[0], parts[3:]] == ["Connected!", ["Disconnected"]]


async def test_ways_to_send(run: RunSnippet, join: Stage, channel: str) -> None:
    red = await join(FRIEND, channel, "team-red")
    second = await join(FRIEND, channel, "player-2")
    await run(
        """
        const agent = new AgentConnection();
        agent.connect({ channelName: CHANNEL, agentName: 'player-1', api: API, apiKey: KEY });
        agent.sendMessage({
          content: 'Hello, World!', type: 'chat-text', to: 'player-2', ephemeral: false
        });
        agent.sendMessage({ content: 'Game started!', type: 'game-event' });
        agent.sendMessage({ content: 'Private message', to: 'player-2' });
        agent.sendMessage({ content: 'Team message', filter: 'team-.*' });
        agent.sendMessage({
          content: JSON.stringify({ position: { x: 10, y: 20 }, health: 100 }), type: 'game-state'
        });
        agent.sendMessage({ content: JSON.stringify({ action: 'jump' }), type: 'player-action' });
        // What is ephemeral is not kept for a connection that is not there yet.
        agent.onConnect = () => agent.sendMessage({
          content: 'Typing...', type: 'typing-indicator', ephemeral: true
        });
        """
    )
    typing = await second.hears("Typing...")
    assert (typing.type, typing.delivery, typing.offset) == ("typing-indicator", "lossy", None)
    for member in (red, second):
        await member.hears('{"action":"jump"}')
    to_all = ["Game started!", '{"position":{"x":10,"y":20},"health":100}', '{"action":"jump"}']
    for member, own in ((red, ["Team message"]), (second, ["Hello, World!", "Private message"])):
        durable = [seen.content for seen in member.heard if seen.delivery == "durable"]
        assert sorted(durable) == sorted([*to_all, *own])
        assert [seen.content for seen in await member.history()] == durable
    assert {seen.type for seen in second.heard} == {
        "chat-text",
        "game-event",
        "game-state",
        "player-action",
        "typing-indicator",
    }


async def test_reading_and_position_updates(run: RunSnippet, join: Stage, channel: str) -> None:
    friend = await join(FRIEND, channel, "friend")
    for number in range(3):
        await friend.send(f"message {number}")
    page = await run(
        """
        const agent = new AgentConnection();
        agent.connect({
          channelName: CHANNEL, agentName: 'player-1', api: API, apiKey: KEY,
          autoReceive: false, pollSource: 'CACHE'
        });
        const range = { after: 0, limit: 2 };
        agent.receive({ ...range, pollSource: 'KAFKA' }).then(({ messages }) => {
          console.log(messages.map(({ content }) => content).join());
        });
        function updatePosition(x, y, z) {
          const update = {
            type: 'position', playerId: agent.agentName, position: { x, y, z }, timestamp: 17
          };
          agent.sendTextMessage(JSON.stringify(update));
        }
        """
    )
    async with page.expect_console_message(_says("message 0,message 1")):
        await page.evaluate(
            "agent.receive(range).then(({ messages }) => console.log(messages.map((m) => m.content).join()))"
        )
    await page.evaluate("updatePosition(1, 2, 3)")
    await friend.hears(
        '{"type":"position","playerId":"player-1","position":{"x":1,"y":2,"z":3},"timestamp":17}'
    )


async def test_the_public_scope_joins_projects(run: RunSnippet, join: Stage, channel: str) -> None:
    created = join.server.keys("create", "--project", "another")
    stranger = await join(
        FRIEND, channel, "tester-2", password="demo", api_key=created.splitlines()[0], api_key_scope="public"
    )
    at_home = await join(FRIEND, channel, "tester-3", password="demo")
    await run(
        """
        const agent = new AgentConnection();
        agent.connect({
          channelName: CHANNEL, channelPassword: 'demo', agentName: 'tester-1', api: API, apiKey: KEY,
          apiKeyScope: 'public'
        });
        agent.sendTextMessage('Hello over there');
        """
    )
    await stranger.hears("Hello over there")
    assert await at_home.history() == []

"""The examples, run as they stand."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peerbus.client import AgentConnection, Message
from peerbus.client.link import parse_link
from peerbus.client.webrtc import WebRTCHelper
from tests.support.server_process import ServerProcess

EXAMPLES = Path(__file__).parents[2] / "client" / "examples"


@pytest.fixture
def link(tmp_path: Path) -> Iterator[str]:
    with ServerProcess(tmp_path / "data") as server:
        yield f"{server.next_address()}/chat#channel=lobby&password=pw&project=demo"
        assert server.stop() == 0


@contextlib.contextmanager
def example(name: str, link: str, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """An example that runs; it has said its first line."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / name), link, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert "lobby" in process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


async def joined(link_text: str, name: str) -> tuple[AgentConnection, list[Message]]:
    link = parse_link(link_text)
    agent, heard = AgentConnection(link.origin), list[Message]()
    agent.on_message = heard.append
    await agent.connect(link.channel, name, link.password)
    return agent, heard


async def until(agent: AgentConnection, heard: list[Message], count: int) -> list[str]:
    """What was heard, as "sender: text", once there are so many."""
    with contextlib.closing(agent.messages()) as stream:
        while len(heard) < count:
            await anext(stream)
    return [f"{message.sender}: {message.text}" for message in heard]


async def test_the_echo_bot_answers_all_to_all_and_one_to_one(link: str) -> None:
    with example("echo_bot.py", link) as bot:
        ann, to_ann = await joined(link, "ann")
        bob, to_bob = await joined(link, "bob")
        async with ann, bob:
            await ann.send_message("hello")
            await ann.send_message("psst", to="echo")
            assert await until(ann, to_ann, 2) == ["echo: echo: hello", "echo: echo: psst"]
            assert [message.is_direct for message in to_ann] == [False, True]
            assert await until(bob, to_bob, 2) == ["ann: hello", "echo: echo: hello"]
            # It does not answer bots, nor what has no text.
            await bob.set_attributes({"is_bot": True})
            await bob.send_message("I am a bot")
            await bob.send_message({"no": "text"})
            await ann.send_message("last")
            assert (await until(bob, to_bob, 4))[2:] == ["ann: last", "echo: echo: last"]
        bot.send_signal(signal.SIGINT)
        assert bot.communicate(timeout=60) == ("", "")
        assert bot.returncode == 0


async def test_the_echo_peer_bot_answers_in_the_mode_that_holds(link: str) -> None:
    with example("echo_peer_bot.py", link, "mesh") as bot:
        ann, _ = await joined(link, "ann")
        async with ann, WebRTCHelper(ann, mode="relay") as peers:
            heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
            peers.on_data_received = lambda data, peer: heard.put_nowait((peer.name, data))
            assert peers.mode == "mesh"
            for mode in ("mesh", "relay"):
                for data in ({"x": 1}, "text", b"\0\1"):
                    await peers.send_data(data)
                    assert await heard.get() == ("peer-echo", data)
                await peers.switch_mode("relay" if mode == "mesh" else "mesh")
        bot.send_signal(signal.SIGINT)
        said, failures = bot.communicate(timeout=60)
        assert said.splitlines() == ["mode relay: proposed", "mode mesh: proposed"]
        assert (failures, bot.returncode) == ("", 0)


def test_an_example_without_a_link_says_what_it_needs() -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "echo_bot.py")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr == "usage: echo_bot.py LINK\n"

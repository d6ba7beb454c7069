"""The operator's check of data messages, with a page and a program on both sides of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from peerbus.client import AgentConnection, PeerbusError
from peerbus.client.webrtc import WebRTCHelper
from tests.e2e.call_stage import Callers, CallServer
from tests.e2e.conftest import Pages
from tests.support.server_process import ServerProcess

EXAMPLES = Path(__file__).parent.parent.parent / "sfu" / "examples"
PATIENCE_S = 30
JOIN = """async ([channelName, channelPassword]) => {
  const agent = new AgentConnection();
  const webrtc = new WebRTCHelper(agent, { mode: "datachannel" });
  const player = { webrtc, heard: [], refused: [] };
  webrtc.onDataReceived = (data) => player.heard.push(data instanceof Uint8Array ? data.length : data);
  webrtc.onError = ({ code, message }) => player.refused.push([code, message]);
  window.player = player;
  await agent.connect({ channelName, channelPassword, agentName: "page", resumeKey: false });
}"""


@pytest.fixture(scope="module")
def checked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CallServer]:
    """A server that checks the moves of a game."""
    options = ("--sfu-workers", "1", "--sfu-port", "0", "--advertise", "127.0.0.1")
    check = ("--data-hook", "speed_check:check")
    folder = tmp_path_factory.mktemp("checked")
    with ServerProcess(folder, *options, *check, env={"PYTHONPATH": str(EXAMPLES)}) as process:
        yield CallServer(process)
        assert process.stop() == 0


@pytest_asyncio.fixture(loop_scope="session")
async def players(checked_server: CallServer, new_page: Pages) -> AsyncIterator[Callers]:
    """Brings people to it."""
    callers = Callers(checked_server, new_page)
    yield callers
    await callers.close()


class Program:
    """A player that is a program."""

    def __init__(self, api: str) -> None:
        self.agent = AgentConnection(api=api)
        self.webrtc = WebRTCHelper(self.agent, mode="datachannel")
        self.heard: list[Any] = []
        self.refused: list[list[str]] = []
        self.webrtc.on_data_received = lambda data, peer: self.heard.append(
            len(data) if isinstance(data, bytes) else data
        )
        self.webrtc.on_error = self._failed

    def _failed(self, error: Exception) -> None:
        assert isinstance(error, PeerbusError)
        self.refused.append([error.code.value, error.message])


async def until(what: str, ask: Any, wanted: Any) -> None:
    """Waits until a question has this answer."""
    answer: Any = None
    for _ in range(PATIENCE_S * 20):
        answer = await ask()
        if answer == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{what}: {answer!r}, not {wanted!r}")


MOVES: list[Any] = [
    {"x": 1, "y": 1},
    {"x": 900, "y": 900},  # From one corner to the other, at once.
    bytes(100_000),  # Several pieces, behind one that was refused.
    {"x": -5, "y": 1, "with": "x" * 40_000},  # Three pieces, which are changed.
    {"x": "here", "y": 1},
    "chat",
]
TOO_FAST = ["message_refused", "nobody moves faster than 500 a second"]
NO_NUMBER = ["message_refused", "x and y are numbers"]
ARRIVING: list[Any] = [MOVES[0], 100_000, {"x": 0, "y": 1, "with": "x" * 40_000}, "chat"]


@pytest.mark.parametrize("password", ["", "correct horse battery"], ids=["open", "sealed"])
async def test_a_check_changes_and_refuses_and_the_sender_is_told(
    players: Callers, chromium: Browser, channel: str, password: str
) -> None:
    page = (await players(chromium)).page
    path = await players.path()
    await page.goto(f"{path.url}/")
    for script in ("web-agent.js", "web-agent.webrtc.js"):
        await page.add_script_tag(url=f"/sdk/{script}")
    program = Program(path.url)
    async with program.agent:
        await program.agent.connect(channel, "program", password or None)
        async with program.webrtc:
            await page.evaluate(JOIN, [channel, password or None])
            await until("the program's peers", _reached(program), ["page"])
            await until(
                "the page's peers", lambda: page.evaluate("player.webrtc.isConnected('program')"), True
            )
            for move in MOVES:
                await program.webrtc.send_data(move)
                # What is refused one moment after the other is told once.
                await asyncio.sleep(0.15)
            await page.evaluate(
                """async (moves) => {
                  for (const move of moves) {
                    await player.webrtc.sendData(typeof move === "number" ? new Uint8Array(move) : move);
                    await new Promise((go) => setTimeout(go, 150));
                  }
                }""",
                [len(move) if isinstance(move, bytes) else move for move in MOVES],
            )
            arriving, refused = (ARRIVING, [TOO_FAST, NO_NUMBER]) if not password else (_gist(MOVES), [])
            await until("what the page hears", lambda: page.evaluate("player.heard"), arriving)
            assert program.refused == refused
            await until("what the program hears", _heard(program), arriving)
            assert await page.evaluate("player.refused") == refused
            # All of it is acknowledged, what was refused, too.
            await until("what is kept", _kept(program), 0)


def _gist(moves: list[Any]) -> list[Any]:
    return [len(move) if isinstance(move, bytes) else move for move in moves]


def _reached(program: Program) -> Any:
    async def ask() -> list[str]:
        return [peer.name for peer in program.webrtc.peers if program.webrtc.is_connected_to(peer)]

    return ask


def _heard(program: Program) -> Any:
    async def ask() -> list[Any]:
        return program.heard

    return ask


def _kept(program: Program) -> Any:
    async def ask() -> int:
        return (await program.webrtc.stats()).data.waiting_bytes

    return ask


async def test_a_check_that_cannot_be_loaded_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, "--data-hook", "no_such_module:check") as process:
        assert await asyncio.to_thread(process.wait) == 2
        (line,) = [line for line in process.errors if line]
        assert "no_such_module cannot be loaded: ModuleNotFoundError" in line

"""Calls of Python programs through a real server and its worker."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from peerbus.client import AgentConnection
from peerbus.client.link import parse_link
from peerbus.client.webrtc import Peer, RemoteTrack, WebRTCHelper
from peerbus.client.webrtc.generated import level_dbfs, picture, tone
from tests.support.media_files import write_film
from tests.support.processes import Process, children_running
from tests.support.server_process import ServerProcess

ROOT = Path(__file__).parents[2]
WAIT_S = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with one worker; its port stays the same when it is restarted."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--port", str(port), "--sfu-workers", "1", "--sfu-port", "0")
    with ServerProcess(tmp_path / "data", *options) as the_server:
        yield the_server
        assert the_server.stop() == 0


@pytest.fixture
def link(server: ServerProcess) -> str:
    """The link to a call on it."""
    return f"{server.next_address()}/call#channel=lobby&password=pw&project=demo"


class Caller:
    """Somebody in the call, and what was told."""

    def __init__(self, agent: AgentConnection) -> None:
        self.agent = agent
        self.call = WebRTCHelper(agent, mode="sfu")
        self.messages: list[Any] = []
        self.data: list[tuple[Any, Peer]] = []
        self.ended: list[RemoteTrack] = []
        agent.on_message = self.messages.append
        self.call.on_data_received = lambda data, peer: self.data.append((data, peer))
        self.call.on_track_ended = self.ended.append

    @property
    def connection(self) -> tuple[str, int]:
        """The connection, and how many offers were made on it."""
        return self.call._negotiation.connection, self.call._negotiation.number

    def track(self, name: str, kind: str) -> RemoteTrack | None:
        found = (track for track in self.call.tracks if (track.name, track.kind) == (name, kind))
        return next(found, None)


@contextlib.asynccontextmanager
async def calling(link_text: str, *names: str) -> AsyncIterator[list[Caller]]:
    """Some callers, who leave at the end."""
    link = parse_link(link_text)
    async with contextlib.AsyncExitStack() as stack:
        callers: list[Caller] = []
        for name in names:
            agent = await stack.enter_async_context(AgentConnection(link.origin))
            await agent.connect(link.channel, name, link.password)
            caller = Caller(agent)
            await stack.enter_async_context(caller.call)
            callers.append(caller)
        yield callers


async def until(is_so: Callable[[], Any]) -> None:
    """Waits for something that is about to happen."""
    for _ in range(int(WAIT_S / 0.02)):
        if is_so():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


async def seen(caller: Caller, name: str) -> tuple[int, int]:
    """The size of what somebody shows."""
    await until(lambda: caller.track(name, "video"))
    track = caller.track(name, "video")
    assert track is not None
    async with asyncio.timeout(WAIT_S):
        async for frame in track.pictures():
            return frame.width, frame.height
    raise AssertionError("the track ended")


async def heard(caller: Caller, name: str) -> float:
    """How loud somebody is, at the loudest of some blocks."""
    await until(lambda: caller.track(name, "audio"))
    track = caller.track(name, "audio")
    assert track is not None
    levels: list[float] = []
    async with asyncio.timeout(WAIT_S):
        async for block in track.pcm():
            levels.append(level_dbfs(block))
            if len(levels) == 15:
                return max(levels)
    raise AssertionError("the track ended")


async def test_two_programs_meet_in_a_call(link: str) -> None:
    async with calling(link, "ann", "bob") as (ann, bob):
        await ann.call.publish(picture(320, 240))
        await ann.call.publish(tone(level=0.5), sample_rate=48_000)
        await bob.call.publish(picture(160, 120))
        assert await seen(bob, "ann") == (320, 240)
        assert await seen(ann, "bob") == (160, 120)
        # A password seals the channel, and so its calls.
        assert ann.call.is_encrypted
        assert [track.encryption for track in ann.call.tracks] == ["sealed"]
        # Half of full scale is -9 dB.
        assert -10 < await heard(bob, "ann") < -8

        await until(lambda: [peer.name for peer in ann.call.peers] == ["bob"])
        kept = [ann.connection, bob.connection]
        async with calling(link, "cy") as (cy,):
            assert await seen(cy, "ann") == (320, 240)
            assert await heard(cy, "ann") > -12
            await until(lambda: len(ann.call.peers) == 2)
            await ann.call.send_data({"to": "all"})
            await ann.call.send_data(b"for cy", to="cy", lossy=True)
            await ann.call.send_data("for bob", to="bob")
            await until(lambda: len(bob.data) == len(cy.data) == 2)
            assert [data for data, _ in bob.data] == [{"to": "all"}, "for bob"]
            assert {str(peer) for _, peer in bob.data + cy.data} == {"ann"}
            await cy.call.publish(tone(), sample_rate=48_000)
            assert await heard(bob, "cy") > -25
        await until(lambda: bob.ended)
        await until(lambda: [peer.name for peer in ann.call.peers] == ["bob"])
        # Who comes and goes costs the others no offer, and nobody sees signals among the messages.
        assert [ann.connection, bob.connection] == kept
        assert ann.messages == bob.messages == []
        stats = await bob.call.stats()
        assert {entry.name for entry in stats.received} == {"ann"}
        assert all(entry.packets > 10 for entry in stats.received)


def process_of(server: ServerProcess, module: str) -> Process:
    """The process below the server that runs this."""
    (found,) = children_running(server.pid, module)
    return found


async def test_the_call_comes_back_when_the_worker_is_killed(server: ServerProcess, link: str) -> None:
    async with calling(link, "ann", "bob") as (ann, bob):
        await ann.call.publish(picture(160, 120))
        assert await seen(bob, "ann") == (160, 120)
        before, _ = bob.connection
        process_of(server, "peerbus.sfu").kill()
        await until(lambda: not ann.call.is_connected and not bob.call.is_connected)
        await until(lambda: ann.call.is_connected and bob.call.is_connected)
        assert await seen(bob, "ann") == (160, 120)
        assert bob.connection[0] != before


async def test_the_picture_goes_on_while_signaling_is_killed(server: ServerProcess, link: str) -> None:
    async with calling(link, "ann", "bob") as (ann, bob):
        await ann.call.publish(picture(160, 120))
        assert await seen(bob, "ann") == (160, 120)
        track = bob.track("ann", "video")
        assert track is not None
        before, _ = bob.connection
        process_of(server, "peerbus.signaling").kill()
        await until(lambda: not bob.agent.is_connected)
        assert await seen(bob, "ann") == (160, 120)
        await until(lambda: ann.agent.is_connected and bob.agent.is_connected)
        assert await seen(bob, "ann") == (160, 120)
        # Newcomers are told to those who were there before, and the other way round.
        async with calling(link, "cy") as (cy,):
            await cy.call.publish(tone(), sample_rate=48_000)
            assert await seen(cy, "ann") == (160, 120)
            assert await heard(bob, "cy") > -25
        assert bob.connection[0] == before
        assert not track.is_ended
        assert ann.call.is_connected


# --- programs -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def program(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A program that runs; nothing of it is left after."""
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def line_with(process: subprocess.Popen[str], pattern: str) -> str:
    """The first line of its output that has this."""
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        while line := await asyncio.to_thread(process.stdout.readline):
            if re.search(pattern, line):
                return line
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


async def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Ends it as Ctrl-C does; its exit code and what it complained of."""
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.to_thread(process.communicate, timeout=WAIT_S)
    return process.returncode, errors


async def test_a_bot_plays_a_film_and_tells_what_it_gets(link: str, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", size=(96, 64))
    with program("-m", "peerbus.client.cli", "bot", "--link", link, "--play", str(film)) as bot:
        async with calling(link, "ann") as (ann,):
            await ann.call.publish(picture(160, 120))
            await ann.call.publish(tone(level=0.5), sample_rate=48_000)
            assert await seen(ann, "bot") == (96, 64)
            assert await heard(ann, "bot") > -25
            line = await line_with(bot, r"ann: camera 160x120 at \d+ a second")
            assert re.search(r"ann: microphone -\d+ dB", line)
            assert await ended(bot) == (0, "")


async def test_the_call_bot_shows_a_picture_and_measures(link: str) -> None:
    with program(str(ROOT / "client" / "examples" / "call_bot.py"), link) as bot:
        async with calling(link, "ann") as (ann,):
            await ann.call.publish(tone(level=0.5), sample_rate=48_000)
            assert await seen(ann, "call-bot") == (640, 480)
            assert await heard(ann, "call-bot") > -25
            await line_with(bot, r"ann: microphone -\d+ dB")
            assert await ended(bot) == (0, "")


async def test_the_recorder_writes_what_it_hears_and_sees(link: str, tmp_path: Path) -> None:
    folder = tmp_path / "recordings"
    with program(str(ROOT / "client" / "examples" / "recorder_bot.py"), link, str(folder)) as bot:
        async with calling(link, "ann") as (ann,):
            await ann.call.publish(picture(160, 120))
            await ann.call.publish(tone(level=0.5), sample_rate=48_000)
            for _ in range(2):
                await line_with(bot, "goes into")
            await asyncio.sleep(2)
        for _ in range(2):
            await line_with(bot, "is finished")
        assert await ended(bot) == (0, "")
    with wave.open(str(folder / "ann-microphone-1.wav")) as sound:
        samples = sound.readframes(sound.getnframes())
        assert sound.getnframes() / sound.getframerate() > 1
        assert level_dbfs(samples[len(samples) // 2 :][:9_600]) > -10
    with av.open(str(folder / "ann-camera-1.mkv")) as container:
        frames = list(container.decode(video=0))
        assert len(frames) > 10
        assert (frames[0].width, frames[0].height) == (160, 120)


async def test_the_program_of_the_readme_plays_a_film(link: str, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", size=(96, 64))
    readme = (ROOT / "README.md").read_text("utf-8")
    (text,) = (block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "publish" in block)
    known = parse_link(link)
    text = text.replace("http://localhost:8080", known.origin).replace('"YOUR-KEY"', '"demo"')
    text = text.replace('"lobby", "film"', '"lobby", "film", "pw"').replace("film.mp4", str(film))
    with program("-c", text):
        async with calling(link, "ann") as (ann,):
            assert await seen(ann, "film") == (96, 64)

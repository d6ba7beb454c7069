"""The modes between Python programs, on a real server with its worker: data, switching, and signaling that dies."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import pytest

from peerbus.client import AgentConnection, ErrorCode, PeerbusError
from peerbus.client.webrtc import Peer, RemoteTrack, WebRTCHelper, group_sfu, peer_group
from peerbus.client.webrtc.generated import level_dbfs, picture, tone
from peerbus.client.webrtc.peer_link import PeerLink
from peerbus.protocol.groups import GROUP_AGENT, Mode
from tests.support.live_server import LiveServer
from tests.support.server_process import ServerProcess

WAIT_S = 60.0


class Server(NamedTuple):
    """One that runs, and its address, which stays the same when signaling is started again."""

    process: ServerProcess
    url: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one worker."""
    folder: Path = tmp_path_factory.mktemp("modes")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--port", str(port), "--sfu-workers", "1", "--sfu-port", "0")
    with ServerProcess(folder / "data", *options) as the_server:
        yield Server(the_server, the_server.next_address_with_worker())
        assert the_server.stop() == 0


class Member:
    """Somebody in the group, and what was told."""

    def __init__(self, agent: AgentConnection, mode: Mode, *, carry: bool = True) -> None:
        self.agent = agent
        self.helper = WebRTCHelper(agent, mode=mode, carry=carry)
        self.data: list[tuple[str, Any]] = []
        self.modes: list[tuple[str, str]] = []
        self.states: list[tuple[str, str]] = []
        self.errors: list[Exception] = []
        self.messages: list[Any] = []
        agent.on_message = self.messages.append
        self.helper.on_data_received = lambda data, peer: self.data.append((peer.name, data))
        self.helper.on_mode_change = lambda mode, reason: self.modes.append((mode, reason))
        self.helper.on_peer_state = lambda peer, state: self.states.append((peer.name, state))
        self.helper.on_error = self.errors.append

    def sent_by(self, name: str) -> list[Any]:
        return [data for sender, data in self.data if sender == name]


async def until(is_so: Callable[[], Any]) -> None:
    """Waits for something that is about to happen."""
    for _ in range(int(WAIT_S / 0.01)):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


@contextlib.asynccontextmanager
async def group(
    server: Server, mode: Mode, channel: str, *names: str, password: str | None = None, carry: bool = True
) -> AsyncIterator[list[Member]]:
    """Members who reach each other, and leave at the end."""
    async with contextlib.AsyncExitStack() as stack:
        members: list[Member] = []
        for name in names:
            agent = await stack.enter_async_context(AgentConnection(server.url))
            await agent.connect(channel, name, password)
            member = Member(agent, mode, carry=carry)
            await stack.enter_async_context(member.helper)
            members.append(member)
        await until(lambda: all(are_connected(member, names) for member in members))
        yield members


def are_connected(member: Member, names: tuple[str, ...]) -> bool:
    others = [name for name in names if name != member.agent.agent_name]
    return all(member.helper.is_connected_to(name) for name in others)


@pytest.mark.parametrize(
    ("mode", "password"),
    [
        ("mesh", None),
        ("mesh", "pw"),
        ("host", "pw"),
        ("relay", None),
        ("relay", "pw"),
        ("datachannel", None),
        ("sfu", "pw"),
    ],
)
async def test_data_arrive_as_what_they_were(server: Server, mode: Mode, password: str | None) -> None:
    channel = f"data-{mode}-{password}"
    async with group(server, mode, channel, "ann", "bob", "cyd", password=password) as (ann, bob, cyd):
        assert (ann.helper.mode, cyd.helper.mode) == (mode, mode)
        large = random.Random(1).randbytes(1_000_000)
        for payload in ({"x": [1, None]}, "text", b"\0\xff", large, ""):
            assert await ann.helper.send_data(payload)
        assert await bob.helper.send_data("only cyd", "cyd")
        assert await bob.helper.broadcast("both")
        assert await cyd.helper.send_data("by peer", ann.helper.peers[0])
        await until(lambda: len(bob.data) == 6 and len(cyd.data) == 7 and len(ann.data) == 1)
        assert bob.sent_by("ann") == [{"x": [1, None]}, "text", b"\0\xff", large, ""]
        assert cyd.sent_by("ann") == bob.sent_by("ann")
        assert cyd.sent_by("bob") == ["only cyd", "both"]
        assert bob.sent_by("cyd") == ["by peer"]
        with pytest.raises(PeerbusError) as caught:
            await ann.helper.send_data("?", "zoe")
        assert caught.value.code is ErrorCode.UNKNOWN_RECIPIENT
        for number in range(20):
            ann.helper.send_data({"lossy": number}, reliable=False)
        await until(lambda: {"lossy": 19} in bob.sent_by("ann") and {"lossy": 19} in cyd.sent_by("ann"))
        stats = await ann.helper.stats()
        assert (stats.mode, {peer.path for peer in stats.peers}) == (mode, {mode})
        round_trips_ms = [peer.round_trip_ms for peer in stats.peers if peer.round_trip_ms is not None]
        # To everybody, where there are links; ann is the host, where there is one.
        assert len(round_trips_ms) == (2 if mode in ("mesh", "host") else 0)
        assert all(0 < one < 500 for one in round_trips_ms)
        await cyd.helper.close()
        await until(lambda: [peer.name for peer in ann.helper.peers] == ["bob"])
        assert ("cyd", "left") in ann.states
        assert await ann.helper.send_data("still here")
        await until(lambda: bob.sent_by("ann")[-1] == "still here")
        assert (ann.errors, bob.errors, ann.messages, bob.messages) == ([], [], [], [])


class Talk:
    """Everybody says numbers to all, 60 times a second."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members
        self.said = 0
        self._is_over = False
        self._tasks = [asyncio.create_task(self._say(member)) for member in members]

    async def _say(self, member: Member) -> None:
        for number in range(1_000_000):
            if self._is_over:
                return
            member.helper.send_data({"n": number})
            self.said = max(self.said, number + 1)
            await asyncio.sleep(1 / 60)

    async def end(self) -> None:
        """All that was said has arrived, once and in order."""
        self._is_over = True
        await asyncio.gather(*self._tasks)
        counts = {}
        for member in self.members:
            stats = await member.helper.stats()
            counts[member.agent.agent_name] = stats.data.messages_sent
        for member in self.members:
            for name, count in counts.items():
                if name != member.agent.agent_name:
                    await until(lambda: len(member.sent_by(name)) >= count)  # noqa: B023 - awaited at once
        for member in self.members:
            for name in counts:
                if name != member.agent.agent_name:
                    numbers = [data["n"] for data in member.sent_by(name)]
                    assert numbers == list(range(len(numbers)))


async def test_the_mode_is_switched_while_all_talk(server: Server) -> None:
    async with group(server, "mesh", "switch", "ann", "bob", "cyd") as members:
        talk = Talk(members)
        for mode in ("host", "datachannel", "sfu", "relay", "mesh"):
            await asyncio.sleep(0.3)
            await members[1].helper.switch_mode(mode)
            await until(lambda: {member.helper.mode for member in members} == {mode})  # noqa: B023 - awaited at once
        await asyncio.sleep(0.3)
        await talk.end()
        modes = [mode for mode, _ in members[2].modes]
        assert modes == ["mesh", "host", "datachannel", "sfu", "relay", "mesh"]
        assert [member.errors for member in members] == [[], [], []]


@pytest.mark.parametrize("carry", [False, True])
async def test_whom_no_link_reaches_vetoes_or_is_carried(
    server: Server, monkeypatch: pytest.MonkeyPatch, carry: bool
) -> None:
    monkeypatch.setattr(peer_group, "READY_WITHIN_MS", 500)
    async with group(server, "relay", f"veto-{carry}", "ann", "bob", carry=carry) as members:
        ann, bob = members
        talk = Talk(members)
        # Nobody answers what is said to make a link.
        bob.agent.remove_all_listeners("peer_signal")
        send, bob.agent.send_message = bob.agent.send_message, deaf(bob.agent.send_message)  # type: ignore[method-assign]
        if carry:
            await ann.helper.switch_mode("mesh")
            await until(lambda: ann.states[-1] == ("bob", "carried") and bob.states[-1] == ("ann", "carried"))
        else:
            with pytest.raises(PeerbusError) as caught:
                await ann.helper.switch_mode("mesh")
            assert caught.value.code in (ErrorCode.NOT_SUPPORTED, ErrorCode.TIMEOUT)
        bob.agent.send_message = send  # type: ignore[method-assign]
        mode = "mesh" if carry else "relay"
        assert (ann.helper.mode, bob.helper.mode) == (mode, mode)
        await talk.end()
        monkeypatch.undo()
        await ann.helper.switch_mode("datachannel")


async def test_a_mode_through_a_worker_needs_one(
    live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_sfu, "_NO_WORKER_S", 0.5)
    modes: tuple[Mode, ...] = ("datachannel", "sfu")
    for mode in modes:
        async with AgentConnection(live_server.url, live_server.developer_key) as agent:
            await agent.connect(f"none-{mode}", "ann")
            helper = WebRTCHelper(agent, mode=mode)
            with pytest.raises(PeerbusError) as caught:
                await helper.connect()
            assert caught.value.code is ErrorCode.NO_WORKER
            assert helper.state.name == "closed"


def deaf(send: Callable[..., Any]) -> Callable[..., Any]:
    """Sends everything but what is said to make a link."""

    def send_message(content: Any, **options: Any) -> Any:
        if options.get("type") == "signal" and options.get("to") != [GROUP_AGENT]:
            options = {**options, "to": [GROUP_AGENT]}
            content = {"content": {"kind": "report", "peer": "x", "is_reachable": True}}
        return send(content, **options)

    return send_message


async def test_pictures_and_sound_go_on_from_mesh_to_sfu_and_back(server: Server) -> None:
    async with group(server, "mesh", "media", "ann", "bob", password="pw") as (ann, bob):
        shown: list[av.VideoFrame] = []
        heard: list[bytes] = []
        ended: list[RemoteTrack] = []
        ann.helper.on_track_ended = ended.append
        # The one that offers publishes, and the one that answers.
        film = await bob.helper.publish(picture(160, 120, fps=10.0), fps=10.0)
        await ann.helper.publish(tone(), sample_rate=48_000)
        await until(lambda: ann.helper.tracks and bob.helper.tracks)
        video, audio = ann.helper.tracks[0], bob.helper.tracks[0]
        assert (video.kind, video.name, video.source, video.encryption) == ("video", "bob", "camera", "open")
        assert (audio.kind, audio.name, audio.participant) == ("audio", "ann", ann.agent.identity)
        watching = asyncio.create_task(gather(video.pictures(), shown))
        listening = asyncio.create_task(gather(audio.pcm(), heard))
        for mode, encryption in (("mesh", "open"), ("sfu", "sealed"), ("mesh", "open")):
            await ann.helper.switch_mode(mode)  # type: ignore[arg-type]  # of the tuple
            await until(lambda: video.encryption == encryption)  # noqa: B023 - awaited at once
            before = len(shown), len(heard)
            await until(lambda: len(shown) > before[0] + 5 and len(heard) > before[1] + 20)  # noqa: B023 - as above
        assert (shown[-1].width, shown[-1].height) == (160, 120)
        assert max(level_dbfs(block) for block in heard[-10:]) > -30
        assert (ann.helper.tracks, ended) == ([video], [])
        await bob.helper.mute(film)
        await until(lambda: video.is_muted)
        await bob.helper.unpublish(film)
        await watching
        await until(lambda: ended == [video])
        listening.cancel()


@pytest.mark.parametrize("mode", ["mesh", "relay"])
async def test_signaling_dies_while_all_talk(server: Server, mode: Mode) -> None:
    async with group(server, mode, f"killed-{mode}", "ann", "bob") as members:
        talk = Talk(members)
        await asyncio.sleep(0.5)
        said = talk.said
        server.process.signaling().kill()
        await until(lambda: not members[0].agent.is_connected)
        await until(lambda: all(member.agent.is_connected for member in members))
        await until(lambda: talk.said > said + 60)
        await talk.end()
        assert {peer.name for peer in members[0].helper.peers} == {"bob"}
        assert isinstance(members[0].helper.peers[0], Peer)


async def test_who_is_reached_by_no_link_is_carried_until_one_stands(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, may_answer = PeerLink.answer, asyncio.Event()

    async def not_yet(link: PeerLink, offer: str) -> str:
        if not may_answer.is_set():
            raise PeerbusError(ErrorCode.CONNECT_FAILED, "No way there.")
        return await answer(link, offer)

    monkeypatch.setattr(PeerLink, "answer", not_yet)
    async with group(server, "mesh", "carried", "ann", "bob") as members:
        ann, bob = members
        await until(lambda: ("bob", "carried") in ann.states and ("ann", "carried") in bob.states)
        talk = Talk(members)
        await until(lambda: len(bob.data) > 10 and len(ann.data) > 10)
        assert {peer.path for peer in (await ann.helper.stats()).peers} == {"relay"}
        may_answer.set()
        await until(lambda: ann.states[-1] == ("bob", "connected") and bob.states[-1] == ("ann", "connected"))
        before = len(ann.data)
        await until(lambda: len(ann.data) > before + 10)
        assert {peer.path for peer in (await ann.helper.stats()).peers} == {"mesh"}
        await talk.end()


async def test_a_hostile_peer_hurts_nobody(server: Server) -> None:
    async with group(server, "relay", "hostile", "ann", "bob", "eve") as (ann, bob, eve):
        chance = random.Random(2)
        for size in (0, 1, 5, 200, 5_000):
            data = chance.randbytes(size)
            eve.agent.send_message(data, type="peer-data", to=["ann", "bob"], delivery="live")
            eve.agent.send_message(
                {"content": {"kind": "peer_offer", "link": "x", "number": -1, "sdp": "v=0"}},
                type="signal",
                to=["ann"],
                delivery="live",
            )
        await ann.helper.send_data("fine?")
        await bob.helper.send_data("fine")
        await until(lambda: bob.sent_by("ann") == ["fine?"] and ann.sent_by("bob") == ["fine"])
        assert {error.code for error in ann.errors if isinstance(error, PeerbusError)} == {
            ErrorCode.BAD_FRAME
        }
        assert ann.messages == []


async def gather(items: AsyncIterator[Any], into: list[Any]) -> None:
    """All that comes, until it ends."""
    async for item in items:
        into.append(item)  # noqa: PERF401 - looked at while they come

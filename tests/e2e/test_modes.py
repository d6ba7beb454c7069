"""The modes between peers, in real browsers and with a Python program among them: one test body for all."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from peerbus.client import AgentConnection, PeerbusError
from peerbus.client.webrtc import Peer, WebRTCHelper
from peerbus.protocol.groups import Mode
from tests.e2e.call_stage import Callers, call_server, somebody
from tests.e2e.network_path import NetworkPath

__all__ = ["call_server", "somebody"]

PATIENCE_S: Final = 30
MODES_JS: Final = (Path(__file__).parent / "modes.js").read_text("utf-8")
LARGE_BYTES: Final = 1_048_576
RATE_PER_S: Final = 60
PAUSE_S: Final = 0.5
"""How long each mode is used before the next one takes its place."""
GAP_MS: Final = 1_000
"""How long a picture may stand still while its way changes. Undisturbed it comes every 100 ms; on two busy cores of a
test machine a bound is no measure, and `make bench` prints the figures."""


def gist(data: Any) -> Any:
    """What a payload is, and enough of it to compare; as in `modes.js`."""
    if not isinstance(data, bytes):
        return data
    return ["bytes", len(data), sum(byte * (at % 251 + 1) for at, byte in enumerate(data)) % 1_000_003]


LARGE: Final = bytes((at * 7 + (at >> 8)) % 256 for at in range(LARGE_BYTES))


class Player(ABC):
    """One member of a group, in a page or in this process."""

    def __init__(self, name: str) -> None:
        self.name: Final = name

    @abstractmethod
    async def reached(self) -> list[str]:
        """The names of those who can be reached."""

    @abstractmethod
    async def send(self, payload: Any, to: str | None = None) -> None:
        """Sends reliably, to everybody else or to one."""

    @abstractmethod
    async def send_large(self) -> None:
        """Sends `LARGE` to everybody else."""

    @abstractmethod
    async def data(self) -> list[Any]:
        """What came, but for numbers: name and gist."""

    @abstractmethod
    async def start(self) -> None:
        """Sends numbers to everybody else, `RATE_PER_S` a second."""

    @abstractmethod
    async def stop(self) -> int:
        """Ends that; the last number."""

    @abstractmethod
    async def numbers(self, name: str) -> list[int]:
        """The numbers that came from somebody."""

    @abstractmethod
    async def switch(self, mode: Mode) -> str:
        """Asks for a mode; the code of the error, or nothing."""

    @abstractmethod
    async def mode(self) -> str | None:
        """The mode that holds."""

    @abstractmethod
    async def leave(self) -> None:
        """Leaves the group."""


class PagePlayer(Player):
    """In a browser."""

    def __init__(self, name: str, page: Page, path: NetworkPath) -> None:
        super().__init__(name)
        self.page: Final = page
        self.path: Final = path

    async def reached(self) -> list[str]:
        return list(await self.page.evaluate("modes.reached()"))

    async def send(self, payload: Any, to: str | None = None) -> None:
        await self.page.evaluate("([data, to]) => void member.webrtc.sendData(data, to)", [payload, to])

    async def send_large(self) -> None:
        await self.page.evaluate(f"void member.webrtc.broadcast(modes.bytes({LARGE_BYTES}))")

    async def data(self) -> list[Any]:
        return list(await self.page.evaluate("member.data"))

    async def start(self) -> None:
        await self.page.evaluate(f"modes.start({RATE_PER_S})")

    async def stop(self) -> int:
        return int(await self.page.evaluate("member.stop()"))

    async def numbers(self, name: str) -> list[int]:
        return list(await self.page.evaluate("(name) => member.numbers[name] ?? []", name))

    async def switch(self, mode: Mode) -> str:
        return str(await self.page.evaluate("(mode) => modes.switch(mode)", mode))

    async def mode(self) -> str | None:
        return str(await self.page.evaluate("member.webrtc.mode"))

    async def leave(self) -> None:
        await self.page.evaluate("member.webrtc.close()")


class ProgramPlayer(Player):
    """`WebRTCHelper` of the Python package."""

    def __init__(self, name: str, api: str, mode: Mode) -> None:
        super().__init__(name)
        self.agent: Final = AgentConnection(api=api)
        self.webrtc: Final = WebRTCHelper(self.agent, mode=mode)
        self.webrtc.on_data_received = self._heard
        self._data: Final[list[Any]] = []
        self._numbers: Final[dict[str, list[int]]] = {}
        self._sending: asyncio.Task[None] | None = None
        self._sent = 0

    async def join(self, channel: str) -> None:
        """Enters the group."""
        await self.agent.connect(channel, self.name)
        await self.webrtc.connect()

    async def close(self) -> None:
        """Leaves nothing behind."""
        await self.webrtc.close()
        await self.agent.disconnect()

    async def reached(self) -> list[str]:
        webrtc = self.webrtc
        return sorted(peer.name for peer in webrtc.peers if webrtc.is_connected_to(peer))

    async def send(self, payload: Any, to: str | None = None) -> None:
        await self.webrtc.send_data(payload, to)

    async def send_large(self) -> None:
        await self.webrtc.broadcast(LARGE)

    async def data(self) -> list[Any]:
        return list(self._data)

    async def start(self) -> None:
        self._sending = asyncio.create_task(self._send_numbers())

    async def stop(self) -> int:
        assert self._sending is not None
        self._sending.cancel()
        await asyncio.wait([self._sending])
        return self._sent

    async def numbers(self, name: str) -> list[int]:
        return list(self._numbers.get(name, []))

    async def switch(self, mode: Mode) -> str:
        try:
            await self.webrtc.switch_mode(mode)
        except PeerbusError as error:
            return error.code
        return ""

    async def mode(self) -> str | None:
        return self.webrtc.mode

    async def leave(self) -> None:
        await self.webrtc.close()

    async def _send_numbers(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            while self._sent < (loop.time() - began) * RATE_PER_S:
                self._sent += 1
                self.webrtc.broadcast({"n": self._sent})
            await asyncio.sleep(1 / RATE_PER_S)

    def _heard(self, data: Any, peer: Peer) -> None:
        if isinstance(data, dict) and "n" in data:
            self._numbers.setdefault(peer.name, []).append(data["n"])
        else:
            self._data.append([peer.name, gist(data)])


class Stage:
    """Brings players into a channel."""

    def __init__(self, somebody: Callers, browsers: dict[str, Browser]) -> None:
        self._somebody: Final = somebody
        self._browsers: Final = browsers
        self._programs: Final[list[ProgramPlayer]] = []

    async def __call__(self, kind: str, channel: str, mode: Mode, **options: Any) -> Player:
        """One that bears the name of its kind: `chromium`, `firefox` or `python`."""
        browser = self._browsers.get(kind)
        if browser is None:
            path = await self._somebody.path()
            program = ProgramPlayer(kind, path.url, mode)
            self._programs.append(program)
            await program.join(channel)
            return program
        return await self.page(kind, browser, channel, mode, **options)

    async def page(self, name: str, browser: Browser, channel: str, mode: Mode, **options: Any) -> PagePlayer:
        """One in a page."""
        caller = await self._somebody(browser)
        await caller.opens("/")
        for script in ("web-agent.js", "web-agent.webrtc.js"):
            await caller.page.add_script_tag(url=f"/sdk/{script}")
        await caller.page.evaluate(MODES_JS)
        await caller.page.evaluate("(given) => modes.join(...given)", [channel, name, mode, options])
        return PagePlayer(name, caller.page, caller.path)

    async def close(self) -> None:
        """The programs are gone; pages are cleared by whoever opened them."""
        for program in self._programs:
            await program.close()


@pytest_asyncio.fixture(loop_scope="session")
async def join(chromium: Browser, firefox: Browser, somebody: Callers) -> AsyncIterator[Stage]:
    """`ann = await join("chromium", channel, "mesh")`."""
    stage = Stage(somebody, {"chromium": chromium, "firefox": firefox})
    yield stage
    await stage.close()


async def _until(what: str, look: Callable[[], Awaitable[Any]], expected: Any) -> None:
    seen: Any = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                seen = await look()
                if seen == expected:
                    return
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise AssertionError(f"{what}: {str(seen)[:500]}, not {str(expected)[:500]}") from None


async def _all_reach_all(*players: Player) -> None:
    for one in players:
        others = sorted(other.name for other in players if other is not one)
        await _until(f"who {one.name} reaches", one.reached, others)


LINE_UPS: Final[list[tuple[Mode, tuple[str, str, str]]]] = [
    ("relay", ("chromium", "firefox", "python")),
    ("mesh", ("chromium", "firefox", "python")),
    ("mesh", ("python", "firefox", "chromium")),
    ("host", ("chromium", "python", "firefox")),
    ("host", ("python", "firefox", "chromium")),
    ("datachannel", ("firefox", "python", "chromium")),
    ("sfu", ("python", "chromium", "firefox")),
]
"""The earlier one of two offers, where they make a link."""


@pytest.mark.parametrize(("mode", "kinds"), LINE_UPS, ids=str)
async def test_data_go_both_ways_between_all(
    join: Stage, channel: str, mode: Mode, kinds: tuple[str, str, str]
) -> None:
    players = [await join(kind, channel, mode) for kind in kinds]
    await _all_reach_all(*players)
    ann, ben, cyd = players
    assert [await one.mode() for one in players] == [mode] * 3

    await ann.send({"x": [1, None, "é"]})
    await ben.send("for you", cyd.name)
    await ben.send("and you", ann.name)
    await cyd.send_large()
    await cyd.send("after it")
    large = [cyd.name, gist(LARGE)]
    await _until(
        "what ben hears", ben.data, [[ann.name, {"x": [1, None, "é"]}], large, [cyd.name, "after it"]]
    )
    heard_by_ann = [[ben.name, "and you"], large, [cyd.name, "after it"]]
    await _until("what ann hears", lambda: _sorted(ann), sorted(heard_by_ann, key=str))
    heard_by_cyd = [[ann.name, {"x": [1, None, "é"]}], [ben.name, "for you"]]
    await _until("what cyd hears", lambda: _sorted(cyd), sorted(heard_by_cyd, key=str))

    await cyd.leave()
    await _all_reach_all(ann, ben)
    await ben.send("we two")
    await _until("what ann hears", lambda: _last(ann), [ben.name, "we two"])


async def _sorted(player: Player) -> list[Any]:
    """What came, whoever's was first."""
    return sorted(await player.data(), key=str)


async def _last(player: Player) -> Any:
    return (await player.data() or [None])[-1]


async def test_modes_are_switched_under_load_and_nothing_is_lost_doubled_or_reordered(
    join: Stage, channel: str, somebody: Callers
) -> None:
    somebody.pages.network_may_fail = True
    players = [await join(kind, channel, "mesh") for kind in ("chromium", "firefox", "python")]
    await _all_reach_all(*players)
    ann, ben, cyd = players
    for one in players:
        await one.start()
    switches: list[tuple[Player, Mode]] = [
        (ann, "relay"),
        (cyd, "datachannel"),
        (ben, "host"),
        (ben, "sfu"),
        (cyd, "mesh"),
        (ann, "datachannel"),
    ]
    for by, mode in switches:
        assert await by.switch(mode) == ""
        for one in players:
            await _until(f"the mode of {one.name}", one.mode, mode)
        await asyncio.sleep(PAUSE_S)
        if mode == "relay":
            assert isinstance(ann, PagePlayer)
            ann.path.cut()
            await asyncio.sleep(2 * PAUSE_S)
            ann.path.mend()
            await _until("ann is back", partial(ann.page.evaluate, "member.agent.isConnected"), True)
    assert isinstance(ben, PagePlayer)
    await ben.page.evaluate("modes.refuseNext()")
    assert (await ann.switch("mesh")).startswith("vetoed")
    assert [await one.mode() for one in players] == ["datachannel"] * 3
    await asyncio.sleep(PAUSE_S)
    sent = {one.name: await one.stop() for one in players}
    for one, other in permutations(players, 2):
        count = sent[other.name]
        await _until(f"what {one.name} hears of {other.name}", partial(_count, one, other.name), count)
        assert await one.numbers(other.name) == list(range(1, count + 1))
    for one in (ann, ben):
        assert isinstance(one, PagePlayer)
        assert await one.page.evaluate("member.errors") == []


async def _count(one: Player, name: str) -> int:
    return len(await one.numbers(name))


async def test_pictures_go_on_while_the_mode_is_switched(
    chromium: Browser, firefox: Browser, join: Stage, channel: str
) -> None:
    ann = await join.page("ann", chromium, channel, "mesh")
    ben = await join.page("ben", firefox, channel, "mesh")
    await _all_reach_all(ann, ben)
    pair = ((ann, "ben"), (ben, "ann"))
    for one, _ in pair:
        await one.page.evaluate("modes.film()")
    for one, other in pair:
        await _until(f"{one.name} sees {other}", partial(_sees, one, other), True)
    switches: list[tuple[PagePlayer, Mode]] = [(ann, "sfu"), (ben, "mesh")]
    for by, mode in switches:
        since = [await one.page.evaluate("performance.now()") for one, _ in pair]
        assert await by.switch(mode) == ""
        await asyncio.sleep(1)
        for (one, other), begun in zip(pair, since, strict=True):
            seen = await one.page.evaluate("(given) => modes.watched(...given)", [other, begun])
            assert seen["frames"] >= 5
            assert seen["gap"] < GAP_MS
        for one, _ in pair:
            assert await one.page.evaluate("member.webrtc.tracks.length") == 2
    # What came by the way that was built is gone with it, and the pictures are those of the links again.
    await ben.page.evaluate("modes.refuseNext()")
    assert (await ann.switch("sfu")).startswith("vetoed")
    for one, other in pair:
        begun = await one.page.evaluate("performance.now()")
        seen = partial(one.page.evaluate, "(given) => modes.watched(...given).frames > 3", [other, begun])
        await _until(f"{one.name} sees {other}", seen, True)


async def _sees(one: PagePlayer, other: str) -> bool:
    seen = await one.page.evaluate("(name) => modes.watched(name, 0)", other)
    return bool(seen["frames"] > 3)


async def test_a_sealed_channel_seals_what_peers_say(
    chromium: Browser, firefox: Browser, join: Stage, channel: str
) -> None:
    secret = {"channelPassword": "correct horse"}
    ann = await join.page("ann", chromium, channel, "mesh", **secret)
    ben = await join.page("ben", firefox, channel, "mesh", **secret)
    await _all_reach_all(ann, ben)
    await ann.send("by the link")
    await _until("what ben hears", ben.data, [["ann", "by the link"]])
    assert await ben.switch("relay") == ""
    await ben.send("by the server")
    await _until("what ann hears", ann.data, [["ben", "by the server"]])
    # A page that goes is no lost connection, which the others would wait for; Firefox sends nothing any more by then.
    await ann.page.goto("about:blank")
    await _until("whom ben knows", lambda: ben.page.evaluate("member.webrtc.peers"), [])

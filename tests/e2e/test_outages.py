"""
Somebody loses the network, in every mode at once: nothing passes for 10 s, or no UDP at all.

Who loses it is a program or a browser of its own, with a member in five channels, each in another mode; the others in
each channel are a program and a page. So one outage shows all modes between two programs, a program and a page, and two
pages. Packets are dropped without a word, TCP and UDP alike: neither side is told.

`tests/soak/outages.py` runs all line-ups, and keeps how long each took to go on.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Playwright

from peerbus.protocol.groups import Mode
from tests.e2e.call_stage import Callers, call_server, somebody
from tests.e2e.conftest import CHROMIUM_ARGUMENTS, FIREFOX_PREFERENCES
from tests.e2e.network_path import NetworkPath
from tests.e2e.player_process import PlayerProcess
from tests.e2e.players import MODES_JS, PagePlayer, Player, ProgramPlayer, all_reach_all, until
from tests.support.cut_off import CutOff

__all__ = ["call_server", "somebody"]

pytestmark = pytest.mark.alone

MODES: Final[tuple[Mode, ...]] = ("mesh", "host", "relay", "datachannel", "sfu")
FIGURES: Final = os.environ.get("PEERBUS_OUTAGES_TO")
"""The file that figures are written to, a line for each mode of a line-up; all line-ups are run then."""
SHORT: Final = (("program", "program", "firefox"),)
ALL: Final = (
    *SHORT,
    ("chromium", "chromium", "program"),
    ("chromium", "program", "program"),
    ("firefox", "chromium", "program"),
    ("program", "chromium", "firefox"),
    ("firefox", "firefox", "program"),
    ("chromium", "firefox", "program"),
    ("program", "firefox", "chromium"),
)
"""What ann, ben and cyd are, in the order in which they enter. Ben loses the network."""
OUTAGE_S: Final = 10
RATE_PER_S: Final = 10
BEFORE_S: Final = 0.5
"""How long all talk before and after."""


Bring: TypeAlias = Callable[[str, str, Mode], Awaitable[Player]]


@pytest.fixture
def network() -> Iterator[CutOff]:
    """That of whoever loses it."""
    with CutOff() as network:
        yield network


class Stage:
    """Brings players into channels, some of them on the network that is lost."""

    def __init__(self, somebody: Callers, network: CutOff, folder: Path) -> None:
        self.network: Final = network
        self._somebody: Final = somebody
        self._folder: Final = folder
        self._programs: Final[list[ProgramPlayer]] = []
        self._process = PlayerProcess()
        self._path: NetworkPath | None = None
        self._pages: Final[dict[str, tuple[Any, NetworkPath]]] = {}

    async def program(self, name: str, channel: str, mode: Mode, *, carry: bool = True) -> Player:
        """One in this process."""
        path = await self._somebody.path()
        player = ProgramPlayer(name, path.url, mode, carry=carry)
        self._programs.append(player)
        await player.join(channel)
        return player

    async def lost_program(self, name: str, channel: str, mode: Mode, *, carry: bool = True) -> Player:
        """One in a program that loses its network; all of these are in the same."""
        if self._path is None:
            self._path = await self._somebody.path()
            self._serve(self._path)
            await self._process.start(self.network.prefix)
        return await self._process.join(name, self._path.url, channel, mode, carry=carry)

    async def page(self, name: str, browser: Browser, channel: str, mode: Mode, **options: Any) -> PagePlayer:
        """One in a page of a browser, which holds one of this name for each channel."""
        if name not in self._pages:
            caller = await self._somebody(browser)
            self._serve(caller.path)
            await caller.opens("/")
            for script in ("web-agent.js", "web-agent.webrtc.js"):
                await caller.page.add_script_tag(url=f"/sdk/{script}")
            await caller.page.evaluate(MODES_JS)
            self._pages[name] = caller.page, caller.path
        page, path = self._pages[name]
        await page.evaluate("(given) => modes.join(...given)", [channel, name, mode, options])
        return PagePlayer(name, channel, page, path)

    def started_with(self, prefix: tuple[str, ...], browser: str) -> Path:
        """A program that starts a browser with these words before it."""
        script = self._folder / Path(browser).name
        script.write_text(f'#!/bin/sh\nexec {" ".join(prefix)} {browser} "$@"\n', "utf-8")
        script.chmod(0o755)
        return script

    async def close(self) -> None:
        """The programs are gone; pages are cleared by whoever opened them."""
        await self._process.close()
        for program in self._programs:
            await program.close()

    def _serve(self, path: NetworkPath) -> None:
        port = urlsplit(path.url).port
        assert port is not None
        self.network.serves(port)


@pytest_asyncio.fixture(loop_scope="session")
async def stage(somebody: Callers, network: CutOff, tmp_path: Path) -> AsyncIterator[Stage]:
    somebody.pages.network_may_fail = True
    stage = Stage(somebody, network, tmp_path)
    yield stage
    network.mend()
    await stage.close()


@pytest_asyncio.fixture(loop_scope="session")
async def lost_chromium(
    playwright_driver: Playwright, browser_environment: dict[str, str | float | bool], stage: Stage
) -> AsyncIterator[Browser]:
    """A Chromium that loses its network."""
    browser = await playwright_driver.chromium.launch(
        executable_path=stage.started_with(stage.network.prefix, "/usr/bin/chromium"),
        chromium_sandbox=False,
        args=CHROMIUM_ARGUMENTS,
        env=browser_environment,
    )
    yield browser
    await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def lost_firefox(
    playwright_driver: Playwright, browser_environment: dict[str, str | float | bool], stage: Stage
) -> AsyncIterator[Browser]:
    """A Firefox that loses its network."""
    browser = await playwright_driver.firefox.launch(
        channel="moz-firefox",
        executable_path=stage.started_with(stage.network.prefix, "/usr/bin/firefox-esr"),
        firefox_user_prefs=FIREFOX_PREFERENCES,
        env=browser_environment,
    )
    yield browser
    await browser.close()


@pytest.fixture(params=ALL if FIGURES else SHORT, ids="-".join)
def kinds(request: pytest.FixtureRequest) -> tuple[str, str, str]:
    """What ann, ben and cyd are."""
    line_up: tuple[str, str, str] = request.param
    return line_up


@pytest.fixture
def bring(request: pytest.FixtureRequest, stage: Stage, kinds: tuple[str, str, str]) -> Bring:
    """Brings one of them into a channel."""
    first, lost, third = kinds
    browsers: dict[str, Browser] = {}
    for name, fixture in (("ann", first), ("ben", f"lost_{lost}"), ("cyd", third)):
        if not fixture.endswith("program"):
            browsers[name] = request.getfixturevalue(fixture)

    async def bring(name: str, channel: str, mode: Mode) -> Player:
        if name in browsers:
            return await stage.page(name, browsers[name], channel, mode)
        program = stage.lost_program if name == "ben" else stage.program
        return await program(name, channel, mode)

    return bring


async def _talk(groups: list[list[Player]]) -> None:
    for players in groups:
        await all_reach_all(*players)
    for players in groups:
        for player in players:
            await player.start(RATE_PER_S)


async def _goes_on(one: Player, other: Player, since_s: float) -> float:
    """How long it took from then until something new came from somebody."""
    before = await one.count(other.name)
    while await one.count(other.name) <= before:
        assert time.monotonic() - since_s < 40, f"{one.name} hears nothing of {other.name} any more"
        await asyncio.sleep(0.05)
    return time.monotonic() - since_s


async def _all_arrives(mode: Mode, players: list[Player]) -> None:
    """Everything that was said has come, once and in order."""
    said = {one.name: await one.stop() for one in players}
    for one, other in permutations(players, 2):
        count = said[other.name]
        try:
            await until(
                f"{mode}: what {one.name} hears of {other.name}", partial(one.count, other.name), count
            )
        except AssertionError:
            for player in players:
                print(mode, player.name, await player.figures(), file=sys.stderr)
            raise
        assert await one.numbers(other.name) == list(range(1, count + 1))


async def _cut_off(stage: Stage, groups: list[list[Player]]) -> None:
    """The second of each group is without a network for a while, and hears and tells nothing."""

    async def counts() -> list[int]:
        pairs = [
            pair for ann, ben, cyd in groups for pair in ((ann, ben), (cyd, ben), (ben, ann), (ben, cyd))
        ]
        return list(await asyncio.gather(*(one.count(other.name) for one, other in pairs)))

    stage.network.cut()
    await asyncio.sleep(OUTAGE_S / 2)
    before = await counts()
    await asyncio.sleep(OUTAGE_S / 2)
    # What was on its way through a slow machine may still come; what is said now does not.
    assert all(now - then < RATE_PER_S for now, then in zip(await counts(), before, strict=True))
    stage.network.mend()


async def test_somebody_loses_the_network(
    stage: Stage, bring: Bring, kinds: tuple[str, str, str], channel: str
) -> None:
    groups: dict[Mode, list[Player]] = {}
    for mode in MODES:
        names = ("ann", "ben", "cyd")
        groups[mode] = [await bring(name, f"{channel}-{mode}", mode) for name in names]
    await _talk(list(groups.values()))
    await asyncio.sleep(BEFORE_S)
    await _cut_off(stage, list(groups.values()))
    since_s = time.monotonic()

    async def back(mode: Mode) -> None:
        ann, ben, cyd = groups[mode]
        pairs = [(ben, ann), (ben, cyd), (ann, ben), (cyd, ben)]
        took = await asyncio.gather(*(_goes_on(one, other, since_s) for one, other in pairs))
        figures = {
            f"{one.name} hears {other.name}": round(s, 1) for (one, other), s in zip(pairs, took, strict=True)
        }
        _note({"kinds": kinds, "mode": mode, "goes_on_after_s": figures})

    await asyncio.gather(*(back(mode) for mode in groups))
    await asyncio.sleep(BEFORE_S)
    for mode, players in groups.items():
        await _all_arrives(mode, players)
        assert [await player.mode() for player in players] == [mode] * 3


async def test_whoever_has_no_udp_vetoes_a_mesh_or_is_carried(
    stage: Stage, lost_chromium: Browser, channel: str
) -> None:
    vetoing, carrying = f"{channel}-veto", f"{channel}-carry"
    strict = [
        await stage.program("ann", vetoing, "relay"),
        await stage.page("ben", lost_chromium, vetoing, "relay", carry=False),
        await stage.lost_program("cyd", vetoing, "relay", carry=False),
    ]
    patient = [
        await stage.program("ann", carrying, "relay"),
        await stage.page("ben", lost_chromium, carrying, "relay"),
        await stage.lost_program("cyd", carrying, "relay"),
    ]
    await _talk([strict, patient])
    stage.network.block_udp()
    vetoed, carried = await asyncio.gather(strict[0].switch("mesh"), patient[0].switch("mesh"))
    assert vetoed.startswith("vetoed")
    assert carried == ""
    for players, mode, state in ((strict, "relay", "connected"), (patient, "mesh", "carried")):
        for one in players:
            await until(f"the mode of {one.name}", one.mode, mode)
        for one, other in permutations(players, 2):
            last = partial(_last_state, one, other.name)
            await until(f"how {one.name} reaches {other.name}", last, state)
    await asyncio.sleep(BEFORE_S)
    await _all_arrives("relay", strict)
    await _all_arrives("mesh", patient)


async def _last_state(one: Player, name: str) -> str:
    return [state for other, state in await one.states() if other == name][-1]


def _note(figures: dict[str, object]) -> None:
    line = json.dumps(figures)
    print(line, file=sys.stderr)
    if FIGURES:
        with open(FIGURES, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")

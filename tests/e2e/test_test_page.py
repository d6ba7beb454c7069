"""
The page /test in Chromium and Firefox: when all is well, and each planted fault by its name and remedy.

Both browsers test at the same time. `?timeout=` makes what nobody answers end sooner.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Playwright, expect

from tests.e2e.conftest import CHROMIUM_ARGUMENTS, FIREFOX_PREFERENCES, PLAIN_HOST, Pages
from tests.support.firewall import udp_blocked
from tests.support.server_process import ServerProcess
from tests.support.turn_server import HOST, RELAY_PORTS, TurnServer

PORTS: Final = f"{RELAY_PORTS.start}-{RELAY_PORTS.stop - 1}"
WITH_TURN: Final = ("--with-turn", "--turn-port", "0", "--turn-relay-ports", PORTS)
WITH_SFU: Final = ("--sfu-workers", "1", "--sfu-port", "0", "--advertise", HOST)
PATIENCE_MS: Final = 60_000


class Visitor:
    """Somebody at the page, in one browser."""

    def __init__(self, page: Page) -> None:
        self.page: Final = page

    async def opens(self, address: str, timeout_s: int = 6) -> None:
        await self.page.goto(f"{address}/test?timeout={timeout_s}")

    async def tests(self) -> str:
        """Presses the button; the verdict's headline."""
        await self.page.get_by_test_id("start").click()
        await expect(self.page.get_by_test_id("download")).to_be_visible(timeout=PATIENCE_MS)
        return await self.page.get_by_test_id("verdict").locator("h2").inner_text()

    async def remedies(self) -> str:
        return await self.page.get_by_test_id("verdict").inner_text()

    async def statuses(self) -> dict[str, str]:
        """The status of each check."""
        found: list[list[str]] = await self.page.eval_on_selector_all(
            "[data-check]", "(lines) => lines.map(({ dataset }) => [dataset.check, dataset.status])"
        )
        return {check.split("?")[0]: status for check, status in found}

    async def downloads(self, folder: Path) -> dict[str, Any]:
        """The report as JSON."""
        async with self.page.expect_download() as download:
            await self.page.get_by_test_id("download").click()
        path = folder / "report.json"
        await (await download.value).save_as(path)
        document: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return document


class Visitors:
    """The same person in two browsers."""

    def __init__(self, *visitors: Visitor) -> None:
        self.all: Final = visitors

    async def open(self, address: str, timeout_s: int = 6) -> None:
        await asyncio.gather(*(one.opens(address, timeout_s) for one in self.all))

    async def test(self) -> str:
        """The verdict's headline, which has to be the same in both."""
        headlines = await asyncio.gather(*(one.tests() for one in self.all))
        assert len(set(headlines)) == 1, headlines
        return headlines[0]

    async def are_told(self, remedy: str) -> bool:
        return all([remedy in await one.remedies() for one in self.all])

    async def statuses(self, *checks: str) -> tuple[str, ...]:
        """Of these checks, which have to be the same in both."""
        found = [await one.statuses() for one in self.all]
        rows = {tuple(statuses[check] for check in checks) for statuses in found}
        assert len(rows) == 1, found
        return rows.pop()


@pytest_asyncio.fixture(loop_scope="session")
async def visitors(chromium: Browser, firefox: Browser, new_page: Pages) -> AsyncIterator[Visitors]:
    new_page.network_may_fail = True
    yield Visitors(Visitor(await new_page(chromium)), Visitor(await new_page(firefox)))


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, str]]:
    """A server with all that belongs to one, and its address."""
    with ServerProcess(tmp_path_factory.mktemp("well"), *WITH_TURN, *WITH_SFU) as server:
        yield server, server.next_address_with_worker()


async def test_all_is_well(visitors: Visitors, well: tuple[ServerProcess, str], tmp_path: Path) -> None:
    server, address = well
    await visitors.open(address)
    await asyncio.gather(*(one.tests() for one in visitors.all))
    for visitor in visitors.all:
        statuses = await visitor.statuses()
        assert {"fail", "skipped"}.isdisjoint(statuses.values()), statuses
        assert {"server", "secure_context", "signaling_websocket", "signaling_longpoll"} < statuses.keys()
        assert {"call", "relay_call", "quality", "camera", "microphone"} < statuses.keys()
        assert sum(check.startswith("ice_server") for check in statuses) == 2
        text = await visitor.page.get_by_test_id("report-text").text_content() or ""
        (correlation_id,) = re.findall(r"correlation id (\w+)", text)
        assert any(correlation_id in line for line in server.errors)
    # Playwright hears of no downloads of this Firefox.
    report = await visitors.all[0].downloads(tmp_path)
    assert any(report["circumstances"]["correlation_id"] in line for line in server.errors)
    assert report["facts"]["call"]["data_ms"] >= 0
    assert report["facts"]["call"]["media_ms"] >= 0
    assert "credential" not in json.dumps(report)


async def test_udp_that_is_blocked_is_named_and_turn_by_tcp_gets_around_it(
    visitors: Visitors, well: tuple[ServerProcess, str]
) -> None:
    await visitors.open(well[1], timeout_s=3)
    with udp_blocked():
        headline = await visitors.test()
    assert headline == "UDP is blocked on this network: calls go through the TURN server by TCP."
    assert await visitors.are_told("TURN by TLS on port 443")
    assert await visitors.statuses("call", "relay_call") == ("warn", "ok")


async def test_a_wrong_turn_password_a_page_that_is_not_secure_and_a_server_that_is_gone_are_named(
    visitors: Visitors, tmp_path: Path
) -> None:
    with TurnServer(tmp_path) as turn:
        told = ("--turn-host", HOST, "--turn-port", str(turn.port), "--advertise-hosts", PLAIN_HOST)
        with ServerProcess(tmp_path / "server", *told) as server:
            address = server.next_address()
            await visitors.open(address)
            assert await visitors.test() == "The TURN server refuses the credential."
            assert await visitors.are_told("peerbus turn-config")
            assert await visitors.statuses("call") == ("fail",)
            await visitors.open(address.replace("localhost", PLAIN_HOST))
            assert (await visitors.test()).startswith("This page is not secure")
            assert await visitors.are_told("https://")
            assert await visitors.statuses("secure_context", "signaling_websocket") == ("fail", "ok")
            await visitors.open(address)
    assert await visitors.test() == "The signaling server cannot be reached."
    assert await visitors.are_told("(peerbus serve)")


@asynccontextmanager
async def without_devices(
    driver: Playwright, environment: dict[str, str | float | bool]
) -> AsyncIterator[Visitors]:
    """Browsers of a machine that has neither camera nor microphone."""
    arguments = [one for one in CHROMIUM_ARGUMENTS if not one.startswith("--use-fake-device")]
    chromium, firefox = await asyncio.gather(
        driver.chromium.launch(
            executable_path="/usr/bin/chromium", chromium_sandbox=False, args=arguments, env=environment
        ),
        driver.firefox.launch(
            channel="moz-firefox",
            executable_path="/usr/bin/firefox-esr",
            firefox_user_prefs=FIREFOX_PREFERENCES | {"media.navigator.streams.fake": False},
            env=environment,
        ),
    )
    try:
        yield Visitors(Visitor(await chromium.new_page()), Visitor(await firefox.new_page()))
    finally:
        await asyncio.gather(chromium.close(), firefox.close())


async def test_a_camera_that_is_not_there_is_named(
    playwright_driver: Playwright,
    browser_environment: dict[str, str | float | bool],
    well: tuple[ServerProcess, str],
) -> None:
    async with without_devices(playwright_driver, browser_environment) as visitors:
        await visitors.open(well[1])
        headline = await visitors.test()
        assert await visitors.statuses("call", "camera", "microphone") == ("ok", "warn", "warn")
        assert headline == "There is no camera."
        assert await visitors.are_told("Connect a camera")

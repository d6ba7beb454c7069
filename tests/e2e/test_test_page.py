"""The page /test in Chromium: when all is well, and each planted fault by its name and remedy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest_asyncio
from playwright.async_api import Browser, Page, Playwright, expect

from tests.e2e.conftest import CHROMIUM_ARGUMENTS, PLAIN_HOST, Pages
from tests.support.firewall import udp_blocked
from tests.support.server_process import ServerProcess
from tests.support.turn_server import HOST, RELAY_PORTS, TurnServer

WITH_SFU: Final = ("--sfu-workers", "1", "--sfu-port", "0", "--advertise", HOST)
PORTS: Final = f"{RELAY_PORTS.start}-{RELAY_PORTS.stop - 1}"
WITH_TURN: Final = ("--with-turn", "--turn-port", "0", "--turn-relay-ports", PORTS)
PATIENCE_MS: Final = 60_000


class Visitor:
    """Somebody at the page."""

    def __init__(self, page: Page) -> None:
        self.page: Final = page

    async def opens(self, address: str) -> None:
        await self.page.goto(f"{address}/test")

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


@pytest_asyncio.fixture(loop_scope="session")
async def tester(chromium: Browser, new_page: Pages) -> AsyncIterator[Visitor]:
    new_page.network_may_fail = True
    yield Visitor(await new_page(chromium))


async def test_all_is_well_and_then_the_server_is_gone(tester: Visitor, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", *WITH_TURN, *WITH_SFU) as server:
        await tester.opens(server.next_address_with_worker())
        await tester.tests()
        statuses = await tester.statuses()
        assert {"fail", "skipped"}.isdisjoint(statuses.values()), statuses
        assert {"secure_context", "call", "relay_call", "quality", "camera", "microphone"} < statuses.keys()
        report = await tester.downloads(tmp_path)
        correlation_id = report["circumstances"]["correlation_id"]
        assert correlation_id in (await tester.page.get_by_test_id("report-text").text_content() or "")
        assert report["facts"]["call"]["data_ms"] >= 0
        assert "credential" not in json.dumps(report)
        assert server.stop() == 0
        assert any(correlation_id in line for line in server.errors)
    assert await tester.tests() == "The signaling server cannot be reached."
    assert "(peerbus serve)" in await tester.remedies()


async def test_a_wrong_turn_password_is_named(tester: Visitor, tmp_path: Path) -> None:
    with TurnServer(tmp_path) as turn:
        told = ("--turn-host", HOST, "--turn-port", str(turn.port))
        with ServerProcess(tmp_path / "server", *told) as server:
            await tester.opens(server.next_address())
            assert await tester.tests() == "The TURN server refuses the credential."
    assert "peerbus turn-config" in await tester.remedies()


async def test_udp_that_is_blocked_is_named_and_turn_by_tcp_gets_around_it(
    tester: Visitor, tmp_path: Path
) -> None:
    with ServerProcess(tmp_path / "data", *WITH_TURN, *WITH_SFU) as server:
        await tester.opens(server.next_address_with_worker())
        with udp_blocked():
            headline = await tester.tests()
    assert headline == "UDP is blocked on this network: calls go through the TURN server by TCP."
    assert "TURN by TLS on port 443" in await tester.remedies()
    statuses = await tester.statuses()
    assert (statuses["call"], statuses["relay_call"]) == ("warn", "ok")


async def test_a_page_that_is_not_secure_is_named(tester: Visitor, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--advertise-hosts", PLAIN_HOST) as server:
        await tester.opens(server.next_address().replace("localhost", PLAIN_HOST))
        headline = await tester.tests()
    assert headline.startswith("This page is not secure")
    assert "https://" in await tester.remedies()
    statuses = await tester.statuses()
    assert (statuses["secure_context"], statuses["signaling_websocket"]) == ("fail", "ok")


async def test_a_camera_that_is_not_there_is_named(
    playwright_driver: Playwright, browser_environment: dict[str, str | float | bool], tmp_path: Path
) -> None:
    browser = await playwright_driver.chromium.launch(
        executable_path="/usr/bin/chromium",
        chromium_sandbox=False,
        args=[one for one in CHROMIUM_ARGUMENTS if not one.startswith("--use-fake-device")],
        env=browser_environment,
    )
    try:
        tester = Visitor(await browser.new_page())
        with ServerProcess(tmp_path / "data", *WITH_SFU) as server:
            await tester.opens(server.next_address_with_worker())
            headline = await tester.tests()
        statuses = await tester.statuses()
        assert (statuses["call"], statuses["camera"], statuses["microphone"]) == ("ok", "warn", "warn")
        assert headline == "There is no camera."
        assert "Connect a camera" in await tester.remedies()
    finally:
        await browser.close()

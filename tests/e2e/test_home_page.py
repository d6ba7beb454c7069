"""The page /: what it shows of the server, and its two snippets, which do what they promise."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.conftest import Elsewhere, Pages, Stage
from tests.e2e.members import PATIENCE_S, Station
from tests.support.live_server import LiveServer

FRIEND = Station("python", "websocket")


@pytest_asyncio.fixture(loop_scope="session")
async def home(browser: Browser, new_page: Pages, server: LiveServer) -> AsyncIterator[Page]:
    """The page, loaded."""
    page = await new_page(browser)
    await page.goto(f"{server.url}/")
    yield page


async def test_the_start_page_shows_the_server(home: Page, server: LiveServer) -> None:
    await expect(home.get_by_test_id("server-pill")).to_have_text("This server is up")
    figures = home.get_by_test_id("figures")
    for label in ("Version", "Running for", "Channels", "Members"):
        term = figures.locator("div", has=home.get_by_text(label, exact=True))
        await expect(term.locator("dd")).not_to_have_text("–")
    # Every link leads somewhere.
    links = await home.get_by_role("link").evaluate_all("links => links.map((link) => link.href)")
    statuses = await home.evaluate(
        "links => Promise.all(links.map((link) => fetch(link).then(({ status }) => status)))", links
    )
    assert len(links) > 5
    assert set(statuses) == {200}
    await home.get_by_test_id("open-chat").click()
    await expect(home.get_by_role("heading", name="Join a channel")).to_be_visible()


async def test_what_is_copied_is_what_is_shown(home: Page) -> None:
    await home.evaluate("document.body.append(document.createElement('textarea'))")
    for what, test_id in (("JavaScript", "snippet-js"), ("Python", "snippet-py")):
        button = home.get_by_role("button", name=f"Copy the {what} snippet")
        await button.click()
        await expect(button).to_have_text("Copied")
        await home.locator("textarea").fill("")
        await home.locator("textarea").focus()
        await home.keyboard.press("Control+V")
        await expect(home.locator("textarea")).to_have_value(await home.get_by_test_id(test_id).inner_text())


async def test_the_javascript_snippet_works(
    home: Page, browser: Browser, new_page: Pages, join: Stage, elsewhere: Elsewhere, channel: str
) -> None:
    """In a page of another site, with nothing changed but the key and the channel."""
    friend = await join(FRIEND, channel, "friend")
    snippet = await home.get_by_test_id("snippet-js").inner_text()
    assert f"{join.server.url}/sdk/web-agent.js" in snippet
    for placeholder, value in (("your-api-key", join.server.developer_key), ("lobby", channel)):
        assert placeholder in snippet
        snippet = snippet.replace(placeholder, value)
    page = await new_page(browser)
    await page.goto(elsewhere(snippet))
    assert (await friend.hears("Hello!")).sender == "player-1"
    async with page.expect_console_message(lambda message: message.text == "friend And to you!"):
        await friend.send("And to you!")


async def test_the_python_snippet_works(home: Page, join: Stage, channel: str) -> None:
    friend = await join(FRIEND, channel, "friend", api_key="demo")
    snippet = await home.get_by_test_id("snippet-py").inner_text()
    assert f'"{join.server.url}"' in snippet
    assert '"lobby"' in snippet
    program = snippet.replace('"lobby"', repr(channel))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-W", "error", "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert (await friend.hears("Hello!")).sender == "bot-1"
            await friend.send("And to you!")
            assert await process.stdout.readline() == b"friend And to you!\n"
    finally:
        process.kill()
        await process.wait()

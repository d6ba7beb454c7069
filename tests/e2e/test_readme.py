"""The page of the README, as it stands, on a site of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, ConsoleMessage

from peerbus.client import AgentConnection
from tests.e2e.conftest import Pages
from tests.support.live_server import LiveServer, StartServer

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def page_of_the_readme(server: LiveServer) -> str:
    """Its HTML, with the address and the key of a server in place of those it names."""
    (page,) = re.findall(r"```html\n(.*?)```", README, re.DOTALL)
    assert isinstance(page, str)
    assert "http://localhost:8080" in page
    assert "YOUR-KEY" in page
    return page.replace("http://localhost:8080", server.url).replace("YOUR-KEY", server.developer_key)


@pytest.fixture
def server(start_server: StartServer) -> LiveServer:
    """One of its own for each browser: the names that the page takes are free."""
    return start_server()


@pytest_asyncio.fixture(loop_scope="session")
async def site(server: LiveServer) -> AsyncIterator[str]:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=page_of_the_readme(server), content_type="text/html")

    app = web.Application()

    async def icon(_: web.Request) -> web.Response:
        return web.Response(status=204)

    app.router.add_get("/", page)
    # A browser asks every site for it, sooner or later.
    app.router.add_get("/favicon.ico", icon)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://localhost:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def test_the_page_runs_as_it_stands(
    browser: Browser, new_page: Pages, server: LiveServer, site: str
) -> None:
    async with asyncio.timeout(60), AgentConnection(server.url, server.developer_key) as ann:
        heard = ann.messages()
        await ann.connect("lobby", "ann")
        page = await new_page(browser)

        def is_ping(message: ConsoleMessage) -> bool:
            return message.text == "ann ping"

        async with page.expect_console_message(is_ping):
            await page.goto(site)
            hello = await anext(heard)
            assert (hello.sender, hello.content, hello.is_direct) == ("page", "Hello from a page!", False)
            await ann.send_text_message("ping")
        pong = await anext(heard)
        assert (pong.sender, pong.content, pong.to) == ("page", "pong", ["ann"])
        await page.close()

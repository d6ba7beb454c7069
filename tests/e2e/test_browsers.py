"""The ground the other end-to-end tests stand on: two browsers that see loopback and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser
from playwright.async_api import Error as PlaywrightError

from tests.e2e.conftest import REFUSED_BY_POLICY, Pages

PAGE: Final = "<!doctype html><title>loaded</title>"


@pytest_asyncio.fixture(loop_scope="session")
async def address() -> AsyncIterator[str]:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def strict_page(_: web.Request) -> web.Response:
        text = f"{PAGE}<script>document.title = 'ran'</script>"
        headers = {"Content-Security-Policy": "default-src 'self'"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/favicon.ico", page)
    app.router.add_get("/strict", strict_page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://localhost:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def test_a_browser_loads_a_page_from_loopback(browser: Browser, new_page: Pages, address: str) -> None:
    page = await new_page(browser)
    await page.goto(address)
    assert await page.title() == "loaded"
    assert (
        await page.evaluate("crypto.subtle.digest('SHA-256', new Uint8Array(0)).then(d => d.byteLength)")
        == 32
    )


async def test_a_browser_reaches_nothing_beyond_loopback(browser: Browser, new_page: Pages) -> None:
    page = await new_page(browser)
    # An address set aside for documentation (RFC 5737): with no route it is refused at once.
    with pytest.raises(PlaywrightError):
        await page.goto("http://192.0.2.1/", timeout=5_000)


async def test_an_error_that_a_page_does_not_catch_is_noticed(
    browser: Browser, new_page: Pages, address: str
) -> None:
    page = await new_page(browser)
    await page.goto(address)
    async with page.expect_event("pageerror"):
        await page.evaluate("() => { setTimeout(() => { throw new Error('uncaught') }) }")
    assert "uncaught" in new_page.faults.pop()


async def test_an_error_in_the_console_is_noticed(browser: Browser, new_page: Pages, address: str) -> None:
    page = await new_page(browser)
    await page.goto(address)
    async with page.expect_console_message(lambda message: message.text == "oh no"):
        await page.evaluate("console.error('oh no')")
    assert "oh no" in new_page.faults.pop()


async def test_what_the_content_security_policy_refuses_is_noticed(
    browser: Browser, new_page: Pages, address: str
) -> None:
    page = await new_page(browser)
    async with page.expect_console_message(lambda message: message.text.startswith(REFUSED_BY_POLICY)):
        await page.goto(f"{address}strict")
    assert await page.title() == "loaded"
    assert any(fault.endswith(f"{REFUSED_BY_POLICY} script-src-elem inline") for fault in new_page.faults)
    new_page.faults.clear()

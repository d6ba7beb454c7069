"""
Real browsers for end-to-end tests: one Chromium and one Firefox per run, a fresh context per test.

Run in a network namespace that has only loopback (`make e2e`). A test that takes `browser` runs once in each of
the two; one that needs both takes `chromium` and `firefox`. `new_page(browser)` opens a page in a context of its
own; an exception that a page does not catch, or anything its content security policy refuses, fails the test.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, async_playwright

DEFAULT_TIMEOUT_MS: Final = 15_000

CHROMIUM_ARGUMENTS: Final = [
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
FIREFOX_PREFERENCES: Final[dict[str, str | float | bool]] = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "permissions.default.camera": 1,
    "permissions.default.microphone": 1,
    "media.peerconnection.ice.loopback": True,
    "media.autoplay.default": 0,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser lives in the event loop that started it, so all tests here share the loop of the session."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def browser_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | float | bool]:
    """The environment of the browsers: their home is a folder of this run, not the user's."""
    home = str(tmp_path_factory.mktemp("browser-home"))
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home, "XDG_RUNTIME_DIR": home}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def playwright_driver() -> AsyncIterator[Playwright]:
    async with async_playwright() as driver:
        yield driver


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(
    playwright_driver: Playwright, browser_environment: dict[str, str | float | bool]
) -> AsyncIterator[Browser]:
    browser = await playwright_driver.chromium.launch(
        executable_path="/usr/bin/chromium",
        chromium_sandbox=False,
        args=CHROMIUM_ARGUMENTS,
        env=browser_environment,
    )
    yield browser
    await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def firefox(
    playwright_driver: Playwright, browser_environment: dict[str, str | float | bool]
) -> AsyncIterator[Browser]:
    browser = await playwright_driver.firefox.launch(
        channel="moz-firefox",
        executable_path="/usr/bin/firefox-esr",
        firefox_user_prefs=FIREFOX_PREFERENCES,
        env=browser_environment,
    )
    yield browser
    await browser.close()


@pytest.fixture(params=["chromium", "firefox"])
def browser(request: pytest.FixtureRequest) -> Browser:
    """Each of the two browsers in turn."""
    started: Browser = request.getfixturevalue(request.param)
    return started


REFUSED_BY_POLICY: Final = "Refused by the content security policy:"
REPORT_REFUSALS: Final = f"""
document.addEventListener("securitypolicyviolation", (event) => {{
  console.error("{REFUSED_BY_POLICY}", event.effectiveDirective, event.blockedURI);
}});
"""


class Pages:
    """Opens pages in contexts of their own, and keeps what went wrong in them."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._contexts: list[BrowserContext] = []

    async def __call__(self, browser: Browser, **options: Any) -> Page:
        """Opens a page; `options` are those of Playwright's `new_context`."""
        context = await browser.new_context(**options)
        self._contexts.append(context)
        context.set_default_timeout(DEFAULT_TIMEOUT_MS)
        await context.add_init_script(REPORT_REFUSALS)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"{page.url}: {error}"))
        page.on("console", self._on_console)
        return page

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.text.startswith(REFUSED_BY_POLICY):
            self.faults.append(message.text)

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def new_page() -> AsyncIterator[Pages]:
    """`page = await new_page(browser)`; the pages are closed with the test, which fails for a fault left in them."""
    pages = Pages()
    yield pages
    await pages.close()
    assert pages.faults == []

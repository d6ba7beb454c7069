"""
Real browsers for end-to-end tests: one Chromium and one Firefox per run.

Run in a network namespace that has only loopback (`make e2e`). A test that takes `browser` runs once in each of
the two; one that needs both takes `chromium` and `firefox`. `new_page(browser)` gives a page in a context of its
own; an error in a page's console, an exception that it does not catch, and anything its content security policy
refuses fail the test.

All tests share one server, `server`, and have a channel of their own in it, `channel`. `join` brings members of three
kinds into it; a test that takes `line_up` runs with two sets of three, which are all kinds over both transports.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Page,
    Playwright,
    async_playwright,
    expect,
)
from playwright.async_api import Error as PlaywrightError

from peerbus.client.token import ParticipantToken
from tests.e2e.members import BrowserMember, Member, PythonMember, Station
from tests.e2e.network_path import NetworkPath
from tests.support.live_server import LiveServer, start_server

__all__ = ["start_server"]

DEFAULT_TIMEOUT_MS: Final = 15_000

expect.set_options(timeout=DEFAULT_TIMEOUT_MS)

PLAIN_HOST: Final = "plain.test"
"""Leads to this machine, without being its own name: pages from there by plain http have no secure context."""
CHROMIUM_ARGUMENTS: Final = [
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    f"--host-resolver-rules=MAP {PLAIN_HOST} 127.0.0.1",
]
FIREFOX_PREFERENCES: Final[dict[str, str | float | bool]] = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "permissions.default.camera": 1,
    "permissions.default.microphone": 1,
    "media.peerconnection.ice.loopback": True,
    "media.autoplay.default": 0,
    "network.dns.localDomains": PLAIN_HOST,
}


SLOW_CAMERA: Final = "--use-fake-device-for-media-stream=fps=10"
SLOW_CAMERA_PREFERENCES: Final[dict[str, str | float | bool]] = {"media.navigator.video.default_fps": 10}
"""Ten pictures a second show as well as thirty what goes through, and leave the processor to the tests."""


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
        args=[*CHROMIUM_ARGUMENTS, SLOW_CAMERA],
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
        firefox_user_prefs=FIREFOX_PREFERENCES | SLOW_CAMERA_PREFERENCES,
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

NETWORK_TROUBLE: Final = re.compile(
    r"establish a connection to the server at wss?://|connection to wss?://\S+ was interrupted"
    r"|WebSocket connection to \S+ failed|Failed to load resource|: ICE failed, "
)
"""How the two browsers report, as errors of the page, that a request, a WebSocket or a link failed."""


class Pages:
    """
    Opens pages, and keeps what went wrong in them.

    A page costs a second of a processor, so those of a test that has ended are used again, after `clear`. What an
    address stored stays in its browser; that is why every network path has an address that was never used before.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.network_may_fail = False
        """Whether the test cuts connections or has requests refused, which browsers write into the console."""
        self._in_use: list[tuple[Browser, Page]] = []
        self._free: dict[Browser, list[Page]] = {}

    async def __call__(self, browser: Browser) -> Page:
        """A page that shows nothing yet, in a context of its own."""
        free = self._free.setdefault(browser, [])
        page = free.pop() if free else await self._open(browser)
        self._in_use.append((browser, page))
        return page

    async def clear(self) -> None:
        """Ends what the pages in use do, and closes those that they opened."""
        while self._in_use:
            browser, page = self._in_use.pop()
            for other in page.context.pages:
                if other is not page:
                    await other.close()
            if page.is_closed():
                await page.context.close()
                continue
            try:
                await page.context.set_offline(False)
                await page.goto("about:blank")
            except PlaywrightError:
                # A page that is still on its way elsewhere, or crashed.
                await page.context.close()
            else:
                self._free[browser].append(page)

    async def close(self) -> None:
        """Closes all of them."""
        await self.clear()
        for free in self._free.values():
            for page in free:
                await page.context.close()

    async def _open(self, browser: Browser) -> Page:
        context = await browser.new_context()
        context.set_default_timeout(DEFAULT_TIMEOUT_MS)
        await context.add_init_script(REPORT_REFUSALS)
        # Pages that a page opens count, too.
        context.on("page", self._watch)
        return await context.new_page()

    def _watch(self, page: Page) -> None:
        page.on("pageerror", lambda error: self._fault(f"{page.url}: {error}"))
        page.on("console", lambda message: self._on_console(page, message))

    def _on_console(self, page: Page, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self._fault(f"{page.url}: {message.text}")

    def _fault(self, text: str) -> None:
        if not (self.network_may_fail and NETWORK_TROUBLE.search(text)):
            self.faults.append(text)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def all_pages(playwright_driver: Playwright) -> AsyncIterator[Pages]:
    """The pages of this run."""
    pages = Pages()
    yield pages
    await pages.close()


@pytest_asyncio.fixture(loop_scope="session")
async def new_page(all_pages: Pages) -> AsyncIterator[Pages]:
    """`page = await new_page(browser)`; the test fails for a fault left in one of its pages."""
    all_pages.faults.clear()
    all_pages.network_may_fail = False
    yield all_pages
    await all_pages.clear()
    assert all_pages.faults == []


# --- pages of other sites -----------------------------------------------------------------------------------------

Elsewhere: TypeAlias = Callable[[str], str]


@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere() -> AsyncIterator[Elsewhere]:
    """`address = elsewhere(html)`: a page of a site of its own, with this in its body."""
    texts: list[str] = []

    async def page(request: web.Request) -> web.Response:
        body = texts[int(request.match_info["number"])]
        head = '<!doctype html><html lang="en"><title>elsewhere</title><link rel="icon" href="data:,">'
        return web.Response(text=f"{head}<body>{body}", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{number:\\d+}", page)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()

    def add(text: str) -> str:
        texts.append(text)
        return f"http://127.0.0.1:{runner.addresses[0][1]}/{len(texts) - 1}"

    yield add
    await runner.cleanup()


# --- a server, and members of its channels -----------------------------------------------------------------------


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """The server of all tests that change nothing about it. Its log is clean at the end, or the last test fails."""
    server = LiveServer(tmp_path_factory.mktemp("server"), {})
    server.start()
    try:
        yield server
        server.stop()
    finally:
        if server.is_running:
            server.kill()


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """The name of a channel that no other test uses."""
    return str(request.node.name)


LINE_UPS: Final = {
    "forth": (
        Station("chromium", "websocket", "json"),
        Station("firefox", "longpoll"),
        Station("python", "websocket"),
    ),
    "back": (
        Station("python", "longpoll", "json"),
        Station("firefox", "websocket"),
        Station("chromium", "longpoll"),
    ),
}
"""Twice three: every kind of member over both transports, and either encoding."""


@pytest.fixture(params=list(LINE_UPS.values()), ids=list(LINE_UPS))
def line_up(request: pytest.FixtureRequest) -> tuple[Station, Station, Station]:
    """Three stations, one of each kind."""
    stations: tuple[Station, Station, Station] = request.param
    return stations


class Stage:
    """Brings members into channels of a server, each by a network path of its own, and takes them out again."""

    def __init__(self, server: LiveServer, new_page: Pages, browsers: dict[str, Browser]) -> None:
        self.server = server
        self._new_page: Final = new_page
        self._browsers: Final = browsers
        self._members: Final[list[Member]] = []
        self._paths: Final[list[NetworkPath]] = []

    async def __call__(self, station: Station, channel: str, name: str = "", **options: Any) -> Member:
        """Brings in one member; `options` are those of `Member.connect`, the developer key if no other is given."""
        member = await self.prepare(station)
        options.setdefault("api_key", self.server.developer_key)
        await member.connect(channel, name, **options)
        return member

    async def three(
        self, line_up: tuple[Station, Station, Station], channel: str, **options: Any
    ) -> tuple[Member, Member, Member]:
        """Brings in one member for each station, all at once: anna, ben and cleo."""
        names = ("anna", "ben", "cleo")
        anna, ben, cleo = await asyncio.gather(
            *(self(station, channel, name, **options) for station, name in zip(line_up, names, strict=True))
        )
        return anna, ben, cleo

    def token(self, channel: str, name: str, *, ttl_s: int = 3600) -> str:
        """A participant's token for one channel, which may neither kick nor lock."""
        key = self.server.developer_key
        token = ParticipantToken(name=name, project_id="default", api_key_id=key.split("_")[1])
        token.add_room_grant(room_name=channel, role="user")
        return token.to_jwt(secret=key, ttl_s=ttl_s)

    async def prepare(self, station: Station) -> Member:
        """A member that is not connected yet."""
        path = NetworkPath(self.server.port)
        await path.open()
        self._paths.append(path)
        member: Member
        if station.kind == "python":
            member = PythonMember(station, path)
        else:
            self._new_page.network_may_fail = True
            member = BrowserMember(station, path, await self._new_page(self._browsers[station.kind]))
            await member.open()
        self._members.append(member)
        return member

    async def clear(self) -> None:
        """Ends all members and paths."""
        for member in self._members:
            await member.close()
        await self._new_page.clear()
        for path in self._paths:
            await path.close()


@pytest_asyncio.fixture(loop_scope="session")
async def join(
    server: LiveServer, new_page: Pages, chromium: Browser, firefox: Browser
) -> AsyncIterator[Stage]:
    """`member = await join(station, channel, name)`; whoever joined leaves at the end of the test."""
    stage = Stage(server, new_page, {"chromium": chromium, "firefox": firefox})
    yield stage
    await stage.clear()

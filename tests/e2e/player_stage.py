"""
Brings players of groups into channels: in pages of both browsers, and as programs.

Owns the fixture `join`, for the server of `call_stage`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest_asyncio
from playwright.async_api import Browser

from peerbus.protocol.groups import WantedMode
from tests.e2e.call_stage import Callers
from tests.e2e.players import MODES_JS, PagePlayer, Player, ProgramPlayer


class Stage:
    """Brings players into a channel."""

    def __init__(self, somebody: Callers, browsers: dict[str, Browser]) -> None:
        self._somebody: Final = somebody
        self._browsers: Final = browsers
        self._programs: Final[list[ProgramPlayer]] = []

    async def __call__(self, kind: str, channel: str, mode: WantedMode, **options: Any) -> Player:
        """One that bears the name of its kind: `chromium`, `firefox` or `python`."""
        browser = self._browsers.get(kind)
        if browser is None:
            path = await self._somebody.path()
            program = ProgramPlayer(kind, path.url, mode)
            self._programs.append(program)
            await program.join(channel)
            return program
        return await self.page(kind, browser, channel, mode, **options)

    async def page(
        self, name: str, browser: Browser, channel: str, mode: WantedMode, **options: Any
    ) -> PagePlayer:
        """One in a page."""
        caller = await self._somebody(browser)
        await caller.opens("/")
        for script in ("web-agent.js", "web-agent.webrtc.js"):
            await caller.page.add_script_tag(url=f"/sdk/{script}")
        await caller.page.evaluate(MODES_JS)
        await caller.page.evaluate("(given) => modes.join(...given)", [channel, name, mode, options])
        return PagePlayer(name, channel, caller.page, caller.path)

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

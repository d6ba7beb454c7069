"""
A whole server for calls, and people who come to its pages.

Owns the fixtures `call_server` and `somebody`. Media go past the network paths, straight to the worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.e2e.caller import KEEP_CONNECTIONS, Caller
from tests.e2e.conftest import Pages
from tests.e2e.network_path import NetworkPath
from tests.support.processes import Process, children
from tests.support.server_process import ServerProcess


@pytest.fixture(scope="session")
def call_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Signaling and a media worker, under their supervisor; `url_of` has its address."""
    options = ("--sfu-workers", "1", "--sfu-port", "0", "--advertise", "127.0.0.1")
    with ServerProcess(tmp_path_factory.mktemp("calls"), *options) as process:
        _ADDRESSES[process] = process.next_address()
        yield process


_ADDRESSES: Final[dict[ServerProcess, str]] = {}


def url_of(server: ServerProcess) -> str:
    """`http://localhost:…`."""
    return _ADDRESSES[server]


def child_of(server: ServerProcess, module: str) -> Process:
    """The process that the supervisor runs for a module: `peerbus.signaling` or `peerbus.sfu`."""
    (child,) = (
        child
        for child in children(server.pid)
        if module in Path(f"/proc/{child.pid}/cmdline").read_text("utf-8").split("\0")
    )
    return child


class Callers:
    """Brings people to the page, each by a network path of their own; media go around it."""

    def __init__(self, server: str, new_page: Pages) -> None:
        self.pages: Final = new_page
        self._port: Final = urlsplit(server).port or 80
        self._paths: Final[list[NetworkPath]] = []

    async def __call__(self, browser: Browser, script: str = "") -> Caller:
        """Somebody at an empty page, in which `script` runs before those of the page."""
        path = NetworkPath(self._port)
        await path.open()
        self._paths.append(path)
        page = await self.pages(browser)
        # Pages are used again by other tests, on other addresses.
        await page.add_init_script(f'if (location.origin === "{path.url}") {{ {KEEP_CONNECTIONS}{script} }}')
        return Caller(page, path)

    async def close(self) -> None:
        """Nobody is there any more."""
        await self.pages.clear()
        for path in self._paths:
            await path.close()


@pytest_asyncio.fixture(loop_scope="session")
async def somebody(call_server: ServerProcess, new_page: Pages) -> AsyncIterator[Callers]:
    """`ada = await somebody(browser)`."""
    callers = Callers(url_of(call_server), new_page)
    yield callers
    await callers.close()

"""
A whole server for calls, and people who come to its pages.

Owns the fixtures `call_server` and `somebody`. Media go past the network paths, straight to the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.e2e.caller import KEEP_CONNECTIONS, Caller
from tests.e2e.conftest import Pages
from tests.e2e.network_path import NetworkPath
from tests.support.processes import children_running
from tests.support.server_process import ServerProcess


class CallServer:
    """Signaling and a media worker, under their supervisor."""

    def __init__(self, process: ServerProcess) -> None:
        self._process: Final = process
        self.port = self._next_port()

    def kill(self, module: str) -> None:
        """SIGKILL to the process of `peerbus.signaling` or `peerbus.sfu`; the supervisor starts another."""
        (child,) = children_running(self._process.pid, module)
        child.kill()

    def came_back(self) -> None:
        """Waits until signaling was started anew, on another port."""
        self.port = self._next_port()

    def _next_port(self) -> int:
        port = urlsplit(self._process.next_address()).port
        assert port is not None
        return port


@pytest.fixture(scope="session")
def call_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CallServer]:
    """The server of all tests about calls."""
    options = ("--sfu-workers", "1", "--sfu-port", "0", "--advertise", "127.0.0.1")
    with ServerProcess(tmp_path_factory.mktemp("calls"), *options) as process:
        yield CallServer(process)
        assert process.stop() == 0


class Callers:
    """Brings people to the page, each by a network path of their own; media go around it."""

    def __init__(self, server: CallServer, new_page: Pages) -> None:
        self.pages: Final = new_page
        self._server: Final = server
        self._paths: Final[list[NetworkPath]] = []

    async def __call__(self, browser: Browser, script: str = "") -> Caller:
        """Somebody at an empty page, in which `script` runs before those of the page."""
        path = await self.path()
        page = await self.pages(browser)
        # Pages are used again by other tests, on other addresses.
        await page.add_init_script(f'if (location.origin === "{path.url}") {{ {KEEP_CONNECTIONS}{script} }}')
        return Caller(page, path)

    async def path(self) -> NetworkPath:
        """A network path of one's own to the server."""
        path = NetworkPath(self._server.port)
        await path.open()
        self._paths.append(path)
        return path

    async def server_came_back(self) -> None:
        """Waits until signaling was started anew; all paths lead there."""
        await asyncio.to_thread(self._server.came_back)
        for path in self._paths:
            path.server_port = self._server.port

    async def close(self) -> None:
        """Nobody is there any more."""
        await self.pages.clear()
        for path in self._paths:
            await path.close()


@pytest_asyncio.fixture(loop_scope="session")
async def somebody(call_server: CallServer, new_page: Pages) -> AsyncIterator[Callers]:
    """`ada = await somebody(browser)`."""
    callers = Callers(call_server, new_page)
    yield callers
    await callers.close()

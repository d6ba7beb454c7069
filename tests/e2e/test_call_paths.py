"""A caller's network changes: its datagrams come from another address from one moment to the next."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.e2e.call_stage import Callers, CallServer
from tests.e2e.conftest import Pages
from tests.e2e.in_call import Stage
from tests.support.server_process import ServerProcess
from tests.support.udp_proxy import UdpProxy

_MORE_FRAMES: Final = 30
"""More than any buffer of a browser holds: what shows so many has come by the new address."""


class Paths(NamedTuple):
    """Brings callers into calls; all that they and the worker exchange passes the proxy."""

    join: Stage
    proxy: UdpProxy


@pytest_asyncio.fixture(loop_scope="session")
async def paths(tmp_path_factory: pytest.TempPathFactory, new_page: Pages) -> AsyncIterator[Paths]:
    """A server whose worker says that it is found at the proxy."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("0.0.0.0", 0))
        port = free.getsockname()[1]
    async with UdpProxy(port) as proxy:
        options = ("--sfu-workers", "1", "--sfu-port", str(port), "--advertise", f"127.0.0.1:{proxy.port}")
        with ServerProcess(tmp_path_factory.mktemp("paths"), *options) as process:
            callers = Callers(CallServer(process), new_page)
            yield Paths(Stage(callers), proxy)
            await callers.close()


async def test_media_goes_on_when_the_address_changes(
    browser: Browser, chromium: Browser, paths: Paths, channel: str
) -> None:
    ada = await paths.join(browser, channel, "ada")
    await ada.becomes("call.webrtc.isConnected()", True)
    hers = paths.proxy.clients
    bob = await paths.join(chromium, channel, "bob")
    await ada.is_shown("bob")
    await bob.is_shown("ada")
    connections = await ada.page.evaluate("connections.length")
    offers = await ada.offers()
    for address in hers:
        paths.proxy.move(address)
    await bob.is_shown("ada", _MORE_FRAMES)
    await ada.is_shown("bob", _MORE_FRAMES)
    # The same connection goes on, and nothing was negotiated anew.
    assert await ada.page.evaluate("connections.length") == connections
    assert await ada.offers() == offers

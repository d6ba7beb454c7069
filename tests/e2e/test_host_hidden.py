"""
A host in a tab that nobody sees stays host, though its browser holds back its timers; one that is frozen does not.

Needs real tabs, and nobody who makes them believe that they are seen, as the driver of the other tests does: a browser
of its own, by its debugging protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.e2e.call_stage import CallServer, call_server
from tests.e2e.conftest import CHROMIUM_ARGUMENTS
from tests.e2e.match import MATCH_JS
from tests.e2e.network_path import NetworkPath

__all__ = ["call_server"]

pytestmark = pytest.mark.alone

PATIENCE_S: Final = 40
HIDDEN_S: Final = 11
_COUNT_JS: Final = """
window.ticks = 0;
setInterval(() => { window.ticks += 1; }, 100);
"""


_LOAD_JS: Final = """
new Promise((done) => {
  const script = document.createElement("script");
  script.src = "/sdk/SCRIPT";
  script.onload = () => done(0);
  document.body.append(script);
})
"""


class Tab:
    """One page, by its own connection to the browser."""

    def __init__(self, target: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.target: Final = target
        self._socket: Final = socket
        self._number = 0

    async def call(self, method: str, **parameters: Any) -> Any:
        """What the browser answers."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        async for message in self._socket:
            answer = json.loads(message.data)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError("the browser has closed the connection")

    async def evaluate(self, code: str) -> Any:
        """The value of an expression, also one that is only promised."""
        answer = await self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def joins(self, url: str, channel: str, name: str) -> None:
        """It is in the group."""
        await self.call("Page.navigate", url=url)
        await until(lambda: self.evaluate(f"location.origin === {url!r} && document.readyState"), "complete")
        for script in ("web-agent.js", "web-agent.webrtc.js"):
            await self.evaluate(_LOAD_JS.replace("SCRIPT", script))
        await self.evaluate(MATCH_JS + _COUNT_JS + "0")
        await self.evaluate(f"match.join({channel!r}, {name!r}).then(() => 0)")

    async def hosts(self) -> list[str]:
        """Who was host, one after the other."""
        return list(await self.evaluate("match.hosts.map(({ name }) => name)"))


class Tabs:
    """A browser with several tabs, one of which is seen."""

    def __init__(self, port: int, http: aiohttp.ClientSession) -> None:
        self._address: Final = f"http://127.0.0.1:{port}/json"
        self._http: Final = http

    async def open(self) -> Tab:
        """Another one, in front."""
        async with self._http.put(f"{self._address}/new?about:blank") as response:
            told = await response.json()
        return Tab(told["id"], await self._http.ws_connect(told["webSocketDebuggerUrl"]))

    async def show(self, tab: Tab) -> None:
        """Brings it to the front."""
        async with self._http.get(f"{self._address}/activate/{tab.target}") as response:
            assert response.status == 200


@contextlib.asynccontextmanager
async def browser(home: Path, environment: dict[str, str | float | bool]) -> AsyncIterator[Tabs]:
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/chromium",
        *("--headless=new", "--no-sandbox", "--remote-debugging-port=0", f"--user-data-dir={home}"),
        *CHROMIUM_ARGUMENTS,
        "about:blank",
        stderr=asyncio.subprocess.PIPE,
        env={name: str(value) for name, value in environment.items()},
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := re.search(rb"ws://[^:]+:(\d+)/", await process.stderr.readline())):
                pass
        reading = asyncio.create_task(process.stderr.read())
        async with aiohttp.ClientSession() as http:
            yield Tabs(int(found[1]), http)
        process.terminate()
        await reading
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def until(look: Callable[[], Awaitable[Any]], expected: Any) -> None:
    seen: Any = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                seen = await look()
                if seen == expected:
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{seen}, not {expected}") from None


async def test_a_hidden_host_stays_host_and_a_frozen_one_does_not(
    call_server: CallServer,
    channel: str,
    tmp_path: Path,
    browser_environment: dict[str, str | float | bool],
) -> None:
    path = NetworkPath(call_server.port)
    await path.open()
    async with browser(tmp_path, browser_environment) as tabs:
        ann = await tabs.open()
        await ann.joins(path.url, channel, "ann")
        bob = await tabs.open()
        await bob.joins(path.url, channel, "bob")
        await until(lambda: ann.evaluate("match.look().reached"), ["bob"])
        await until(lambda: bob.evaluate("match.look().reached"), ["ann"])
        await until(bob.hosts, ["ann"])
        assert [await tab.evaluate("document.hidden") for tab in (ann, bob)] == [True, False]

        # Nothing is sent, so that nothing but the beat wakes the page.
        await ann.evaluate("window.ticks = 0")
        await asyncio.sleep(HIDDEN_S)
        assert await ann.evaluate("window.ticks") < HIDDEN_S * 3, "the browser does not hold back timers"
        assert await bob.hosts() == ["ann"]
        assert await ann.evaluate("match.webrtc.isHost")

        # What is frozen answers no beat.
        await ann.call("Page.setWebLifecycleState", state="frozen")
        await until(bob.hosts, ["ann", "bob"])
        await tabs.show(ann)
        await ann.call("Page.setWebLifecycleState", state="active")
        await until(lambda: ann.evaluate("match.webrtc.isHost"), False)
        await until(lambda: ann.evaluate("match.hosts.at(-1).name"), "bob")
    await path.close()

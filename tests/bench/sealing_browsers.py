"""
What sealing costs in Chromium and Firefox: `python -m tests.bench.sealing_browsers`.

Prints the time to seal and to open one message of 1 kB, by WebCrypto and by the library that stands in for it on pages
from plain http, and the time from `connect` to being in a channel, open, with a password for the first time in a page
(Argon2id in a worker), and with one whose keys the page has already. `tests.bench.sealing` does the same in Python.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from playwright.async_api import Browser, Playwright, async_playwright

from tests.bench.rig.figures import machine
from tests.e2e.conftest import CHROMIUM_ARGUMENTS, FIREFOX_PREFERENCES
from tests.support.server_process import ServerProcess

_WEB: Final = Path(__file__).parents[2] / "web"
_RUNS: Final = 9
_AIM_MS: Final = 400
_PAGE: Final = """<!doctype html><meta charset="utf-8"><title>bench</title><link rel="icon" href="data:,">
<script src="/sealing.js"></script><script src="SERVER/sdk/web-agent.js"></script>
<script>
window.join = async (options) => {
  const agent = new AgentConnection();
  const began = performance.now();
  await agent.connect({ api: "SERVER", apiKey: "KEY", resumeKey: false, ...options });
  const tookMs = performance.now() - began;
  await agent.disconnect();
  return tookMs;
};
</script>"""
_WITHOUT_WEBCRYPTO: Final = 'Object.defineProperty(crypto, "subtle", { value: undefined })'


def bundled() -> str:
    """The program of the page."""
    with tempfile.TemporaryDirectory(prefix="peerbus-bench-") as folder:
        path = Path(folder) / "sealing.js"
        node = subprocess.run(
            ["sh", "scripts/node-path.sh"], cwd=_WEB.parent, check=True, capture_output=True, text=True
        ).stdout.strip()
        subprocess.run(
            [f"{node}/node", "scripts/bundle.mjs", "bench/sealing.ts", str(path)], cwd=_WEB, check=True
        )
        return path.read_text("utf-8")


@asynccontextmanager
async def site(address: str, key: str) -> AsyncIterator[str]:
    """The page, on a site of its own."""
    program = bundled()

    async def page(_: web.Request) -> web.Response:
        text = _PAGE.replace("SERVER", address).replace("KEY", key)
        return web.Response(text=text, content_type="text/html")

    async def script(_: web.Request) -> web.Response:
        return web.Response(text=program, content_type="text/javascript")

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/sealing.js", script)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://localhost:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def sealing(browser: Browser, page_address: str) -> None:
    """Prints what a message takes."""
    for name, prelude in (("WebCrypto", "0"), ("without", _WITHOUT_WEBCRYPTO)):
        page = await browser.new_page()
        await page.goto(page_address)
        figures = await page.evaluate(f"{prelude}; measured()")
        await page.close()
        print(
            f"  1 kB, {name:10} seal {figures['sealUs']:4.0f} us, open {figures['openUs']:4.0f} us; "
            f"of many at once {figures['sealManyUs']:4.0f} and {figures['openManyUs']:4.0f} us"
        )


async def joining(browser: Browser, page_address: str) -> None:
    """Prints how long joins take, each in a page of its own that has made a connection before."""
    took: dict[str, list[float]] = {"open": [], "password": [], "password again": []}
    for number in range(_RUNS):
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(page_address)
        password = f"password {number}"
        for kind, options in (
            (None, {"channelName": "warm"}),
            ("open", {"channelName": "bench"}),
            ("password", {"channelName": "bench", "channelPassword": password}),
            ("password again", {"channelName": "bench", "channelPassword": password}),
        ):
            ms: float = await page.evaluate("options => join(options)", options)
            if kind is not None:
                took[kind].append(ms)
        await context.close()
    for kind, runs in took.items():
        median = statistics.median(runs)
        reached = "reached" if median <= _AIM_MS else "missed"
        told = f"   (aim {_AIM_MS}: {reached})" if kind == "password" else ""
        print(f"  join, {kind:15} median {median:4.0f} ms, {min(runs):.0f} to {max(runs):.0f}{told}")


async def launched(driver: Playwright, name: str) -> Browser:
    """One of the two browsers."""
    if name == "Chromium":
        return await driver.chromium.launch(
            executable_path="/usr/bin/chromium", chromium_sandbox=False, args=CHROMIUM_ARGUMENTS
        )
    return await driver.firefox.launch(
        channel="moz-firefox",
        executable_path="/usr/bin/firefox-esr",
        firefox_user_prefs=FIREFOX_PREFERENCES,
    )


async def run(address: str, key: str) -> None:
    """Both browsers, one after the other."""
    async with async_playwright() as driver, site(address, key) as page_address:
        for name in ("Chromium", "Firefox"):
            browser = await launched(driver, name)
            print(f"{name} {browser.version}")
            await sealing(browser, page_address)
            await joining(browser, page_address)
            await browser.close()


def main() -> int:
    """Prints the figures, none of which has a bound that must hold."""
    print("sealing in browsers, on the same machine as the server")
    print(machine())
    with (
        tempfile.TemporaryDirectory(prefix="peerbus-bench-") as folder,
        ServerProcess(Path(folder) / "data", "--sfu-workers", "0") as server,
    ):
        address = server.next_address()
        (key,) = [line.split()[-1] for line in server.output if line.strip().startswith("developer key")]
        asyncio.run(run(address, key))
    return 0


if __name__ == "__main__":
    sys.exit(main())

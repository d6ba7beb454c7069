"""
How long a page takes from navigation to the first picture of somebody else.

Run as a program: `python -m tests.bench.first_frame`. A bot publishes all the while; a page of the public SDK joins its
channel in Chromium, in a context of its own each time (nothing cached, no earlier connection). What of the time goes
where is told by marks in the page. A password channel is measured apart, with what deriving its keys takes.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from playwright.async_api import Browser, async_playwright

from peerbus.client import AgentConnection
from peerbus.client.webrtc import WebRTCHelper
from peerbus.client.webrtc.generated import picture
from tests.bench.rig.figures import machine, verdict
from tests.e2e.conftest import CHROMIUM_ARGUMENTS
from tests.support.server_process import ServerProcess

_RUNS: Final = 9
_PAGE: Final = """<!doctype html><meta charset="utf-8"><title>bench</title>
<script src="SERVER/sdk/web-agent.js"></script><script src="SERVER/sdk/web-agent.webrtc.js"></script>
<script>
const marks = { loaded: performance.now() };
const query = new URLSearchParams(location.search);
const agent = new AgentConnection();
agent.onConnect = () => { marks.joined ??= performance.now(); };
const webrtc = new WebRTCHelper(agent, { mode: "sfu" });
const native = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function (answer) {
  marks.answered ??= performance.now();
  return native.call(this, answer);
};
window.done = new Promise((resolve) => {
  webrtc.onTrack = (track, { stream }) => {
    if (track.kind !== "video") return;
    marks.bound ??= performance.now();
    const video = document.createElement("video");
    Object.assign(video, { srcObject: stream, autoplay: true, playsInline: true, muted: true });
    video.requestVideoFrameCallback(() => { marks.frame ??= performance.now(); resolve(marks); });
    document.body.append(video);
  };
});
const channelPassword = query.get("password") ?? undefined;
agent.connect({
  api: "SERVER", apiKey: "KEY", channelName: query.get("channel"), channelPassword, resumeKey: false,
});
</script>"""
_STEPS: Final = {
    "page and SDK": (None, "loaded"),
    "join": ("loaded", "joined"),
    "offer and answer": ("joined", "answered"),
    "path, handshake, binding": ("answered", "bound"),
    "first picture": ("bound", "frame"),
}


@asynccontextmanager
async def site(address: str, key: str) -> AsyncIterator[str]:
    """The page, on a site of its own: routing it through the browser's driver would slow its connections down."""

    async def page(_: web.Request) -> web.Response:
        text = _PAGE.replace("SERVER", address).replace("KEY", key)
        return web.Response(text=text, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://localhost:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def visit(browser: Browser, page_address: str, channel: str, password: str | None) -> dict[str, float]:
    """One page from its navigation to its first picture: the marks, in ms since navigation."""
    context = await browser.new_context()
    page = await context.new_page()
    query = f"channel={channel}" + ("" if password is None else f"&password={password}")
    await page.goto(f"{page_address}?{query}")
    marks: dict[str, float] = await page.evaluate("window.done")
    await context.close()
    return marks


async def measure(
    browser: Browser, address: str, page_address: str, key: str, channel: str, password: str | None
) -> float:
    """Prints the figures of one channel; the median from navigation to the first picture."""
    options: dict[str, Any] = {} if password is None else {"channel_password": password}
    async with AgentConnection(address, api_key=key) as agent:
        await agent.connect(channel, "bot", **options)
        async with WebRTCHelper(agent, mode="sfu") as call:
            await call.publish(picture(640, 480))
            await call.connect()
            await visit(browser, page_address, channel, password)
            runs = [await visit(browser, page_address, channel, password) for _ in range(_RUNS)]
    frames = sorted(run["frame"] for run in runs)
    median = statistics.median(frames)
    told = verdict(median, 500, 200) if password is None else "no bound"
    name = "open channel" if password is None else "password channel"
    print(
        f"  {name:17} median {median:.0f} ms, {frames[0]:.0f} to {frames[-1]:.0f} in {_RUNS} runs   ({told})"
    )
    for step, (start, end) in _STEPS.items():
        took = statistics.median(run[end] - (0 if start is None else run[start]) for run in runs)
        note = ", with the keys derived from the password" if password is not None and step == "join" else ""
        print(f"    {step:25} {took:6.0f} ms{note}")
    return median


async def run(address: str, key: str) -> int:
    """All channels; how many bounds that must hold do not."""
    async with async_playwright() as driver, site(address, key) as page:
        browser = await driver.chromium.launch(
            executable_path="/usr/bin/chromium", chromium_sandbox=False, args=CHROMIUM_ARGUMENTS
        )
        median = await measure(browser, address, page, key, "bench-open", None)
        await measure(browser, address, page, key, "bench-locked", "a password")
        await browser.close()
    return int(median > 500)


def main() -> int:
    """Prints the figures; 1 if a bound that must hold does not."""
    print("from navigation to the first picture of somebody else, Chromium on the same machine")
    print(machine())
    with (
        tempfile.TemporaryDirectory(prefix="peerbus-bench-") as folder,
        ServerProcess(Path(folder) / "data", "--sfu-workers", "1", "--sfu-port", "0") as server,
    ):
        address = server.next_address()
        (key,) = [line.split()[-1] for line in server.output if line.strip().startswith("developer key")]
        return asyncio.run(run(address, key))


if __name__ == "__main__":
    sys.exit(main())

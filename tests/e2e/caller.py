"""
Somebody at the page /call: does with it what hands do, sees and hears what eyes and ears do.

Owns where things are on the page, by label, role or test id. Never calls into the page's program; what is seen and
heard is measured on the page's own video elements and connections.

    ada = Caller(await new_page(chromium), path)
    await ada.opens("/call")
    await ada.joins("Ada", "lobby")
    await ada.sees("Bob")
"""

from __future__ import annotations

import asyncio
from typing import Final

from playwright.async_api import Locator, Page, expect

from tests.e2e.network_path import NetworkPath

PATIENCE_S: Final = 40

_WATCH = """
(video, ms) => new Promise((done) => {
  const frames = [];
  const began = performance.now();
  const note = (now) => { frames.push(now); video.requestVideoFrameCallback(note); };
  video.requestVideoFrameCallback(note);
  setTimeout(() => {
    const times = [began, ...frames, performance.now()];
    const gaps = times.slice(1).map((time, at) => time - times[at]);
    done({ frames: frames.length, gap: Math.max(...gaps), width: video.videoWidth, height: video.videoHeight });
  }, ms);
})
"""

KEEP_CONNECTIONS: Final = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) { super(...given); window.connections.push(this); }
};
"""
"""Run before the page's own scripts, so that its connections can be asked for their figures."""

_LISTEN = """
async (video, ms) => {
  // The browser's own figures: a browser without a sound card plays nothing that could be recorded.
  const energy = async () => {
    const tracks = (video.srcObject?.getAudioTracks() ?? []).map(({ id }) => id);
    let sum = 0;
    for (const connection of window.connections.filter((one) => one.signalingState !== "closed")) {
      for (const entry of (await connection.getStats()).values()) {
        const isTheirs = entry.type === "inbound-rtp" && tracks.includes(entry.trackIdentifier);
        if (isTheirs) sum += entry.totalAudioEnergy ?? 0;
      }
    }
    return sum;
  };
  const before = await energy();
  const until = performance.now() + ms;
  while (performance.now() < until) {
    if ((await energy()) > before) return true;
    await new Promise((done) => setTimeout(done, 100));
  }
  return false;
}
"""


class Caller:
    """One page of /call, reached by a network path of its own."""

    def __init__(self, page: Page, path: NetworkPath) -> None:
        self.page: Final = page
        self.path: Final = path

    # --- what hands do ----------------------------------------------------------------------------------------

    async def opens(self, address: str) -> None:
        """Goes to a path on the server, or to a whole link."""
        await self.page.goto(address if address.startswith("http") else f"{self.path.url}{address}")

    async def joins(self, name: str, channel: str = "") -> None:
        """Fills in the form, presses Enter, and is in."""
        await self.page.get_by_label("Your name").fill(name)
        if channel:
            await self.page.get_by_label("Channel", exact=True).fill(channel)
        await self.page.get_by_label("Your name").press("Enter")
        await expect(self.connection).to_have_text(
            "Connected · through the server", timeout=PATIENCE_S * 1000
        )

    async def presses(self, control: str) -> None:
        """One of the buttons below the tiles, by its name now: Mute, Start video, Leave, …"""
        await self.page.get_by_role("toolbar").get_by_role("button", name=control, exact=True).click()

    # --- what eyes and ears do --------------------------------------------------------------------------------

    @property
    def connection(self) -> Locator:
        """The pill that tells the state of the connection."""
        return self.page.get_by_test_id("connection")

    @property
    def tiles(self) -> Locator:
        """Everybody's tile, the own one too."""
        return self.page.get_by_test_id("tile")

    def tile(self, name: str) -> Locator:
        """Somebody's tile, not that of their screen."""
        return self.page.locator(f'[data-testid=tile][data-name="{name}"]:not(.is-screen)')

    def screen(self, name: str) -> Locator:
        """The tile of somebody's screen."""
        return self.page.locator(f'[data-testid=tile][data-name="{name}"].is-screen')

    def notice(self, code: str) -> Locator:
        """A notice about a problem with this code."""
        return self.page.locator(f'[data-testid=notice][data-code="{code}"]:visible')

    async def sees(self, name: str) -> None:
        """Somebody's picture moves, and has a size that a camera has."""
        await self.watches(self.tile(name))

    async def watches(self, tile: Locator) -> None:
        """The picture of a tile moves."""
        await expect(tile).to_have_attribute("data-picture", "on", timeout=PATIENCE_S * 1000)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                seen = await self.watch(tile)
                if seen["frames"] >= 2 and seen["width"] >= 160 and seen["height"] >= 90:
                    return

    async def watch(self, tile: Locator, during_ms: int = 500) -> dict[str, float]:
        """How many frames came in that time, how long none came at most, and their size."""
        seen: dict[str, float] = await tile.locator("video").evaluate(_WATCH, during_ms)
        return seen

    async def hears(self, name: str) -> None:
        """Something can be heard from somebody."""
        video = self.tile(name).locator("video")
        assert await video.evaluate(_LISTEN, PATIENCE_S * 1000), f"{name} cannot be heard"

    async def sees_and_hears(self, name: str) -> None:
        """Both."""
        await self.sees(name)
        await self.hears(name)

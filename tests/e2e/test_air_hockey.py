"""The game /games/air-hockey, played by two browsers: in several modes, and on without its host."""

from __future__ import annotations

from playwright.async_api import Browser, Page, expect

from tests.e2e.call_stage import Callers, call_server, somebody

__all__ = ["call_server", "somebody"]

PATIENCE_MS = 40_000

_PLAY = """
() => {
  // Runs at the puck from the own side, as somebody would who plays for the first time.
  const table = document.querySelector("#table");
  const play = () => {
    requestAnimationFrame(play);
    const { left, top, width, height } = table.getBoundingClientRect();
    const [x, y] = (table.dataset.puck ?? "0 0").split(" ").map(Number);
    const isWide = width > height;
    const isBehind = isWide ? (window.at?.x ?? 0) < x : (window.at?.y ?? height) > y;
    const away = isBehind ? -10 : 120;
    window.at = isWide ? { x: x - away, y: isBehind ? y : y + 90 } : { x: isBehind ? x : x + 90, y: y + away };
    const place = { clientX: left + window.at.x, clientY: top + window.at.y, pointerType: "mouse", bubbles: true };
    table.dispatchEvent(new PointerEvent("pointermove", place));
  };
  play();
}
"""

_STAND_ASIDE = """
() => {
  const table = document.querySelector("#table");
  const { left, top } = table.getBoundingClientRect();
  const place = { clientX: left, clientY: top, pointerType: "mouse", bubbles: true };
  table.dispatchEvent(new PointerEvent("pointermove", place));
}
"""
"""A puck that nobody stops finds one of the goals in a few seconds."""


class Player:
    """Somebody at the table."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def joins(self, address: str, name: str, channel: str, mode: str = "") -> None:
        await self.page.goto(address)
        await self.page.get_by_label("Your name").fill(name)
        if channel:
            await self.page.get_by_label("Channel", exact=True).fill(channel)
        if mode:
            await self.page.get_by_test_id("mode").select_option(mode)
        await self.page.get_by_label("Your name").press("Enter")
        await expect(self.page.get_by_test_id("room")).to_be_visible(timeout=PATIENCE_MS)

    async def travels(self, mode: str) -> None:
        await expect(self.page.get_by_test_id("connection")).to_have_attribute(
            "data-mode", mode, timeout=PATIENCE_MS
        )

    async def is_at(self, phase: str) -> None:
        await expect(self.page.get_by_test_id("table")).to_have_attribute(
            "data-phase", phase, timeout=PATIENCE_MS
        )

    async def score(self) -> tuple[int, int]:
        """Own goals, and those of the other."""
        left = await self.page.get_by_test_id("score-left").inner_text()
        right = await self.page.get_by_test_id("score-right").inner_text()
        return int(left), int(right)

    async def sees_a_goal(self, before: int = 0) -> None:
        await self.page.wait_for_function(
            """before => {
              const goals = (side) => Number(document.querySelector(`#score-${side}`).textContent);
              return goals("left") + goals("right") > before;
            }""",
            arg=before,
            timeout=PATIENCE_MS,
        )

    async def link(self) -> str:
        await self.page.get_by_test_id("share").click()
        link = await self.page.get_by_label("Link", exact=True).input_value()
        await self.page.keyboard.press("Escape")
        return link


async def test_two_play_switch_the_mode_and_keep_the_score_without_their_host(
    chromium: Browser, firefox: Browser, somebody: Callers, channel: str
) -> None:
    ada, bob = await somebody(chromium), await somebody(firefox)
    host, guest = Player(ada.page), Player(bob.page)
    await host.joins(f"{ada.path.url}/games/air-hockey", "Ada", channel, "relay")
    await expect(host.page.get_by_test_id("status")).to_contain_text("Waiting for a second player")
    link = (await host.link()).replace(ada.path.url, bob.path.url)
    await guest.joins(link, "Bob", "")
    for player in (host, guest):
        await player.travels("relay")
        await player.is_at("playing")
    await guest.page.evaluate(_STAND_ASIDE)
    await host.page.evaluate(_PLAY)
    await host.page.get_by_test_id("menu").click()
    await host.page.get_by_test_id("menu-mode").select_option("mesh")
    for player in (host, guest):
        await player.travels("mesh")
    await host.page.keyboard.press("Escape")
    await guest.sees_a_goal()
    await expect(guest.page.get_by_test_id("figures")).to_have_attribute("data-host", "false")
    score = await guest.score()
    await ada.page.goto("about:blank")
    await guest.is_at("waiting")
    await expect(guest.page.get_by_test_id("figures")).to_have_attribute("data-host", "true")
    own, other = await guest.score()
    assert own >= score[0]
    assert other >= score[1]
    # Who comes back sits down again where they sat, and the game goes on from there.
    await host.joins(link.replace(bob.path.url, ada.path.url), "Ada", "")
    await host.is_at("playing")
    assert await host.score() == (other, own)

"""Two browsers and a bot in one call: `peerbus bot` by the link of the page."""

from __future__ import annotations

import asyncio
import re
import signal
import sys

from playwright.async_api import Browser, expect

from tests.e2e.call_stage import Callers, call_server, somebody

__all__ = ["call_server", "somebody"]

PATIENCE_S = 60.0


async def _line_with(lines: asyncio.StreamReader, *patterns: str) -> None:
    """Reads until one line has all of them."""
    async with asyncio.timeout(PATIENCE_S):
        while line := (await lines.readline()).decode():
            if all(re.search(pattern, line) for pattern in patterns):
                return
    raise AssertionError("it ended")


async def test_two_browsers_and_a_bot_see_and_hear_each_other(
    chromium: Browser, firefox: Browser, somebody: Callers, channel: str
) -> None:
    ada = await somebody(chromium)
    await ada.opens("/call")
    await ada.joins("Ada", channel)
    await ada.page.get_by_test_id("share").click()
    link = await ada.page.get_by_label("Link", exact=True).input_value()
    await ada.page.keyboard.press("Escape")
    bot = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peerbus.client.cli", "bot", "--link", link, "--name", "Robot"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        bob = await somebody(firefox)
        await bob.opens(link.replace(ada.path.url, bob.path.url))
        await bob.joins("Bob")
        for one in (ada, bob):
            await one.sees_and_hears("Robot")
        await ada.sees_and_hears("Bob")
        await bob.sees_and_hears("Ada")
        assert bot.stdout is not None
        heard_and_seen = (
            rf"{name}: {what}"
            for name in ("Ada", "Bob")
            for what in (r"microphone -\d+ dB", r"camera \d+x\d+ at")
        )
        await _line_with(bot.stdout, *heard_and_seen)
        bot.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(bot.communicate(), PATIENCE_S)
        assert (bot.returncode, errors) == (0, b"")
        await expect(ada.tiles).to_have_count(2)
    finally:
        if bot.returncode is None:
            bot.kill()
            await bot.wait()

"""The page /call as people use it, in Chromium and in Firefox, with cameras that browsers make up."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from playwright.async_api import Browser, expect

from tests.e2e.call_stage import Callers, call_server, somebody
from tests.e2e.caller import Caller

DENIED: Final = """
navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("No.", "NotAllowedError"));
"""
MISSING: Final = """
navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("No.", "NotFoundError"));
"""


__all__ = ["call_server", "somebody"]


async def _both(
    chromium: Browser, firefox: Browser, somebody: Callers, channel: str
) -> tuple[Caller, Caller]:
    """Ada in Chromium, and Bob in Firefox by the link that she gave him."""
    ada, bob = await asyncio.gather(somebody(chromium), somebody(firefox))
    await ada.opens("/call")
    await ada.joins("Ada", channel)
    await expect(ada.page.get_by_test_id("alone")).to_be_visible()
    await ada.page.get_by_test_id("share").click()
    link = await ada.page.get_by_label("Link", exact=True).input_value()
    await ada.page.keyboard.press("Escape")
    await bob.opens(link.replace(ada.path.url, bob.path.url))
    await bob.joins("Bob")
    return ada, bob


async def test_two_browsers_see_and_hear_each_other(
    chromium: Browser, firefox: Browser, somebody: Callers, channel: str
) -> None:
    ada, bob = await _both(chromium, firefox, somebody, channel)
    await ada.sees_and_hears("Bob")
    await bob.sees_and_hears("Ada")
    await expect(ada.page.get_by_test_id("alone")).to_be_hidden()
    await expect(ada.page.get_by_test_id("openness")).to_contain_text("Open, not encrypted end to end")
    await expect(ada.tiles).to_have_count(2)
    await ada.connection.click()
    figures = ada.page.get_by_test_id("figures")
    await expect(figures).to_contain_text("Bob · camera")
    await expect(figures).to_contain_text("directly to the server, UDP")
    await ada.page.keyboard.press("Escape")
    # Who leaves is gone for the others, and can come back.
    await bob.presses("Leave")
    await expect(bob.page.get_by_role("button", name="Join", exact=True)).to_be_visible()
    await expect(ada.tiles).to_have_count(1)
    await bob.joins("Bob")
    await ada.sees_and_hears("Bob")
    await bob.sees_and_hears("Ada")
    # Who loads the page again has left as well, and the name is free at once.
    for one, other in ((ada, bob), (bob, ada)):
        await one.page.reload()
        await expect(other.tiles).to_have_count(1)
        await one.joins("Ada" if one is ada else "Bob")
        await one.sees("Bob" if one is ada else "Ada")


async def test_a_late_joiner_and_what_others_switch_off(
    chromium: Browser, firefox: Browser, somebody: Callers, channel: str
) -> None:
    ada, bob = await _both(chromium, firefox, somebody, channel)
    await ada.presses("Raise hand")
    await expect(bob.tile("Ada").get_by_text("hand raised")).to_be_attached()
    cleo = await somebody(chromium)
    await cleo.opens("/call")
    await cleo.joins("Cleo", channel)
    for one, others in ((cleo, ("Ada", "Bob")), (ada, ("Bob", "Cleo")), (bob, ("Ada", "Cleo"))):
        for other in others:
            await one.sees_and_hears(other)
    await expect(cleo.tile("Ada").get_by_text("hand raised")).to_be_visible()

    await bob.page.get_by_role("toolbar").get_by_role("button", name="React").click()
    await bob.page.get_by_role("button", name="Heart").click()
    await expect(cleo.tile("Bob").get_by_test_id("reaction")).to_be_attached()

    await cleo.presses("Stop video")
    await cleo.presses("Mute")
    for one in (ada, bob):
        await expect(one.tile("Cleo")).to_have_attribute("data-picture", "off")
        await expect(one.tile("Cleo").get_by_text("microphone off")).to_be_visible()
    await cleo.presses("Start video")
    await cleo.presses("Unmute")
    for one in (ada, bob):
        await one.sees_and_hears("Cleo")

    # A window that is closed needs no goodbye; one that got none out, on a busy machine, is waited for (30 s).
    await cleo.page.close()
    for one in (ada, bob):
        await expect(one.tile("Cleo")).to_have_count(0, timeout=45_000)
    await bob.sees("Ada")


async def test_a_screen_is_shared_beside_the_camera(
    chromium: Browser, firefox: Browser, somebody: Callers, channel: str
) -> None:
    ada, bob = await _both(chromium, firefox, somebody, channel)
    await ada.presses("Share screen")
    await bob.watches(bob.screen("Ada"))
    await bob.sees("Ada")
    await expect(ada.screen("Ada")).to_contain_text("You are sharing your screen")
    await ada.presses("Stop sharing")
    await expect(bob.screen("Ada")).to_have_count(0)
    await bob.sees_and_hears("Ada")


@pytest.mark.parametrize(("script", "code"), [(DENIED, "media_denied"), (MISSING, "media_missing")])
async def test_without_camera_and_microphone_one_sees_and_hears_all_the_same(
    browser: Browser, chromium: Browser, somebody: Callers, channel: str, script: str, code: str
) -> None:
    ada, bob = await asyncio.gather(somebody(chromium), somebody(browser, script))
    await ada.opens("/call")
    await ada.joins("Ada", channel)
    await bob.opens("/call")
    await expect(bob.notice(code)).to_contain_text("join without")
    await bob.joins("Bob", channel)
    await bob.sees_and_hears("Ada")
    await expect(ada.tile("Bob")).to_have_attribute("data-picture", "off")


async def test_the_picture_goes_on_while_the_channel_is_cut_off(
    chromium: Browser, firefox: Browser, somebody: Callers, channel: str
) -> None:
    somebody.pages.network_may_fail = True
    ada, bob = await _both(chromium, firefox, somebody, channel)
    await ada.sees("Bob")
    ada.path.cut()
    await expect(ada.connection).to_have_text("In the call · channel reconnecting…")
    await ada.sees_and_hears("Bob")
    await bob.sees("Ada")
    ada.path.mend()
    await expect(ada.connection).to_have_text("Connected · through the server", timeout=60_000)
    await ada.presses("Raise hand")
    await expect(bob.tile("Ada").get_by_text("hand raised")).to_be_attached()
    await ada.sees_and_hears("Bob")

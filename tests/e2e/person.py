"""
Somebody at the page /chat: does with it what hands do, and reads what eyes read.

Owns where things are on the page, by label, role or test id. Never calls into the page's program.

    ada = Person(await new_page(chromium), path)
    await ada.opens("/chat")
    await ada.joins("Ada", "lobby")
    await ada.says("Good morning")
"""

from __future__ import annotations

import re
from typing import Final

from playwright.async_api import Locator, Page, expect

from tests.e2e.network_path import NetworkPath


class Person:
    """One page of /chat, reached by a network path of its own."""

    def __init__(self, page: Page, path: NetworkPath) -> None:
        self.page: Final = page
        self.path: Final = path

    # --- what hands do ----------------------------------------------------------------------------------------

    async def opens(self, address: str) -> None:
        """Goes to a path on the server, or to a whole link."""
        await self.page.goto(address if address.startswith("http") else f"{self.path.url}{address}")

    async def fills_in(self, name: str, channel: str = "", password: str = "", api_key: str = "") -> None:
        """Fills in the lobby's form; what is empty stays as it is."""
        await self.page.get_by_label("Your name").fill(name)
        if channel:
            await self.page.get_by_label("Channel", exact=True).fill(channel)
        if password:
            await self.page.get_by_label(re.compile("^Password")).fill(password)
        if api_key:
            await self.page.get_by_text("Use an API key").click()
            await self.page.get_by_label("API key", exact=True).fill(api_key)

    async def joins(self, name: str, channel: str = "", password: str = "", api_key: str = "") -> None:
        """Fills in the form, presses Enter, and is in."""
        await self.fills_in(name, channel, password, api_key)
        await self.page.get_by_label("Your name").press("Enter")
        await self.is_in()

    async def says(self, text: str) -> None:
        """Writes a message and presses Enter; does not wait for what becomes of it."""
        await self.composer.fill(text)
        await self.composer.press("Enter")

    async def says_and_is_heard(self, text: str) -> None:
        """As `says`, until the message is marked as stored."""
        await self.says(text)
        await expect(self.message(text)).to_have_attribute("data-status", "stored")

    # --- what eyes see ----------------------------------------------------------------------------------------

    async def is_in(self) -> None:
        """The room is shown, and connected."""
        await expect(self.page.get_by_test_id("room")).to_be_visible()
        await expect(self.connection).to_contain_text("Connected")

    @property
    def composer(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message")

    @property
    def connection(self) -> Locator:
        """The pill that tells the state of the connection."""
        return self.page.get_by_test_id("connection")

    @property
    def banner(self) -> Locator:
        """What stands above the messages as long as the connection is away."""
        return self.page.locator("#banner")

    @property
    def messages(self) -> Locator:
        return self.page.get_by_role("log", name="Messages").get_by_test_id("message")

    def message(self, text: str) -> Locator:
        """The messages whose text is this, whole."""
        bubble = self.page.locator(".bubble", has_text=re.compile(f"^{re.escape(text)}$"))
        return self.messages.filter(has=bubble)

    @property
    def bubbles(self) -> Locator:
        """The texts of all messages, from top to bottom."""
        return self.messages.locator(".bubble")

    def person(self, name: str) -> Locator:
        """An entry of the list of people."""
        return self.page.get_by_test_id("people").locator(f'[data-name="{name}"]')

    def event(self, text: str) -> Locator:
        """A line between the messages that tells what happened."""
        return self.page.get_by_test_id("system").filter(has_text=text)

    def notice(self, code: str) -> Locator:
        """A notice about an error with this code."""
        return self.page.locator(f'[data-testid=notice][data-code="{code}"]:visible')

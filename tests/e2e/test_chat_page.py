"""The page /chat as people use it, in Chromium and in Firefox."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

import pytest
import pytest_asyncio
import zxingcpp
from playwright.async_api import Browser, Locator, expect

from tests.e2e.conftest import Pages, Stage
from tests.e2e.members import Station
from tests.e2e.network_path import NetworkPath
from tests.e2e.person import Person
from tests.support.live_server import LiveServer, StartServer

OBSERVER: Final = Station("python", "websocket")
PASSWORD: Final = "correct horse + battery/staple é"


class People:
    """Brings people to the server's pages, each by a network path of their own."""

    def __init__(self, server: LiveServer, new_page: Pages) -> None:
        self.server = server
        self.pages: Final = new_page
        self._paths: Final[list[NetworkPath]] = []

    async def __call__(self, browser: Browser) -> Person:
        path = NetworkPath(self.server.port)
        await path.open()
        self._paths.append(path)
        return Person(await self.pages(browser), path)

    async def close(self) -> None:
        await self.pages.clear()
        for path in self._paths:
            await path.close()


@pytest_asyncio.fixture(loop_scope="session")
async def somebody(server: LiveServer, new_page: Pages) -> AsyncIterator[People]:
    """`ada = await somebody(browser)`."""
    people = People(server, new_page)
    yield people
    await people.close()


@pytest.fixture(params=["chromium first", "firefox first"])
def browsers(request: pytest.FixtureRequest, chromium: Browser, firefox: Browser) -> tuple[Browser, Browser]:
    """Both browsers, in either order."""
    return (chromium, firefox) if request.param == "chromium first" else (firefox, chromium)


async def test_two_people_meet_and_talk(
    browsers: tuple[Browser, Browser], somebody: People, channel: str
) -> None:
    ada, bob = await asyncio.gather(*(somebody(browser) for browser in browsers))
    await ada.opens("/chat")
    await ada.joins("Ada", channel)
    await expect(ada.page.get_by_test_id("channel-name")).to_have_text(channel)
    await expect(ada.page.get_by_test_id("openness")).to_have_text("Open")
    await expect(ada.connection).to_have_text("Connected · WebSocket")
    await expect(ada.page.get_by_test_id("empty")).to_contain_text("Nothing was said here yet")
    await expect(ada.person("Ada")).to_contain_text("you")

    link = await _shared_link(ada)
    await bob.opens(link)
    await expect(bob.page.get_by_role("heading", name=f"Join “{channel}”")).to_be_visible()
    await bob.joins("Bob")
    for one, other in ((ada, "Bob"), (bob, "Ada")):
        await expect(one.person(other)).to_contain_text("here")
    await expect(ada.event("Bob joined")).to_be_visible()

    await ada.composer.press_sequentially("Good")
    await expect(bob.page.get_by_test_id("typing")).to_have_text("Ada is typing…")
    await ada.composer.press_sequentially(" morning")
    await ada.composer.press("Enter")
    await expect(bob.message("Good morning")).to_have_attribute("data-sender", "Ada")
    await expect(bob.page.get_by_test_id("typing")).to_have_text("")
    await expect(ada.message("Good morning")).to_contain_text("Stored")
    await expect(ada.page.get_by_test_id("empty")).to_be_hidden()
    await expect(ada.composer).to_have_value("")
    await bob.composer.fill("And to you")
    await bob.page.get_by_role("button", name="Send").click()
    await expect(ada.message("And to you")).to_have_attribute("data-own", "false")

    # A reload is no absence: straight back into the room, with what was said.
    await bob.page.reload()
    await bob.is_in()
    await expect(bob.bubbles).to_have_text(["Good morning", "And to you"])
    await expect(bob.message("And to you")).to_have_attribute("data-own", "true")
    await ada.says("Still there?")
    await expect(bob.message("Still there?")).to_be_visible()
    await expect(ada.event("Bob left")).to_have_count(0)

    await bob.page.get_by_role("button", name="Leave").click()
    await expect(bob.page.get_by_role("button", name="Join")).to_be_visible()
    await expect(ada.event("Bob left")).to_be_visible()
    await expect(ada.person("Bob")).to_have_count(0)
    # Who comes back reads on, without the name being typed again.
    await bob.page.get_by_role("button", name="Join").click()
    await bob.is_in()
    await expect(bob.bubbles).to_have_text(["Good morning", "And to you", "Still there?"])


async def _shared_link(person: Person) -> str:
    """The link from the share dialog; its QR code says the same."""
    await person.page.get_by_role("button", name="Share", exact=True).click()
    dialog = person.page.get_by_role("dialog", name="Share this channel")
    link = await dialog.get_by_label("Link", exact=True).input_value()
    assert await _decoded(dialog.get_by_role("img", name="The link as a QR code")) == link
    await person.page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    return link


async def _decoded(code: Locator) -> str:
    """What a camera reads in the drawing."""
    size, grey = await code.locator("svg").evaluate(
        """async (svg) => {
          const size = 10 * svg.viewBox.baseVal.width;
          const copy = svg.cloneNode(true);
          copy.setAttribute("width", size);
          copy.setAttribute("height", size);
          const image = new Image();
          image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
          await image.decode();
          const context = new OffscreenCanvas(size, size).getContext("2d");
          context.fillStyle = getComputedStyle(svg.parentElement).backgroundColor;
          context.fillRect(0, 0, size, size);
          context.drawImage(image, 0, 0);
          const { data } = context.getImageData(0, 0, size, size);
          return [size, Array.from({ length: data.length / 4 }, (_, pixel) => data[4 * pixel + 1])];
        }"""
    )
    codes = zxingcpp.read_barcodes(memoryview(bytes(grey)).cast("B", (size, size)))
    return codes[0].text if codes else ""


async def test_a_password_makes_another_channel(
    browsers: tuple[Browser, Browser], somebody: People, channel: str
) -> None:
    ada, bob = await asyncio.gather(*(somebody(browser) for browser in browsers))
    await ada.opens("/chat")
    await ada.joins("Ada", channel, PASSWORD)
    badge = ada.page.get_by_test_id("openness")
    await expect(badge).to_have_text("Sealed")
    await badge.click()
    dialog = ada.page.get_by_role("dialog", name="This channel is sealed")
    await expect(dialog).to_contain_text("The server cannot")
    number = await dialog.get_by_test_id("safety-number").inner_text()
    assert re.fullmatch(r"(\d{5}\s*){6}", number)
    await ada.page.keyboard.press("Escape")
    await ada.says_and_is_heard("A secret")

    # The wrong password leads elsewhere, and says that nobody is there.
    await bob.opens("/chat")
    await bob.joins("Bob", channel, f"{PASSWORD}!")
    await expect(bob.page.get_by_test_id("empty")).to_contain_text("is the password right?")
    await expect(bob.person("Ada")).to_have_count(0)
    await bob.page.get_by_role("button", name="Leave").click()

    # The link brings the right one with it.
    link = await _shared_link(ada)
    assert quote(PASSWORD, safe="") in link
    await bob.opens(link)
    await bob.joins("Bob")
    await expect(bob.message("A secret")).to_be_visible()
    await bob.page.get_by_test_id("openness").click()
    assert await bob.page.get_by_test_id("safety-number").inner_text() == number
    await bob.page.keyboard.press("Escape")
    await bob.says("Thank you")
    await expect(ada.message("Thank you")).to_be_visible()
    await bob.page.reload()
    await bob.is_in()
    await expect(bob.message("A secret")).to_be_visible()

    # Bob loaded the link from Ada's address.
    for person in (ada, bob):
        _assert_no_secret_was_sent(person.path, [PASSWORD], in_address=[channel, "pb_"])


def _assert_no_secret_was_sent(path: NetworkPath, never: list[str], *, in_address: list[str]) -> None:
    """`never` in no byte that a browser sent, nor `in_address` in any URL or in a header other than its own."""
    sent = bytes(path.sent)
    assert sent
    for secret in never:
        raw = secret.encode()
        forms = [raw, quote(secret).encode(), quote(secret, safe="").encode(), base64.b64encode(raw)]
        forms.append(json.dumps(secret).strip('"').encode())
        assert not [form for form in forms if form in sent]
    requests = re.findall(rb"^((?:GET|POST|OPTIONS) .*?\r\n\r\n)", sent, re.DOTALL | re.MULTILINE)
    assert len(requests) > 3
    for head in requests:
        lines = [
            line for line in head.decode("latin-1").split("\r\n") if not line.startswith("Authorization:")
        ]
        for secret in [*never, *in_address, "join_token", "resume_token"]:
            for form in (secret, quote(secret), quote(secret, safe="")):
                assert form not in "\n".join(lines)


async def test_what_people_write_is_text(
    browsers: tuple[Browser, Browser], somebody: People, join: Stage, channel: str
) -> None:
    """Names, messages and reasons with markup are shown as they were typed, and do nothing."""
    markup = "<img src=x onerror=alert(1)><b>&amp;</b>"
    ada, bob = await asyncio.gather(*(somebody(browser) for browser in browsers))
    place = f"<i>{channel}</i> & more"
    await ada.opens("/chat")
    await ada.joins("<b>Ada</b>", place)
    await expect(ada.page.get_by_test_id("channel-name")).to_have_text(place)
    await bob.opens(await _shared_link(ada))
    await bob.joins("Bob & <u>Co</u>")
    await ada.says(f"{markup} javascript:alert(1) https://example.org/?a=<b>")
    said = bob.messages.first
    await expect(said.locator(".bubble")).to_have_text(
        f"{markup} javascript:alert(1) https://example.org/?a=<b>"
    )
    await expect(said.locator(".message-sender")).to_have_text("<b>Ada</b>")
    await expect(said.locator(".bubble a")).to_have_count(1)
    await expect(said.locator(".bubble a")).to_have_attribute("href", "https://example.org/?a=")
    await expect(said.locator(".bubble a")).to_have_attribute("rel", "noopener noreferrer")
    await expect(ada.event("Bob & <u>Co</u> joined")).to_be_visible()
    await expect(bob.person("<b>Ada</b>")).to_contain_text("<b>Ada</b>")

    # A bot may send anything.
    bot = await join(OBSERVER, place, "<script>", api_key="demo")
    contents: list[Any] = [{"html": markup}, b"\x00\x01", ["x"], 17, None, "", "\u202egnirts"]
    for content in contents:
        await bot.send(content)
    for person in (ada, bob):
        await expect(person.bubbles).to_have_count(1 + len(contents))
        await expect(person.bubbles.nth(1)).to_contain_text(markup)
        await expect(person.bubbles.nth(2)).to_have_text("2 bytes of binary data")
        assert (
            await person.page.locator(
                "#messages :is(img, b, u, i, script), #people :is(b, u, script)"
            ).count()
            == 0
        )


async def test_a_message_to_one_person_is_seen_by_no_other(
    browsers: tuple[Browser, Browser], somebody: People, join: Stage, channel: str
) -> None:
    ada, bob = await asyncio.gather(*(somebody(browser) for browser in browsers))
    await ada.opens("/chat")
    await ada.joins("Ada", channel)
    await bob.opens(await _shared_link(ada))
    await bob.joins("Bob")
    observer = await join(OBSERVER, channel, "Eve", api_key="demo")

    await ada.person("Bob").get_by_role("button").click()
    await expect(ada.page.get_by_test_id("direct-name")).to_have_text("Bob")
    await ada.says_and_is_heard("Just for you")
    await expect(bob.message("Just for you")).to_contain_text("only to you")
    await expect(ada.message("Just for you")).to_contain_text("only to Bob")
    await ada.page.keyboard.press("Escape")
    await expect(ada.page.get_by_test_id("direct")).to_be_hidden()
    await ada.says_and_is_heard("For everyone")
    await observer.hears("For everyone")
    assert "Just for you" not in observer.contents
    assert [seen.content for seen in await observer.history()] == ["For everyone"]
    # Nor after a reload; those it was for see it again.
    await bob.page.reload()
    await expect(bob.bubbles).to_have_text(["Just for you", "For everyone"])

    # Who is gone can't be written to: the message stays, and says why.
    await bob.person("Eve").get_by_role("button").click()
    await observer.call("disconnect")
    await expect(bob.person("Eve")).to_have_count(0)
    await bob.says("Too late")
    await expect(bob.message("Too late")).to_have_attribute("data-status", "failed")
    await expect(bob.message("Too late")).to_contain_text("They are not here any more")
    await expect(bob.message("Too late")).to_contain_text("unknown_recipient")


async def test_who_is_removed_is_told_why(
    browsers: tuple[Browser, Browser], somebody: People, channel: str
) -> None:
    somebody.pages.network_may_fail = True
    ada, bob = await asyncio.gather(*(somebody(browser) for browser in browsers))
    for person, name in ((ada, "Ada"), (bob, "Bob")):
        await person.opens("/chat")
        await person.joins(name, channel, api_key=somebody.server.developer_key)
    await ada.person("Bob").get_by_role("button", name="Remove Bob from the channel").click()
    dialog = ada.page.get_by_role("dialog", name="Remove Bob?")
    await dialog.get_by_label(re.compile("^Reason")).fill("Too <loud>")
    await dialog.get_by_role("button", name="Remove").click()
    notice = bob.notice("kicked")
    await expect(notice).to_contain_text("You were removed from this channel")
    await expect(notice).to_contain_text("Too <loud>")
    await expect(notice.get_by_test_id("error-reference")).to_have_text(re.compile(r"^kicked · \S+$"))
    await expect(bob.connection).to_have_text("Not connected")
    await expect(bob.composer).to_be_disabled()
    await expect(ada.event("Bob was removed")).to_be_visible()

    await notice.get_by_role("button", name="Back to the lobby").click()
    await bob.page.get_by_role("button", name="Join").click()
    await expect(bob.notice("kicked")).to_contain_text("does not take you back for now")

    # Ada closes the door; who comes finds it closed, then open.
    await ada.page.get_by_role("button", name="Keep newcomers out").click()
    await expect(ada.page.get_by_test_id("openness")).to_contain_text("closed to newcomers")
    cleo = await somebody(browsers[1])
    await cleo.opens("/chat")
    await cleo.fills_in("Cleo", channel, api_key=somebody.server.developer_key)
    await cleo.page.get_by_role("button", name="Join").click()
    await expect(cleo.notice("channel_locked")).to_contain_text("The channel is locked")
    await ada.page.get_by_role("button", name="Let newcomers in").click()
    await expect(ada.page.get_by_test_id("openness")).to_have_text("Open")
    await cleo.page.get_by_role("button", name="Join").click()
    await cleo.is_in()


async def test_a_lost_connection_is_told_and_mended(
    browser: Browser, somebody: People, start_server: StartServer, channel: str
) -> None:
    """A cut, and a restart of the server: what is written meanwhile waits, and is sent once."""
    somebody.pages.network_may_fail = True
    somebody.server = await asyncio.to_thread(start_server)
    ada, bob = await asyncio.gather(somebody(browser), somebody(browser))
    for person, name in ((ada, "Ada"), (bob, "Bob")):
        await person.opens("/chat")
        await person.joins(name, channel)
    await expect(bob.person("Ada")).to_be_visible()

    ada.path.cut()
    await expect(ada.connection).to_contain_text("Reconnecting")
    await expect(ada.banner).to_contain_text("Connection lost")
    await expect(bob.person("Ada")).to_contain_text("away: connection lost")
    await ada.says("Written in the dark")
    await expect(ada.message("Written in the dark")).to_contain_text("Waits for the connection")
    await expect(ada.page.get_by_test_id("queued")).to_have_text("1 message waits for the connection.")
    await bob.says_and_is_heard("Where are you?")
    # Before the network is back: an attempt of its own accord would take the button away from under the finger.
    await ada.page.get_by_role("button", name="Try now").click()
    ada.path.mend()
    await expect(ada.message("Written in the dark")).to_contain_text("Stored")
    await ada.is_in()
    await expect(ada.banner).to_be_empty()
    await expect(ada.page.get_by_test_id("queued")).to_have_text("")
    await expect(ada.bubbles).to_have_text(["Where are you?", "Written in the dark"])
    await expect(bob.bubbles).to_have_text(["Where are you?", "Written in the dark"])

    await asyncio.to_thread(somebody.server.restart)
    for person, other in ((ada, "Bob"), (bob, "Ada")):
        await person.is_in()
        await expect(person.person(other)).to_contain_text("here")
    await ada.says_and_is_heard("All is well")
    for person in (ada, bob):
        await expect(person.bubbles).to_have_text(["Where are you?", "Written in the dark", "All is well"])


async def test_without_websockets_the_page_works_by_long_poll(
    browsers: tuple[Browser, Browser], somebody: People, channel: str
) -> None:
    somebody.pages.network_may_fail = True
    ada, bob = await asyncio.gather(*(somebody(browser) for browser in browsers))
    ada.path.refuses_websockets = True
    for person, name in ((ada, "Ada"), (bob, "Bob")):
        await person.opens("/chat")
        await person.joins(name, channel)
    await expect(ada.connection).to_have_text("Connected · long-poll")
    await ada.says_and_is_heard("Slow but sure")
    await expect(bob.message("Slow but sure")).to_be_visible()
    await bob.says("Indeed")
    await expect(ada.message("Indeed")).to_be_visible()
    await ada.composer.press_sequentially("x")
    await expect(bob.page.get_by_test_id("typing")).to_have_text("Ada is typing…")
    await ada.page.reload()
    await ada.is_in()
    await expect(ada.bubbles).to_have_text(["Slow but sure", "Indeed"])
    await expect(bob.event("Ada left")).to_have_count(0)
    # What may stand in a header or a body must not stand in an address.
    _assert_no_secret_was_sent(ada.path, [], in_address=[channel, "pb_"])


async def test_what_goes_wrong_in_the_lobby_is_said(
    browser: Browser, somebody: People, join: Stage, channel: str
) -> None:
    ada = await somebody(browser)
    await join(OBSERVER, channel, "Ada", api_key="demo")
    await ada.opens("/chat#channel=a%ff")
    await expect(ada.page.get_by_role("alert")).to_contain_text("The link is damaged")
    await ada.fills_in("Ada", channel)
    await ada.page.get_by_role("button", name="Join").click()
    notice = ada.notice("name_taken")
    await expect(notice).to_contain_text("The name is taken")
    await expect(notice.get_by_test_id("error-reference")).to_have_text(re.compile(r"^name_taken · \S+$"))
    # Where the mistake is, there is the cursor.
    assert await ada.page.evaluate("document.activeElement.id") == "name"
    await ada.fills_in("Ada", api_key="pb_nonsense_nonsense")
    await ada.page.get_by_role("button", name="Join").click()
    await expect(ada.notice("unauthorized")).to_contain_text("The key was not accepted")
    await ada.page.get_by_label("API key", exact=True).fill("")
    await ada.fills_in("x\u202ey")
    await ada.page.get_by_role("button", name="Join").click()
    await expect(ada.notice("name_invalid")).to_contain_text("That name doesn’t work")
    await ada.joins("Second Ada")
    await expect(ada.person("Ada")).to_contain_text("here")


async def test_a_duplicated_tab_asks_for_another_name(
    browser: Browser, somebody: People, channel: str
) -> None:
    ada = await somebody(browser)
    await ada.opens("/chat")
    await ada.joins("Ada", channel)
    async with ada.page.expect_popup() as opening:
        await ada.page.evaluate("void window.open(location.href)")
    twin = Person(await opening.value, ada.path)
    await expect(twin.notice("name_taken")).to_be_visible()
    await twin.joins("Ada too")
    await twin.says("Hello, me")
    await expect(ada.message("Hello, me")).to_have_attribute("data-own", "false")
    await expect(ada.connection).to_contain_text("Connected")


async def test_earlier_messages_are_loaded_on_demand(
    browser: Browser, somebody: People, join: Stage, channel: str
) -> None:
    bot = await join(OBSERVER, channel, "bot", api_key="demo")
    said = [f"message {number}" for number in range(70)]
    await asyncio.gather(*(bot.send(text) for text in said))
    ada = await somebody(browser)
    await ada.opens("/chat")
    await ada.joins("Ada", channel)
    await expect(ada.bubbles).to_have_text(said[-50:])
    await expect(ada.message("message 69")).to_be_in_viewport()
    await ada.page.get_by_role("button", name="Load earlier messages").click()
    await expect(ada.bubbles).to_have_text(said)
    await expect(ada.page.get_by_text("This is the beginning of the channel.")).to_be_attached()
    await expect(ada.page.get_by_role("button", name="Load earlier messages")).to_be_hidden()
    # What was being read stays where it was; what comes new is announced, not jumped to.
    await ada.message("message 0").scroll_into_view_if_needed()
    await bot.send("the newest")
    newer = ada.page.get_by_role("button", name="1 new message")
    await expect(newer).to_be_visible()
    await expect(ada.message("message 0")).to_be_in_viewport()
    await newer.click()
    await expect(ada.message("the newest")).to_be_in_viewport()

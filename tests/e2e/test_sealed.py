"""Sealed channels between Chromium, Firefox and Python, over WebSocket and long-poll, and on the page /chat."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.e2e.conftest import PLAIN_HOST, Pages, Stage
from tests.e2e.members import PATIENCE_S, BrowserMember, Kind, Member, Station
from tests.e2e.network_path import NetworkPath
from tests.e2e.person import Person
from tests.support.live_server import LiveServer

LineUp = tuple[Station, Station, Station]

OBSERVER: Final = Station("python", "websocket")
PASSWORD: Final = "correct horse + battery/staple é"
CANARY: Final = "a canary that sings in the clear"
CONTENTS: Final[list[Any]] = [
    {"nested": [1, -2.5, True, None, {"deep": ["ä", "日本", "\u0000", "🙂"]}], "largest": 2**53 - 1},
    bytes(range(256)),
    b"",
    "x" * 100_000,
    None,
]


@pytest_asyncio.fixture(loop_scope="session")
async def path(server: LiveServer) -> AsyncIterator[NetworkPath]:
    """The network of a page."""
    path = NetworkPath(server.port)
    await path.open()
    yield path
    await path.close()


async def test_three_kinds_seal_and_open(line_up: LineUp, join: Stage, channel: str) -> None:
    """Each class, each way to address; what was missed in a cut; a late joiner; and nothing is refused anywhere."""
    three = [
        await join(station, channel, name, password=PASSWORD, private_attributes={"mood": f"of {name}"})
        for station, name in zip(line_up, ("anna", "ben", "cleo"), strict=True)
    ]
    for member in three:
        for other in three:
            await member.sees(other.name)
            await _sees_private(member, other.name, {"mood": f"of {other.name}"})
    numbers = {(await member.look())["safety_number"] for member in three}
    assert len(numbers) == 1
    assert len(numbers.pop().split()) == 6

    for sender in three:
        others = [member for member in three if member is not sender]
        for content in CONTENTS:
            await sender.send(content, type="sample", metadata={"by": sender.name})
        await sender.send(f"live of {sender.name}", delivery="live", to=[other.name for other in others])
        await sender.send(f"lossy of {sender.name}", ephemeral=True, filter={"glob": "*"})
        end = f"by {sender.name}, for one"
        await sender.send(end, to=others[0].name, custom_event_type="end", reply_to="x")
        for other in others:
            assert (await other.hears(f"live of {sender.name}")).is_sealed
            await other.hears(f"lossy of {sender.name}")
        last = await others[0].hears(end)
        assert (last.custom_event_type, last.reply_to) == ("end", "x")
        for other in others:
            samples = [seen for seen in other.heard if (seen.sender, seen.type) == (sender.name, "sample")]
            assert [(type(seen.content), seen.content) for seen in samples] == [
                (type(content), content) for content in CONTENTS
            ]
            assert all(seen.is_sealed and seen.metadata == {"by": sender.name} for seen in samples)

    await _what_is_sent_in_a_cut_arrives_once(three)
    for member in three:
        history = await member.history(types=["sample"], limit=100)
        assert [seen.content for seen in history] == CONTENTS * 3
        look = await member.look()
        assert (look["is_sealed"], look["channel"]["mode"]) == (True, "sealed")
        assert look["sealing_counters"]["refused"] == look["sealing_counters"]["dropped"] == 0
        assert member.journal.count("error") == 0

    await _a_page_that_is_loaded_again_goes_on(three, channel, join.server.developer_key)
    late = await join(line_up[0], channel, "dora", password=PASSWORD)
    assert [seen.content for seen in await late.history(types=["sample"], limit=100)] == CONTENTS * 3
    await _sees_private(late, "cleo", {"mood": "of cleo"})
    assert late.journal.count("error") == 0


async def _sees_private(member: Member, name: str, attributes: dict[str, Any]) -> None:
    def shown(look: dict[str, Any]) -> Any:
        return [other["private_attributes"] for other in look["members"] if other["name"] == name]

    async with asyncio.timeout(PATIENCE_S):
        mark = len(member.journal)
        while shown(await member.look()) != [attributes]:
            await member.journal.grows(mark)
            mark = len(member.journal)


async def _what_is_sent_in_a_cut_arrives_once(three: list[Member]) -> None:
    for away in three:
        friend = next(member for member in three if member is not away)
        mark = len(away.journal)
        away.path.cut()
        await away.state("reconnecting", after=mark)
        await friend.send(f"missed by {away.name}")
        await friend.send(f"missed by {away.name}, live", delivery="live", to=away.name)
        away.path.mend()
        await away.send(f"by {away.name}, after the cut")
        await away.hears(f"missed by {away.name}")
        await away.hears(f"missed by {away.name}, live")
        for member in three:
            if member is not away:
                await member.hears(f"by {away.name}, after the cut")


async def _a_page_that_is_loaded_again_goes_on(three: list[Member], channel: str, key: str) -> None:
    """The session is the same, the crypto-session another: what it seals is opened, and what is sealed for it alone."""
    page = next(member for member in three if isinstance(member, BrowserMember))
    friend = next(member for member in three if member is not page)
    session_id = (await page.look())["session_id"]
    await page.page.reload()
    await page.load()
    await page.connect(channel, page.name, PASSWORD, api_key=key, private_attributes={"mood": "new"})
    assert (await page.look())["session_id"] == session_id
    await _sees_private(friend, page.name, {"mood": "new"})
    await page.send("after a reload")
    assert (await friend.hears("after a reload")).is_sealed
    await friend.send("for the page as it is now", delivery="live", to=page.name)
    await page.hears("for the page as it is now")
    assert page.journal.count("error") == friend.journal.count("error") == 0


@pytest.mark.parametrize("kind", ["chromium", "firefox"])
async def test_what_leaves_a_browser_is_sealed(kind: Kind, join: Stage, channel: str) -> None:
    """By long-poll, whose bodies can be read on the way, unlike masked WebSocket frames."""
    seen = {}
    for is_sealed in (True, False):
        options: dict[str, Any] = {"private_attributes": {"mood": CANARY}} if is_sealed else {"sealed": False}
        station = Station(kind, "longpoll", "json")
        member = await join(station, channel, "anna", password=PASSWORD, **options)
        await member.send(CANARY, metadata={"of": CANARY})
        await member.send(CANARY.encode(), delivery="live")
        seen[is_sealed] = bytes(member.path.sent)
    raw = CANARY.encode()
    # Base64 of it, wherever it begins within three bytes, without the ends that depend on what stands around.
    forms = [raw, CANARY.encode("utf-16-le"), *(base64.b64encode(b"x" * at + raw)[4:-4] for at in range(3))]
    assert not [form for form in forms if form in seen[True]]
    assert raw in seen[False]
    assert any(form in seen[False] for form in forms[2:])


async def test_another_password_meets_nobody(line_up: LineUp, join: Stage, channel: str) -> None:
    """Nor does the same password, where it is a lock only."""
    inside, wrong, locked = [
        await join(line_up[0], channel, "anna", password=PASSWORD),
        await join(line_up[1], channel, "ben", password=f"{PASSWORD}!"),
        await join(line_up[2], channel, "cleo", password=PASSWORD, sealed=False),
    ]
    await inside.send("a secret")
    for member in (wrong, locked):
        assert await member.history() == []
    for member in (inside, wrong, locked):
        look = await member.look()
        assert [other["name"] for other in look["members"]] == [member.name]
    assert (await locked.look())["is_sealed"] is False
    assert (await locked.look())["safety_number"] == ""
    assert (await wrong.look())["safety_number"] != (await inside.look())["safety_number"]


async def test_a_person_at_the_page_and_a_program(
    browser: Browser, path: NetworkPath, new_page: Pages, join: Stage, channel: str
) -> None:
    bot = await join(OBSERVER, channel, "bot", password=PASSWORD, api_key="demo")
    await bot.send("said before")
    ada = Person(await new_page(browser), path)
    link = f"/chat#channel={quote(channel, safe='')}&password={quote(PASSWORD, safe='')}"
    await ada.opens(link)
    await ada.joins("Ada")
    badge = ada.page.get_by_test_id("openness")
    await expect(badge).to_have_text("Sealed")
    await expect(ada.message("said before")).to_be_visible()
    await badge.click()
    shown = await ada.page.get_by_test_id("safety-number").inner_text()
    assert shown.split() == (await bot.look())["safety_number"].split()
    await ada.page.keyboard.press("Escape")
    await ada.composer.press_sequentially("Hi")
    await bot.hears(True)
    await ada.says_and_is_heard("Hi bot")
    assert (await bot.hears("Hi bot")).is_sealed
    await bot.send("for you alone", to="Ada")
    await expect(ada.message("for you alone")).to_have_attribute("data-direct", "true")
    await expect(ada.page.get_by_test_id("system").filter(has_text="could not be opened")).to_have_count(0)

    # The same password as a lock only is another channel, and says what it is.
    await ada.opens("/")
    await ada.opens(f"{link}&mode=open")
    await ada.joins("Ada")
    await expect(badge).to_have_text("Locked, readable by the server")
    await expect(ada.page.get_by_test_id("empty")).to_contain_text("is the password right?")
    await expect(ada.person("bot")).to_have_count(0)


async def test_a_page_from_plain_http_seals_as_well(
    browser: Browser, path: NetworkPath, new_page: Pages, join: Stage, channel: str
) -> None:
    """As on a phone in the same network: browsers have no WebCrypto there."""
    bot = await join(OBSERVER, channel, "bot", password=PASSWORD)
    await bot.send("said before")
    ada = Person(await new_page(browser), path)
    origin = path.url.replace("127.0.0.1", PLAIN_HOST)
    await ada.opens(f"{origin}/chat#channel={quote(channel, safe='')}&password={quote(PASSWORD, safe='')}")
    assert await ada.page.evaluate("[isSecureContext, typeof crypto.subtle]") == [False, "undefined"]
    await ada.joins("Ada", api_key=join.server.developer_key)
    await expect(ada.page.get_by_test_id("openness")).to_have_text("Sealed")
    await expect(ada.message("said before")).to_be_visible()
    await ada.says_and_is_heard("Hi bot")
    assert (await bot.hears("Hi bot")).is_sealed
    await bot.send("Hi Ada")
    await expect(ada.message("Hi Ada")).to_be_visible()

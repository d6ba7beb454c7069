"""A name belongs to who bears it, over reloads, lost connections and killed tabs; nobody else gets it meanwhile."""

from __future__ import annotations

from typing import cast

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.members import BrowserMember, Refused, Station
from tests.e2e.players import until

LineUp = tuple[Station, Station, Station]

IN_BROWSERS = [
    Station("chromium", "websocket"),
    Station("chromium", "longpoll"),
    Station("firefox", "websocket"),
    Station("firefox", "longpoll"),
]
by_browser = pytest.mark.parametrize("station", IN_BROWSERS, ids=lambda station: f"{station[0]}-{station[1]}")
BEN = Station("python", "websocket")


async def test_a_lost_connection_keeps_its_name(line_up: LineUp, join: Stage, channel: str) -> None:
    three = await join.three(line_up, channel)
    for member in three:
        before = await member.look()
        mark = len(member.journal)
        member.path.cut()
        await member.state("reconnecting", after=mark)
        with pytest.raises(Refused) as refused:
            await join(BEN, channel, member.name)
        assert refused.value.code == "name_taken"
        member.path.mend()
        await member.state("connected", after=mark)

        # The server believes in the old connection this time; its own client takes it over all the same.
        mark = len(member.journal)
        member.path.cut_half()
        await member.state("reconnecting", after=mark)
        member.path.mend()
        await member.state("connected", after=mark)
        after = await member.look()
        for what in ("agent_name", "session_id", "identity"):
            assert after[what] == before[what]
        assert member.journal.count("gap") == 0
        for other in three:
            await other.sees(member.name)
            assert not any(event.value["left"] for event in other.journal if event.name == "presence")


@by_browser
async def test_a_reload_keeps_name_lineage_and_place(station: Station, join: Stage, channel: str) -> None:
    ben = await join(BEN, channel, "ben")
    anna = await _browser(station, join, channel)
    before = await anna.look()
    await ben.send("before")
    await anna.hears("before")

    for turn in range(2):
        await anna.page.reload()
        await ben.send(f"during {turn}")
        await anna.load()
        await anna.connect(channel, "anna", api_key=join.server.developer_key)
        after = await anna.look()
        for what in ("agent_name", "session_id", "identity"):
            assert after[what] == before[what]
        await anna.hears(f"during {turn}")
    assert anna.contents == ["before", "during 0", "during 1"]
    assert not any(event.value["left"] for event in ben.journal if event.name == "presence")
    assert [member["name"] for member in (await ben.look())["members"]] == ["ben", "anna"]


@by_browser
async def test_a_duplicated_tab_does_not_steal_the_name(station: Station, join: Stage, channel: str) -> None:
    anna = await _browser(station, join, channel)
    async with anna.page.expect_popup() as opening:
        # The new tab begins with a copy of this one's session storage, as a duplicated one does.
        await anna.page.evaluate("void window.open(location.href)")
    page = await opening.value
    assert await page.evaluate("Object.keys(sessionStorage).length") > 0
    twin = BrowserMember(station, anna.path, page)
    await twin.open()
    with pytest.raises(Refused) as refused:
        await twin.connect(channel, "anna", api_key=join.server.developer_key)
    assert refused.value.code == "name_taken"
    await twin.connect(channel, "second anna", api_key=join.server.developer_key)
    assert (await twin.look())["identity"] != (await anna.look())["identity"]
    await twin.send("hello")
    await anna.hears("hello")
    states = [event.value["name"] for event in anna.journal if event.name == "state"]
    assert states == ["connecting", "connected"]


@by_browser
async def test_a_killed_tab_comes_back_to_its_name(station: Station, join: Stage, channel: str) -> None:
    ben = await join(BEN, channel, "ben")
    anna = await _browser(station, join, channel)
    before = await anna.look()
    # What a browser restores with a tab; at this moment nothing was told that the tab would end.
    storage = await anna.page.evaluate("JSON.stringify(Object.entries(sessionStorage))")
    context = anna.page.context
    await anna.page.close()
    await ben.send("meanwhile")
    with pytest.raises(Refused) as refused:
        await join(BEN, channel, "anna")
    assert refused.value.code == "name_taken"

    page = await context.new_page()
    # A page without an address has no storage.
    await page.add_init_script(
        f"if (origin !== 'null') for (const [key, value] of {storage}) sessionStorage.setItem(key, value)"
    )
    restored = BrowserMember(station, anna.path, page)
    await restored.open()
    await restored.connect(channel, "anna", api_key=join.server.developer_key)
    after = await restored.look()
    assert (after["agent_name"], after["identity"]) == (before["agent_name"], before["identity"])
    await restored.hears("meanwhile")
    await restored.send("back again")
    await ben.hears("back again")


async def test_a_page_that_is_left_or_closed_is_no_ghost(join: Stage, channel: str) -> None:
    """In Chromium. A Firefox that is left is seen to go in `test_modes`; now and then a driven one says nothing."""
    ben = await join(BEN, channel, "ben")
    pages = [
        await join(station, channel, f"{station.kind}-{station.transport}") for station in IN_BROWSERS[:2]
    ]
    for member in pages:
        await ben.sees(member.name)
    for member in pages:
        page = cast("BrowserMember", member).page
        if member.station.transport == "websocket":
            await page.close(run_before_unload=True)
        else:
            await page.goto("about:blank")

    # A lost connection would be waited for as long as its session can be resumed.
    async def others() -> list[str]:
        members = (await ben.look())["members"]
        return [f"{member['name']} {member['state']}" for member in members if member["name"] != "ben"]

    await until("whom ben sees", others, [], 15)


async def _browser(station: Station, join: Stage, channel: str) -> BrowserMember:
    return cast("BrowserMember", await join(station, channel, "anna"))

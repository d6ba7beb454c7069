"""Members who say no mode, in real browsers and with Python programs among them: the server chooses, and says why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from peerbus.protocol.groups import Mode
from tests.e2e.call_stage import Callers, CallServer, call_server, somebody
from tests.e2e.conftest import Pages
from tests.e2e.player_stage import Stage, join
from tests.e2e.players import PagePlayer, Player, all_reach_all, until
from tests.support.server_process import ServerProcess

__all__ = ["call_server", "join", "somebody"]

pytestmark = pytest.mark.alone


@pytest.fixture
def server_without_worker(tmp_path: Path) -> Iterator[CallServer]:
    """Signaling alone."""
    with ServerProcess(tmp_path / "data", "--sfu-workers", "0") as process:
        yield CallServer(process)
        assert process.stop() == 0


@pytest_asyncio.fixture(loop_scope="session")
async def join_without_worker(
    chromium: Browser, firefox: Browser, server_without_worker: CallServer, new_page: Pages
) -> AsyncIterator[Stage]:
    """As `join`, where there is no media worker."""
    new_page.network_may_fail = True  # Firefox says so when no link can be made.
    callers = Callers(server_without_worker, new_page)
    stage = Stage(callers, {"chromium": chromium, "firefox": firefox})
    yield stage
    await stage.close()
    await callers.close()


async def _all_by(mode: Mode, *players: Player) -> None:
    for one in players:
        await until(f"mode of {one.name}", one.mode, mode)
    await all_reach_all(*players)


async def test_the_mode_follows_the_number_of_members_and_their_pictures(
    chromium: Browser, firefox: Browser, join: Stage, channel: str
) -> None:
    ann = await join.page("ann", chromium, channel, "auto")
    ben = await join.page("ben", firefox, channel, "auto")
    cyd = await join("python", channel, "auto")
    await _all_by("mesh", ann, ben, cyd)
    dan = await join("python4", channel, "auto")
    await _all_by("host", ann, ben, cyd, dan)
    await ann.send("by the host")
    for one in (ben, cyd, dan):
        await until(f"what {one.name} hears", one.data, [["ann", "by the host"]])

    # Three uplinks are not too many for a picture; four are.
    for one in (ann, ben):
        await one.page.evaluate("modes.film()")
    await _all_by("mesh", ann, ben, cyd, dan)
    eve = await join("python5", channel, "auto")
    await _all_by("sfu", ann, ben, cyd, dan, eve)
    changes = await ann.page.evaluate("member.changes")
    # A machine that is busy with all these pictures may take a link for one that can't be made.
    assert changes[:3] == [["mesh", "first"], ["host", "grown"], ["mesh", "media"]]
    assert changes[-1] in (["sfu", "media"], ["sfu", "unreachable"])
    for one, other in ((ann, "ben"), (ben, "ann")):
        await until(f"{one.name} sees {other}", partial(_sees, one, other), True)
    await dan.send("by the worker", "ann")
    await until("what ann hears", ann.data, [["python4", "by the worker"]])


async def _sees(one: PagePlayer, other: str) -> bool:
    now = "performance.now() - 500"
    return bool(await one.page.evaluate(f"modes.watched({other!r}, {now}).frames > 3"))


async def test_who_is_reached_by_nobody_is_reached_by_the_server(
    chromium: Browser, firefox: Browser, join_without_worker: Stage, channel: str
) -> None:
    """One of them may use relays only, and there are none."""
    join = join_without_worker
    ann = await join.page("ann", chromium, channel, "auto", iceTransportPolicy="relay")
    ben = await join.page("ben", firefox, channel, "auto")
    cyd = await join("python", channel, "auto")
    await _all_by("relay", ann, ben, cyd)
    assert (await ben.page.evaluate("member.changes"))[-1] == ["relay", "unreachable"]
    await ann.send("hello")
    for one in (ben, cyd):
        await until(f"what {one.name} hears", one.data, [["ann", "hello"]])

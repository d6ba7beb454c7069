"""Kick and lock by who holds the grant, in Chromium, Firefox and Python: those concerned are told so, plainly."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.members import Refused, Station

LineUp = tuple[Station, Station, Station]


async def test_who_is_kicked_is_told_so_and_stays_out(line_up: LineUp, join: Stage, channel: str) -> None:
    moderator, first, second = await join.three(line_up, channel)
    for kicked, others in ((first, (moderator, second)), (second, (moderator,))):
        reason = f"Enough, {kicked.name} <b>"
        await moderator.kick(kicked.name, reason)
        closed = await kicked.is_lost()
        assert closed["code"] == "kicked"
        assert reason in closed["why"]
        for other in others:
            await other.sees(kicked.name, "gone")
            gone = [one for event in other.journal if event.name == "presence" for one in event.value["left"]]
            assert (gone[-1]["name"], gone[-1]["reason"]) == (kicked.name, "kicked")
        with pytest.raises(Refused) as refused:
            await kicked.send("still here?")
        assert refused.value.code == "closed"
        with pytest.raises(Refused) as refused:
            await kicked.connect(channel, kicked.name, api_key=join.server.developer_key)
        assert (refused.value.code, refused.value.is_retryable) == ("kicked", False)
    assert moderator.journal.count("message") == 0
    with pytest.raises(Refused) as refused:
        await moderator.kick("nobody", "")
    assert refused.value.code == "not_found"


async def test_a_locked_channel_takes_no_newcomers(line_up: LineUp, join: Stage, channel: str) -> None:
    first, second, third = line_up
    moderator, member = await asyncio.gather(join(first, channel, "anna"), join(second, channel, "ben"))
    newcomer = await join.prepare(third)
    await moderator.call("lock")
    await member.journal.until("channel", lambda value: value["is_locked"])
    assert (await member.look())["channel"]["is_locked"]
    with pytest.raises(Refused) as refused:
        await newcomer.connect(channel, "cleo", api_key=join.server.developer_key)
    assert refused.value.code == "channel_locked"
    assert not refused.value.is_retryable

    # Who is in may be cut off and come back.
    mark = len(member.journal)
    member.path.cut()
    await member.state("reconnecting", after=mark)
    member.path.mend()
    await member.state("connected", after=mark)

    await moderator.call("unlock")
    await member.journal.until("channel", lambda value: not value["is_locked"])
    await newcomer.connect(channel, "cleo", api_key=join.server.developer_key)
    await moderator.sees("cleo")


async def test_kick_and_lock_need_the_grant(line_up: LineUp, join: Stage, channel: str) -> None:
    first, second, third = line_up
    holder = await join(first, channel, "anna")
    for station, name in ((second, "ben"), (third, "cleo")):
        member = await join(station, channel, name, api_key=join.token(channel, name))
        for attempt in (member.kick("anna", "mine"), member.call("lock"), member.call("unlock")):
            with pytest.raises(Refused) as refused:
                await attempt
            assert refused.value.code == "forbidden"
        # Nothing happened to either of them.
        await member.send(f"hello from {name}")
        await holder.hears(f"hello from {name}")
    assert not (await holder.look())["channel"]["is_locked"]

"""Losses of the network and of the server, in Chromium, Firefox and Python, over WebSocket and long-poll."""

from __future__ import annotations

import asyncio

from tests.e2e.conftest import Stage
from tests.e2e.members import BrowserMember, Member, Station
from tests.support.live_server import StartServer

LineUp = tuple[Station, Station, Station]


async def test_what_was_missed_comes_after_a_cut(line_up: LineUp, join: Stage, channel: str) -> None:
    """All of it, once and in order; and nothing that was for others."""
    three = await join.three(line_up, channel)
    for turn in range(3):
        away, sender, friend = three[turn], three[turn - 1], three[turn - 2]
        await sender.send(f"before {turn}")
        await away.hears(f"before {turn}")
        mark, heard_before = len(away.journal), len(away.heard)

        away.path.cut()
        await away.state("reconnecting", after=mark)
        for number in range(3):
            await sender.send(f"durable {turn}.{number}")
            await sender.send(f"live {turn}.{number}", delivery="live")
            await sender.send(f"for a friend {turn}", to=friend.name)
            await sender.send(f"for a friend {turn}", filter=friend.name, delivery="live")
        await sender.send(f"for who is away {turn}", to=away.name)

        away.path.mend()
        await away.state("connected", after=mark)
        await sender.send(f"after {turn}", delivery="live")
        await away.hears(f"for who is away {turn}")
        await away.hears(f"after {turn}")
        assert "gap" not in [event.name for event in away.journal]
        since = away.heard[heard_before:]
        assert [seen.content for seen in since if seen.delivery == "durable"] == [
            *(f"durable {turn}.{number}" for number in range(3)),
            f"for who is away {turn}",
        ]
        assert [seen.content for seen in since if seen.delivery == "live"] == [
            *(f"live {turn}.{number}" for number in range(3)),
            f"after {turn}",
        ]
        await friend.hears(f"after {turn}")
        told = [seen.delivery for seen in friend.heard if seen.content == f"for a friend {turn}"]
        assert sorted(told) == ["durable"] * 3 + ["live"] * 3


async def test_messages_written_offline_arrive_once(line_up: LineUp, join: Stage, channel: str) -> None:
    three = await join.three(line_up, channel)
    for member in three:
        await _go_offline(member)
    for member in three:
        await member.state("reconnecting")
    async with asyncio.TaskGroup() as group:
        sent = [
            group.create_task(member.send(f"{member.name} {number}"))
            for member in three
            for number in range(5)
        ]
        for member in three:
            while (await member.look())["queued"] < 5:
                await asyncio.wait(sent, timeout=0.01)
        assert not any(task.done() for task in sent)
        for member in three:
            await _go_online(member)
    offsets = [task.result()["offset"] for task in sent]
    assert sorted(offsets) == list(range(1, 16))
    for sender, begin in zip(three, (0, 5, 10), strict=True):
        # Each one's messages keep the order in which they were written.
        assert offsets[begin : begin + 5] == sorted(offsets[begin : begin + 5])
        for member in three:
            if member is not sender:
                await member.hears(f"{sender.name} 4")
    written = {f"{member.name} {number}" for member in three for number in range(5)}
    for member in three:
        stored = [seen.content for seen in await member.history()]
        assert len(stored) == 15
        assert set(stored) == written
        assert len(member.contents) == len(set(member.contents)) == 10


async def _go_offline(member: Member) -> None:
    """The connection is lost, and a browser knows that it has no network."""
    if isinstance(member, BrowserMember):
        await member.page.context.set_offline(True)
    member.path.cut()


async def _go_online(member: Member) -> None:
    member.path.mend()
    if isinstance(member, BrowserMember):
        await member.page.context.set_offline(False)


async def test_everyone_comes_back_after_a_restart_of_the_server(
    line_up: LineUp, join: Stage, start_server: StartServer, channel: str
) -> None:
    server = await asyncio.to_thread(start_server)
    join.server = server
    three = await join.three(line_up, channel)
    await three[0].send("before")
    for member in three[1:]:
        await member.hears("before")
    identities = [(await member.look())["identity"] for member in three]
    marks = [len(member.journal) for member in three]

    await asyncio.to_thread(server.restart)
    for member, mark in zip(three, marks, strict=True):
        reconnecting = await member.state("reconnecting", after=mark)
        assert reconnecting["code"] == "server_restarting"
        assert reconnecting["why"]
    for member, mark in zip(three, marks, strict=True):
        await member.state("connected", after=mark)
        # Nothing durable was missed; what was live at that moment may have been, and is said to be.
        assert (await member.gap(after=mark)).items() >= {"durable": False, "live": True}.items()
        for other in three:
            await member.sees(other.name)
    for member in three:
        await member.send(f"after, by {member.name}")
    for member in three:
        look = await member.look()
        assert look["agent_name"] == member.name
        for other in three:
            if other is not member:
                await member.hears(f"after, by {other.name}")
        history = await member.history()
        assert [seen.content for seen in history] == [
            "before",
            *(f"after, by {other.name}" for other in three),
        ]
        assert [seen.offset for seen in history] == [1, 2, 3, 4]
    assert [(await member.look())["identity"] for member in three] == identities


async def test_without_websockets_long_poll_is_taken_by_itself(
    line_up: LineUp, join: Stage, channel: str
) -> None:
    three = await asyncio.gather(*(join.prepare(station) for station in line_up))
    for member in three:
        member.path.refuses_websockets = True
    await asyncio.gather(
        *(
            member.connect(channel, name, api_key=join.server.developer_key, use_websocket=True)
            for member, name in zip(three, ("anna", "ben", "cleo"), strict=True)
        )
    )
    for member in three:
        assert member.path.websockets_refused >= 2
        assert (await member.look())["state"]["transport"] == "longpoll"
        await member.send(f"from {member.name}")
    for member in three:
        for other in three:
            if other is not member:
                await member.hears(f"from {other.name}")

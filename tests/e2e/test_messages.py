"""Messages between Chromium, Firefox and Python, over WebSocket and long-poll: who gets what, and who does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.members import Member, Refused, Station

LineUp = tuple[Station, Station, Station]

JSON_CONTENT: dict[str, Any] = {
    "nested": [1, -2.5, True, None, {"deep": ["ä", "日本", "\u0000", "🙂"]}],
    "largest": 2**53 - 1,
    "empty": [{}, [], ""],
}


async def test_a_chat_between_three_kinds(line_up: LineUp, join: Stage, channel: str) -> None:
    three = await join.three(line_up, channel)
    for member in three:
        for other in three:
            await member.sees(other.name)

    offsets = []
    for sender in three:
        ack = await sender.send(f"hello from {sender.name}")
        assert ack["promise"] == "local-fsync"
        offsets.append(ack["offset"])
        for other in three:
            if other is not sender:
                seen = await other.hears(f"hello from {sender.name}")
                assert (seen.sender, seen.type, seen.delivery) == (sender.name, "chat-text", "durable")
                assert seen.offset == ack["offset"]
    assert offsets == sorted(set(offsets))
    for member in three:
        # Everyone heard the two others, in order, and not itself.
        assert member.contents == [f"hello from {other.name}" for other in three if other is not member]
        assert [message.content for message in await member.history()] == [
            f"hello from {other.name}" for other in three
        ]


async def test_content_arrives_as_it_was_sent(line_up: LineUp, join: Stage, channel: str) -> None:
    three = await join.three(line_up, channel)
    contents = [
        JSON_CONTENT,
        bytes(range(256)),
        b"",
        "",
        "</script>\n\u2028",
        0,
        False,
        None,
        [],
        {"content": 1, "x": 2},
    ]
    for sender in three:
        for content in contents:
            await sender.send(content, type="sample", metadata={"by": sender.name, "of": JSON_CONTENT})
        await sender.send(f"end of {sender.name}", custom_event_type="end", reply_to="some-id")
    for member in three:
        for sender in three:
            if sender is not member:
                end = await member.hears(f"end of {sender.name}")
                assert (end.custom_event_type, end.reply_to) == ("end", "some-id")
        for sender in three:
            if sender is not member:
                samples = [
                    seen for seen in member.heard if seen.sender == sender.name and seen.type == "sample"
                ]
                assert [(type(seen.content), seen.content) for seen in samples] == [
                    (type(content), content) for content in contents
                ]
                assert all(seen.metadata == {"by": sender.name, "of": JSON_CONTENT} for seen in samples)


async def test_every_delivery_class_arrives(line_up: LineUp, join: Stage, channel: str) -> None:
    three = await join.three(line_up, channel)
    for sender in three:
        live = await sender.send(f"live {sender.name}", delivery="live")
        assert (live["promise"], live.get("offset"), live["recipients"]) == ("memory", None, 2)
        lossy = await sender.send(f"lossy {sender.name}", ephemeral=True)
        assert (lossy.get("promise"), lossy["is_dropped"]) == (None, False)
    for member in three:
        for sender in three:
            if sender is not member:
                assert (await member.hears(f"live {sender.name}")).delivery == "live"
                assert (await member.hears(f"lossy {sender.name}")).delivery == "lossy"
        assert await member.history() == []


async def test_a_late_joiner_reads_what_was_said_before(line_up: LineUp, join: Stage, channel: str) -> None:
    first, second, third = line_up
    anna = await join(first, channel, "anna")
    for number in range(5):
        await anna.send(f"anna {number}")
    await anna.send("not kept", delivery="live")

    ben = await join(second, channel, "ben")
    assert [seen.content for seen in await ben.history()] == [f"anna {number}" for number in range(5)]
    for number in range(5):
        await ben.send(f"ben {number}")

    cleo = await join(third, channel, "cleo")
    said = [f"{name} {number}" for name in ("anna", "ben") for number in range(5)]
    history = await cleo.history()
    assert [seen.content for seen in history] == said
    assert [seen.sender for seen in history] == ["anna"] * 5 + ["ben"] * 5

    # By range: the newest, then what lies before; and from the beginning on.
    newest = await cleo.call("receive", limit=4)
    assert [record["content"] for record in newest["messages"]] == said[-4:]
    assert newest["is_complete"] is False
    older = await cleo.call("receive", before=newest["next"], limit=100)
    assert [record["content"] for record in older["messages"]] == said[:-4]
    assert older["is_complete"] is True
    beginning = await cleo.call("receive", after=0, limit=3)
    assert [record["content"] for record in beginning["messages"]] == said[:3]
    assert await cleo.history(types=["something-else"]) == []

    # Nothing of it was pushed to those who came late.
    await anna.send("now")
    await cleo.hears("now")
    assert cleo.contents == ["now"]


async def test_who_does_not_want_pushes_gets_none(line_up: LineUp, join: Stage, channel: str) -> None:
    first, second, third = line_up
    anna, silent, picky = await asyncio.gather(
        join(first, channel, "anna"),
        join(second, channel, "silent", auto_receive=False),
        join(third, channel, "picky", custom_event_type="game, end"),
    )
    await anna.send("a chat")
    await anna.send("a move", type="game")
    await anna.send("over", custom_event_type="end")
    await picky.hears("over")
    assert picky.contents == ["a move", "over"]
    assert [seen.content for seen in await silent.history()] == ["a chat", "a move", "over"]
    assert silent.contents == []
    await silent.send("can send", type="game")
    await picky.hears("can send")


async def test_what_is_for_some_is_not_seen_by_others(line_up: LineUp, join: Stage, channel: str) -> None:
    three = await join.three(line_up, channel)
    for turn in range(3):
        sender, recipient, outsider = three[turn], three[turn - 1], three[turn - 2]
        expected = []
        for delivery in ("durable", "live"):
            for way in _ways_to(recipient, three):
                content = f"{sender.name} {delivery} {way}"
                ack = await sender.send(content, delivery=delivery, **way)
                assert ack["recipients"] == 1
                expected.append(content)
        # After this, nothing that was sent before can still be on its way to the outsider.
        await sender.send(f"fence {turn}")
        await sender.send(f"live fence {turn}", delivery="live")
        for member in (recipient, outsider):
            await member.hears(f"fence {turn}")
            await member.hears(f"live fence {turn}")
        private = [seen for seen in recipient.heard if seen.content in expected]
        assert sorted(seen.content for seen in private) == sorted(expected)
        assert not set(outsider.contents) & set(expected)
        kept = [content for content in expected if " durable " in content]
        for reader, sees_it in ((sender, True), (recipient, True), (outsider, False)):
            history = [seen.content for seen in await reader.history(limit=200)]
            assert [content for content in history if content in expected] == (kept if sees_it else [])


def _ways_to(recipient: Member, three: tuple[Member, ...]) -> list[dict[str, Any]]:
    """All ways to address one of three: by name, by an RE2 filter and by a glob."""
    name = recipient.name
    rest = "|".join(member.name for member in three if member is not recipient)
    assert rest
    return [
        {"to": name},
        {"to": [name]},
        {"filter": name},
        {"filter": f"{name[0]}.*{name[-1]}"},
        {"filter": {"glob": f"{name[:-1]}?"}},
    ]


async def test_a_filter_matches_the_whole_name(line_up: LineUp, join: Stage, channel: str) -> None:
    first, second, third = line_up
    red, blue, other = await asyncio.gather(
        join(first, channel, "team-red"),
        join(second, channel, "team-blue"),
        join(third, channel, "no team-red"),
    )
    assert (await other.send("both", filter="team-.*"))["recipients"] == 2
    assert (await other.send("glob", filter={"glob": "team-*"}))["recipients"] == 2
    assert (await other.send("nobody", filter="team"))["recipients"] == 0
    assert (await red.send("not myself", filter="team-.*"))["recipients"] == 1
    await other.send("fence")
    for member, heard in ((red, ["both", "glob", "fence"]), (blue, ["both", "glob", "not myself", "fence"])):
        await member.hears("fence")
        assert member.contents == heard
    assert other.contents == []


async def test_a_malformed_filter_is_refused(line_up: LineUp, join: Stage, channel: str) -> None:
    three = await join.three(line_up, channel)
    malformed: list[Any] = ["(", "a(?=b)", "*", {"glob": "[a"}]
    for sender in three:
        for delivery in ("durable", "live"):
            for filter_ in malformed:
                with pytest.raises(Refused) as refused:
                    await sender.send("to nobody", filter=filter_, delivery=delivery)
                assert refused.value.code == "bad_filter"
                assert not refused.value.is_retryable
                assert refused.value.correlation_id
        with pytest.raises(Refused) as refused:
            await sender.send("to nobody", to=["anna", "ben", "cleo", "who?"])
        assert (refused.value.code, refused.value.details) == ("unknown_recipient", {"missing": ["who?"]})
        await sender.send(f"fence {sender.name}")
        await sender.send(f"live fence {sender.name}", delivery="live")
    for member in three:
        for sender in three:
            if sender is not member:
                await member.hears(f"fence {sender.name}")
                await member.hears(f"live fence {sender.name}")
        assert "to nobody" not in member.contents
        assert "to nobody" not in [seen.content for seen in await member.history()]

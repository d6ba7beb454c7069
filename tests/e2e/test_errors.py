"""Bad input through the SDKs: each gets a clear, typed error, and the session goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.members import Member, Refused, Station
from tests.support.live_server import StartServer

LineUp = tuple[Station, Station, Station]


async def _refused(call: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        await call
    assert refused.value.message
    return refused.value


async def test_what_cannot_be_sent_is_refused(
    line_up: LineUp, join: Stage, start_server: StartServer, channel: str
) -> None:
    join.server = await asyncio.to_thread(start_server, message_bytes=1_000, request_rate_per_s=5)
    three = await join.three(line_up, channel)
    for sender in three:
        for content in ("x" * 1_001, b"x" * 1_001, {"key": ["x" * 1_000]}):
            for delivery in ("durable", "live"):
                error = await _refused(sender.send(content, delivery=delivery))
                assert (error.code, error.is_retryable) == ("too_large", False)
        senseless: tuple[tuple[dict[str, Any], str], ...] = (
            ({"to": "anna", "filter": ".*"}, "bad_request"),
            ({"ephemeral": True, "delivery": "durable"}, "bad_request"),
            ({"delivery": "carrier pigeon"}, "bad_request"),
            ({"to": []}, "bad_request"),
            ({"to": ""}, "unknown_recipient"),
            ({"type": ""}, "bad_frame"),
            ({"metadata": {"deep": _nested(70)}}, "bad_request"),
        )
        for options, code in senseless:
            error = await _refused(sender.send("nothing", **options))
            assert (error.code, error.is_retryable) == (code, False), options
        for call in (sender.send(_nested(70)), sender.call("set_attributes", {"deep": _nested(70)})):
            assert (await _refused(call)).code == "bad_request"
        await _is_slowed_down(sender)
        await sender.send(f"all is well, says {sender.name}")
    for member in three:
        for sender in three:
            if sender is not member:
                await member.hears(f"all is well, says {sender.name}")
        assert len(member.contents) == 2


async def _is_slowed_down(member: Member) -> None:
    """Asks more often than a session may; told when to go on."""
    answers = await asyncio.gather(*(member.call("fetch_members") for _ in range(30)), return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, Refused)]
    assert 0 < len(errors) < 30
    for error in errors:
        assert (error.code, error.is_retryable) == ("rate_limited", True)
        assert error.retry_after_ms is not None
        assert 0 < error.retry_after_ms <= 1_000


def _nested(levels: int) -> list[Any]:
    content: list[Any] = []
    for _ in range(levels):
        content = [content]
    return content


async def test_names_that_cannot_be_are_refused(line_up: LineUp, join: Stage, channel: str) -> None:
    for station in line_up:
        member = await join.prepare(station)
        key = join.server.developer_key
        for place, name, code in (
            (channel, "x" * 65, "name_invalid"),
            (channel, " ben", "name_invalid"),
            (channel, "b\u202en", "name_invalid"),
            (channel, "peerbus:sfu", "name_invalid"),
            ("", "ben", "name_invalid"),
            ("x" * 129, "ben", "name_invalid"),
            ("line\nbreak", "ben", "name_invalid"),
        ):
            error = await _refused(member.connect(place, name, api_key=key))
            assert (error.code, error.is_retryable) == (code, False), (place, name)
        error = await _refused(member.connect(channel, "ben", api_key=key, channel_id="00" * 32))
        assert error.code == "channel_mismatch"
        error = await _refused(member.send("too early"))
        assert error.code == "closed"
        for options in ({"poll_source": "TAPE"}, {"attributes": {"deep": _nested(70)}}):
            error = await _refused(member.connect(channel, "ben", api_key=key, **options))
            assert error.code == "bad_request", options
        # The names of people are taken as they are.
        await member.connect(channel, "<b>Zoë O'Neil</b> & 日本 🙂", api_key=key)
        assert (await member.look())["agent_name"] == "<b>Zoë O'Neil</b> & 日本 🙂"
        await member.call("disconnect")


async def test_a_taken_name_is_refused_and_a_free_one_given(
    line_up: LineUp, join: Stage, channel: str
) -> None:
    first, second, third = line_up
    anna = await join(first, channel, "anna")
    other = await join.prepare(second)
    error = await _refused(other.connect(channel, "anna", api_key=join.server.developer_key))
    assert (error.code, error.is_retryable) == ("name_taken", False)
    nameless = await join(third, channel)
    label = (await nameless.look())["agent_name"]
    assert label.startswith("guest-")
    await anna.sees(label)
    await anna.send("for the guest", to=label)
    await nameless.hears("for the guest")

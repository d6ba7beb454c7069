"""Keys that end: the callback that renews them, and what is said where there is none."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.conftest import Stage
from tests.e2e.members import Refused, Station

LineUp = tuple[Station, Station, Station]

SHORT_S = 3


async def test_a_key_is_renewed_by_the_callback(line_up: LineUp, join: Stage, channel: str) -> None:
    """The session goes on over the end of the first key, without a gap; where there is no callback it ends."""
    renewed, from_start, forgetful = await asyncio.gather(*(join.prepare(station) for station in line_up))
    asked: list[str] = []

    async def renew() -> str:
        asked.append("renewed")
        return join.token(channel, "renewed")

    async def first_and_next() -> str:
        asked.append("from start")
        ttl_s = SHORT_S if asked.count("from start") == 1 else 3600
        return join.token(channel, "from start", ttl_s=ttl_s)

    await renewed.connect(
        channel, "renewed", api_key=join.token(channel, "renewed", ttl_s=SHORT_S), get_key=renew
    )
    await from_start.connect(channel, "from start", get_key=first_and_next)
    # This token ends last, so that those of the others have ended when it has.
    await forgetful.connect(channel, "forgetful", api_key=join.token(channel, "forgetful", ttl_s=SHORT_S))

    warning = await forgetful.journal.until("expiring", lambda value: True)
    assert 0 < warning["expires_in_ms"] < SHORT_S * 1000
    closed = await forgetful.is_lost()
    assert closed["code"] == "expired"
    assert closed["why"]
    await renewed.sees("forgetful", "gone")

    assert sorted(asked) == ["from start", "from start", "renewed"]
    await renewed.send("still here")
    await from_start.hears("still here")
    for member in (renewed, from_start):
        states = [event.value["name"] for event in member.journal if event.name == "state"]
        assert states == ["connecting", "connected"]
        assert member.journal.count("expiring") == 0


async def test_keys_that_do_not_work_are_refused_at_once(line_up: LineUp, join: Stage, channel: str) -> None:
    developer_key = join.server.developer_key
    wrong_secret = developer_key[:-4] + ("AAAA" if not developer_key.endswith("AAAA") else "BBBB")
    for station in line_up:
        member = await join.prepare(station)
        for api_key, code in (
            ("nonsense", "unauthorized"),
            (wrong_secret, "unauthorized"),
            (join.token(channel, "ben", ttl_s=-1), "expired"),
            (join.token(f"not {channel}", "ben"), "forbidden"),
            (join.token(channel, "somebody else"), "forbidden"),
        ):
            with pytest.raises(Refused) as refused:
                await member.connect(channel, "ben", api_key=api_key)
            assert (refused.value.code, refused.value.is_retryable) == (code, False)
            assert refused.value.correlation_id
            assert api_key not in refused.value.message
            assert (await member.look())["state"]["name"] == "closed"
        # The same agent can still be given a good one.
        await member.connect(channel, f"ben in {station.kind}", api_key=developer_key)


async def test_a_revoked_key_ends_its_sessions(join: Stage, line_up: LineUp, channel: str) -> None:
    created = await asyncio.to_thread(join.server.keys, "create", "--label", channel)
    key = created.splitlines()[0]
    three = await join.three(line_up, channel, api_key=key)
    await asyncio.to_thread(join.server.keys, "revoke", key.split("_")[1])
    for member in three:
        closed = await member.is_lost()
        assert closed["code"] == "revoked"
        assert closed["why"]

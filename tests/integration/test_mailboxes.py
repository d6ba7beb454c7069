"""Claimed names with a real server: mail that survives its death, several devices, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from peerbus.client import AgentConnection, Message
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.token import ParticipantToken
from peerbus.protocol.credentials import parse_developer_key
from tests.support.journal import until
from tests.support.live_server import LiveServer, StartServer

WAIT_S = 60.0
COUNT = 1_000
FAST = {"send_rate_per_s": 5_000, "key_send_rate_per_s": 50_000, "channel_send_rate_per_s": 50_000}


class Devices:
    """Makes agents; what each was told is in `heard`."""

    def __init__(self, server: LiveServer, stack: AsyncExitStack, channel: str) -> None:
        self._server = server
        self._stack = stack
        self._channel = channel
        self.heard: dict[AgentConnection, list[Message]] = {}

    def token(self, name: str, sessions: int = 1) -> str:
        key = parse_developer_key(self._server.developer_key)
        assert key is not None
        token = ParticipantToken(name=name, project_id="default", api_key_id=key.key_id, sessions=sessions)
        token.add_room_grant(room_name=self._channel)
        return token.to_jwt(secret=key.secret.reveal())

    async def join(
        self, name: str, *, claims: bool = True, sessions: int = 1, **options: Any
    ) -> AgentConnection:
        key = self.token(name, sessions) if claims else self._server.developer_key
        agent = AgentConnection(self._server.url, key, request_timeout=WAIT_S)
        self.heard[agent] = []
        agent.on_message = self.heard[agent].append
        await self._stack.enter_async_context(agent)
        await agent.connect(self._channel, name, **options)
        return agent

    def contents(self, agent: AgentConnection) -> list[Any]:
        return [message.content for message in self.heard[agent]]


async def send_when_there_is_room(agent: AgentConnection, content: str, to: str) -> None:
    """Mail that was read makes room a moment later."""
    async with asyncio.timeout(WAIT_S):
        while True:
            outcome = (await asyncio.gather(agent.send_message(content, to=to), return_exceptions=True))[0]
            if not isinstance(outcome, PeerbusError):
                return
            assert outcome.code is ErrorCode.MAILBOX_FULL


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def crash(server: LiveServer) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)


async def test_mail_survives_the_death_of_the_server_once_and_in_order(
    start_server: StartServer, stack: AsyncExitStack
) -> None:
    server = start_server(**FAST)
    devices = Devices(server, stack, "post")
    phone = await devices.join("alice")
    assert phone.is_claimed
    assert phone.identity == "name:alice"
    await phone.disconnect()

    bob = await devices.join("bob", claims=False)
    acks = []
    for part in range(4):
        acks += [
            bob.send_message(number, to="alice")
            for number in range(part * COUNT // 4, (part + 1) * COUNT // 4)
        ]
        await bob.send_message(f"to all {part}")
        if part == 1:
            await acks[-100]
            await crash(server)  # with appends on their way
    async with asyncio.timeout(WAIT_S):
        offsets = [(await ack).offset or 0 for ack in acks]
    assert offsets == sorted(set(offsets))

    laptop = await devices.join("alice")
    await until(lambda: len(devices.heard[laptop]) >= COUNT // 3)
    await crash(server)  # with mail on its way
    await bob.send_message("at last")
    await until(lambda: "at last" in devices.contents(laptop))
    assert devices.contents(laptop) == [*range(COUNT), "at last"]
    await laptop.disconnect()

    # It was read: no device gets it again, and to nobody else was it ever shown.
    phone = await devices.join("alice")
    with pytest.raises(PeerbusError) as refused:
        await devices.join("alice", claims=False)
    assert refused.value.code is ErrorCode.NAME_TAKEN
    mallory = await devices.join("mallory", claims=False)
    history = await mallory.receive(after=0, limit=500)
    assert [message.content for message in history] == [f"to all {part}" for part in range(4)] + ["at last"]
    await bob.send_message("the end")
    await until(lambda: "the end" in devices.contents(phone))
    assert devices.contents(phone) == ["the end"]


async def test_a_claimed_name_has_several_sessions(live_server: LiveServer, stack: AsyncExitStack) -> None:
    devices = Devices(live_server, stack, "devices")
    squatter = await devices.join("alice", claims=False)
    phone = await devices.join("alice", sessions=2)
    await until(lambda: squatter.state.name == "closed")
    assert squatter.state.code == ErrorCode.NAME_TAKEN

    laptop, bob = await devices.join("alice", sessions=2), await devices.join("bob")
    await until(lambda: [member.name for member in bob.members] == ["alice", "alice", "bob"])
    assert [member.is_claimed for member in bob.members] == [True, True, True]
    assert phone.identity == laptop.identity
    assert phone.session_id != laptop.session_id

    await bob.send_message("to both", to="alice", delivery="live")
    await bob.send_message("to the laptop", to_session=laptop.session_id)
    await bob.send_message("kept", to="alice")
    await phone.send_message("from the phone")
    await phone.send_message("to the other", to="alice", delivery="live")
    await until(lambda: len(devices.heard[laptop]) == 5)
    await until(lambda: len(devices.heard[phone]) == 2)
    live = {"to both", "to the laptop", "to the other"}
    at_laptop = devices.contents(laptop)
    assert [content for content in at_laptop if content in live] == [
        "to both",
        "to the laptop",
        "to the other",
    ]
    assert [content for content in at_laptop if content not in live] == ["kept", "from the phone"]
    assert sorted(devices.contents(phone)) == ["kept", "to both"]
    with pytest.raises(PeerbusError) as refused:
        await bob.send_message("nobody", to_session="gone")
    assert refused.value.code is ErrorCode.UNKNOWN_RECIPIENT
    with pytest.raises(PeerbusError) as refused:
        await bob.send_message("kept for one", to_session=laptop.session_id, delivery="durable")
    assert refused.value.code is ErrorCode.BAD_REQUEST

    tablet = await devices.join("alice", sessions=2)
    await until(lambda: phone.state.name == "closed")
    assert phone.state.code == ErrorCode.REPLACED
    assert tablet.is_connected
    assert laptop.is_connected


async def test_who_is_away_gets_mail_by_name_and_filter_as_long_as_there_is_room(
    start_server: StartServer, stack: AsyncExitStack
) -> None:
    devices = Devices(start_server(mailbox_messages=3), stack, "small")
    for name in ("ann", "amy"):
        agent = await devices.join(name)
        await agent.disconnect()
    bob = await devices.join("bob")
    with pytest.raises(PeerbusError) as refused:
        await bob.send_message("now or never", to="ann", delivery="live")
    assert refused.value.code is ErrorCode.UNKNOWN_RECIPIENT
    ack = await bob.send_message("one", to=["ann", "amy"])
    assert ack.recipients == 0
    for content in ("two", "three"):
        await bob.send_message(content, filter="a.*")
    with pytest.raises(PeerbusError) as refused:
        await bob.send_message("four", to=["ann", "bob"])
    assert refused.value.code is ErrorCode.MAILBOX_FULL
    assert refused.value.details == {"full": ["ann"]}
    with pytest.raises(PeerbusError) as refused:
        await bob.send_message("nobody", to=["ann", "carl"])
    assert refused.value.details == {"missing": ["carl"]}

    notes = await devices.join("amy", types=["note"])
    await notes.disconnect()
    amy, ann = await devices.join("amy"), await devices.join("ann")
    await until(lambda: len(devices.heard[ann]) == len(devices.heard[amy]) == 3)
    assert devices.contents(ann) == devices.contents(amy) == ["one", "two", "three"]
    await ann.disconnect()
    await send_when_there_is_room(bob, "four", "ann")
    again = await devices.join("ann")
    await until(lambda: devices.contents(again) == ["four"])

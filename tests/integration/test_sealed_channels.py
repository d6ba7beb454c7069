"""Sealed channels with a real server: what members read, and what nobody else finds anywhere."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec
import pytest

from peerbus.client import AgentConnection, Glob, Message
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.sync import AgentConnection as BlockingAgent
from peerbus.client.token import ParticipantToken
from peerbus.protocol.codec import EncodingName
from peerbus.protocol.credentials import parse_developer_key
from tests.support.live_server import LiveServer
from tests.support.tcp_proxy import TcpProxy, proxying

PASSWORD = "correct horse battery staple"
WAIT_S = 30.0

Join = Callable[..., Awaitable[AgentConnection]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server for all tests that don't change it."""
    server = LiveServer(tmp_path_factory.mktemp("server"), {})
    server.start()
    try:
        yield server
        server.stop()
    finally:
        if server.is_running:
            server.kill()


@pytest.fixture
async def join(request: pytest.FixtureRequest) -> AsyncIterator[Join]:
    """Makes agents that have joined the test's own channel, and disconnects them at the end."""
    async with AsyncExitStack() as stack:

        async def join(
            server: LiveServer,
            name: str = "",
            password: str | None = PASSWORD,
            *,
            url: str = "",
            encoding: EncodingName = "msgpack",
            **options: Any,
        ) -> AgentConnection:
            agent = AgentConnection(url or server.url, server.developer_key, encoding=encoding)
            await stack.enter_async_context(agent)
            await agent.connect(request.node.name, name, password, **options)
            return agent

        yield join


def told(agent: AgentConnection, event: str) -> list[Any]:
    """Everything that an event brings from now on."""
    found: list[Any] = []
    agent.on(event, found.append)
    return found


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that is bound to happen."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)


WAYS: list[dict[str, Any]] = [{}, {"use_websocket": False, "encoding": "json"}]
in_both_modes = pytest.mark.parametrize("mode", ["sealed", "open"])


def joining(
    join: Join, server: LiveServer, mode: str, **way: Any
) -> Callable[..., Awaitable[AgentConnection]]:
    """Joins the test's channel in this mode, always by the same password; checks that it is what was asked for."""

    async def in_mode(name: str, **options: Any) -> AgentConnection:
        agent = await join(server, name, sealed=mode == "sealed", **way, **options)
        assert agent.is_sealed is (mode == "sealed")
        assert agent.channel is not None
        assert (agent.channel.mode, agent.channel.has_password) == (mode, True)
        return agent

    return in_mode


@in_both_modes
@pytest.mark.parametrize("way", WAYS, ids=["websocket-msgpack", "longpoll-json"])
async def test_every_class_and_every_way_to_address(
    server: LiveServer, join: Join, way: dict[str, Any], mode: str
) -> None:
    in_mode = joining(join, server, mode, **way)
    alice, bob, carol = [await in_mode(name) for name in ("alice", "bob", "carol")]
    at_bob: list[Message] = told(bob, "message")
    at_carol: list[Message] = told(carol, "message")
    errors = [told(agent, "error") for agent in (alice, bob, carol)]
    ack = await alice.send_message({"x": [1, None, "ü"]}, metadata={"m": 1}, reply_to="r", type="data")
    assert ack.promise == "local-fsync"
    await alice.send_message(b"\x00\xff", custom_event_type="chunk")
    await alice.send_message("to two", to=["bob", "carol"])
    await alice.send_message("by glob", filter=Glob("b*"))
    await alice.send_message("by expression", filter="c.*l")
    await alice.send_message("live to all", delivery="live")
    await alice.send_message("live to bob", delivery="live", to="bob")
    await alice.send_message("live by glob", delivery="live", filter=Glob("*ob"))
    await until(lambda: len(at_bob) == 7 and len(at_carol) == 5)
    alice.send_message("lossy", ephemeral=True)
    await until(lambda: len(at_bob) == 8 and len(at_carol) == 6)
    assert {message.is_sealed for message in at_bob + at_carol} == {mode == "sealed"}
    stored = [message for message in at_bob if message.delivery == "durable"]
    assert [message.content for message in stored] == [
        {"x": [1, None, "ü"]},
        b"\x00\xff",
        "to two",
        "by glob",
    ]
    assert (stored[0].metadata, stored[0].reply_to, stored[0].type) == ({"m": 1}, "r", "data")
    # Somebody who comes later reads what everyone may read.
    dora = await in_mode("dora")
    page = await dora.receive()
    assert [message.content for message in page] == [{"x": [1, None, "ü"]}, b"\x00\xff"]
    assert [message.content for message in await dora.receive(custom_event_type="chunk")] == [b"\x00\xff"]
    assert [message.content for message in await bob.receive()] == [message.content for message in stored]
    assert (await bob.receive()).refused == page.refused == []
    assert errors == [[], [], []]
    assert (bob.sealing_counters.refused, bob.sealing_counters.dropped) == (0, 0)


@in_both_modes
async def test_what_is_missed_comes_once_and_in_order(server: LiveServer, join: Join, mode: str) -> None:
    in_mode = joining(join, server, mode)
    alice = await in_mode("alice")
    async with proxying(server.url) as proxy:
        bob = await in_mode("bob", url=proxy.url)
        # What is sealed for somebody alone has to be sealed for a session that is known.
        await until(lambda: [member.name for member in alice.members] == ["alice", "bob"])
        at_bob, gaps = told(bob, "message"), told(bob, "gap")
        for number in range(50):
            if number % 20 == 10:
                proxy.cut()
                await until(lambda: not bob.is_connected)
            alice.send_message(number, delivery="live" if number % 2 else "durable", to="bob")
        await until(lambda: len(at_bob) == 50)
        for remainder in (0, 1):
            contents = [message.content for message in at_bob if message.content % 2 == remainder]
            assert contents == list(range(remainder, 50, 2))
        assert gaps == []
        assert (bob.sealing_counters.refused, bob.sealing_counters.dropped) == (0, 0)


@in_both_modes
async def test_presence_attributes_locks_and_kicks(server: LiveServer, join: Join, mode: str) -> None:
    in_mode = joining(join, server, mode)
    alice = await in_mode("alice", attributes={"team": "red"}, capabilities=["chat"])
    bob = await in_mode("bob")
    assert (bob.members[0].attributes, bob.members[0].capabilities) == ({"team": "red"}, ["chat"])
    await alice.set_attributes({"team": "blue"})
    await until(lambda: bob.members[0].attributes == {"team": "blue"})
    await alice.lock()
    with pytest.raises(PeerbusError) as caught:
        await in_mode("carol")
    assert caught.value.code is ErrorCode.CHANNEL_LOCKED
    await alice.kick("bob")
    await until(lambda: bob.state.name == "closed")
    assert bob.state.code == "kicked"


async def test_the_safety_number_is_that_of_channel_and_password(server: LiveServer, join: Join) -> None:
    alice, bob = await join(server, "alice"), await join(server, "bob")
    assert alice.safety_number == bob.safety_number
    assert [len(group) for group in alice.safety_number.split()] == [5] * 6


async def test_another_password_or_none_is_another_channel(server: LiveServer, join: Join) -> None:
    alice = await join(server, "alice")
    await alice.send_text_message("psst")
    for name, password, options in (
        ("mallory", "another", {}),
        ("open", None, {}),
        ("locked", PASSWORD, {"sealed": False}),
    ):
        other = await join(server, name, password, **options)
        assert [member.name for member in other.members] == [name]
        assert len(await other.receive()) == 0
        assert other.safety_number != alice.safety_number
        assert other.is_sealed is (name == "mallory")


async def test_what_a_sealed_channel_refuses(server: LiveServer, join: Join) -> None:
    alice = await join(server, "alice")
    with pytest.raises(PeerbusError) as caught:
        await alice.send_message("x", delivery="live", to="nobody")
    assert caught.value.code is ErrorCode.UNKNOWN_RECIPIENT
    assert caught.value.details == {"missing": ["nobody"]}
    with pytest.raises(PeerbusError) as caught:
        await alice.send_message("x", to=["alice", "peerbus:sfu"], delivery="live", type="signal")
    assert caught.value.code is ErrorCode.NOT_SEALED
    with pytest.raises(PeerbusError) as caught:
        await alice.send_message("x" * 262_144)
    assert caught.value.code is ErrorCode.TOO_LARGE
    with pytest.raises(PeerbusError) as caught:
        await alice.connect("other", "alice", sealed=True)
    assert caught.value.code is ErrorCode.BAD_REQUEST


async def test_a_server_that_was_killed_and_a_name_that_has_changed(server: LiveServer, join: Join) -> None:
    """Without a wanted name the server chooses one, and may choose another after a restart."""
    bob = await join(server, "bob")
    async with proxying(server.url) as proxy:
        anonymous = await join(server, url=proxy.url, private_attributes={"mood": "calm"})
        before = anonymous.agent_name
        at_bob: list[Message] = told(bob, "message")
        errors = told(bob, "error")
        await anonymous.send_text_message("one")
        proxy.is_down = True
        proxy.cut()
        await until(lambda: not anonymous.is_connected)
        waiting = [anonymous.send_text_message(f"offline {number}") for number in range(5)]
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await until(lambda: bob.is_connected)
        # The name it had is taken by somebody else now.
        squatter = await join(server, before)
        proxy.is_down = False
        anonymous.reconnect_now()
        await asyncio.gather(*waiting)
        assert anonymous.agent_name != before
        assert squatter.agent_name == before
        await until(lambda: len(at_bob) == 6)
        assert [message.content for message in at_bob] == ["one", *(f"offline {n}" for n in range(5))]
        assert {message.sender for message in at_bob[1:]} == {anonymous.agent_name}

        def its_mood() -> Any:
            (its,) = [member for member in bob.members if member.name == anonymous.agent_name]
            return its.private_attributes

        await until(lambda: its_mood() == {"mood": "calm"})
        assert errors == []


@in_both_modes
async def test_a_message_that_is_sent_again_is_one_message(server: LiveServer, join: Join, mode: str) -> None:
    alice = await joining(join, server, mode)("alice")
    first = await alice.send_message({"pay": 5}, idempotency_key="order-1")
    again = await alice.send_message({"pay": 5}, idempotency_key="order-1")
    assert (again.offset, again.is_duplicate) == (first.offset, True)
    for changed in ({"pay": 6}, "x"):
        with pytest.raises(PeerbusError) as caught:
            await alice.send_message(changed, idempotency_key="order-1")
        assert caught.value.code is ErrorCode.IDEMPOTENCY_CONFLICT
    with pytest.raises(PeerbusError) as caught:
        await alice.send_message({"pay": 5}, idempotency_key="order-1", to="alice")
    assert caught.value.code is ErrorCode.IDEMPOTENCY_CONFLICT
    assert len(await alice.receive()) == 1


async def test_private_attributes(server: LiveServer, join: Join) -> None:
    alice = await join(server, "alice", attributes={"team": "red"}, private_attributes={"hp": 7})
    bob = await join(server, "bob")
    (at_bob,) = [member for member in bob.members if member.name == "alice"]
    assert (at_bob.attributes, at_bob.private_attributes) == ({"team": "red"}, {"hp": 7})
    await alice.set_attributes({"team": "blue"})
    await until(lambda: bob.members[0].attributes == {"team": "blue"})
    assert bob.members[0].private_attributes == {"hp": 7}
    await alice.set_attributes({}, private_attributes={"hp": 6})
    await until(lambda: bob.members[0].private_attributes == {"hp": 6})
    await alice.set_attributes({}, private_attributes={})
    await until(lambda: bob.members[0].private_attributes == {})
    open_one = await join(server, "open", None)
    with pytest.raises(PeerbusError):
        await open_one.set_attributes({}, private_attributes={"hp": 1})


async def test_claimed_names_their_mail_and_their_devices(
    server: LiveServer, join: Join, request: pytest.FixtureRequest
) -> None:
    key = parse_developer_key(server.developer_key)
    assert key is not None
    token = ParticipantToken(name="alice", project_id="default", api_key_id=key.key_id, sessions=2)
    token.add_room_grant(room_name=request.node.name)
    as_alice: dict[str, Any] = {"api_key": token.to_jwt(secret=key.secret.reveal())}
    bob, phone = await join(server, "bob"), await join(server, "alice", **as_alice)
    await phone.disconnect()
    for number in range(20):
        await bob.send_message({"mail": number}, to="alice")

    phone = AgentConnection(server.url)
    heard: list[list[Message]] = [told(phone, "message")]
    async with phone:
        await phone.connect(request.node.name, "alice", PASSWORD, **as_alice)
        await until(lambda: len(heard[0]) == 20)
        assert [message.content for message in heard[0]] == [{"mail": number} for number in range(20)]
        laptop = await join(server, "alice", **as_alice)
        heard.append(told(laptop, "message"))
        await until(lambda: len([member for member in bob.members if member.name == "alice"]) == 2)
        await bob.send_message("both", delivery="live", to="alice")
        await bob.send_message("one", to_session=laptop.session_id)

        def live(number: int) -> list[Any]:
            return [message.content for message in heard[number] if message.delivery == "live"]

        # The laptop may get mail as well that the phone has not said to have read.
        await until(lambda: live(0) == ["both"] and live(1) == ["both", "one"])
        assert all(message.is_sealed for found in heard for message in found)
        assert {agent.sealing_counters.refused for agent in (bob, phone, laptop)} == {0}


def test_blocking_agents_are_sealed_as_well(server: LiveServer) -> None:
    with (
        BlockingAgent(server.url, server.developer_key) as alice,
        BlockingAgent(server.url, server.developer_key) as bob,
    ):
        alice.connect("blocking", "alice", PASSWORD, private_attributes={"a": 1})
        bob.connect("blocking", "bob", PASSWORD)
        alice.send_message("hi", to="bob")
        (message,) = bob.receive()
        assert (message.content, message.is_sealed, bob.is_sealed) == ("hi", True, True)
        assert bob.safety_number == alice.safety_number
        (of_alice, _) = bob.members
        assert of_alice.private_attributes == {"a": 1}
        assert alice.sealing_counters.sealed == 1
        alice.set_attributes({}, private_attributes={"a": 2})


# --- the canary ---------------------------------------------------------------------------------------------------

CANARY = "canary-Zwölf-7f3a91"


def forms(text: str) -> dict[str, bytes]:
    """How text may stand in bytes: raw, in UTF-16, in hex, percent- or JSON-escaped, and in base64 at any place."""
    raw = text.encode()
    found = {
        "utf-8": raw,
        "utf-16-le": text.encode("utf-16-le"),
        "utf-16-be": text.encode("utf-16-be"),
        "hex": raw.hex().encode(),
        "json": json.dumps(text).encode(),
        "msgpack": msgspec.msgpack.encode(text),
    }
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw)
        # The characters at both ends depend on the neighbours.
        found[f"base64+{shift}"] = encoded[4 if shift else 0 : -4]
        found[f"base64url+{shift}"] = base64.urlsafe_b64encode(bytes(shift) + raw)[4 if shift else 0 : -4]
    return found


def found_in(data: bytes) -> set[str]:
    """The forms in which the canary is there."""
    return {name for name, form in forms(CANARY).items() if form in data}


async def say_the_canary(server: LiveServer, proxy: TcpProxy, channel: str, **options: Any) -> None:
    """Puts the canary wherever a user can put something that only members are to read."""
    if options.get("sealed", True):
        private: dict[str, Any] = {"private_attributes": {CANARY: CANARY}}
    else:
        private = {"attributes": {CANARY: CANARY}}
    async with (
        AgentConnection(proxy.url, server.developer_key) as alice,
        AgentConnection(proxy.url, server.developer_key, encoding="json") as bob,
    ):
        await alice.connect(channel, "alice", PASSWORD, **private, **options)
        await bob.connect(channel, "bob", PASSWORD, use_websocket=False, **options)
        at_bob = told(bob, "message")
        await alice.send_message({CANARY: CANARY}, metadata={"m": CANARY})
        await alice.send_message(CANARY.encode(), type="file")
        await alice.send_message(CANARY, to="bob")
        await alice.send_message(CANARY, delivery="live", to="bob")
        await until(lambda: len(at_bob) == 4)
        alice.send_message(CANARY, ephemeral=True)
        await bob.send_message(CANARY, delivery="live")
        await alice.send_message(f"{PASSWORD} {CANARY}", filter="b.*")
        await until(lambda: len(at_bob) == 6)
        assert len(await bob.receive()) == 4


async def everything_outside(server: LiveServer, proxy: TcpProxy) -> dict[str, bytes]:
    """What an operator, a thief of the disk, and somebody on the wire can look at."""
    async with aiohttp.ClientSession() as http:
        places = {}
        for address in ("/metrics", "/v1/status"):
            async with http.get(server.url + address) as answer:
                places[address] = await answer.read()
    await asyncio.to_thread(server.stop)
    places["log"] = server.log.encode()
    places["wire"] = proxy.recorded
    places["disk"] = b"".join(path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file())
    return places


async def test_a_canary_is_found_nowhere_outside(start_server: Any) -> None:
    server: LiveServer = start_server()
    async with proxying(server.url) as proxy:
        proxy.is_recording = True
        await say_the_canary(server, proxy, "sealed-room")
        places = await everything_outside(server, proxy)
    assert {place: found_in(data) for place, data in places.items()} == {place: set() for place in places}
    for place in ("wire", "disk", "log"):
        assert PASSWORD.encode() not in places[place]
    # What the server is to know is there: the capture is one of this very conversation.
    assert b"sealed-room" in places["wire"]
    assert b"sealed-room" in places["disk"]


async def test_the_same_canary_is_found_in_an_open_channel(start_server: Any) -> None:
    server: LiveServer = start_server()
    async with proxying(server.url) as proxy:
        proxy.is_recording = True
        await say_the_canary(server, proxy, "open-room", sealed=False)
        places = await everything_outside(server, proxy)
    assert found_in(places["wire"]) >= {"utf-8", "msgpack"}
    assert any(form.startswith("base64") for form in found_in(places["wire"]))
    assert found_in(places["disk"]) >= {"utf-8", "msgpack"}


@pytest.mark.parametrize("shift", range(3))
def test_the_search_finds_what_it_is_to_find(shift: int) -> None:
    around = b"abc"[:shift] + CANARY.encode() + b"xyz"
    assert f"base64+{-shift % 3 if shift == 0 else shift}" in found_in(base64.b64encode(around))
    assert found_in(CANARY.encode("utf-16-le")) == {"utf-16-le"}
    assert found_in(json.dumps({"k": [CANARY]}).encode()) == {"json"}

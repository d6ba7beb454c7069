"""The asyncio agent, over transports without a network."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerbus.client import AgentConnection, Glob
from peerbus.client.crypto import derive_keys
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.records import Ack, Message, member_of
from peerbus.protocol import messages as wire
from peerbus.protocol.codec import Rejected
from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.messages import ChannelUpdate, Closing, Departure, Error, Expiring, GlobFilter, Presence
from peerbus.protocol.session.outputs import Gap, State
from tests.support.fake_transport import FakeNetwork, member, message, settle


@pytest.fixture
async def agent(network: FakeNetwork) -> AsyncIterator[AgentConnection]:
    """An agent that has joined as alice."""
    agent = AgentConnection("http://server:1", "pb_k")
    joining = agent.connect("lobby", "alice")
    await network.join()
    assert await joining is agent
    yield agent
    await agent.disconnect(timeout=0)


def told(agent: AgentConnection, event: str) -> list[Any]:
    """Everything that an event brings from now on."""
    found: list[Any] = []
    agent.on(event, lambda *arguments: found.append(arguments[0] if arguments else None))
    return found


# --- connecting ---------------------------------------------------------------------------------------------------


async def test_connect_tells_who_and_where(agent: AgentConnection, network: FakeNetwork) -> None:
    connect = (await network.sees(1, wire.Connect))[0]
    assert (connect.channel, connect.agent, connect.api_key.reveal()) == ("lobby", "alice", "pb_k")
    assert len(connect.lineage_secret.reveal()) == 16
    assert connect.join_token is None
    assert network.now.settings.api.base == "http://server:1"
    assert agent.is_connected
    assert (agent.agent_name, agent.session_id, agent.identity) == ("alice", "s1", "lineage:alice")
    assert agent.operations == ["read"]
    assert agent.channel is not None
    assert agent.channel.name == "lobby"
    assert [one.name for one in agent.members] == ["alice"]


async def test_the_names_of_older_snippets_are_taken(network: FakeNetwork) -> None:
    agent = AgentConnection()
    assert (agent.agent_name, agent.session_id, agent.identity, agent.operations, agent.members) == (
        "",
        "",
        "",
        [],
        [],
    )
    assert agent.channel is None
    joining = agent.connect(
        channel_name="my-channel",
        channel_password=None,
        agent_name="player-1",
        api="https://host/messaging-platform/api/v1/messaging-service",
        api_key="pb_x",
        api_key_scope="public",
        auto_receive=False,
        use_websocket=False,
        session_id=None,
        channel_id="00" * 32,
        custom_event_type="game, chat",
        poll_source="CACHE",
        enable_webrtc_relay=True,
        attributes={"team": "red"},
        capabilities=["chat"],
    )
    connect = await network.join()
    await joining
    assert network.now.name == "longpoll"
    assert network.now.settings.api.base == "https://host"
    assert connect.scope == "public"
    assert connect.types == ["game", "chat", "signal", "peer-data"]
    assert not connect.auto_receive
    assert connect.channel_id == bytes(32)
    assert connect.attributes == {"team": "red"}
    assert connect.capabilities == ["chat"]
    await agent.disconnect()


async def test_a_password_becomes_a_join_token(network: FakeNetwork) -> None:
    agent = AgentConnection(api_key="k")
    joining = agent.connect("lobby", "alice", "secret")
    early = agent.send_text_message("sent before there is a session")
    connect = await network.join()
    await joining
    assert connect.join_token == (await derive_keys("lobby", "secret")).join
    send = (await network.sees(1, wire.Send))[0]
    network.ack(send, promise="local-fsync", offset=1)
    assert (await early).offset == 1
    await agent.disconnect()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"api": "ftp://x"}, "http"),
        ({"api_key_scope": "secret"}, "api_key_scope"),
        ({"poll_source": "MOON"}, "poll_source"),
        ({"channel_id": "abc"}, "channel_id"),
    ],
)
async def test_bad_options_are_refused_at_once(arguments: dict[str, Any], text: str) -> None:
    agent = AgentConnection(api_key="k")
    with pytest.raises(PeerbusError, match=text) as caught:
        agent.connect("lobby", **arguments)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert agent.state.name == "idle"


async def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="chanel"):
        AgentConnection().connect("lobby", chanel="x")  # type: ignore[call-arg]  # what is tested


def test_connect_without_a_loop_says_what_to_use() -> None:
    with pytest.raises(PeerbusError, match=r"peerbus\.client\.sync"):
        AgentConnection(api_key="k").connect("lobby")


async def test_a_bad_channel_name_fails_connect(network: FakeNetwork) -> None:
    agent = AgentConnection(api_key="k")
    with pytest.raises(PeerbusError) as caught:
        await agent.connect("lob\x00by", "alice", "secret")
    assert caught.value.code is ErrorCode.NAME_INVALID
    assert agent.state.name == "closed"
    assert not network.transports


async def test_a_refusal_is_raised_with_all_it_says(network: FakeNetwork) -> None:
    agent = AgentConnection(api_key="k")
    errors = told(agent, "error")
    joining = agent.connect("lobby", "alice")
    waiting = agent.send_text_message("never sent")
    connect = (await network.sees(1, wire.Connect))[0]
    network.say(
        Error(id=connect.id, code="name_taken", message="taken", correlation_id="c9", details={"by": "bob"})
    )
    with pytest.raises(PeerbusError) as caught:
        await joining
    assert caught.value.code is ErrorCode.NAME_TAKEN
    assert caught.value.correlation_id == "c9"
    assert caught.value.details == {"by": "bob"}
    assert agent.state.code == "name_taken"
    await settle()
    assert [error.code for error in errors] == [ErrorCode.CLOSED]
    with pytest.raises(PeerbusError, match="Closed before"):
        await waiting
    await agent.disconnect()


async def test_an_unawaited_connect_that_fails_goes_to_on_error(network: FakeNetwork) -> None:
    agent = AgentConnection(api_key="k")
    errors: list[Exception] = []
    agent.on_error = errors.append
    agent.connect("lobby", "alice")
    connect = (await network.sees(1, wire.Connect))[0]
    network.say(Error(id=connect.id, code="unauthorized", message="no"))
    await settle()
    assert [getattr(error, "code", None) for error in errors] == [ErrorCode.UNAUTHORIZED]
    await agent.disconnect()


async def test_connect_gives_up_in_time(network: FakeNetwork) -> None:
    network.is_down = True
    agent = AgentConnection(api_key="k", connect_timeout=0.02)
    with pytest.raises(PeerbusError, match="connection refused") as caught:
        await agent.connect("lobby")
    assert caught.value.code is ErrorCode.CONNECT_FAILED
    await agent.disconnect()


async def test_one_agent_is_in_one_channel_at_a_time(agent: AgentConnection) -> None:
    with pytest.raises(PeerbusError, match="connected already"):
        agent.connect("other")


async def test_an_agent_can_come_again_as_the_same_one(agent: AgentConnection, network: FakeNetwork) -> None:
    await agent.disconnect()
    assert agent.state.name == "closed"
    joining = agent.connect("lobby", "alice")
    second = await network.join()
    await joining
    first = (await network.sees(1, wire.Connect))[0]
    assert second.lineage_secret == first.lineage_secret
    assert second.resume is None


# --- leaving ------------------------------------------------------------------------------------------------------


async def test_disconnect_says_bye(agent: AgentConnection, network: FakeNetwork) -> None:
    events = [told(agent, "disconnect"), told(agent, "error")]
    await agent.disconnect()
    assert isinstance(network.now.sent[-1], wire.Bye)
    assert network.now.closed_with == (1000, "bye")
    assert agent.state.name == "closed"
    assert [len(found) for found in events] == [1, 0]
    await agent.disconnect()
    with pytest.raises(PeerbusError, match="call connect"):
        await agent.send_text_message("too late")


async def test_disconnect_waits_for_what_was_asked(agent: AgentConnection, network: FakeNetwork) -> None:
    sending = agent.send_text_message("last words")
    leaving = agent.disconnect()
    await settle()
    assert agent.is_connected
    assert agent.pending == 1
    network.ack((await network.sees(1, wire.Send))[0], promise="local-fsync", offset=1)
    await leaving
    assert (await sending).offset == 1


async def test_disconnect_does_not_wait_for_ever(agent: AgentConnection, network: FakeNetwork) -> None:
    errors = told(agent, "error")
    agent.send_text_message("nobody answers")
    await agent.disconnect(timeout=0.01)
    await settle()
    assert [error.code for error in errors] == [ErrorCode.CLOSED]


async def test_disconnect_before_the_session_began(network: FakeNetwork) -> None:
    agent = AgentConnection(api_key="k")
    errors = told(agent, "error")
    joining = agent.connect("lobby", "alice", "a password that takes a while")
    await agent.disconnect()
    assert agent.state.name == "closed"
    with pytest.raises(PeerbusError, match="Disconnected before"):
        await joining
    assert not errors
    assert not network.transports


async def test_the_context_manager_leaves(network: FakeNetwork) -> None:
    async with AgentConnection(api_key="k") as agent:
        joining = agent.connect("lobby")
        await network.join()
        await joining
    assert isinstance(network.now.sent[-1], wire.Bye)


async def test_being_kicked_is_an_error_and_the_end(agent: AgentConnection, network: FakeNetwork) -> None:
    errors, states = told(agent, "error"), told(agent, "state")
    stream = agent.messages()
    network.say(
        message("last", 1), Closing(close_code=3512, code="kicked", reason="spam", correlation_id="c7")
    )
    await settle()
    assert [(error.code, error.message, error.correlation_id) for error in errors] == [
        (ErrorCode.KICKED, "spam", "c7")
    ]
    assert [(state.name, state.code) for state in states] == [("closed", "kicked")]
    assert (await anext(stream)).content == "last"
    with pytest.raises(PeerbusError, match="spam"):
        await anext(stream)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_signals_of_a_call_are_no_messages(agent: AgentConnection, network: FakeNetwork) -> None:
    messages, signals = told(agent, "message"), told(agent, "signal")
    stream = agent.messages()
    # Anybody may use the type; only the SFU bears its name.
    network.say(
        message({"kind": "answer"}, sender="peerbus:sfu", type="signal"), message("offer", type="signal")
    )
    await settle()
    assert [one.content for one in signals] == [{"kind": "answer"}]
    assert [one.content for one in messages] == ["offer"]
    assert (await anext(stream)).content == "offer"
    assert agent.api == "http://server:1"


# --- sending ------------------------------------------------------------------------------------------------------


async def test_an_ack_says_what_is_promised(agent: AgentConnection, network: FakeNetwork) -> None:
    sending = agent.send_message(
        {"x": 1}, type="move", metadata={"n": 1}, reply_to="m0", custom_event_type="game"
    )
    send = (await network.sees(1, wire.Send))[0]
    assert send.delivery == "durable"
    assert send.idempotency_key
    assert (send.type, send.content, send.metadata, send.reply_to, send.custom_event_type) == (
        "move", {"x": 1}, {"n": 1}, "m0", "game",
    )  # fmt: skip
    network.ack(send, promise="local-fsync", message_id="m1", offset=7, time_ms=5, recipients=2)
    assert await sending == Ack(promise="local-fsync", message_id="m1", offset=7, time_ms=5, recipients=2)


async def test_the_object_form(agent: AgentConnection, network: FakeNetwork) -> None:
    agent.send_message({"content": "hi", "to": "bob", "customEventType": "e"})
    agent.send_message({"content": "hi", "colour": "red"})
    agent.send_message({"binary": b"x", "filter": {"glob": "t*"}}, type="file")
    first, second, third = await network.sees(3, wire.Send)
    assert (first.content, first.to, first.custom_event_type) == ("hi", ["bob"], "e")
    assert second.content == {"content": "hi", "colour": "red"}
    assert (third.binary, third.filter, third.type) == (b"x", GlobFilter(glob="t*"), "file")


async def test_a_failed_request_raises_what_the_server_said(
    agent: AgentConnection, network: FakeNetwork
) -> None:
    sending = agent.send_message("hi", to=["bob", "carol"])
    send = (await network.sees(1, wire.Send))[0]
    assert send.to == ["bob", "carol"]
    network.say(Error(id=send.id, code="unknown_recipient", message="not here", details={"missing": ["bob"]}))
    with pytest.raises(PeerbusError, match="not here") as caught:
        await sending
    assert caught.value.code is ErrorCode.UNKNOWN_RECIPIENT
    assert caught.value.details == {"missing": ["bob"]}
    assert not caught.value.is_retryable


async def test_a_failure_that_nobody_awaits_goes_to_on_error(
    agent: AgentConnection, network: FakeNetwork
) -> None:
    errors = told(agent, "error")
    agent.send_message("hi", filter="(")
    send = (await network.sees(1, wire.Send))[0]
    network.say(Error(id=send.id, code="bad_filter", message="missing )"))
    await settle()
    assert [error.code for error in errors] == [ErrorCode.BAD_FILTER]


async def test_a_code_of_a_newer_server(agent: AgentConnection, network: FakeNetwork) -> None:
    sending = agent.send_message("hi")
    send = (await network.sees(1, wire.Send))[0]
    network.say(Error(id=send.id, code="brand_new", message="something", is_retryable=False))
    with pytest.raises(PeerbusError, match="brand_new: something") as caught:
        await sending
    assert caught.value.code is ErrorCode.INTERNAL
    assert not caught.value.is_retryable


async def test_a_lossy_message_is_sent_or_dropped(agent: AgentConnection, network: FakeNetwork) -> None:
    ack = await agent.send_message("typing", ephemeral=True, filter=Glob("b*"))
    assert not ack.is_dropped
    send = (await network.sees(1, wire.Send))[0]
    assert send.delivery == "lossy"
    assert not isinstance(send.id, int)
    network.cut()
    assert (await agent.send_message("typing", ephemeral=True)).is_dropped


@pytest.mark.parametrize(
    "options",
    [
        {"to": "bob", "filter": "x"},
        {"ephemeral": True, "delivery": "durable"},
        {"delivery": "soon"},
        {"filter": 7},
    ],
)
async def test_options_that_make_no_sense(agent: AgentConnection, options: Any) -> None:
    with pytest.raises(PeerbusError) as caught:
        agent.send_message("x", **options)
    assert caught.value.code is ErrorCode.BAD_REQUEST


async def test_content_that_is_not_json(agent: AgentConnection) -> None:
    for content in (object(), {1: 2}, 2**60, float("nan"), {"a": b"x"}):
        with pytest.raises(ProtocolError) as caught:
            agent.send_message(content)
        assert caught.value.code is ErrorCode.BAD_REQUEST
    with pytest.raises(TypeError, match="colour"):
        agent.send_message("x", colour="red")  # type: ignore[call-arg]  # what is tested
    with pytest.raises(PeerbusError, match="send_message takes any"):
        agent.send_text_message(7)  # type: ignore[arg-type]  # what is tested


async def test_too_large_is_told_without_sending(agent: AgentConnection, network: FakeNetwork) -> None:
    with pytest.raises(PeerbusError) as caught:
        await agent.send_message("x" * 1_100_000)
    assert caught.value.code is ErrorCode.TOO_LARGE
    assert not [frame for frame in network.now.sent if isinstance(frame, wire.Send)]


async def test_a_timeout_of_its_own(agent: AgentConnection, network: FakeNetwork) -> None:
    with pytest.raises(PeerbusError) as caught:
        await agent.send_message("x", timeout=0.01)
    assert caught.value.code is ErrorCode.TIMEOUT
    assert caught.value.is_retryable


async def test_a_cancelled_wait_costs_nothing(agent: AgentConnection, network: FakeNetwork) -> None:
    sending = agent.send_message("x")
    sending.cancel()
    send = (await network.sees(1, wire.Send))[0]
    network.ack(send, offset=1)
    assert agent.pending == 0


async def test_the_early_queue_is_bounded(network: FakeNetwork) -> None:
    agent = AgentConnection(api_key="k")
    agent.connect("lobby", "alice", "a password")
    outcomes = [agent.send_text_message(str(number)) for number in range(1001)]
    with pytest.raises(PeerbusError) as caught:
        await outcomes[-1]
    assert caught.value.code is ErrorCode.QUEUE_FULL
    errors = told(agent, "error")
    await agent.disconnect(timeout=0)
    await settle()
    assert {error.code for error in errors} == {ErrorCode.CLOSED}


# --- the other requests -------------------------------------------------------------------------------------------


async def test_history(agent: AgentConnection, network: FakeNetwork) -> None:
    reading = agent.receive(
        after=1, before=9, limit=2, types=["a"], custom_event_type="b,a", poll_source="AUTO"
    )
    frame = (await network.sees(1, wire.Receive))[0]
    assert (frame.after, frame.before, frame.limit, frame.types) == (1, 9, 2, ["a", "b"])
    network.say(
        wire.History(
            id=frame.id,
            epoch="e1",
            head=8,
            tail=1,
            messages=[message("x", 2), message(b"\1", 3)],
            is_complete=False,
            next=3,
        )
    )
    page = await reading
    assert [(one.offset, one.content) for one in page] == [(2, "x"), (3, b"\1")]
    assert (len(page), page.next, page.is_complete, page.head, page.tail) == (2, 3, False, 8, 1)
    for limit in (0, 1001):
        with pytest.raises(PeerbusError, match="limit"):
            agent.receive(limit=limit)


async def test_requests_about_the_channel(agent: AgentConnection, network: FakeNetwork) -> None:
    asked = [
        agent.set_attributes({"a": 1}),
        agent.kick("bob", reason="spam"),
        agent.kick(session_id="s2"),
        agent.lock(),
        agent.unlock(),
    ]
    listing = agent.fetch_members()
    await network.sees(7)
    update, by_name, by_session, lock, unlock, members = network.now.sent[1:]
    assert isinstance(update, wire.Update)
    assert isinstance(by_name, wire.Kick)
    assert isinstance(by_session, wire.Kick)
    assert isinstance(lock, wire.Lock)
    assert isinstance(unlock, wire.Lock)
    assert isinstance(members, wire.Members)
    assert update.attributes == {"a": 1}
    assert (by_name.agent, by_name.reason, by_session.session_id) == ("bob", "spam", "s2")
    assert (lock.locked, unlock.locked) == (True, False)
    for frame in (update, by_name, by_session, lock, unlock):
        network.ack(frame)
    assert [await outcome for outcome in asked] == [Ack()] * 5
    network.say(wire.MembersReply(id=members.id, members=[member("s2", "bob")]))
    assert [one.name for one in await listing] == ["bob"]
    for arguments in ({}, {"agent": "a", "session_id": "b"}):
        with pytest.raises(PeerbusError, match="one of the two"):
            agent.kick(**arguments)


# --- receiving ----------------------------------------------------------------------------------------------------


async def test_what_peers_say_passes_a_choice_of_types_and_nothing_else_does(network: FakeNetwork) -> None:
    agent = AgentConnection(api_key="k")
    messages, signals, data = told(agent, "message"), told(agent, "peer_signal"), told(agent, "peer_data")
    joining = agent.connect("lobby", "alice", types=["move"])
    await network.join()
    await joining
    offer = {"kind": "peer_offer"}
    network.say(
        message("a", type="move"),
        message("b", type="other", custom_event_type="move"),
        message({"kind": "of somebody's own"}, type="signal"),
        message(offer, type="signal"),
        message(b"frame", type="peer-data"),
    )
    await settle()
    assert [one.content for one in messages] == ["a", "b"]
    assert [one.content for one in signals] == [offer]
    assert [one.content for one in data] == [b"frame"]
    await agent.disconnect()


async def test_messages_reach_every_kind_of_handler(agent: AgentConnection, network: FakeNetwork) -> None:
    by_event = told(agent, "message")
    by_once: list[Message] = []
    by_task: list[Message] = []
    assigned: list[Message] = []
    agent.on_message = assigned.append
    agent.once("message", by_once.append)

    @agent.on("message")
    async def later(one: Message) -> None:
        await asyncio.sleep(0)
        by_task.append(one)

    network.say(message("hi", 1, to=["alice"]), message(b"\0", sender_session="s2"))
    await settle()
    assert by_event == assigned == by_task
    assert [one.content for one in by_once] == ["hi"]
    text, binary = by_event
    assert (text.content, text.text, text.offset, text.is_direct, text.sender_session) == (
        "hi",
        "hi",
        1,
        True,
        None,
    )
    assert (binary.content, binary.text, binary.offset, binary.is_direct) == (b"\0", "", None, False)
    assert binary.sender_session == "s2"
    assert binary.metadata == {}
    agent.on_message = None
    network.say(message("more", 2))
    assert len(assigned) == 2
    assert agent.on_message is None


async def test_a_message_stream(agent: AgentConnection, network: FakeNetwork) -> None:
    with agent.messages() as stream:
        network.say(message(1, 1), message(2, 2))
        got = []

        async def read() -> None:
            async for one in stream:
                got.append(one.content)  # noqa: PERF401 - it is read one by one

        reading = asyncio.create_task(read())
        await settle()
        network.say(message(3, 3))
        await settle()
        assert got == [1, 2, 3]
        await agent.disconnect()
        await reading
    assert [one async for one in agent.messages()] == []


async def test_a_reader_that_falls_behind_is_told(agent: AgentConnection, network: FakeNetwork) -> None:
    stream = agent.messages(max_buffered=2)
    network.say(*(message(number, number) for number in (1, 2, 3, 4)))
    assert [(await anext(stream)).content, (await anext(stream)).content] == [1, 2]
    with pytest.raises(PeerbusError) as caught:
        await anext(stream)
    assert caught.value.code is ErrorCode.SLOW_CONSUMER


async def test_presence_keeps_the_members(agent: AgentConnection, network: FakeNetwork) -> None:
    changes = told(agent, "presence")
    bob = member("s2", "bob", 2)
    network.say(Presence(joined=[bob]))
    assert agent.members == [member_of(member("s1", "alice")), member_of(bob)]
    network.say(Presence(left=[Departure(session_id="s2", name="bob")]))
    assert [one.name for one in agent.members] == ["alice"]
    assert len(changes) == 2


async def test_the_small_events(agent: AgentConnection, network: FakeNetwork) -> None:
    locks, expiries = told(agent, "channel"), told(agent, "expiring")
    network.say(ChannelUpdate(is_locked=True), Expiring(expires_in_ms=5000))
    assert (locks, expiries) == ([True], [5000])
    assert agent.channel is not None
    assert agent.channel.is_locked


# --- losing and finding the connection ----------------------------------------------------------------------------


async def test_a_cut_is_healed_and_told(agent: AgentConnection, network: FakeNetwork) -> None:
    states: list[State] = []
    comings = told(agent, "connect"), told(agent, "disconnect")
    agent.on_state = states.append
    gaps: list[Gap] = []
    agent.on_gap = gaps.append
    network.say(message("one", 1))
    network.cut(1006)
    sending = agent.send_text_message("queued")
    assert agent.state.name == "reconnecting"
    assert agent.state.retry_in_ms >= 0
    await network.sees(2, wire.Connect, transports=2)
    connect = await network.join(recovered=True, live_epoch="L2")
    assert connect.resume is not None
    assert (connect.resume.offset, connect.resume.token.reveal()) == (1, "t1")
    network.ack((await network.sees(1, wire.Send))[0], offset=2)
    assert (await sending).offset == 2
    assert gaps == [Gap(live=True)]
    assert [len(found) for found in comings] == [1, 1]
    assert [state.name for state in states][-1] == "connected"


async def test_an_unreadable_frame_is_told_and_survived(agent: AgentConnection, network: FakeNetwork) -> None:
    errors = told(agent, "error")
    network.say(Rejected(ProtocolError(ErrorCode.BAD_FRAME, "what?")), message("behind it", 1))
    assert [error.code for error in errors] == [ErrorCode.BAD_FRAME]
    await network.sees(2, wire.Connect, transports=2)
    await network.join(recovered=True)
    assert agent.is_connected


async def test_reconnect_now(agent: AgentConnection, network: FakeNetwork) -> None:
    network.say(
        Closing(
            close_code=3000, code="server_restarting", reason="", retry_after_ms=3_600_000, is_retryable=True
        )
    )
    assert agent.state.retry_in_ms == 3_600_000
    agent.reconnect_now()
    await network.sees(2, wire.Connect, transports=2)


# --- keys ---------------------------------------------------------------------------------------------------------


async def test_keys_are_fetched_and_renewed(network: FakeNetwork) -> None:
    given = iter(["first", "second", "third"])

    async def get_api_key() -> str:
        return next(given)

    agent = AgentConnection(get_api_key=get_api_key)
    joining = agent.connect("lobby")
    connect = await network.join()
    await joining
    assert connect.api_key.reveal() == "first"
    network.say(Expiring(expires_in_ms=60_000))
    renew = (await network.sees(1, wire.Renew))[0]
    assert renew.api_key.reveal() == "second"
    network.ack(renew)
    network.say(Closing(close_code=3503, code="expired", reason="over"))
    again = (await network.sees(2, wire.Connect))[1]
    assert again.api_key.reveal() == "third"
    await agent.disconnect(timeout=0)


async def test_a_key_source_that_fails_is_asked_again(network: FakeNetwork) -> None:
    answers = [ValueError("no network"), "a key"]

    def get_api_key() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    agent = AgentConnection()
    joining = agent.connect("lobby", get_api_key=get_api_key)
    connect = await network.join()
    await joining
    assert connect.api_key.reveal() == "a key"
    await agent.disconnect()


async def test_a_key_source_that_refuses_ends_it(network: FakeNetwork) -> None:
    def get_api_key() -> str:
        raise PeerbusError(ErrorCode.UNAUTHORIZED, "log in first")

    agent = AgentConnection(get_api_key=get_api_key)
    with pytest.raises(PeerbusError, match="log in first"):
        await agent.connect("lobby")
    await agent.disconnect()


async def test_a_key_can_be_set_by_hand(agent: AgentConnection, network: FakeNetwork) -> None:
    agent.set_api_key("fresh")
    renew = (await network.sees(1, wire.Renew))[0]
    assert renew.api_key.reveal() == "fresh"
    network.say(Error(id=renew.id, code="forbidden", message="another project"))
    await settle()
    assert agent.is_connected


# --- handlers that fail -------------------------------------------------------------------------------------------


async def test_a_failing_handler_hurts_nobody(agent: AgentConnection, network: FakeNetwork) -> None:
    errors: list[Exception] = []
    agent.on_error = errors.append
    got: list[Message] = []

    def fails(one: Message) -> None:
        raise ValueError("a plain handler")

    async def fails_later(one: Message) -> None:
        raise ValueError("an async handler")

    agent.on("message", fails)
    agent.on("message", fails_later)
    agent.on("message", got.append)
    network.say(message("hi", 1))
    await settle()
    assert len(got) == 1
    assert sorted(map(str, errors)) == ["a plain handler", "an async handler"]
    assert agent.is_connected


async def test_failing_error_handlers_end_in_the_log(
    agent: AgentConnection, network: FakeNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(error: Exception) -> None:
        raise ValueError("plain")

    async def fails_later(error: Exception) -> None:
        raise ValueError("async")

    agent.on("error", fails)
    agent.on("error", fails_later)
    with caplog.at_level(logging.ERROR, "peerbus.client"):
        network.say(Error(code="rate_limited", message="slower"))
        await settle()
    assert [record.getMessage() for record in caplog.records] == ["an error handler failed"] * 2


async def test_errors_without_a_handler_end_in_the_log(
    agent: AgentConnection, network: FakeNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "peerbus.client"):
        network.say(Error(code="rate_limited", message="slower"))
    assert [record.getMessage() for record in caplog.records] == ["rate_limited: slower"]


def test_a_handler_is_a_function() -> None:
    with pytest.raises(TypeError, match="'message'"):
        AgentConnection().on_message = "print"  # type: ignore[assignment]  # what is tested


def test_the_encoding_is_one_of_two() -> None:
    with pytest.raises(PeerbusError, match="encoding"):
        AgentConnection(encoding="xml")  # type: ignore[arg-type]  # what is tested

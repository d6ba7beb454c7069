"""The asyncio agent in a sealed channel, over transports without a network."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest
from msgspec import UNSET, structs

from peerbus.client import AgentConnection, crypto
from peerbus.client.crypto import derive_keys, new_sealer
from peerbus.client.errors import ErrorCode, PeerbusError, SealingError
from peerbus.client.sealed_channel import SealedChannel
from peerbus.client.sealing import Context, SealClass, Sealer, SealingKeys
from peerbus.protocol import messages as wire
from peerbus.protocol.channel import Mode, channel_id
from peerbus.protocol.messages import Departure, Presence
from peerbus.protocol.secrets import SecretBytes
from peerbus.protocol.session.roster import Roster
from tests.support.fake_transport import FakeNetwork, member, message, settle

PASSWORD = "secret"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id takes its time elsewhere."""
    monkeypatch.setattr(crypto, "_stretch", lambda salt, password: (salt + password)[:32].ljust(32, b"\0"))
    monkeypatch.setattr(crypto, "_cache", crypto._KeyCache(4))


async def bob_in(channel: str = "lobby") -> SealedChannel:
    """What bob has, who knows the password as well."""
    keys = await derive_keys(channel, PASSWORD)
    sealing_keys = SealingKeys(keys.message, channel_id(channel, Mode.SEALED, keys.join.reveal()))
    numbers = count(0xB0)
    sealer = Sealer(sealing_keys, lambda: next(numbers).to_bytes(16, "big"))
    return SealedChannel(sealing_keys, sealer, {"hp": 7})


@pytest.fixture
async def bob() -> SealedChannel:
    return await bob_in()


@pytest.fixture
async def agent(network: FakeNetwork) -> AsyncIterator[AgentConnection]:
    """An agent that has joined as alice. The server says that the channel is open; that is not for it to say."""
    agent = AgentConnection("http://server:1", "pb_k")
    joining = agent.connect("lobby", "alice", PASSWORD, private_attributes={"hp": 1})
    await network.join()
    await joining
    yield agent
    await agent.disconnect(timeout=0)


def told(agent: AgentConnection, event: str) -> list[Any]:
    """Everything that an event brings from now on."""
    found: list[Any] = []
    agent.on(event, found.append)
    return found


def opened_by(bob: SealedChannel, sent: wire.Send, offset: int | None, sender: str = "alice") -> Any:
    """What bob reads in what the agent has sent."""
    assert (sent.content, sent.binary, sent.metadata) == (UNSET, UNSET, UNSET)
    shown = message("x", offset, sender=sender, delivery=sent.delivery, type=sent.type, to=sent.to)
    shown = structs.replace(
        shown, content=UNSET, sealed=sent.sealed, idempotency_key=sent.idempotency_key, filter=sent.filter
    )
    opened = bob.open(shown, "e1")
    assert opened is not None
    return opened.content


def said_by(bob: SealedChannel, content: Any, offset: int | None = None, **fields: Any) -> wire.Message:
    """A message of bob's, as the server shows it."""
    frame = wire.Send(content=content, delivery="live" if offset is None else "durable")
    sealed = bob.seal(frame, "bob", Roster())
    assert isinstance(sealed, wire.Send)
    return structs.replace(message("x", offset, **fields), content=UNSET, sealed=sealed.sealed)


async def test_connect_says_sealed_and_nothing_of_the_password(
    agent: AgentConnection, network: FakeNetwork, bob: SealedChannel
) -> None:
    connect: wire.Connect = (await network.sees(1, wire.Connect))[0]
    keys = await derive_keys("lobby", PASSWORD)
    assert connect.mode == "sealed"
    assert connect.join_token == keys.join
    assert connect.channel_id == channel_id("lobby", Mode.SEALED, keys.join.reveal())
    assert len(connect.crypto_session) == 16
    assert agent.is_sealed
    assert agent.safety_number == bob.safety_number
    as_member = member(
        "s1", "alice", crypto_session=connect.crypto_session, sealed_attributes=connect.sealed_attributes
    )
    assert bob.attributes_of(as_member) == {"hp": 1}


@pytest.mark.parametrize(
    ("password", "options", "mode"),
    [
        (PASSWORD, {"sealed": False}, "open"),
        (None, {}, "open"),
        ("", {}, "open"),
        (PASSWORD, {"sealed": True}, "sealed"),
    ],
)
async def test_the_mode_that_is_asked_for(
    network: FakeNetwork, password: str | None, options: dict[str, Any], mode: str
) -> None:
    async with AgentConnection("http://server:1", "pb_k") as agent:
        joining = agent.connect("lobby", "alice", password, **options)
        assert agent.is_sealed is (mode == "sealed"), "also before the keys are there"
        is_lie_sealed = mode == "open"
        told = wire.ChannelInfo(
            id=bytes(32), name="lobby", mode="sealed" if is_lie_sealed else "open", scope="private:p"
        )
        connect = await network.join(channel=told)
        await joining
        assert (connect.mode, agent.is_sealed) == (mode, mode == "sealed")
        assert agent.channel is not None
        assert agent.channel.mode == mode
        assert bool(agent.safety_number) is bool(connect.crypto_session) is agent.is_sealed


@pytest.mark.parametrize(
    ("password", "options"),
    [
        (None, {"sealed": True}),
        ("", {"sealed": True}),
        (None, {"private_attributes": {"a": 1}}),
        (PASSWORD, {"sealed": False, "private_attributes": {"a": 1}}),
        (PASSWORD, {"private_attributes": {"a": b"1"}}),
    ],
)
async def test_options_that_make_no_sense(password: str | None, options: dict[str, Any]) -> None:
    with pytest.raises(PeerbusError) as caught:
        await AgentConnection("http://server:1", "pb_k").connect("lobby", "alice", password, **options)
    assert caught.value.code is ErrorCode.BAD_REQUEST


async def test_a_retry_of_a_durable_message_has_the_same_tag(
    agent: AgentConnection, network: FakeNetwork, bob: SealedChannel
) -> None:
    """The first was refused and the second stored; both answers were lost."""
    outcomes = [agent.send_message({"pay": number}) for number in (5, 6)]
    refused, stored = await network.sees(2, wire.Send)
    assert opened_by(bob, stored, 1) == {"pay": 6}
    network.cut(1006)
    await network.join(recovered=True, live_epoch="L2")
    first, second = (await network.sees(4, wire.Send))[2:]
    assert first.id > stored.id
    assert [first.retry_tag, second.retry_tag] == [refused.retry_tag, stored.retry_tag]
    network.ack(first, offset=2)
    network.ack(second, offset=1, is_duplicate=True)
    assert [(await outcome).offset for outcome in outcomes] == [2, 1]
    assert opened_by(bob, first, 2) == {"pay": 5}
    later = agent.send_message("later")
    (*_, third) = await network.sees(5, wire.Send)
    network.ack(third, offset=3)
    await later
    assert opened_by(bob, third, 3) == "later"


async def test_a_retry_of_a_live_message_has_the_same_bytes(
    agent: AgentConnection, network: FakeNetwork, bob: SealedChannel
) -> None:
    outcome = agent.send_message("here?", delivery="live")
    (first,) = await network.sees(1, wire.Send)
    network.cut(1006)
    await network.join(recovered=True, live_epoch="L2")
    again = (await network.sees(2, wire.Send))[1]
    assert again.id > first.id
    assert again.sealed == first.sealed
    network.ack(again)
    await outcome
    assert opened_by(bob, first, None) == "here?"
    assert agent.sealing_counters.sealed == 1


async def test_under_another_name_it_is_sealed_anew(network: FakeNetwork, bob: SealedChannel) -> None:
    async with AgentConnection("http://server:1", "pb_k") as agent:
        joining = agent.connect("lobby", "", PASSWORD, private_attributes={"hp": 1})
        connect = await network.join(agent="guest-1")
        await joining
        assert connect.sealed_attributes == b""
        (told_then,) = await network.sees(1, wire.Update)
        outcomes = [agent.send_message(number) for number in range(2)]
        first = await network.sees(2, wire.Send)
        network.cut(1006)
        connect = await network.join(agent="guest-2", session_id="s2", epoch="e1", live_epoch="L2")
        assert connect.sealed_attributes == b""
        again = (await network.sees(4, wire.Send))[2:]
        assert [sent.retry_tag for sent in again] == [sent.retry_tag for sent in first]
        assert [opened_by(bob, sent, 5 + n, "guest-2") for n, sent in enumerate(again)] == [0, 1]
        with pytest.raises(Exception, match="changed on its way"):
            opened_by(bob, first[0], 9, "guest-2")
        # The update that was not answered is sent again; both are sealed under the name of now.
        updates = (await network.sees(2, wire.Update))[1:]
        for update in updates:
            shown = member(
                "s2",
                "guest-2",
                crypto_session=connect.crypto_session,
                sealed_attributes=update.sealed_attributes,
            )
            assert bob.attributes_of(shown) == {"hp": 1}
        assert told_then.sealed_attributes != updates[0].sealed_attributes
        for sent in again:
            network.ack(sent, offset=1)
        for outcome in outcomes:
            await outcome


async def test_nothing_is_sealed_under_a_name_that_was_not_asked_for(network: FakeNetwork) -> None:
    async with AgentConnection("http://server:1", "pb_k") as agent:
        joining = agent.connect("lobby", "alice", PASSWORD)
        sending = agent.send_message("signed by somebody else?")
        await network.join(agent="bob")
        for outcome in (joining, sending):
            with pytest.raises(PeerbusError):
                await outcome
        assert (agent.state.name, agent.state.code) == ("closed", "protocol_violation")
        assert not [frame for frame in network.now.sent if isinstance(frame, wire.Send)]


async def test_another_normal_form_of_the_name_is_no_other_name(network: FakeNetwork) -> None:
    async with AgentConnection("http://server:1", "pb_k") as agent:
        joining = agent.connect("lobby", "zoe\u0308", PASSWORD)
        await network.join(agent="zo\u00eb")
        await joining
        assert agent.agent_name == "zo\u00eb"


async def test_messages_are_opened_and_say_so(
    agent: AgentConnection, network: FakeNetwork, bob: SealedChannel
) -> None:
    messages, errors = told(agent, "message"), told(agent, "error")
    network.say(said_by(bob, {"x": 1}, 1), said_by(bob, "live"))
    assert [(one.content, one.is_sealed, one.sender) for one in messages] == [
        ({"x": 1}, True, "bob"),
        ("live", True, "bob"),
    ]
    assert errors == []
    assert agent.sealing_counters.opened == 2


async def test_a_message_that_cannot_be_opened_is_an_error_and_not_a_message(
    agent: AgentConnection, network: FakeNetwork, bob: SealedChannel
) -> None:
    messages, errors = told(agent, "message"), told(agent, "error")
    good = said_by(bob, "hi", 1)
    network.say(
        message("forged", 2),
        structs.replace(good, offset=3, sender="mallory"),
        structs.replace(good, offset=4, sealed=b""),
        structs.replace(good, offset=5),
        structs.replace(good, offset=6),
        structs.replace(message("forged"), sender="peerbus:server"),
    )
    assert [one.offset for one in messages] == [5]
    assert all(isinstance(error, SealingError) for error in errors)
    assert [(error.code, error.sender, error.offset, error.delivery) for error in errors] == [
        ("not_sealed", "bob", 2, "durable"),
        ("tampered", "mallory", 3, "durable"),
        ("tampered", "bob", 4, "durable"),
        ("replayed", "bob", 6, "durable"),
        ("not_sealed", "peerbus:server", None, "live"),
    ]
    live = said_by(bob, "once")
    network.say(live, live)
    assert [one.content for one in messages] == ["hi", "once"]
    assert len(errors) == 5
    assert (agent.sealing_counters.refused, agent.sealing_counters.dropped) == (5, 1)


async def test_a_reconnect_that_has_recovered_brings_no_other_epoch(
    agent: AgentConnection, network: FakeNetwork, bob: SealedChannel
) -> None:
    """Else an old message could be shown again at a later offset, and nobody would be told of a gap."""
    messages, errors, gaps = told(agent, "message"), told(agent, "error"), told(agent, "gap")
    old = said_by(bob, "old", 50)
    network.say(old)
    network.cut(1006)
    await network.join(epoch="e2", recovered=True, live_recovered=True)
    network.say(structs.replace(old, offset=60))
    assert [one.offset for one in messages] == [50]
    assert [error.code for error in errors] == ["replayed"]
    assert gaps == []


@pytest.mark.parametrize("service", ["peerbus:sfu", "peerbus:group"])
async def test_signals_of_the_sfu_pass(agent: AgentConnection, network: FakeNetwork, service: str) -> None:
    signals, errors = told(agent, "signal"), told(agent, "error")
    network.say(message({"kind": "restart"}, sender=service, type="signal"))
    assert [one.content for one in signals] == [{"kind": "restart"}]
    agent.send_message({"kind": "leave"}, type="signal", to=service, delivery="live")
    (sent,) = await network.sees(1, wire.Send)
    assert (sent.content, sent.sealed) == ({"kind": "leave"}, UNSET)
    assert errors == []


async def test_a_page_of_history_says_what_could_not_be_opened(
    agent: AgentConnection, network: FakeNetwork, bob: SealedChannel
) -> None:
    errors = told(agent, "error")
    reading = agent.receive()
    (asked,) = await network.sees(1, wire.Receive)
    one, two = said_by(bob, "one", 1), said_by(bob, "two", 2)
    network.say(
        wire.History(
            id=asked.id,
            epoch="e1",
            head=4,
            tail=1,
            messages=[one, two, structs.replace(one, offset=3), message("forged", 4)],
            is_complete=True,
        )
    )
    page = await reading
    assert [(shown.content, shown.is_sealed) for shown in page] == [("one", True), ("two", True)]
    assert [(refusal.code, refusal.offset) for refusal in page.refused] == [
        ("replayed", 3),
        ("not_sealed", 4),
    ]
    assert errors == []


async def test_lossy_messages_are_sealed_and_live_ones_name_who_is_meant(
    agent: AgentConnection, network: FakeNetwork, bob: SealedChannel
) -> None:
    network.say(Presence(joined=[member("s2", "bob", 2, crypto_session=bob.crypto_session)]))
    assert not (await agent.send_message("typing", ephemeral=True)).is_dropped
    agent.send_message("psst", to="bob", delivery="live")
    lossy, live = await network.sees(2, wire.Send)
    assert (lossy.id, lossy.retry_tag, live.retry_tag) == (UNSET, UNSET, UNSET)
    assert opened_by(bob, lossy, None) == "typing"
    assert opened_by(bob, live, None) == "psst"
    network.say(Presence(left=[Departure(session_id="s2", name="bob")]))
    with pytest.raises(PeerbusError) as caught:
        await agent.send_message("psst", to="bob", delivery="live")
    assert (caught.value.code, caught.value.details) == (ErrorCode.UNKNOWN_RECIPIENT, {"missing": ["bob"]})


async def test_what_waits_without_a_connection_is_sealed_when_the_name_is_known(
    network: FakeNetwork, bob: SealedChannel
) -> None:
    async with AgentConnection("http://server:1", "pb_k") as agent:
        agent.connect("lobby", "", PASSWORD)
        early = agent.send_message("early")
        await network.join(agent="guest-9")
        (sent,) = await network.sees(1, wire.Send)
        assert opened_by(bob, sent, 1, "guest-9") == "early"
        network.ack(sent, offset=1)
        await early


async def test_private_attributes_of_others(
    agent: AgentConnection, network: FakeNetwork, bob: SealedChannel
) -> None:
    errors, presence = told(agent, "error"), told(agent, "presence")
    envelope = bob.seal(wire.Update(id=1, attributes={}), "bob", Roster())
    assert isinstance(envelope, wire.Update)
    shown = member(
        "s2", "bob", 2, crypto_session=bob.crypto_session, sealed_attributes=envelope.sealed_attributes
    )
    network.say(Presence(joined=[shown]))
    assert [one.private_attributes for one in presence[0].joined] == [{"hp": 7}]
    forged = structs.replace(shown, session_id="s3", name="eve")
    network.say(Presence(joined=[forged]))
    assert [one.private_attributes for one in presence[1].joined] == [{}]
    assert {one.name: one.private_attributes for one in agent.members if one.name != "alice"} == {
        "bob": {"hp": 7},
        "eve": {},
    }
    assert [(error.code, error.sender, error.delivery) for error in errors] == [("tampered", "eve", None)]


async def test_what_was_opened_of_who_went_meanwhile_is_not_kept(
    agent: AgentConnection, network: FakeNetwork, bob: SealedChannel
) -> None:
    envelope = bob.seal(wire.Update(id=1, attributes={}), "bob", Roster())
    assert isinstance(envelope, wire.Update)
    sealed = {"crypto_session": bob.crypto_session, "sealed_attributes": envelope.sealed_attributes}
    network.say(Presence(joined=[member(f"s{number}", "bob", number, **sealed) for number in range(2, 5)]))
    assert agent._sealed is not None
    assert len(agent._sealed._attributes_of) == 4, "the own session included"
    network.cut(1006)
    await network.join(members=[member("s1", "alice"), member("s3", "bob", 3, **sealed)])
    assert set(agent._sealed._attributes_of) == {"s1", "s3"}
    assert [one.private_attributes for one in agent.members if one.name == "bob"] == [{"hp": 7}]


async def test_setting_attributes(agent: AgentConnection, network: FakeNetwork, bob: SealedChannel) -> None:
    def read(update: wire.Update) -> Any:
        (connect,) = [frame for frame in network.now.sent if isinstance(frame, wire.Connect)]
        shown = member(
            "s1", "alice", crypto_session=connect.crypto_session, sealed_attributes=update.sealed_attributes
        )
        return bob.attributes_of(shown)

    agent.set_attributes({"team": "red"})
    agent.set_attributes({}, private_attributes={"hp": 2})
    first, second = await network.sees(2, wire.Update)
    assert (first.attributes, read(first)) == ({"team": "red"}, {"hp": 1})
    assert (second.attributes, read(second)) == ({}, {"hp": 2})
    agent.set_attributes({}, private_attributes={})
    assert (await network.sees(3, wire.Update))[2].sealed_attributes == b""
    await settle()


async def test_an_update_that_is_sent_again_is_newer_than_what_connect_has_told(
    agent: AgentConnection, network: FakeNetwork, bob: SealedChannel
) -> None:
    outcome = agent.set_attributes({}, private_attributes={"hp": 2})
    await network.sees(1, wire.Update)
    network.cut(1006)
    connect = await network.join(session_id="s2", live_epoch="L2")
    (_, again) = await network.sees(2, wire.Update)
    seen = [
        bob.attributes_of(
            member("s2", "alice", crypto_session=connect.crypto_session, sealed_attributes=envelope)
        )
        for envelope in (connect.sealed_attributes, again.sealed_attributes)
    ]
    assert seen == [{"hp": 1}, {"hp": 2}]
    network.ack(again)
    await outcome


def test_a_fork_of_the_process_begins_another_crypto_session() -> None:
    keys = SealingKeys(SecretBytes(bytes(32)), bytes(32))
    sealer = new_sealer(keys)
    sealer.seal(SealClass.DURABLE, b"", Context(sender="a"))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, sealer.seal(SealClass.DURABLE, b"", Context(sender="a"))[5:29])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        of_child = pipe.read()
    os.waitpid(child, 0)
    of_parent = sealer.seal(SealClass.DURABLE, b"", Context(sender="a"))[5:29]
    assert len(of_child) == len(of_parent) == 24
    assert of_parent[:16] == sealer.announced
    assert of_child[:16] != sealer.announced

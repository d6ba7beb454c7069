"""Sealed channels frame by frame: what is sealed, what is opened, and everything that a server could try."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, structs

from peerbus.client.sealed_channel import SealedChannel
from peerbus.client.sealing import Context, SealClass, Sealer, SealingKeys
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import (
    Connect,
    Delivery,
    GlobFilter,
    Member,
    Message,
    Send,
    Update,
)
from peerbus.protocol.secrets import Secret, SecretBytes
from peerbus.protocol.session.roster import Roster
from tests.support.vectors import load_vectors

REFUSED = load_vectors("sealing/refused")
ENVELOPES = load_vectors("sealing/envelopes")
MESSAGE_KEY = SecretBytes(bytes.fromhex(ENVELOPES["message_key_hex"]))
CHANNEL_ID = bytes.fromhex(ENVELOPES["channel_id_hex"])


def sessions(first: int) -> Callable[[], bytes]:
    numbers = count(first)
    return lambda: next(numbers).to_bytes(16, "big")


def joined(first: int, private: dict[str, Any] | None = None) -> SealedChannel:
    """A member whose crypto-session has this number."""
    keys = SealingKeys(MESSAGE_KEY, CHANNEL_ID)
    return SealedChannel(keys, Sealer(keys, sessions(first)), private or {})


def member(name: str, channel: SealedChannel, **fields: Any) -> Member:
    return Member(
        session_id=f"s-{name}",
        name=name,
        order=1,
        identity=f"lineage:{name}",
        crypto_session=channel.crypto_session,
        **fields,
    )


class Server:
    """Passes on what it is given, as the real one does; a test may have it lie."""

    def __init__(self) -> None:
        self.alice, self.bob = joined(0xA0), joined(0xB0)
        self.roster = Roster()
        self.roster.replace([member("alice", self.alice), member("bob", self.bob)], set())
        self.head = 0

    def sent(self, frame: Send, **lies: Any) -> Message:
        """What alice sends, as it reaches the others."""
        sealed = self.alice.seal(frame, "alice", self.roster)
        assert isinstance(sealed, Send)
        assert (sealed.content, sealed.binary, sealed.metadata) == (UNSET, UNSET, UNSET)
        self.head += 1
        return self.shown(sealed, **lies)

    def shown(self, sealed: Send, **lies: Any) -> Message:
        fields: dict[str, Any] = {
            "delivery": sealed.delivery,
            "offset": self.head if sealed.delivery == "durable" else UNSET,
            "message_id": f"e.{self.head}",
            "time_ms": 1,
            "sender": "alice",
            "identity": "lineage:alice",
            "type": sealed.type,
            "custom_event_type": sealed.custom_event_type,
            "to": sealed.to,
            "filter": sealed.filter,
            "content": sealed.content,
            "sealed": sealed.sealed,
            "reply_to": sealed.reply_to,
            "idempotency_key": sealed.idempotency_key,
        }
        return Message(**{**fields, **lies})


@pytest.fixture
def server() -> Server:
    return Server()


def code_of(channel: SealedChannel, message: Message, epoch: str = "e") -> str:
    """What a message is refused with."""
    before = channel.counters.refused
    with pytest.raises(ProtocolError) as caught:
        channel.open(message, epoch)
    assert channel.counters.refused == before + 1
    return caught.value.code.value


DELIVERIES: list[Delivery] = ["durable", "live", "lossy"]


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize(
    "address",
    [{}, {"to": ["bob"]}, {"filter": "b.*"}, {"filter": GlobFilter(glob="b*")}],
    ids=["all", "to", "expression", "glob"],
)
@pytest.mark.parametrize(
    "said",
    [{"content": {"x": [1, None]}}, {"binary": b"\0\xff"}, {"content": None, "metadata": {"m": 1}}],
    ids=["content", "binary", "metadata"],
)
def test_what_is_sealed_opens(
    server: Server, delivery: Delivery, address: dict[str, Any], said: dict[str, Any]
) -> None:
    frame = Send(
        type="t",
        custom_event_type="c",
        delivery=delivery,
        reply_to="r",
        idempotency_key="k",
        **address,
        **said,
    )
    opened = server.bob.open(server.sent(frame), "e")
    assert opened is not None
    assert {name: getattr(opened, name) for name in said} == said
    assert (opened.sealed, opened.type, opened.reply_to) == (UNSET, "t", "r")
    assert (server.alice.counters.sealed, server.bob.counters.opened) == (1, 1)


@pytest.mark.parametrize("case", REFUSED["cases"], ids=lambda case: case["why"])
def test_vectors_of_refusals(case: dict[str, Any]) -> None:
    keys = SealingKeys(MESSAGE_KEY, CHANNEL_ID)
    receiver = int.from_bytes(bytes.fromhex(REFUSED["receiver_session_hex"]), "big")
    bob = SealedChannel(keys, Sealer(keys, sessions(receiver)), {})
    envelope, shown = bytes.fromhex(case["envelope_hex"]), case["context"]
    if case["class"] == "attributes":
        alice = Member(
            session_id="s",
            name=shown["sender"],
            order=1,
            identity="i",
            crypto_session=bytes(range(16)),
            sealed_attributes=envelope,
        )
        with pytest.raises(ProtocolError) as caught:
            bob.attributes_of(alice)
        assert caught.value.code == case["code"]
        return
    known: dict[str, Any] = {name: value for name, value in shown.items() if name != "filter"}
    if "filter" in shown:
        is_glob = isinstance(shown["filter"], dict)
        known["filter"] = GlobFilter(**shown["filter"]) if is_glob else shown["filter"]
    message = Message(
        delivery=case["class"],
        offset=1 if case["class"] == "durable" else UNSET,
        message_id="m",
        time_ms=1,
        identity="i",
        sealed=envelope,
        **known,
    )
    assert code_of(bob, message) == case["code"]


def test_what_is_not_sealed_is_not_shown(server: Server) -> None:
    message = server.sent(Send(content="x"))
    plain = structs.replace(message, sealed=UNSET, content="forged")
    assert code_of(server.bob, plain) == "not_sealed"
    for name in ("peerbus:sfu", "peerbus:server"):
        assert code_of(server.bob, structs.replace(plain, sender=name)) == "not_sealed"


def test_the_tag_is_that_of_the_message_and_not_of_the_sealing(server: Server) -> None:
    def tag(**fields: Any) -> object:
        sealed = server.alice.seal(Send(**fields), "alice", server.roster)
        assert isinstance(sealed, Send)
        return sealed.retry_tag

    first = tag(content="x", idempotency_key="k")
    assert tag(content="x", idempotency_key="k") == first
    assert tag(content="y", idempotency_key="k") != first
    assert tag(content="x", idempotency_key="l") != first
    assert tag(content="x", idempotency_key="k", metadata={}) != first
    assert tag(content="x") is UNSET
    assert tag(content="x", idempotency_key="k", delivery="live") is UNSET


# --- what a server could try ----------------------------------------------------------------------------------------


def test_a_stored_message_shown_again_as_a_new_one(server: Server) -> None:
    message = server.sent(Send(content="pay"))
    assert server.bob.open(message, "e") is not None
    assert server.bob.open(message, "e") is not None, "reading one offset again is fine"
    assert code_of(server.bob, structs.replace(message, offset=9)) == "replayed"
    assert server.bob.open(message, "e") is not None


def test_stored_messages_in_another_order(server: Server) -> None:
    one, two = server.sent(Send(content=1)), server.sent(Send(content=2))
    assert server.bob.open(structs.replace(two, offset=1), "e") is not None
    assert code_of(server.bob, structs.replace(one, offset=2)) == "reordered"


def test_a_stored_message_without_its_place(server: Server) -> None:
    assert code_of(server.bob, server.sent(Send(content=1), offset=UNSET)) == "reordered"


@pytest.mark.parametrize("delivery", ["live", "lossy"])
def test_a_passing_message_shown_again_is_left_out_and_counted(server: Server, delivery: Delivery) -> None:
    message = server.sent(Send(content=1, delivery=delivery))
    assert server.bob.open(message, "e") is not None
    assert server.bob.open(message, "e") is None
    assert (server.bob.counters.dropped, server.bob.counters.refused) == (1, 0)


def test_an_old_live_message_for_a_later_bearer_of_the_name(server: Server) -> None:
    message = server.sent(Send(content="psst", delivery="live", to=["bob"]))
    later = joined(0xB1)
    assert code_of(later, message) == "replayed"
    opened = server.bob.open(message, "e")
    assert opened is not None, "a refusal elsewhere changes nothing here"


def test_a_live_message_names_all_sessions_of_a_name(server: Server) -> None:
    phone = joined(0xB7)
    laptop_and_phone = [
        member("bob", server.bob),
        structs.replace(member("bob", phone), session_id="s-phone"),
    ]
    server.roster.replace(laptop_and_phone, set())
    message = server.sent(Send(content="both", delivery="live", to=["bob"]))
    assert server.bob.open(message, "e") is not None
    assert phone.open(message, "e") is not None


def test_a_live_message_to_somebody_who_is_not_here(server: Server) -> None:
    with pytest.raises(ProtocolError) as caught:
        server.sent(Send(content="x", delivery="live", to=["bob", "zoe", "Zoe\u0308"]))
    assert caught.value.code is ErrorCode.UNKNOWN_RECIPIENT
    assert caught.value.details == {"missing": ["zoe", "Zoe\u0308"]}


def test_names_are_compared_in_nfc(server: Server) -> None:
    zoe = joined(0xC0)
    server.roster.replace([member("Zo\u00eb", zoe)], set())
    message = server.sent(Send(content="x", delivery="live", to=["Zoe\u0308"]))
    assert zoe.open(message, "e") is not None


@pytest.mark.parametrize("service", ["peerbus:sfu", "peerbus:group"])
def test_only_signals_go_to_the_sfu_and_alone(server: Server, service: str) -> None:
    signal = Send(type="signal", delivery="live", to=[service], content={"kind": "leave"})
    assert server.alice.seal(signal, "alice", server.roster) is signal
    for fields in ({"to": [service, "bob"]}, {"type": "chat-text"}):
        with pytest.raises(ProtocolError) as caught:
            server.alice.seal(structs.replace(signal, **fields), "alice", server.roster)
        assert caught.value.code is ErrorCode.NOT_SEALED


# --- private attributes -----------------------------------------------------------------------------------------------


def connect(name: str) -> Connect:
    return Connect(
        id=1, api_key=Secret("k"), channel="lobby", agent=name, lineage_secret=SecretBytes(bytes(16))
    )


def test_attributes_are_sealed_under_the_name_that_is_asked_for() -> None:
    alice, bob = joined(1, {"hp": 7}), joined(2)
    sealed = alice.seal_connect(connect("Zoe\u0308")).sealed_attributes
    assert bob.attributes_of(member("Zo\u00eb", alice, sealed_attributes=sealed)) == {"hp": 7}
    assert alice.seal_connect(connect("")).sealed_attributes == b""
    assert joined(3).seal_connect(connect("x")).sealed_attributes == b""


def test_an_update_carries_those_that_are_wanted_and_a_connect_those_that_were_taken() -> None:
    alice, bob = joined(1, {"hp": 7}), joined(2)
    alice.want_attributes({"hp": 6})
    sealed = alice.seal(Update(id=1, attributes={}), "alice", Roster())
    assert isinstance(sealed, Update)
    later = alice.seal_connect(connect("alice")).sealed_attributes
    assert bob.attributes_of(member("alice", alice, sealed_attributes=sealed.sealed_attributes)) == {"hp": 6}
    assert bob.attributes_of(member("alice", alice, sealed_attributes=later)) == {"hp": 7}
    alice.attributes_told()
    assert alice.private_attributes == {"hp": 6}


def test_attributes_of_another_session_or_from_before() -> None:
    alice, again, bob = joined(1, {"hp": 7}), joined(5, {"hp": 1}), joined(2)
    first = alice.seal_connect(connect("alice")).sealed_attributes
    second = alice.seal_connect(connect("alice")).sealed_attributes
    with pytest.raises(ProtocolError) as caught:
        bob.attributes_of(member("alice", again, sealed_attributes=first))
    assert caught.value.code is ErrorCode.REPLAYED
    assert bob.attributes_of(member("alice", again, sealed_attributes=first)) == {}, "it is told once"
    bob.forget_member("s-alice")
    assert bob.attributes_of(member("alice", alice, sealed_attributes=second)) == {"hp": 7}
    assert bob.attributes_of(member("alice", alice, sealed_attributes=first)) == {"hp": 7}
    assert bob.counters.dropped == 1
    bob.forget_member("s-alice")
    assert bob.attributes_of(member("alice", alice, sealed_attributes=first)) == {}
    assert bob.attributes_of(member("alice", alice)) == {}


def test_attributes_do_not_pass_to_another_name_with_their_session() -> None:
    alice, eve, bob = joined(1, {"hp": 7}), joined(5, {"hp": 1}), joined(2)
    sealed = alice.seal_connect(connect("alice")).sealed_attributes
    shown = member("alice", alice, sealed_attributes=sealed)
    assert bob.attributes_of(shown) == {"hp": 7}
    for changes, code in (
        ({"name": "eve"}, "tampered"),
        ({"crypto_session": eve.crypto_session}, "replayed"),
    ):
        with pytest.raises(ProtocolError) as caught:
            bob.attributes_of(structs.replace(shown, **changes))
        assert caught.value.code.value == code
        assert bob.attributes_of(shown) == {"hp": 7}
    # Nor are they those of before, when the other name comes with something older of its own.
    first, second = (eve.seal_connect(connect("eve")).sealed_attributes for _ in range(2))
    as_eve = member("eve", eve, sealed_attributes=second)
    assert bob.attributes_of(as_eve) == {"hp": 1}
    renamed = structs.replace(as_eve, session_id=shown.session_id, sealed_attributes=first)
    assert bob.attributes_of(renamed) == {}


def test_members_can_say_nonsense_and_are_not_believed(server: Server) -> None:
    keys = SealingKeys(MESSAGE_KEY, CHANNEL_ID)
    deep: Any = 0
    for _ in range(100):
        deep = [deep]
    for counter, inside in enumerate(({"content": deep}, {"content": b"1"}, {"content": float("nan")})):
        plaintext = msgspec.msgpack.encode(inside)
        envelope = keys.encrypt(
            SealClass.LIVE, bytes(16), counter, plaintext, Context(sender="alice", type="chat-text")
        )
        shown = server.shown(Send(delivery="live", sealed=envelope))
        assert code_of(server.bob, shown) == "bad_frame"

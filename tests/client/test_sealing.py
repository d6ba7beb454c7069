"""Envelopes, keys, retry tags and safety numbers: the golden vectors, and what no envelope survives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from peerbus.client import sealing
from peerbus.client.sealing import Context, SealClass, Sealer, SealingKeys
from peerbus.protocol.channel import Mode, channel_id
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import GlobFilter
from peerbus.protocol.secrets import SecretBytes
from tests.support.vectors import load_vectors

KEYS = load_vectors("sealing/keys")["cases"]
ENVELOPES = load_vectors("sealing/envelopes")
REFUSED = load_vectors("sealing/refused")
PAIRS = load_vectors("identity/password_keys")["cases"]


def keys_of(vectors: dict[str, Any]) -> SealingKeys:
    message_key = SecretBytes(bytes.fromhex(vectors["message_key_hex"]))
    return SealingKeys(message_key, bytes.fromhex(vectors["channel_id_hex"]))


def context_of(shown: dict[str, Any]) -> Context:
    filter_ = shown.get("filter")
    known = {key: value for key, value in shown.items() if key != "filter"}
    return Context(filter=GlobFilter(**filter_) if isinstance(filter_, dict) else filter_, **known)


def by_name(case: dict[str, Any]) -> SealClass:
    return SealClass[case["class"].upper()]


@pytest.mark.parametrize("case", KEYS, ids=lambda case: ascii(case["name"]))
def test_keys(case: dict[str, Any]) -> None:
    pair = next(pair for pair in PAIRS if pair["name"] == case["name"])
    assert pair["keys_hex"]["message"] == case["message_key_hex"]
    expected_id = channel_id(case["name"], Mode.SEALED, bytes.fromhex(pair["keys_hex"]["join"]))
    assert expected_id.hex() == case["channel_id_hex"]
    keys = keys_of(case)
    assert keys.key_id.hex() == case["key_id_hex"]
    assert keys.safety_number == case["safety_number"]
    assert keys._retry_key.hex() == case["retry_key_hex"]
    for shown in case["class_keys"]:
        info = b"peerbus/seal/1" + bytes.fromhex(shown["crypto_session_hex"]) + bytes((by_name(shown).value,))
        assert keys._expand(info).hex() == shown["key_hex"]


@pytest.mark.parametrize("case", ENVELOPES["cases"], ids=lambda case: case["why"])
def test_envelopes(case: dict[str, Any]) -> None:
    keys = keys_of(ENVELOPES)
    context = context_of(case["context"])
    plaintext, envelope = bytes.fromhex(case["plaintext_hex"]), bytes.fromhex(case["envelope_hex"])
    recipients = [bytes.fromhex(recipient) for recipient in case["recipients_hex"]]
    session = bytes.fromhex(case["crypto_session_hex"])
    assert keys.encrypt(by_name(case), session, case["counter"], plaintext, context, recipients) == envelope
    header, opened = keys.decrypt(by_name(case), envelope, context)
    assert (header.crypto_session, header.counter, opened) == (session, case["counter"], plaintext)
    assert header.recipients == tuple(recipients)
    bound = sealing.associated_data(keys._channel_id, by_name(case), envelope[: header.size_bytes], context)
    assert bound.hex() == case["aad_hex"]
    if "retry_tag_hex" in case:
        tag = keys.retry_tag(case["context"]["idempotency_key"], plaintext)
        assert tag.hex() == case["retry_tag_hex"]


@pytest.mark.parametrize(
    "case",
    [case for case in REFUSED["cases"] if case["code"] not in ("replayed", "bad_frame")],
    ids=lambda case: case["why"],
)
def test_what_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        keys_of(REFUSED).decrypt(
            by_name(case), bytes.fromhex(case["envelope_hex"]), context_of(case["context"])
        )
    assert caught.value.code == case["code"]


def test_no_bit_and_no_byte_of_an_envelope_can_be_changed() -> None:
    case = REFUSED["bit_flips"]
    keys, context, envelope = (
        keys_of(REFUSED),
        context_of(case["context"]),
        bytes.fromhex(case["envelope_hex"]),
    )
    keys.decrypt(by_name(case), envelope, context)
    for bit in range(8 * len(envelope)):
        changed = bytearray(envelope)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError) as caught:
            keys.decrypt(by_name(case), bytes(changed), context)
        expected = "not_supported" if bit < 8 else "wrong_key" if bit < 40 else "tampered"
        assert caught.value.code == expected, bit
    for length in range(len(envelope)):
        with pytest.raises(ProtocolError) as caught:
            keys.decrypt(by_name(case), envelope[:length], context)
        assert caught.value.code == ErrorCode.TAMPERED, length


TEXTS = st.text(max_size=8)
OPTIONAL = st.none() | TEXTS
CONTEXTS = st.builds(
    Context,
    sender=TEXTS,
    type=TEXTS,
    custom_event_type=OPTIONAL,
    to=st.none() | st.lists(TEXTS, max_size=3),
    filter=st.none() | TEXTS | st.builds(GlobFilter, glob=TEXTS),
    reply_to=OPTIONAL,
    idempotency_key=OPTIONAL,
)


def canonical(context: Context) -> Context:
    """Of a context that cannot be sent (`to` and `filter`) the filter is not looked at; texts are meant in NFC."""

    def text(value: Any) -> Any:
        return None if value is None else sealing._text(value)

    filter_ = context.filter if context.to is None else None
    if isinstance(filter_, GlobFilter):
        filter_ = GlobFilter(glob=text(filter_.glob))
    else:
        filter_ = text(filter_)
    return replace(
        context,
        sender=text(context.sender),
        type=text(context.type),
        custom_event_type=text(context.custom_event_type),
        to=None if context.to is None else [text(name) for name in context.to],
        filter=filter_,
        reply_to=text(context.reply_to),
        idempotency_key=text(context.idempotency_key),
    )


@given(CONTEXTS, CONTEXTS, st.sampled_from(SealClass), st.sampled_from(SealClass), st.binary(max_size=40))
def test_an_envelope_opens_in_its_own_surroundings_only(
    context: Context, other: Context, one: SealClass, two: SealClass, plaintext: bytes
) -> None:
    keys = keys_of(ENVELOPES)
    envelope = keys.encrypt(one, bytes(16), 3, plaintext, context)
    assert keys.decrypt(one, envelope, context)[1] == plaintext
    if (canonical(context), one) != (canonical(other), two):
        with pytest.raises(ProtocolError) as caught:
            keys.decrypt(two, envelope, other)
        assert caught.value.code == ErrorCode.TAMPERED


def test_another_channel_with_the_same_key_is_another_channel() -> None:
    case = ENVELOPES["cases"][0]
    elsewhere = SealingKeys(SecretBytes(bytes.fromhex(ENVELOPES["message_key_hex"])), bytes(32))
    with pytest.raises(ProtocolError) as caught:
        elsewhere.decrypt(by_name(case), bytes.fromhex(case["envelope_hex"]), context_of(case["context"]))
    assert caught.value.code == ErrorCode.TAMPERED


def test_half_a_character_is_refused() -> None:
    keys = keys_of(ENVELOPES)
    with pytest.raises(ProtocolError) as caught:
        keys.encrypt(SealClass.LIVE, bytes(16), 0, b"", Context(sender="\ud800"))
    assert caught.value.code == ErrorCode.BAD_REQUEST
    envelope = keys.encrypt(SealClass.LIVE, bytes(16), 0, b"", Context(sender="a"))
    with pytest.raises(ProtocolError) as caught:
        keys.decrypt(SealClass.LIVE, envelope, Context(sender="\ud800"))
    assert caught.value.code == ErrorCode.TAMPERED


def test_more_recipients_than_the_count_can_say() -> None:
    keys = keys_of(ENVELOPES)
    with pytest.raises(ProtocolError) as caught:
        keys.encrypt(SealClass.LIVE, bytes(16), 0, b"", Context(sender="a", to=["b"]), [bytes(16)] * 256)
    assert caught.value.code == ErrorCode.TOO_LARGE


class NumberedSessions:
    """Gives crypto-sessions that are numbered from 1."""

    def __init__(self) -> None:
        self.given = 0

    def __call__(self) -> bytes:
        self.given += 1
        return self.given.to_bytes(16, "big")


def test_counters_rise_in_each_class_by_itself() -> None:
    keys, context = keys_of(ENVELOPES), Context(sender="alice")
    sealer = Sealer(keys, NumberedSessions())
    order = [SealClass.LIVE, SealClass.DURABLE, SealClass.LIVE, SealClass.LOSSY, SealClass.LIVE]
    counters = []
    for seal_class in order:
        header, _ = keys.decrypt(seal_class, sealer.seal(seal_class, b"", context), context)
        assert header.crypto_session == sealer.announced
        counters.append(header.counter)
    assert counters == [0, 0, 1, 0, 2]


def test_a_counter_at_its_end_begins_another_crypto_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "COUNTER_END", 2)
    keys, context = keys_of(ENVELOPES), Context(sender="alice")
    sealer = Sealer(keys, NumberedSessions())

    def sealed(seal_class: SealClass) -> tuple[int, int]:
        header, _ = keys.decrypt(seal_class, sealer.seal(seal_class, b"", context), context)
        return int.from_bytes(header.crypto_session, "big"), header.counter

    assert sealed(SealClass.DURABLE) == (1, 0)
    assert [sealed(SealClass.LIVE) for _ in range(3)] == [(1, 0), (1, 1), (2, 0)]
    assert sealed(SealClass.DURABLE) == (2, 0)
    # Attributes belong to the crypto-session that is announced, and end with it.
    assert [sealed(SealClass.ATTRIBUTES) for _ in range(2)] == [(1, 0), (1, 1)]
    with pytest.raises(ProtocolError) as caught:
        sealer.seal(SealClass.ATTRIBUTES, b"", context)
    assert caught.value.code == ErrorCode.QUOTA_EXCEEDED


def test_a_copy_of_the_process_never_uses_a_nonce_again() -> None:
    keys, context, sessions = keys_of(ENVELOPES), Context(sender="alice"), NumberedSessions()
    sealer = Sealer(keys, sessions)
    sealer.seal(SealClass.DURABLE, b"", context)
    sealer.begin_anew()
    header, _ = keys.decrypt(SealClass.DURABLE, sealer.seal(SealClass.DURABLE, b"", context), context)
    assert (header.crypto_session, header.counter) == (sessions.given.to_bytes(16, "big"), 0)
    assert header.crypto_session != sealer.announced
    with pytest.raises(ProtocolError):
        sealer.seal(SealClass.ATTRIBUTES, b"", context)


def test_nothing_of_the_keys_is_printed() -> None:
    keys = keys_of(ENVELOPES)
    assert ENVELOPES["message_key_hex"] not in repr(vars(keys)) + repr(keys)

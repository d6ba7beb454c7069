"""What the server asks of clients in sealed channels, and how it knows a sealed message that is sent again."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import Connect, Send
from peerbus.protocol.secrets import Secret, SecretBytes
from peerbus.signaling.fanout import content_bytes
from peerbus.signaling.sealed import check_attributes, check_connect, check_message, retry_form

SESSION = bytes(range(16))
TAG = bytes(16)


def connect(**fields: Any) -> Connect:
    return Connect(
        id=1, api_key=Secret("k"), channel="lobby", lineage_secret=SecretBytes(bytes(16)), **fields
    )


SEALED = {"mode": "sealed", "join_token": SecretBytes(bytes(32)), "crypto_session": SESSION}


@pytest.mark.parametrize(
    "fields",
    [{}, {"join_token": SecretBytes(bytes(32))}, SEALED, {**SEALED, "sealed_attributes": b"x"}],
    ids=["open", "locked", "sealed", "attributes"],
)
def test_a_connect_that_is_taken(fields: dict[str, Any]) -> None:
    check_connect(connect(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {**SEALED, "join_token": None},
        {**SEALED, "crypto_session": b""},
        {**SEALED, "crypto_session": SESSION[:15]},
        {"crypto_session": SESSION},
        {"sealed_attributes": b"x"},
    ],
    ids=["no password", "no session", "short session", "session in open", "attributes in open"],
)
def test_a_connect_that_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_connect(connect(**fields))
    assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("mode", "frame", "code"),
    [
        ("open", Send(id=1, content="x"), None),
        ("open", Send(id=1, sealed=b"x"), "bad_request"),
        ("sealed", Send(id=1, sealed=b"x"), None),
        ("sealed", Send(id=1, sealed=b"x", idempotency_key="k", retry_tag=TAG), None),
        ("sealed", Send(id=1, sealed=b"x", idempotency_key="k"), "bad_request"),
        ("sealed", Send(id=1, sealed=b"x", idempotency_key="k", delivery="live"), None),
        ("sealed", Send(sealed=b"x", delivery="lossy"), None),
        ("sealed", Send(id=1, content="x"), "not_sealed"),
        ("sealed", Send(id=1, content=None, delivery="live"), "not_sealed"),
        ("sealed", Send(id=1, binary=b"x", delivery="lossy"), "not_sealed"),
        ("sealed", Send(id=1, sealed=b"x", metadata={}), "not_sealed"),
    ],
)
def test_messages(mode: str, frame: Send, code: str | None) -> None:
    if code is None:
        check_message(mode, frame)
        return
    with pytest.raises(ProtocolError) as caught:
        check_message(mode, frame)
    assert caught.value.code == code


def test_attributes() -> None:
    check_attributes("sealed", b"x")
    check_attributes("open", b"")
    with pytest.raises(ProtocolError) as caught:
        check_attributes("open", b"x")
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_a_message_is_recognised_by_its_tag_and_not_by_its_envelope() -> None:
    assert retry_form(Send(id=1, sealed=b"one", retry_tag=TAG)) == retry_form(
        Send(id=2, sealed=b"two", retry_tag=TAG)
    )
    assert retry_form(Send(id=1, sealed=b"one", retry_tag=UNSET)) == b""


def test_an_envelope_counts_toward_the_size() -> None:
    assert content_bytes(Send(id=1, sealed=bytes(300))) == 300

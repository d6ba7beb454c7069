"""Data messages: their form."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.delivery import (
    MESSAGE_BYTES_MAX,
    Incoming,
    decode_message,
    encode_message,
)


@pytest.mark.parametrize("payload", [None, 1, 1.5, "text", b"bytes", [1, "two"], {"x": {"y": [True]}}])
@pytest.mark.parametrize("to", [None, ["id-ann"], ["id-ann", "id-bob"]])
def test_messages_are_arrays_of_two(to: list[str] | None, payload: Any) -> None:
    assert msgpack.unpackb(encode_message(to, payload)) == [to, payload]
    assert decode_message(msgpack.packb(["id-ann", payload])) == Incoming("id-ann", payload)


def test_a_message_of_the_sfu_has_no_sender() -> None:
    assert decode_message(msgpack.packb([None, {"code": "forbidden"}])) == Incoming(
        None, {"code": "forbidden"}
    )


def test_size_is_checked_with_the_addresses() -> None:
    overhead = len(encode_message(["id-ann"], b"")) + 1  # A longer payload has a longer head.
    assert len(encode_message(["id-ann"], bytes(MESSAGE_BYTES_MAX - overhead))) == MESSAGE_BYTES_MAX
    with pytest.raises(PeerbusError) as caught:
        encode_message(["id-ann"], bytes(MESSAGE_BYTES_MAX - overhead + 1))
    assert caught.value.code is ErrorCode.TOO_LARGE
    assert caught.value.details == {"limit_bytes": MESSAGE_BYTES_MAX, "size_bytes": MESSAGE_BYTES_MAX + 1}


def nested() -> list[Any]:
    whole: list[Any] = []
    inner = whole
    for _ in range(100_000):
        inner.append([])
        inner = inner[0]
    return whole


@pytest.mark.parametrize("payload", [object(), {"x": {1, object()}}, 1 << 70, nested()])
def test_what_has_no_form_is_refused(payload: Any) -> None:
    with pytest.raises(PeerbusError) as caught:
        encode_message(None, payload)
    assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgpack.packb([1, 2]),
        msgpack.packb(["a"]),
        msgpack.packb("a"),
        b"\x92\xa1a" + b"\x91" * 100_000,
    ],
)
def test_what_cannot_be_read_is_a_typed_error(data: bytes) -> None:
    with pytest.raises(PeerbusError) as caught:
        decode_message(data)
    assert caught.value.code is ErrorCode.BAD_FRAME

"""Data messages: their form, and when they may go."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.delivery import (
    CHANNEL_BYTES,
    LOSSY_BYTES_MAX,
    LOSSY_WAIT_MS,
    MESSAGE_BYTES_MAX,
    RELIABLE_BYTES_MAX,
    Incoming,
    Outbox,
    Taken,
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


def take(outbox: Outbox, now_ms: int = 0, reliable: int | None = 0, lossy: int | None = 0) -> Taken:
    return outbox.take(now_ms, reliable_buffered=reliable, lossy_buffered=lossy)


def test_nothing_goes_before_the_channels_are_open() -> None:
    outbox = Outbox()
    outbox.push_reliable(1, b"one", 0)
    outbox.push_lossy(2, b"two", 0)
    assert take(outbox, reliable=None, lossy=None) == Taken(reliable=[], lossy=[], dropped=[])
    assert outbox.waiting_bytes == 6
    assert take(outbox) == Taken(reliable=[(1, b"one")], lossy=[(2, b"two")], dropped=[])
    assert outbox.waiting_bytes == 0


def test_a_channel_is_not_filled_beyond_its_share() -> None:
    outbox = Outbox()
    for number in range(5):
        outbox.push_reliable(number, bytes(CHANNEL_BYTES // 2), 0)
    assert [number for number, _ in take(outbox).reliable] == [0, 1]
    assert take(outbox, reliable=CHANNEL_BYTES).reliable == []
    assert [number for number, _ in take(outbox, reliable=CHANNEL_BYTES - 1).reliable] == [2]


def test_lossy_messages_wait_for_so_long_and_no_longer() -> None:
    outbox = Outbox()
    outbox.push_lossy(1, b"old", 0)
    outbox.push_lossy(2, b"new", 60)
    assert outbox.next_expiry_ms() == LOSSY_WAIT_MS
    assert take(outbox, LOSSY_WAIT_MS - 1, lossy=None).dropped == []
    assert take(outbox, LOSSY_WAIT_MS, lossy=None).dropped == [1]
    assert outbox.next_expiry_ms() == 60 + LOSSY_WAIT_MS
    assert take(outbox, LOSSY_WAIT_MS + 1) == Taken(reliable=[], lossy=[(2, b"new")], dropped=[])
    assert outbox.next_expiry_ms() is None


def test_the_oldest_lossy_messages_go_first_when_there_are_too_many() -> None:
    outbox = Outbox()
    half = bytes(LOSSY_BYTES_MAX // 2)
    for number in range(4):
        outbox.push_lossy(number, half, 0)
    assert take(outbox, lossy=None).dropped == [0, 1]


def test_reliable_messages_are_refused_when_too_much_waits() -> None:
    outbox = Outbox()
    block = bytes(MESSAGE_BYTES_MAX)
    for number in range(RELIABLE_BYTES_MAX // MESSAGE_BYTES_MAX):
        outbox.push_reliable(number, block, 0)
    with pytest.raises(PeerbusError) as caught:
        outbox.push_reliable(999, b"x", 0)
    assert caught.value.code is ErrorCode.QUEUE_FULL
    take(outbox)
    outbox.push_reliable(999, b"x", 0)


def test_clear_names_all_that_waited() -> None:
    outbox = Outbox()
    outbox.push_lossy(1, b"a", 0)
    outbox.push_reliable(2, b"b", 0)
    assert sorted(outbox.clear()) == [1, 2]
    assert outbox.waiting_bytes == 0
    assert take(outbox) == Taken(reliable=[], lossy=[], dropped=[])

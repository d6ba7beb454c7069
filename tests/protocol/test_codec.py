"""The two encodings, by the vectors both SDKs run, with the `msgpack` package as an independent witness."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.codec import (
    MAX_BATCH_FRAMES,
    EncodingName,
    Rejected,
    check_value,
    client_codec,
    server_codec,
)
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import Message, Ping, Send
from tests.support.message_vectors import MAX_BYTES, cases, plain, reader, wire_bytes

ENCODINGS: tuple[EncodingName, ...] = ("json", "msgpack")


def ids(case: dict[str, Any]) -> str:
    return f"{case['name']}-{case.get('encoding', '')}"


def value_of(frame: Any, direction: str) -> Any:
    """A frame as the vectors have it."""
    return json.loads(reader(direction, "json").encode(frame))


@pytest.mark.parametrize("case", cases("frames"), ids=ids)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_frame_has_its_bytes_and_the_bytes_have_their_frame(
    case: dict[str, Any], encoding: EncodingName
) -> None:
    data = wire_bytes(case[encoding], encoding)
    codec = reader(case["direction"], encoding)
    [frame] = codec.decode(data)
    assert not isinstance(frame, Rejected)
    assert value_of(frame, case["direction"]) == case["value"]
    assert codec.encode(frame) == data


@pytest.mark.parametrize("case", cases("frames"), ids=ids)
def test_the_witness_reads_and_writes_the_same(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["msgpack"])
    tree = msgpack.unpackb(data)
    assert plain(tree) == case["value"]
    codec = reader(case["direction"], "msgpack")
    assert codec.decode(msgpack.packb(tree)) == codec.decode(data)


@pytest.mark.parametrize("case", cases("accepted"), ids=ids)
def test_what_may_be_written_otherwise(case: dict[str, Any]) -> None:
    codec = reader(case["direction"], case["encoding"])
    [frame] = codec.decode(wire_bytes(case["wire"], case["encoding"]))
    assert [frame] == reader(case["direction"], "json").decode(json.dumps(case["value"]).encode())


@pytest.mark.parametrize("case", cases("rejected"), ids=ids)
def test_what_is_refused(case: dict[str, Any]) -> None:
    codec = reader(case["direction"], case["encoding"], max_bytes=case.get("max_bytes", MAX_BYTES))
    [rejected] = codec.decode(wire_bytes(case["wire"], case["encoding"]))
    assert isinstance(rejected, Rejected)
    assert rejected.error.code == case["code"]
    assert rejected.id == case.get("id")
    assert rejected.error.message


@pytest.mark.parametrize("case", cases("batches"), ids=ids)
def test_a_batch(case: dict[str, Any]) -> None:
    results = reader(case["direction"], case["encoding"]).decode(wire_bytes(case["wire"], case["encoding"]))
    found: list[dict[str, Any]] = []
    for result in results:
        if isinstance(result, Rejected):
            saved = {} if result.id is None else {"id": result.id}
            found.append({"code": result.error.code.value, **saved})
        else:
            found.append({"value": value_of(result, case["direction"])})
    assert found == case["frames"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("count", [0, 1, 15, 16, MAX_BATCH_FRAMES])
def test_join_makes_a_batch(encoding: EncodingName, count: int) -> None:
    codec = client_codec(encoding, max_bytes=MAX_BYTES)
    frames = [Ping(offset=number) for number in range(count)]
    data = codec.join(codec.encode(frame) for frame in frames)
    whole = json.loads(data) if encoding == "json" else msgpack.unpackb(data)
    assert [frame.get("offset", 0) for frame in whole] == list(range(count))
    if count:
        assert server_codec(encoding, max_bytes=MAX_BYTES).decode(data) == frames


@pytest.mark.parametrize(
    ("encoding", "opening"),
    [("json", b"["), ("msgpack", b"\x91"), ("json", b'{"a":'), ("msgpack", b"\x81\xa1a")],
)
def test_a_bomb_of_brackets_is_refused(encoding: EncodingName, opening: bytes) -> None:
    for data in (opening * 200_000, wire_bytes('{"op":"send","id":1,"content":', "json") + opening * 200_000):
        results = server_codec(encoding, max_bytes=MAX_BYTES).decode(data)
        assert all(isinstance(result, Rejected) for result in results)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_server_message_without_content_is_refused(encoding: EncodingName) -> None:
    codec = client_codec(encoding, max_bytes=MAX_BYTES)
    bare = Message(delivery="live", message_id="m", time_ms=1, sender="a", identity="i", type="t")
    [rejected] = codec.decode(codec.encode(bare))
    assert isinstance(rejected, Rejected)
    assert rejected.error.code is ErrorCode.BAD_REQUEST


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(content=json_values, metadata=st.dictionaries(st.text(max_size=5), json_values, max_size=3))
def test_content_survives_both_encodings(content: Any, metadata: dict[str, Any]) -> None:
    frame = Send(id=1, content=content, metadata=metadata)
    for encoding in ENCODINGS:
        codec = server_codec(encoding, max_bytes=MAX_BYTES)
        assert codec.decode(codec.encode(frame)) == [frame]


@given(data=st.binary(max_size=64))
def test_noise_never_raises(data: bytes) -> None:
    for encoding in ENCODINGS:
        for direction in ("client", "server"):
            assert reader(direction, encoding).decode(data)


@pytest.mark.parametrize("value", [{"a": b"x"}, (1,), {1: 2}, float("nan"), 2**53, object(), {1, 2}])
def test_values_that_mean_nothing_in_json(value: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        check_value(value)
    assert caught.value.code is ErrorCode.BAD_REQUEST

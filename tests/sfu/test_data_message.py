"""Data messages: the payload passes through as it is, whatever else is wrong is a typed error."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.sfu.data_message import RECIPIENTS_MAX, read_data, write_data, write_problem

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(to=st.none() | st.lists(st.text(max_size=20), max_size=5), payload=VALUES)
def test_the_payload_arrives_byte_by_byte(to: list[str] | None, payload: Any) -> None:
    packed = msgpack.packb(payload)
    recipients, raw = read_data(msgpack.packb([to]).replace(b"\x91", b"\x92", 1) + packed)
    assert recipients == to
    data = write_data("name:ann", raw)
    assert data.endswith(packed)
    assert msgpack.unpackb(data) == ["name:ann", payload]


@pytest.mark.parametrize(
    "message",
    [
        "text",
        b"",
        b"\x92",
        b"\x92\xc0",
        b"\x93\xc0\xc0\xc0",
        b"\x91\xc0",
        b"\x92\xc0\xc0\xc0",
        b"\x80",
        msgpack.packb([1, "x"]),
        msgpack.packb(["ann", "x"]),
        msgpack.packb([[1], "x"]),
        msgpack.packb([[b"ann"], "x"]),
        b"\x92\x91\xa2\xff\xfe\xc0",
        b"\x92\xc0\xc1",
        b"\x92\xc0\xdd\xff\xff\xff\xff",
        b"\x92\xc0\xc6\xff\xff\xff\xff",
        b"\x92\xc0" + b"\x91" * 60_000,
        b"\x92\xc0" + b"\x91" * 60_000 + b"\xc0",
        msgpack.packb([["x"] * (RECIPIENTS_MAX + 1), None]),
    ],
)
def test_what_is_not_a_message_is_a_bad_request(message: bytes | str) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_data(message)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_as_many_recipients_as_may_be() -> None:
    recipients, _ = read_data(msgpack.packb([["x"] * RECIPIENTS_MAX, None]))
    assert recipients == ["x"] * RECIPIENTS_MAX


@given(message=st.binary(max_size=100))
def test_no_bytes_raise_anything_else(message: bytes) -> None:
    told = b"\x92\xc0\x81\xa4code\xabbad_request"
    try:
        read_data(message)
    except ProtocolError as error:
        told = write_problem(error)
    # The sender learns the code and a sentence, never a traceback.
    nobody, problem = msgpack.unpackb(told)
    assert nobody is None
    assert problem["code"] == "bad_request"
    assert set(problem) <= {"code", "message"}


def test_a_problem_names_its_code_and_details() -> None:
    error = ProtocolError(ErrorCode.UNKNOWN_RECIPIENT, details={"missing": ["name:x"]})
    nobody, problem = msgpack.unpackb(write_problem(error))
    assert nobody is None
    assert problem["code"] == "unknown_recipient"
    assert problem["details"] == {"missing": ["name:x"]}
    assert problem["message"]

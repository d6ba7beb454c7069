"""What can be asked, and what it means on the wire."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from msgspec import UNSET

from peerbus.client import options
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.protocol.messages import GlobFilter


@pytest.mark.parametrize(
    ("lists", "names"),
    [
        ((None, None), []),
        (("a, b ,,a",), ["a", "b"]),
        ((["b", "a"], "a,c"), ["b", "a", "c"]),
        (("",), []),
    ],
)
def test_type_names(lists: Any, names: list[str]) -> None:
    assert options.type_names(*lists) == names


ID = bytes(range(200, 232))


@pytest.mark.parametrize(
    "text",
    [ID, ID.hex(), base64.b64encode(ID).decode(), base64.urlsafe_b64encode(ID).decode().rstrip("=")],
)
def test_a_channel_id_in_every_form(text: str | bytes) -> None:
    assert options.channel_id_bytes(text) == ID


@pytest.mark.parametrize("text", [b"short", "zz" * 32, "AAAA", "*"])
def test_what_is_no_channel_id(text: str | bytes) -> None:
    with pytest.raises(PeerbusError, match="32 bytes"):
        options.channel_id_bytes(text)


def test_no_channel_id() -> None:
    assert options.channel_id_bytes(None) == options.channel_id_bytes("") == b""


@pytest.mark.parametrize("value", ["AUTO", "cache", "Kafka", "DATABASE", None])
def test_poll_sources(value: str | None) -> None:
    options.check_poll_source(value)


@pytest.mark.parametrize("value", ["MOON", 7, ""])
def test_what_is_no_poll_source(value: object) -> None:
    with pytest.raises(PeerbusError, match="poll_source"):
        options.check_poll_source(value)


@pytest.mark.parametrize(
    ("value", "is_object"),
    [
        ({"content": 1}, True),
        ({"content": 1, "replyTo": "m", "timeout": None}, True),
        ({"binary": b"x", "to": "a"}, True),
        ({"content": 1, "x": 2}, False),
        ({"to": "bob"}, False),
        ({1: "content"}, False),
        ("content", False),
        (["content"], False),
    ],
)
def test_what_is_the_object_form(value: object, is_object: bool) -> None:
    assert options.is_send_object(value) is is_object


def test_frames_have_what_was_asked() -> None:
    keys = iter(["k1", "k2"])
    durable = options.send_frame(("a", {"b": (1,)}), {}, new_key=lambda: next(keys))
    assert durable.content == ["a", {"b": [1]}]
    assert (durable.delivery, durable.idempotency_key, durable.to) == ("durable", "k1", UNSET)
    live = options.send_frame(None, {"delivery": "live", "to": ("a", "b")}, new_key=lambda: next(keys))
    assert (live.content, live.to, live.idempotency_key) == (None, ["a", "b"], "k2")
    lossy = options.send_frame(bytearray(b"x"), {"ephemeral": True}, new_key=lambda: "never")
    assert (lossy.binary, lossy.content, lossy.idempotency_key) == (b"x", UNSET, UNSET)
    glob = options.send_frame(
        "x", {"filter": {"glob": "a*"}, "idempotency_key": "mine"}, new_key=lambda: "never"
    )
    assert (glob.filter, glob.idempotency_key) == (GlobFilter(glob="a*"), "mine")


def test_one_session_is_addressed_by_live_messages() -> None:
    one = options.send_frame("x", {"to_session": "s7"}, new_key=lambda: "k")
    assert (one.to, one.delivery) == (["peerbus:session/s7"], "live")
    two = options.send_frame("x", {"to": "bob", "to_session": "s7", "ephemeral": True}, new_key=lambda: "k")
    assert (two.to, two.delivery) == (["bob", "peerbus:session/s7"], "lossy")
    assert options.is_send_object({"content": "x", "toSession": "s7"})
    with pytest.raises(PeerbusError):
        options.send_frame("x", {"to_session": "s7", "filter": ".*"}, new_key=lambda: "k")


def test_content_that_contains_itself() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(PeerbusError, match="contains itself") as caught:
        options.send_frame(endless, {}, new_key=lambda: "k")
    assert caught.value.code is ErrorCode.BAD_REQUEST

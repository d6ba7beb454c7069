"""Secrets do not show, compare only with their own kind, and travel through msgspec."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.secrets import MAX_SECRET_CHARS, Secret, SecretBytes, dec_hook, enc_hook, schema_hook

CANARY = "canary-5f2e"
CANARIES: list[Secret | SecretBytes] = [Secret(CANARY), SecretBytes(CANARY.encode())]


class Frame(msgspec.Struct, frozen=True):
    """A frame with secrets, as the protocol declares them."""

    key: Secret
    token: SecretBytes | None = None
    other: Secret | None = None


SHOWN: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "f-string": lambda secret: f"{secret}{secret!r}{secret!s}{secret!a}{secret:>20}",
    "percent": lambda secret: "%s %r %a" % (secret, secret, secret),  # noqa: UP031  one of the ways to print
    "format": lambda secret: "{} {!r} {:s}".format(secret, secret, secret),  # noqa: UP032  another one
    "in a list": lambda secret: str([secret, {"key": secret}]),
    "in a struct": lambda secret: repr(Frame(key=secret)),
    "dir": lambda secret: repr([repr(getattr(type(secret), name, "")) for name in dir(secret)]),
    "copies": lambda secret: repr((copy.copy(secret), copy.deepcopy(secret))),
}


@pytest.mark.parametrize("secret", CANARIES, ids=["text", "bytes"])
@pytest.mark.parametrize("way", SHOWN.values(), ids=SHOWN.keys())
def test_no_way_of_printing_shows_it(way: Callable[[Any], str], secret: Secret | SecretBytes) -> None:
    assert CANARY not in way(secret)


@pytest.mark.parametrize("secret", CANARIES, ids=["text", "bytes"])
def test_logs_and_tracebacks_do_not_show_it(
    secret: Secret | SecretBytes, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TypeError) as caught:
        json.dumps({"key": secret})
    logging.getLogger("test").error("failed with %s and %r", secret, {"key": secret})
    assert "***" in caplog.text
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert CANARY not in shown + caplog.text


@pytest.mark.parametrize("secret", CANARIES, ids=["text", "bytes"])
def test_it_is_not_pickled_hashed_joined_or_encoded_by_accident(secret: Any) -> None:
    for accident in (
        lambda: pickle.dumps(secret),
        lambda: hash(secret),
        lambda: "".join(iter([secret])),
        lambda: b"".join(iter([secret])),
        lambda: "key: " + secret,
        lambda: list(secret),
        lambda: json.dumps(secret),
        lambda: msgspec.json.encode(secret),
        lambda: msgspec.msgpack.encode(Frame(key=secret)),
        lambda: msgspec.to_builtins(Frame(key=secret)),
    ):
        with pytest.raises(TypeError) as caught:
            accident()
        assert CANARY not in str(caught.value)


@given(st.text(), st.text())
def test_texts_are_equal_when_their_contents_are(one: str, other: str) -> None:
    assert (Secret(one) == Secret(other)) == (one == other)
    assert (Secret(one) != Secret(other)) == (one != other)
    assert Secret(one).reveal() == one
    assert bool(Secret(one)) == bool(one)


@given(st.binary(), st.binary())
def test_bytes_are_equal_when_their_contents_are(one: bytes, other: bytes) -> None:
    assert (SecretBytes(one) == SecretBytes(other)) == (one == other)
    assert SecretBytes(one).reveal() == one
    assert bool(SecretBytes(one)) == bool(one)


def test_kinds_do_not_mix() -> None:
    text: Any = Secret("a")
    data: Any = SecretBytes(b"a")
    assert text != "a"
    assert data != b"a"
    assert text != data
    assert Secret("\ud800") == Secret("\ud800")


@pytest.mark.parametrize("codec", [msgspec.json, msgspec.msgpack], ids=["json", "msgpack"])
@given(key=st.text(st.characters(codec="utf-8")), token=st.binary(), other=st.booleans())
def test_what_goes_through_a_codec_comes_back(codec: Any, key: str, token: bytes, other: bool) -> None:
    frame = Frame(key=Secret(key), token=SecretBytes(token), other=Secret(key) if other else None)
    wire = codec.Encoder(enc_hook=enc_hook).encode(frame)
    assert codec.Decoder(Frame, dec_hook=dec_hook).decode(wire) == frame
    # On the wire they are what plain strings and bytes are.
    plain = {"key": key, "token": token, "other": key if other else None}
    assert wire == codec.encode(plain)


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        (b'{"key": 3}', "key"),
        (b'{"key": null}', "key"),
        (b'{"key": ["canary-5f2e"]}', "key"),
        (b'{"key": "", "token": "canary-5f2e"}', "token"),
        (b'{"key": "", "token": "YQ"}', "token"),
        (b'{"key": "", "token": "YQ==\\n"}', "token"),
        (b'{"key": "", "token": {"canary-5f2e": 1}}', "token"),
        (b'{"key": "", "other": true}', "other"),
        (b'{"key": "' + CANARY.encode() * MAX_SECRET_CHARS + b'"}', "key"),
        (b'{"key": "", "token": "' + b"AAAA" * MAX_SECRET_CHARS + b'"}', "token"),
    ],
)
def test_bad_secrets_are_refused_with_the_field_and_without_the_value(wire: bytes, field: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{field}") as caught:
        msgspec.json.decode(wire, type=Frame, dec_hook=dec_hook)
    assert CANARY not in str(caught.value)


def test_other_types_are_not_taken_for_secrets() -> None:
    with pytest.raises(NotImplementedError):
        enc_hook(object())
    with pytest.raises(NotImplementedError):
        dec_hook(complex, "1")
    with pytest.raises(NotImplementedError):
        schema_hook(complex)


def test_their_schema() -> None:
    _, schemas = msgspec.json.schema_components([Frame], schema_hook=schema_hook)
    fields = schemas["Frame"]["properties"]
    assert fields["key"] == {"type": "string", "format": "password", "maxLength": MAX_SECRET_CHARS}
    assert fields["token"]["anyOf"][0]["contentEncoding"] == "base64"

"""How developer keys and the claims of tokens are written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.credentials import (
    AUDIENCE,
    DeveloperKey,
    TokenClaims,
    claims_from_json,
    claims_to_json,
    parse_developer_key,
)
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.secrets import Secret
from tests.support.vectors import load_vectors

CASE = load_vectors("identity/developer_keys")["cases"][0]


@pytest.mark.parametrize(
    "case", load_vectors("identity/developer_keys")["cases"], ids=lambda case: case["key"]
)
def test_a_key_is_taken_apart_and_put_together(case: dict[str, str]) -> None:
    key = parse_developer_key(case["key"])
    assert key == DeveloperKey(case["key_id"], Secret(case["secret"]))
    assert key.to_text() == case["key"]
    assert case["secret"] not in repr(key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pb_",
        CASE["key"] + "A",
        CASE["key"][:-1],
        CASE["key"] + "\n",
        " " + CASE["key"],
        CASE["key"].upper(),
        CASE["key"].replace("pb_", "PB_"),
        CASE["key"].replace("_", "-"),
        f"pb_{CASE['key_id'][:-1]}_{CASE['secret']}",
        f"pb_{CASE['key_id'][:-1]}1_{CASE['secret']}",
        f"pb_{CASE['key_id']}_{CASE['secret'][:-1]}=",
    ],
)
def test_other_texts_are_not_keys(text: str) -> None:
    assert parse_developer_key(text) is None


@given(st.text())
def test_any_text_is_a_key_or_not(text: str) -> None:
    assert parse_developer_key(text) is None


def test_claims_are_written_and_read() -> None:
    claims = TokenClaims(exp=5, grant={"public": True}, nbf=1, project="default", jti="t")
    payload = claims_to_json(claims)
    assert payload == {
        "aud": AUDIENCE,
        "exp": 5,
        "grant": {"public": True},
        "nbf": 1,
        "project": "default",
        "jti": "t",
    }
    assert claims_from_json({**payload, "sub": "someone"}) == claims
    assert claims_to_json(TokenClaims(exp=5, grant={})) == {"aud": AUDIENCE, "exp": 5, "grant": {}}


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        {"grant": {}},
        {"exp": 5},
        {"exp": "5", "grant": {}},
        {"exp": -1, "grant": {}},
        {"exp": 2**41, "grant": {}},
        {"exp": float("nan"), "grant": {}},
        {"exp": 5, "grant": []},
        {"exp": 5, "grant": {}, "nbf": True},
        {"exp": 5, "grant": {}, "project": 1},
    ],
    ids=str,
)
def test_malformed_claims(payload: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        claims_from_json(payload)
    assert caught.value.code is ErrorCode.UNAUTHORIZED

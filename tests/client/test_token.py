"""Participant tokens: their spelling, and what the claims say."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from peerbus.client.token import ParticipantToken, Role
from peerbus.protocol.credentials import claims_from_json
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Grant, Operation, admit, grant_from_json, grant_to_json
from tests.support.vectors import load_vectors

CASE = load_vectors("identity/developer_keys")["cases"][0]
NOW_S = 1_800_000_000


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops the clock."""
    monkeypatch.setattr("peerbus.client.token.time.time", lambda: NOW_S + 0.9)


def participant(name: str = "alice") -> ParticipantToken:
    return ParticipantToken(name=name, project_id=CASE["project"], api_key_id=CASE["key_id"])


def decode(text: str) -> dict[str, Any]:
    options: Any = {"verify_exp": False, "verify_iat": False}
    payload: dict[str, Any] = jwt.decode(
        text, CASE["secret"], algorithms=["HS256"], audience="peerbus", options=options
    )
    return payload


def grant_of(token: ParticipantToken) -> Grant:
    return grant_from_json(claims_from_json(decode(token.to_jwt(secret=CASE["secret"]))).grant)


def test_how_many_devices() -> None:
    one = participant()
    one.add_room_grant(room_name="lobby")
    assert grant_of(one).sessions_max == 1
    three = ParticipantToken(name="alice", project_id="p", api_key_id=CASE["key_id"], sessions=3)
    three.add_room_grant(room_name="lobby")
    assert grant_of(three).sessions_max == 3


def code_of(action: Any, **arguments: Any) -> ErrorCode:
    with pytest.raises(ProtocolError) as caught:
        action(**arguments)
    return caught.value.code


@pytest.mark.parametrize("secret", [CASE["secret"], CASE["key"]], ids=["secret", "whole key"])
def test_a_token_says_who_and_until_when(secret: str) -> None:
    token = participant()
    token.add_room_grant(room_name="lobby", role="user")
    text = token.to_jwt(secret=secret, ttl_s=60)
    assert jwt.get_unverified_header(text) == {"alg": "HS256", "typ": "JWT", "kid": CASE["key_id"]}
    payload = decode(text)
    assert (payload["sub"], payload["project"]) == ("alice", CASE["project"])
    assert (payload["iat"], payload["exp"]) == (NOW_S, NOW_S + 60)
    grant = grant_from_json(payload["grant"])
    assert grant.channels == ("lobby",)
    assert grant.agents == ("alice",)
    assert grant.claims("alice")
    assert not grant.public


def test_without_a_room_it_allows_nothing() -> None:
    assert grant_of(participant()) == Grant()


@pytest.mark.parametrize(
    ("role", "allowed", "denied"),
    [
        (
            "user",
            {Operation.SEND_DURABLE, Operation.PUBLISH_VIDEO, Operation.STORAGE_WRITE},
            {Operation.RECORD},
        ),
        ("agent", {Operation.SEND_DURABLE, Operation.RECORD}, set()),
        ("tool", {Operation.READ, Operation.DIRECT}, {Operation.PUBLISH_AUDIO, Operation.STORAGE_WRITE}),
    ],
)
def test_roles(role: Role, allowed: set[Operation], denied: set[Operation]) -> None:
    token = participant()
    token.add_room_grant(room_name="lobby", role=role)
    operations = grant_of(token).operations
    assert operations >= allowed
    assert operations.isdisjoint(denied | {Operation.KICK, Operation.LOCK, Operation.ADMIN})


def test_rooms_add_up_within_one_role() -> None:
    token = participant()
    for room in ("a", "b", "a"):
        token.add_room_grant(room_name=room)
    assert grant_of(token).channels == ("a", "b")
    assert code_of(token.add_room_grant, room_name="c", role="agent") is ErrorCode.BAD_REQUEST
    assert grant_of(token).channels == ("a", "b")


def test_names_are_names_and_never_patterns() -> None:
    for name in (">", "*", "team/*", "", "peerbus:sfu"):
        assert code_of(participant, name=name) is ErrorCode.NAME_INVALID
    for room in (">", "*", "team/>", ""):
        assert code_of(participant().add_room_grant, room_name=room) is ErrorCode.NAME_INVALID


def test_mistakes() -> None:
    token = participant()
    assert code_of(token.add_room_grant, room_name="a", role="admin") is ErrorCode.BAD_REQUEST
    other = load_vectors("identity/developer_keys")["cases"][1]["key"]
    for secret in ("", "short", CASE["secret"] + "x", other):
        assert code_of(token.to_jwt, secret=secret) is ErrorCode.BAD_REQUEST


def test_each_token_has_an_id_by_which_it_can_be_revoked() -> None:
    one, other = participant(), participant()
    ids = {one.token_id, other.token_id}
    assert len(ids) == 2
    assert one.token_id == f"{CASE['key_id']}:{decode(one.to_jwt(secret=CASE['secret']))['jti']}"


def test_a_token_for_so_many_clients() -> None:
    token = participant()
    token.add_room_grant(room_name="lobby")
    assert decode(token.to_jwt(secret=CASE["secret"], uses=2))["grant"]["uses"] == 2
    assert grant_of(token).uses is None
    assert code_of(token.to_jwt, secret=CASE["secret"], uses=0) is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("section", ["channels", "agents", "operations", "types"])
def test_a_section_that_is_missing_denies(section: str) -> None:
    token = participant()
    token.add_room_grant(room_name="lobby")
    whole = grant_of(token)
    asked: dict[str, Any] = {"now_ms": 0, "scope": "private:acme", "channel": "lobby", "agent": "alice"}
    assert admit(whole, **asked).allows(Operation.SEND_LIVE, message_type="chat-text")
    sections = {name: value for name, value in grant_to_json(whole).items() if name != section}
    rest = grant_from_json(sections)
    try:
        allowed = admit(rest, **asked).allows(Operation.SEND_LIVE, message_type="chat-text")
    except ProtocolError as error:
        allowed = error.code is not ErrorCode.FORBIDDEN
    assert not allowed

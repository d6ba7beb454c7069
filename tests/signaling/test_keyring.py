"""Which credentials are good, and what is said about the others."""

from __future__ import annotations

import hmac
from typing import Any

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.credentials import TokenClaims
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Grant, Operation, admit, grant_from_json, grant_to_json
from peerbus.protocol.patterns import EVERY
from peerbus.protocol.secrets import MAX_SECRET_CHARS, Secret
from peerbus.protocol.signals import CONTROL_CHANNEL
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.keyring import (
    DEMO_PROJECT,
    SERVICE_PROJECT,
    CredentialKind,
    KeyRecord,
    Keyring,
    UseLimit,
)
from peerbus.signaling.keys import WORKER_GRANT
from tests.support.vectors import load_vectors

MASTER_KEY = bytes(range(32))
NOW_MS = 1_800_000_000_000
RECORD = KeyRecord(
    key_id="abcdefghijkl",
    project="default",
    grant=Grant(channels=EVERY, agents=EVERY, operations=frozenset({Operation.READ, Operation.KICK})),
)
TOKENS = load_vectors("identity/tokens")
DEVELOPER_KEYS = load_vectors("identity/developer_keys")


def keyring(*records: KeyRecord) -> Keyring:
    ring = Keyring(MASTER_KEY)
    ring.replace(records or (RECORD,))
    return ring


def key_text(ring: Keyring, record: KeyRecord = RECORD) -> str:
    return ring.developer_key(record).to_text()


def refused(ring: Keyring, credential: str, now_ms: int = NOW_MS) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        ring.verify(Secret(credential), now_ms)
    return caught.value


def claims(**changes: Any) -> TokenClaims:
    grant = grant_to_json(
        Grant(channels=("lobby",), agents=("alice",), operations=frozenset({Operation.READ}))
    )
    return TokenClaims(**{"exp": NOW_MS // 1000 + 60, "grant": grant, **changes})


def vector_keyring() -> Keyring:
    ring = Keyring(bytes.fromhex(TOKENS["master_key_hex"]))
    ring.replace(
        (
            msgspec.structs.replace(
                KeyRecord(key_id=key["key_id"], project=key["project"], grant=grant_from_json(key["grant"])),
                revoked_ms=key.get("revoked_ms"),
            )
            for key in TOKENS["keys"]
        ),
        TOKENS["revoked_tokens"],
    )
    return ring


# --- developer keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", DEVELOPER_KEYS["cases"], ids=lambda case: case["key"])
def test_secrets_are_computed_from_the_master_key(case: dict[str, str]) -> None:
    ring = Keyring(bytes.fromhex(DEVELOPER_KEYS["master_key_hex"]))
    record = KeyRecord(key_id=case["key_id"], project=case["project"], grant=Grant())
    assert ring.developer_key(record).to_text() == case["key"]


def test_a_developer_key_is_known() -> None:
    ring = keyring()
    principal = ring.verify(Secret(key_text(ring)), NOW_MS)
    assert principal.project == "default"
    assert principal.ids == CredentialIds(RECORD.key_id, RECORD.key_id, frozenset({RECORD.key_id}))
    assert principal.kind is CredentialKind.DEVELOPER_KEY
    assert principal.grant == RECORD.grant
    assert principal.expires_ms is None


def test_unknown_and_wrong_keys_get_one_answer() -> None:
    ring = keyring()
    right = key_text(ring)
    flipped = right[:-5] + ("A" if right[-5] != "A" else "B") + right[-4:]
    other_master = Keyring(bytes(32))
    nobody = KeyRecord(key_id="aaaaaaaaaaaa", project="default", grant=Grant())
    answers = {
        (error.code, error.message, str(error.details))
        for error in (
            refused(ring, flipped),
            refused(ring, right.replace("abcdefghijkl", "bcdefghijklm")),
            refused(ring, key_text(other_master)),
            # Even the secret of the stand-in for unknown keys opens nothing.
            refused(ring, key_text(ring, nobody)),
            refused(ring, right + "x"),
            refused(ring, "pb_"),
            refused(ring, "pb_" + "\ud800" * 20),
            refused(ring, "x" * (MAX_SECRET_CHARS + 1)),
            refused(ring, "\ud800"),
            refused(ring, "ä.ö.ü"),
            refused(ring, ""),
        )
    }
    assert len(answers) == 1
    assert answers.pop()[0] is ErrorCode.UNAUTHORIZED


def test_an_unknown_key_costs_as_much_as_a_wrong_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = keyring()
    right, token = key_text(ring), ring.sign(RECORD, claims()).reveal()
    unknown = ring.sign(msgspec.structs.replace(RECORD, key_id="zzzzzzzzzzzz"), claims()).reveal()
    work: list[str] = []
    derive, compare = hmac.digest, hmac.compare_digest

    def noted_derive(key: bytes, text: bytes, name: str) -> bytes:
        work.append("derive")
        return derive(key, text, name)

    def noted_compare(left: bytes, right: bytes) -> bool:
        work.append("compare")
        return compare(left, right)

    monkeypatch.setattr(hmac, "digest", noted_derive)
    monkeypatch.setattr(hmac, "compare_digest", noted_compare)

    def work_for(credential: str) -> list[str]:
        work.clear()
        assert refused(ring, credential).code is ErrorCode.UNAUTHORIZED
        return list(work)

    wrong_secret = right[:-4] + "AAAA"
    assert work_for(wrong_secret) == ["derive", "compare"]
    assert work_for(wrong_secret.replace("abcdefghijkl", "zzzzzzzzzzzz")) == ["derive", "compare"]
    wrong_signature = token[:-8] + "AAAAAAAA"
    assert "derive" in work_for(wrong_signature)
    assert "compare" in work_for(wrong_signature)
    assert work_for(unknown) == work_for(wrong_signature)


@given(st.text() | st.text(alphabet="eyJ.pb_[{", max_size=2000))
def test_no_text_at_all_upsets_it(text: str) -> None:
    assert refused(keyring(), text).code is ErrorCode.UNAUTHORIZED


@given(st.integers(0, 58), st.characters())
def test_no_key_but_the_right_one(position: int, char: str) -> None:
    ring = keyring()
    right = key_text(ring)
    changed = right[:position] + char + right[position + 1 :]
    if changed != right:
        assert refused(ring, changed).code is ErrorCode.UNAUTHORIZED


def test_revocation_is_told_only_to_who_knows_the_secret() -> None:
    revoked = msgspec.structs.replace(RECORD, revoked_ms=NOW_MS - 1)
    ring = keyring(revoked)
    assert refused(ring, key_text(ring)).code is ErrorCode.REVOKED
    assert refused(ring, key_text(ring)[:-1] + "!").code is ErrorCode.UNAUTHORIZED


def test_a_developer_key_ends_with_its_grant() -> None:
    record = msgspec.structs.replace(RECORD, grant=msgspec.structs.replace(RECORD.grant, expires_ms=NOW_MS))
    ring = keyring(record)
    assert ring.verify(Secret(key_text(ring)), NOW_MS - 1).expires_ms == NOW_MS
    assert refused(ring, key_text(ring)).code is ErrorCode.EXPIRED


def test_the_demo_project_is_closed_until_it_is_opened() -> None:
    record = msgspec.structs.replace(RECORD, project=DEMO_PROJECT)
    ring = keyring(record)
    token = ring.sign(record, claims())
    assert refused(ring, key_text(ring, record)).code is ErrorCode.FORBIDDEN
    assert refused(ring, token.reveal()).code is ErrorCode.FORBIDDEN
    ring.is_demo_open = True
    assert ring.verify(token, NOW_MS).project == DEMO_PROJECT


def test_what_is_replaced_is_told_when_it_ends() -> None:
    other = msgspec.structs.replace(RECORD, key_id="bcdefghijklm")
    ring = keyring(RECORD, other)
    text = key_text(ring)
    assert ring.replace([RECORD, other]) == frozenset()
    assert ring.replace([msgspec.structs.replace(RECORD, revoked_ms=1), other]) == {RECORD.key_id}
    assert ring.replace([msgspec.structs.replace(RECORD, revoked_ms=1), other]) == frozenset()
    assert refused(ring, text).code is ErrorCode.REVOKED
    assert ring.replace([]) == {other.key_id}
    assert refused(ring, text).code is ErrorCode.UNAUTHORIZED


# --- tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", TOKENS["accepted"], ids=lambda case: case["why"])
def test_good_tokens(case: dict[str, Any]) -> None:
    principal = vector_keyring().verify(Secret(case["token"]), TOKENS["now_ms"])
    assert principal.kind is CredentialKind.TOKEN
    assert (principal.project, principal.key_id) == (case["project"], case["key_id"])
    assert principal.token_id == case["token_id"]
    assert principal.grant == grant_from_json(case["grant"])
    assert principal.expires_ms == case["grant"]["expires_ms"]


@pytest.mark.parametrize("case", TOKENS["rejected"], ids=lambda case: case["why"])
def test_bad_tokens(case: dict[str, Any]) -> None:
    error = refused(vector_keyring(), case["token"], TOKENS["now_ms"])
    assert error.code == case["code"]


@pytest.mark.parametrize(
    "changes", [{"jti": "\ud800", "grant": {"uses": 1}}, {"issued_by": ["\udfff"]}, {"jti": 5}]
)
def test_names_of_tokens_can_be_written_down(changes: dict[str, Any]) -> None:
    ring = keyring()
    assert refused(ring, token(ring, **changes)).code is ErrorCode.UNAUTHORIZED


def test_claims_that_mean_nothing_here_are_ignored() -> None:
    ring = keyring()
    text = token(ring, sub=["x"], iat="yesterday", name={"a": 1})
    assert ring.verify(Secret(text), NOW_MS).project == "default"


def token(ring: Keyring, **changes: Any) -> str:
    """A token with claims that nothing of ours would write."""
    payload = {"aud": "peerbus", "exp": NOW_MS // 1000 + 60, "grant": {}, **changes}
    secret = ring.developer_key(RECORD).secret.reveal()
    return jwt.encode(payload, secret, algorithm="HS256", headers={"kid": RECORD.key_id})


def test_what_it_signs_it_accepts() -> None:
    ring = keyring()
    principal = ring.verify(ring.sign(RECORD, claims(jti="t-1")), NOW_MS)
    assert principal.grant == Grant(
        channels=("lobby",),
        agents=("alice",),
        operations=frozenset({Operation.READ}),
        expires_ms=NOW_MS + 60_000,
    )
    assert principal.token_id == "t-1"


@given(st.data())
def test_no_character_of_a_token_can_be_changed(data: st.DataObject) -> None:
    ring = keyring()
    token = ring.sign(RECORD, claims()).reveal()
    position = data.draw(st.integers(0, len(token) - 1))
    char = data.draw(st.sampled_from("AZaz09-_.=+/ \n\0"))
    changed = token[:position] + char + token[position + 1 :]
    # The last character of base64url carries bits that mean nothing: another one there is the same signature.
    if changed != token and position != len(token) - 1:
        assert refused(ring, changed).code is ErrorCode.UNAUTHORIZED


def test_a_token_dies_with_the_key_that_signed_it() -> None:
    ring = keyring()
    token = ring.sign(RECORD, claims())
    ring.replace([msgspec.structs.replace(RECORD, revoked_ms=NOW_MS)])
    assert refused(ring, token.reveal()).code is ErrorCode.REVOKED


def test_a_token_of_one_project_is_nothing_in_another() -> None:
    foreign = msgspec.structs.replace(RECORD, project="acme")
    assert (
        refused(keyring(), Keyring(MASTER_KEY).sign(foreign, claims()).reveal()).code
        is ErrorCode.UNAUTHORIZED
    )


def test_what_ends_while_a_session_begins_is_noticed() -> None:
    ring = keyring()
    principal = ring.verify(ring.sign(RECORD, claims(jti="t-1", issued_by=("t-0",))), NOW_MS)
    assert principal.ids == CredentialIds(
        "abcdefghijkl:t-1", RECORD.key_id, frozenset({RECORD.key_id, "abcdefghijkl:t-1", "abcdefghijkl:t-0"})
    )

    def code(now_ms: int = NOW_MS) -> ErrorCode | None:
        try:
            ring.recheck(principal, now_ms)
        except ProtocolError as error:
            return error.code
        return None

    assert code() is None
    assert code(NOW_MS + 60_000) is ErrorCode.EXPIRED
    assert ring.replace([RECORD], {"abcdefghijkl:t-0"}) == {"abcdefghijkl:t-0"}
    assert code() is ErrorCode.REVOKED
    assert ring.replace([RECORD], {"bcdefghijklm:t-1"}) == {"bcdefghijklm:t-1"}
    assert code() is None
    ring.replace([msgspec.structs.replace(RECORD, revoked_ms=NOW_MS)])
    assert code() is ErrorCode.REVOKED
    ring.replace([])
    assert code() is ErrorCode.REVOKED


def test_uses_are_those_of_the_token_and_of_its_key() -> None:
    record = msgspec.structs.replace(RECORD, grant=msgspec.structs.replace(RECORD.grant, uses=5))
    ring = keyring(record)
    key_limit = UseLimit(RECORD.key_id, 5, None)
    assert ring.verify(Secret(key_text(ring, record)), NOW_MS).use_limits == (key_limit,)
    assert ring.verify(ring.sign(record, claims()), NOW_MS).use_limits == (key_limit,)
    grant = grant_to_json(Grant(channels=EVERY, uses=9))
    both = ring.verify(ring.sign(record, claims(jti="t", grant=grant)), NOW_MS)
    assert both.use_limits == (key_limit, UseLimit("abcdefghijkl:t", 9, NOW_MS + 60_000))
    assert both.grant.uses == 5


def test_a_token_of_a_worker_is_a_workers() -> None:
    record = msgspec.structs.replace(RECORD, project=SERVICE_PROJECT, grant=WORKER_GRANT)
    ring = keyring(record)
    narrower = Grant(
        channels=EVERY,
        agents=("peerbus:sfu-eu",),
        operations=WORKER_GRANT.operations,
        types=EVERY,
        service=True,
    )
    asked: dict[str, Any] = {
        "now_ms": NOW_MS,
        "scope": f"private:{SERVICE_PROJECT}",
        "channel": CONTROL_CHANNEL,
    }
    principal = ring.verify(ring.sign(record, claims(grant=grant_to_json(narrower))), NOW_MS)
    assert admit(principal.grant, **asked, agent="peerbus:sfu-eu").is_service
    with pytest.raises(ProtocolError):
        admit(principal.grant, **asked, agent="peerbus:sfu-us")
    # What does not say that it is of a service opens nothing.
    plain = msgspec.structs.replace(narrower, service=False)
    principal = ring.verify(ring.sign(record, claims(grant=grant_to_json(plain))), NOW_MS)
    for agent in ("peerbus:sfu-eu", "alice"):
        with pytest.raises(ProtocolError):
            admit(principal.grant, **asked, agent=agent)

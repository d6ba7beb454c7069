"""Names, channel ids, lineages and identities, against the golden vectors and by property."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.channel import (
    AGENT_NAME_MAX_CHARS,
    CHANNEL_NAME_MAX_CHARS,
    Mode,
    channel_id,
    check_agent_name,
    check_channel_id,
    check_channel_name,
    check_project_id,
    is_service_name,
    lineage,
    lineage_identity,
    name_identity,
    private_scope,
)
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.patterns import check_pattern, has_wildcard, matches
from tests.support.vectors import load_vectors

NAMES = load_vectors("identity/names")
CHECKS = {"channel": check_channel_name, "agent": check_agent_name}


def refused(name: str, kind: str = "channel") -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        CHECKS[kind](name)
    return caught.value


@pytest.mark.parametrize("case", NAMES["accepted"], ids=lambda case: case["why"])
def test_good_names(case: dict[str, str]) -> None:
    name = CHECKS[case["kind"]](case["input"])
    assert name == case["name"]
    assert CHECKS[case["kind"]](name) == name


@pytest.mark.parametrize("case", NAMES["rejected"], ids=lambda case: case["why"])
def test_bad_names(case: dict[str, str]) -> None:
    error = refused(case["input"], case["kind"])
    assert error.code == case["code"]
    # The refused name itself may hold anything, and has no place in a message.
    if len(case["input"]) > 1:
        assert case["input"] not in error.message


@given(st.text(max_size=CHANNEL_NAME_MAX_CHARS * 5))
def test_every_text_is_a_clean_name_or_refused(text: str) -> None:
    try:
        name = check_channel_name(text)
    except ProtocolError:
        assert refused(text).code is ErrorCode.NAME_INVALID
        return
    assert 1 <= len(name) <= CHANNEL_NAME_MAX_CHARS
    assert unicodedata.is_normalized("NFC", name)
    assert name == name.strip()
    assert not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in name)
    assert unicodedata.normalize("NFC", text) == name


@given(st.text(alphabet="ab*>./ ", min_size=1, max_size=12), st.text(alphabet="ab*>./ ", max_size=12))
def test_every_name_is_the_pattern_of_itself_alone(name: str, other: str) -> None:
    try:
        name = check_channel_name(name)
    except ProtocolError:
        return
    assert not has_wildcard(name)
    pattern = check_pattern(name)
    assert matches((pattern,), name)
    assert matches((pattern,), other) == (other == name)


def test_services_alone_bear_the_reserved_names() -> None:
    assert check_agent_name("peerbus:sfu/1", service=True) == "peerbus:sfu/1"
    assert is_service_name("PEERBUS:x")
    assert not is_service_name("peerbu")
    with pytest.raises(ProtocolError) as caught:
        check_agent_name("alice", service=True)
    assert caught.value.code is ErrorCode.NAME_INVALID
    assert check_agent_name("x" * AGENT_NAME_MAX_CHARS)


@pytest.mark.parametrize("case", load_vectors("identity/channel_ids")["cases"], ids=str)
def test_channel_ids(case: dict[str, str]) -> None:
    computed = channel_id(case["name"], Mode(case["mode"]), bytes.fromhex(case["join_token_hex"]))
    assert computed.hex() == case["channel_id_hex"]


def test_name_mode_and_token_each_make_another_channel() -> None:
    tokens = [b"", bytes(32), b"\x01" * 32]
    ids = {channel_id(name, mode, token) for name in ("a", "b", "ab") for mode in Mode for token in tokens}
    assert len(ids) == 3 * len(Mode) * len(tokens)
    assert {len(id_) for id_ in ids} == {32}
    assert channel_id("Cafe\u0301", Mode.OPEN, b"") == channel_id("Café", Mode.OPEN, b"")


@pytest.mark.parametrize("length", [1, 16, 31, 33, 64])
def test_a_join_token_has_32_bytes_or_none(length: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        channel_id("lobby", Mode.OPEN, bytes(length))
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_a_bad_name_has_no_channel_id() -> None:
    with pytest.raises(ProtocolError) as caught:
        channel_id(" lobby", Mode.OPEN, b"")
    assert caught.value.code is ErrorCode.NAME_INVALID


def test_a_claimed_channel_id_must_be_the_computed_one() -> None:
    computed = channel_id("lobby", Mode.OPEN, b"")
    check_channel_id(computed, computed)
    for claimed in (channel_id("lobby", Mode.SEALED, b""), computed[:-1], b"", computed + b"\0"):
        with pytest.raises(ProtocolError) as caught:
            check_channel_id(claimed, computed)
        assert caught.value.code is ErrorCode.CHANNEL_MISMATCH


@pytest.mark.parametrize("case", load_vectors("identity/lineages")["lineages"], ids=str)
def test_lineages(case: dict[str, Any]) -> None:
    hashed = lineage(bytes.fromhex(case["secret_hex"]))
    assert hashed.hex() == case["lineage_hex"]
    assert lineage_identity(hashed) == case["identity"]


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_a_lineage_secret_has_16_bytes(length: int) -> None:
    with pytest.raises(ProtocolError) as caught:
        lineage(bytes(length))
    assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("case", load_vectors("identity/lineages")["claimed_names"], ids=str)
def test_identities_of_claimed_names(case: dict[str, str]) -> None:
    assert name_identity(case["name"]) == case["identity"]


def test_a_claimed_name_is_never_the_identity_of_a_lineage() -> None:
    someone = lineage_identity(lineage(bytes(16)))
    assert name_identity(someone) != someone
    assert name_identity("peerbus:sfu") == "name:peerbus:sfu"


@pytest.mark.parametrize("project", ["default", "demo", "a", "a-b", "0", "x" * 63])
def test_good_projects(project: str) -> None:
    assert check_project_id(project) == project
    assert private_scope(project) == f"private:{project}"


@pytest.mark.parametrize("project", ["", "-a", "a-", "A", "ä", "a b", "a:b", "a\n", "x" * 64, "../x"])
def test_bad_projects(project: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        private_scope(project)
    assert caught.value.code is ErrorCode.NAME_INVALID

"""Grants: deny by default, narrowing only narrows, and what is asked at connect and per message."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.channel import PUBLIC_SCOPE
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import (
    ALL_OPERATIONS,
    Admission,
    Grant,
    Operation,
    admit,
    check_bearer,
    grant_from_json,
    grant_to_json,
    narrow,
)
from peerbus.protocol.patterns import EVERY, PATTERNS_MAX

NOW_MS = 1_000_000
PRIVATE = "private:default"
FULL = Grant(
    channels=EVERY,
    agents=EVERY,
    claim=">",
    operations=ALL_OPERATIONS,
    types=EVERY,
    storage=EVERY,
    public=True,
    operator=True,
)

NAMES = st.sampled_from(["a", "b", "team/a", "team/b", "team/a/x", "peerbus:a"])
LISTS = st.lists(st.sampled_from(["a", "b", "*", ">", "team/*", "team/>", "*/a"]), max_size=3).map(tuple)
NETWORKS = st.sampled_from(
    ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "192.0.2.0/24", "::/0", "2001:db8::/32"]
)
ADDRESSES = st.sampled_from(["10.1.2.3", "10.9.9.9", "192.0.2.7", "2001:db8::1", "::ffff:10.1.2.3", "", "x"])
ORIGINS = st.sampled_from(["https://a.example", "https://b.example", "http://localhost:8080"])
GRANTS = st.builds(
    Grant,
    channels=LISTS,
    agents=LISTS,
    claim=st.none() | st.sampled_from(["a", "b", "*", ">", "team/*", "team/a"]),
    sessions=st.none() | st.integers(1, 4),
    operations=st.frozensets(st.sampled_from(Operation)),
    types=LISTS,
    storage=LISTS,
    public=st.booleans(),
    operator=st.booleans(),
    service=st.booleans(),
    rate_per_s=st.none() | st.floats(0.1, 1e6),
    members=st.none() | st.integers(1, 100),
    expires_ms=st.none() | st.integers(NOW_MS - 5, NOW_MS + 5),
    uses=st.none() | st.integers(1, 5),
    addresses=st.none() | st.lists(NETWORKS, max_size=3).map(tuple),
    origins=st.none() | st.lists(ORIGINS, max_size=2).map(tuple),
)
QUESTIONS = st.fixed_dictionaries(
    {
        "operation": st.sampled_from(Operation),
        "channel": NAMES,
        "message_type": NAMES,
        "storage_key": NAMES,
    }
)
CONNECTS = st.fixed_dictionaries(
    {
        "now_ms": st.integers(NOW_MS - 6, NOW_MS + 6),
        "scope": st.sampled_from([PRIVATE, PUBLIC_SCOPE]),
        "channel": NAMES,
        "agent": NAMES,
        "address": st.none() | ADDRESSES,
        "origin": st.none() | ORIGINS,
    }
)


def connect(grant: Grant, **changes: Any) -> Admission:
    asked: dict[str, Any] = {"now_ms": NOW_MS, "scope": PRIVATE, "channel": "lobby", "agent": "alice"}
    return admit(grant, **{**asked, **changes})


def refused(grant: Grant, **changes: Any) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        connect(grant, **changes)
    return caught.value


def admission(grant: Grant, question: dict[str, Any]) -> Admission | None:
    try:
        return admit(grant, **question)
    except ProtocolError:
        return None


def changed(grant: Grant, **changes: Any) -> Grant:
    return msgspec.structs.replace(grant, **changes)


# --- deny by default --------------------------------------------------------------------------------------


@given(QUESTIONS)
def test_an_empty_grant_allows_nothing(question: dict[str, Any]) -> None:
    assert not Grant().allows(**question)
    assert FULL.allows(**question)


@pytest.mark.parametrize("section", ["channels", "agents"])
def test_a_missing_section_admits_nobody(section: str) -> None:
    assert refused(changed(FULL, **{section: ()})).code is ErrorCode.FORBIDDEN


@pytest.mark.parametrize(
    ("section", "question"),
    [
        ("channels", {"channel": "lobby"}),
        ("types", {"message_type": "chat-text"}),
        ("storage", {"storage_key": "a/b"}),
    ],
)
def test_a_missing_section_denies_what_it_is_about(section: str, question: dict[str, str]) -> None:
    assert FULL.allows(Operation.SEND_LIVE, **question)
    assert not changed(FULL, **{section: ()}).allows(Operation.SEND_LIVE, **question)


@pytest.mark.parametrize("operation", Operation)
def test_an_operation_that_is_not_named_is_denied(operation: Operation) -> None:
    grant = changed(FULL, operations=ALL_OPERATIONS - {operation})
    assert not grant.allows(operation)
    assert not connect(grant).allows(operation)
    assert connect(FULL).allows(operation)


# --- narrowing --------------------------------------------------------------------------------------------


@given(GRANTS, GRANTS, QUESTIONS)
def test_the_narrowed_grant_allows_what_both_allow(
    parent: Grant, child: Grant, question: dict[str, Any]
) -> None:
    expected = parent.allows(**question) and child.allows(**question)
    assert narrow(parent, child).allows(**question) == expected


@given(GRANTS, GRANTS, CONNECTS)
def test_it_admits_whom_both_admit_and_to_no_more(
    parent: Grant, child: Grant, question: dict[str, Any]
) -> None:
    both = admission(narrow(parent, child), question)
    each = [admission(grant, question) for grant in (parent, child)]
    assert (both is not None) == (None not in each)
    for one in each:
        if both is None or one is None:
            return
        assert both.operations <= one.operations
        for limit in ("rate_per_s", "members", "expires_ms"):
            own = getattr(one, limit)
            assert own is None or getattr(both, limit) <= own
        if both.is_claimed and one.is_claimed:
            assert both.sessions <= one.sessions


@given(GRANTS, GRANTS, NAMES)
def test_a_claim_is_never_made_up(parent: Grant, child: Grant, name: str) -> None:
    both = narrow(parent, child)
    if both.claims(name):
        assert any(grant.claims(name) for grant in (parent, child))
        assert parent.claim is not None
        assert child.claim is not None


@given(GRANTS, GRANTS, GRANTS, QUESTIONS, CONNECTS)
def test_narrowing_is_monotone_and_in_any_order(
    one: Grant, two: Grant, three: Grant, question: dict[str, Any], connecting: dict[str, Any]
) -> None:
    left, right = narrow(narrow(one, two), three), narrow(one, narrow(two, three))
    assert left.allows(**question) == right.allows(**question)
    assert (admission(left, connecting) is None) == (admission(right, connecting) is None)
    # Narrowing the parent first never lets more through.
    if left.allows(**question):
        assert narrow(one, three).allows(**question)
    assert narrow(one, two).claim == narrow(two, one).claim


@given(GRANTS)
def test_narrowing_by_everything_changes_nothing(grant: Grant) -> None:
    whole = narrow(changed(FULL, service=grant.service), grant)
    assert changed(whole, channels=(), agents=(), types=(), storage=()) == changed(
        grant, channels=(), agents=(), types=(), storage=()
    )
    for section in ("channels", "agents", "types", "storage"):
        assert set(getattr(whole, section)) == set(getattr(grant, section))
    assert narrow(grant, Grant()).operations == frozenset()


@given(GRANTS, GRANTS)
def test_no_section_says_more_than_that_of_either(parent: Grant, child: Grant) -> None:
    both = narrow(parent, child)
    for one in (parent, child):
        assert both.operations <= one.operations
        for flag in ("public", "operator", "service"):
            assert getattr(both, flag) <= getattr(one, flag)
        for limit in ("rate_per_s", "members", "expires_ms", "uses"):
            own = getattr(one, limit)
            assert own is None or getattr(both, limit) <= own
        for limit in ("addresses", "origins"):
            assert getattr(one, limit) is None or getattr(both, limit) is not None


@given(GRANTS, GRANTS, CONNECTS)
def test_where_one_is_worth_nothing_both_are_not(
    parent: Grant, child: Grant, connecting: dict[str, Any]
) -> None:
    asked = {name: connecting[name] for name in ("now_ms", "address", "origin")}

    def is_worth(grant: Grant) -> bool:
        try:
            check_bearer(grant, **asked)
        except ProtocolError:
            return False
        return True

    assert is_worth(narrow(parent, child)) is (is_worth(parent) and is_worth(child))
    # A session needs at least that.
    assert is_worth(parent) or admission(parent, connecting) is None


def test_a_claim_narrows_to_a_name() -> None:
    signer = Grant(claim="bots/*")
    assert narrow(signer, Grant(claim="bots/a")).claims("bots/a")
    assert narrow(signer, Grant(claim="alice")).claim is None
    assert narrow(Grant(), Grant(claim="alice")).claim is None
    assert not signer.claims("bots/a")
    assert not signer.claims("bots/*")


def test_how_many_sessions_bear_a_claimed_name() -> None:
    signer = Grant(claim=">")
    assert narrow(signer, Grant(claim="alice", sessions=3)).sessions_max == 3
    assert narrow(signer, Grant(claim="alice")).sessions_max == 1
    assert narrow(Grant(claim="alice"), Grant(claim=">", sessions=3)).sessions_max == 1
    assert narrow(Grant(claim=">", sessions=2), Grant(claim="alice", sessions=3)).sessions_max == 2
    assert connect(changed(FULL, claim="alice", sessions=3)).sessions == 3
    assert connect(changed(FULL, claim="alice")).sessions == 1


def test_too_many_combinations_are_refused() -> None:
    one = Grant(channels=tuple(f"{index}/>" for index in range(PATTERNS_MAX)))
    other = Grant(channels=("*/a", "*/b", *(f"x{index}" for index in range(PATTERNS_MAX - 2))))
    assert narrow(one, one).channels == one.channels
    with pytest.raises(ProtocolError) as caught:
        narrow(one, other)
    assert caught.value.code is ErrorCode.BAD_REQUEST


# --- connecting -------------------------------------------------------------------------------------------


def test_an_expired_grant_admits_nobody() -> None:
    grant = changed(FULL, expires_ms=NOW_MS)
    assert connect(grant, now_ms=NOW_MS - 1).expires_ms == NOW_MS
    assert refused(grant).code is ErrorCode.EXPIRED


@pytest.mark.parametrize(
    ("restriction", "asked", "is_allowed"),
    [
        ({"channels": ("lobby",)}, {"channel": "lobby"}, True),
        ({"channels": ("lobby",)}, {"channel": "lobby2"}, False),
        ({"agents": ("bot/*",)}, {"agent": "bot/1"}, True),
        ({"agents": ("bot/*",)}, {"agent": "alice"}, False),
        ({"public": False}, {"scope": PRIVATE}, True),
        ({"public": False}, {"scope": PUBLIC_SCOPE}, False),
        ({"addresses": ("192.0.2.0/24",)}, {"address": "192.0.2.9"}, True),
        ({"addresses": ("192.0.2.0/24",)}, {"address": "::ffff:192.0.2.9"}, True),
        ({"addresses": ("192.0.2.0/24",)}, {"address": "192.0.3.9"}, False),
        ({"addresses": ("2001:db8::/32",)}, {"address": "2001:db8:1::"}, True),
        ({"addresses": ("2001:db8::/32",)}, {"address": "192.0.2.9"}, False),
        ({"addresses": ("0.0.0.0/0", "::/0")}, {"address": None}, False),
        ({"addresses": ("0.0.0.0/0", "::/0")}, {"address": "not an address"}, False),
        ({"addresses": ()}, {"address": "192.0.2.9"}, False),
        ({"origins": ("https://a.example",)}, {"origin": "https://a.example"}, True),
        ({"origins": ("https://a.example",)}, {"origin": "https://a.example.evil"}, False),
        ({"origins": ("https://a.example",)}, {"origin": "null"}, False),
        ({"origins": ("https://a.example",)}, {"origin": None}, True),
        ({"origins": ()}, {"origin": "https://a.example"}, False),
    ],
)
def test_what_a_connect_is_held_to(
    restriction: dict[str, Any], asked: dict[str, Any], is_allowed: bool
) -> None:
    grant = changed(FULL, **restriction)
    if is_allowed:
        assert connect(grant, **asked).operations == ALL_OPERATIONS
    else:
        assert refused(grant, **asked).code is ErrorCode.FORBIDDEN


def test_only_the_operator_moderates_and_claims_in_public() -> None:
    claimed = changed(FULL, claim="alice")
    tenant = changed(claimed, operator=False)
    assert connect(claimed, scope=PUBLIC_SCOPE).is_claimed
    assert connect(claimed, scope=PUBLIC_SCOPE).allows(Operation.KICK)
    assert connect(tenant).is_claimed
    assert connect(tenant).allows(Operation.KICK)
    in_public = connect(tenant, scope=PUBLIC_SCOPE)
    assert not in_public.is_claimed
    assert in_public.operations == ALL_OPERATIONS - {Operation.KICK, Operation.LOCK}


def test_a_name_is_held_by_the_grant_that_claims_it() -> None:
    assert connect(changed(FULL, claim="alice")).is_claimed
    assert not connect(changed(FULL, claim="alice"), agent="bob").is_claimed
    assert not connect(changed(FULL, claim=">")).is_claimed
    assert not connect(changed(FULL, claim=None)).is_claimed


def test_what_a_session_may_send() -> None:
    session = connect(
        changed(FULL, types=("chat-text", "game/>"), operations=frozenset({Operation.SEND_LIVE}))
    )
    assert session.allows(Operation.SEND_LIVE)
    assert session.allows(Operation.SEND_LIVE, message_type="chat-text")
    assert session.allows(Operation.SEND_LIVE, message_type="game/move")
    assert not session.allows(Operation.SEND_LIVE, message_type="chat-text2")
    assert not session.allows(Operation.SEND_DURABLE, message_type="chat-text")
    assert connect(FULL).allows(Operation.SEND_LOSSY, message_type="anything")


# --- the form ---------------------------------------------------------------------------------------------


@given(GRANTS)
def test_a_grant_survives_json(grant: Grant) -> None:
    text = json.dumps(grant_to_json(grant))
    assert grant_from_json(json.loads(text)) == grant
    assert json.dumps(grant_to_json(grant_from_json(json.loads(text)))) == text


def test_json_says_only_what_is_not_the_default() -> None:
    assert grant_to_json(Grant()) == {}
    assert grant_from_json({}) == Grant()
    grant = Grant(channels=("lobby",), operations=frozenset({Operation.READ, Operation.DIRECT}), uses=1)
    assert json.loads(json.dumps(grant_to_json(grant))) == {
        "channels": ["lobby"],
        "operations": ["direct", "read"],
        "uses": 1,
    }


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "read",
        {"unknown": 1},
        {"channels": "lobby"},
        {"channels": [1]},
        {"channels": [""]},
        {"channels": ["a/>/b"]},
        {"channels": ["a"] * (PATTERNS_MAX + 1)},
        {"claim": ">/a"},
        {"claim": 1},
        {"operations": ["fly"]},
        {"operations": "read"},
        {"public": 1},
        {"rate_per_s": 0},
        {"rate_per_s": -1},
        {"rate_per_s": float("nan")},
        {"rate_per_s": float("inf")},
        {"rate_per_s": 10**400},
        {"members": 0},
        {"sessions": 0},
        {"members": 1.5},
        {"uses": -1},
        {"expires_ms": "soon"},
        {"addresses": ["192.0.2.1/24"]},
        {"addresses": ["localhost"]},
        {"addresses": ["::/0"] * (PATTERNS_MAX + 1)},
        {"origins": ["https://A.example"]},
        {"origins": ["https://a.example/"]},
        {"origins": ["*"]},
        {"origins": ["https://a.example:123456"]},
    ],
    ids=str,
)
def test_malformed_grants(value: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        grant_from_json(value)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_patterns_of_a_grant_are_normalised() -> None:
    grant = Grant(channels=("Cafe\u0301",), claim="Zoe\u0308")
    assert grant.allows(Operation.READ) is False
    assert grant.channels == ("Café",)
    assert grant.claims("Zoë")


# --- services ---------------------------------------------------------------------------------------------

SERVICE = Grant(channels=EVERY, agents=EVERY, service=True)


@pytest.mark.parametrize(
    ("grant", "channel", "agent"),
    [
        (FULL, "peerbus:workers", "alice"),
        (FULL, "Peerbus:other", "alice"),
        (FULL, "lobby", "peerbus:sfu-1"),
        (SERVICE, "lobby", "peerbus:sfu-1"),
        (SERVICE, "peerbus:workers", "alice"),
    ],
)
def test_services_are_among_themselves(grant: Grant, channel: str, agent: str) -> None:
    assert refused(grant, channel=channel, agent=agent).code is ErrorCode.FORBIDDEN


def test_a_service_is_admitted_as_one() -> None:
    assert connect(SERVICE, channel="peerbus:workers", agent="peerbus:sfu-1").is_service
    assert not connect(FULL).is_service


def test_no_grant_makes_a_service_of_another() -> None:
    assert not narrow(FULL, SERVICE).service
    assert narrow(SERVICE, SERVICE).service

"""Connects and failed connects by address."""

from __future__ import annotations

import pytest

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.signaling.gate import Gate
from peerbus.signaling.limits import Limits
from peerbus.signaling.member import Peer

LIMITS = Limits(connects_per_address_per_s=5, failed_connects_per_address_per_min=6)
ANN = Peer("192.0.2.1", None, "a")
BEN = Peer("192.0.2.2", None, "b")
UNKNOWN = Peer(None, None, "c")


def is_admitted(gate: Gate, peer: Peer, now_ms: int) -> bool:
    try:
        gate.admit(peer, now_ms)
    except ProtocolError as error:
        return (error.code, bool(error.retry_after_ms)) != (ErrorCode.RATE_LIMITED, True)
    return True


def test_connects_of_one_address_are_limited_and_come_back() -> None:
    gate = Gate(LIMITS)
    assert [is_admitted(gate, ANN, 0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert is_admitted(gate, BEN, 0)
    assert [is_admitted(gate, ANN, 400) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("code", [ErrorCode.UNAUTHORIZED, ErrorCode.PROTOCOL_VIOLATION, ErrorCode.BAD_FRAME])
def test_guesses_close_the_gate_for_their_address_alone(code: ErrorCode) -> None:
    gate = Gate(LIMITS)
    for _ in range(6):
        gate.check(ANN, 0)
        gate.refused(ANN, ProtocolError(code), 0)
    with pytest.raises(ProtocolError):
        gate.check(ANN, 0)
    assert not is_admitted(gate, ANN, 0)
    assert is_admitted(gate, BEN, 0)
    gate.check(ANN, 10_001)


@pytest.mark.parametrize(
    "code", [ErrorCode.EXPIRED, ErrorCode.REVOKED, ErrorCode.NAME_TAKEN, ErrorCode.OVERLOADED]
)
def test_other_refusals_are_nobodys_guess(code: ErrorCode) -> None:
    gate = Gate(LIMITS)
    for _ in range(100):
        gate.refused(ANN, ProtocolError(code), 0)
    gate.check(ANN, 0)


def test_connections_without_an_address_share_one_count() -> None:
    gate = Gate(LIMITS)
    assert [is_admitted(gate, UNKNOWN, 0) for _ in range(11)] == [True] * 10 + [False]


def test_an_address_that_was_quiet_begins_anew() -> None:
    gate = Gate(LIMITS)
    for _ in range(6):
        gate.refused(ANN, ProtocolError(ErrorCode.UNAUTHORIZED), 0)
    gate.sweep(120_000)
    for _ in range(6):
        gate.check(ANN, 120_000)
        gate.refused(ANN, ProtocolError(ErrorCode.UNAUTHORIZED), 120_000)
    with pytest.raises(ProtocolError):
        gate.check(ANN, 120_000)


def test_refusals_are_told_once_for_so_many_as_may_be_in_a_minute() -> None:
    gate = Gate(LIMITS)
    told: list[tuple[str | None, str, int]] = []
    gate.on_refused = lambda peer, code, count: told.append((peer.address, code.value, count))
    for number in range(14):
        gate.refused(ANN, ProtocolError(ErrorCode.UNAUTHORIZED), number)
        gate.refused(ANN, ProtocolError(ErrorCode.NAME_TAKEN), number)
        if number < 6:
            gate.refused(ANN, ProtocolError(ErrorCode.REVOKED), number)
        if number < 5:
            gate.refused(BEN, ProtocolError(ErrorCode.UNAUTHORIZED), number)
    assert told == [
        ("192.0.2.1", "unauthorized", 6),
        ("192.0.2.1", "revoked", 6),
        ("192.0.2.1", "unauthorized", 6),
    ]

"""
What a grant costs: for each message (operation, type, rates), and for each session (signature, narrowing, admission).

Measures functions in this process, without a server: `python -m tests.bench.grants`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from peerbus.protocol.credentials import TokenClaims
from peerbus.protocol.grants import ALL_OPERATIONS, Admission, Grant, Operation, admit, grant_to_json
from peerbus.protocol.patterns import EVERY
from peerbus.signaling.keyring import KeyRecord, Keyring
from peerbus.signaling.rate import SharedRate, TokenBucket
from tests.bench.rig.figures import machine, verdict

_ROUNDS = 15
_NOW_MS = 1_800_000_000_000
_MUST_US, _AIM_US = 5.0, 1.5

_TYPES = {
    "every type": EVERY,
    "32 names of types": tuple(f"type-{number}" for number in range(32)),
    "32 patterns of types": tuple(f"team-{number}/*/>" for number in range(32)),
}
_ASKED = {
    "every type": "chat-text",
    "32 names of types": "type-31",
    "32 patterns of types": "team-31/red/a/b",
}
_FULL = Grant(
    channels=("lobby", "team/>"), agents=EVERY, operations=ALL_OPERATIONS, types=EVERY, expires_ms=2 * _NOW_MS
)


def least_us(work: Callable[[], object], count: int) -> float:
    """Microseconds of one call, the loop around it taken off: in the quietest of the rounds, since noise only adds."""
    rounds = []
    for _ in range(_ROUNDS):
        began_s = time.perf_counter()
        for _ in range(count):
            pass
        between_s = time.perf_counter()
        for _ in range(count):
            work()
        rounds.append((time.perf_counter() - between_s - (between_s - began_s)) / count * 1e6)
    return min(rounds)


def admitted(types: tuple[str, ...]) -> Admission:
    """What a session has after its connect."""
    grant = msgspec.structs.replace(_FULL, types=types)
    return admit(grant, now_ms=_NOW_MS, scope="private:default", channel="lobby", agent="alice")


def checks(admission: Admission, message_type: str) -> Callable[[], object]:
    """All that is asked of one addressed message, as the hub asks it."""
    session = TokenBucket(1e9, 1e9, 0)
    shared = SharedRate(10**12, 0), SharedRate(10**12, 0)

    def check() -> bool:
        return (
            not session.take(1)
            and not taken(*shared)
            and admission.allows(Operation.SEND_LIVE, message_type=message_type)
            and admission.allows(Operation.DIRECT)
        )

    assert check()
    return check


def taken(channel: SharedRate, key: SharedRate) -> int:
    """As `Member.take_send` does it."""
    channel.left -= 1
    if channel.left < 0 and (wait_ms := channel.refill(1)):
        return wait_ms
    key.left -= 1
    return key.refill(1) if key.left < 0 else 0


def main() -> int:
    """Prints the figures; 1 if a bound that must hold does not."""
    print("cost of a grant, in this process")
    print(machine())
    missed = 0
    for name, types in _TYPES.items():
        cost_us = least_us(checks(admitted(types), _ASKED[name]), 20_000)
        line = verdict(cost_us, _MUST_US, _AIM_US)
        missed += "MISSED" in line
        print(f"  each message, {name:22} {cost_us:6.2f} µs   ({line})")
    shared = SharedRate(10**12, 0), SharedRate(10**12, 0)
    cost_us = least_us(lambda: taken(*shared), 20_000)
    print(f"    of it the rates of channel and key {cost_us:6.2f} µs")
    ring = Keyring(bytes(32))
    record = KeyRecord(key_id="abcdefghijkl", project="default", grant=_FULL)
    ring.replace([record])
    token = ring.sign(
        record, TokenClaims(exp=2 * _NOW_MS / 1000, grant=grant_to_json(_FULL), jti="t-1", project="default")
    )
    print(
        f"  each connect, token verified         {least_us(lambda: ring.verify(token, _NOW_MS), 500):8.1f} µs"
    )
    print(f"  each connect, grant against the join {least_us(lambda: admitted(EVERY), 2_000):8.1f} µs")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())

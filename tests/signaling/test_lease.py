"""Leases: one holder a term, terms that only rise, in emulated time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerbus.signaling.lease import Leases
from peerbus.signaling.log.interface import ChannelKey

ROOM = ChannelKey("private:p", b"r" * 32)
TTL_MS = 4_000
HOUR_MS = 3_600_000


def held(leases: Leases, now_ms: int) -> tuple[str, int] | None:
    lease = leases.current(ROOM, now_ms)
    return None if lease is None else (lease.holder, lease.term)


def test_a_lease_is_held_for_its_time() -> None:
    leases = Leases(TTL_MS)
    assert leases.grant(ROOM, "one", 1, 0)
    assert held(leases, TTL_MS - 1) == ("one", 1)
    assert held(leases, TTL_MS) is None


def test_word_from_its_holder_keeps_it() -> None:
    leases = Leases(TTL_MS)
    leases.grant(ROOM, "one", 1, 0)
    assert leases.renew(ROOM, "one", 1, 3_000)
    assert leases.is_held(ROOM, "one", 1, 6_999)
    assert not leases.is_held(ROOM, "one", 1, 7_000)


def test_nobody_else_gets_it_meanwhile() -> None:
    leases = Leases(TTL_MS)
    leases.grant(ROOM, "one", 1, 0)
    assert not leases.grant(ROOM, "two", 2, TTL_MS - 1)
    assert leases.grant(ROOM, "two", 2, TTL_MS)


def test_one_that_ran_out_goes_on_unless_somebody_got_it() -> None:
    leases = Leases(TTL_MS)
    leases.grant(ROOM, "one", 1, 0)
    assert leases.renew(ROOM, "one", 1, 10_000)
    assert held(leases, 10_000) == ("one", 1)
    leases.grant(ROOM, "two", 2, 20_000)
    assert not leases.renew(ROOM, "one", 1, 20_001)


def test_word_under_another_term_or_of_another_counts_for_nothing() -> None:
    leases = Leases(TTL_MS)
    leases.grant(ROOM, "one", 5, 0)
    for holder, term in (("two", 5), ("one", 4), ("one", 6), ("", 5)):
        assert not leases.renew(ROOM, holder, term, 1)
        assert not leases.is_held(ROOM, holder, term, 1)
    assert not leases.renew(ChannelKey("private:p", b"s" * 32), "one", 5, 1)


def test_a_term_is_granted_once() -> None:
    leases = Leases(TTL_MS)
    leases.grant(ROOM, "one", 5, 0)
    leases.release(ROOM, 1)
    assert held(leases, 1) is None
    assert not leases.renew(ROOM, "one", 5, 1)
    assert not leases.grant(ROOM, "one", 5, 1)
    assert not leases.adopt(ROOM, "one", 5, 1)
    assert leases.grant(ROOM, "one", 6, 1)


def test_after_a_restart_the_highest_term_wins_whoever_comes_first() -> None:
    for first, second in ((("old", 3), ("new", 4)), (("new", 4), ("old", 3))):
        leases = Leases(TTL_MS)
        assert leases.adopt(ROOM, *first, 0)
        assert leases.adopt(ROOM, *second, 1) is (second[1] > first[1])
        assert held(leases, 1) == ("new", 4)


def test_what_is_free_for_long_is_forgotten() -> None:
    leases = Leases(TTL_MS)
    leases.grant(ROOM, "one", 5, 0)
    leases.forget(2 * HOUR_MS)
    assert leases.renew(ROOM, "one", 5, 2 * HOUR_MS)
    leases.release(ROOM, 2 * HOUR_MS)
    leases.forget(3 * HOUR_MS - 1)
    assert not leases.adopt(ROOM, "one", 5, 3 * HOUR_MS - 1)
    leases.forget(3 * HOUR_MS)
    assert leases.adopt(ROOM, "one", 5, 3 * HOUR_MS)


HOLDERS = st.sampled_from(["one", "two", "three"])
TERMS = st.integers(1, 12)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["grant", "adopt", "renew", "release"]), HOLDERS, TERMS, st.integers(0, TTL_MS)
    ),
    max_size=40,
)


@given(STEPS)
def test_no_two_are_ever_believed_under_one_term(steps: list[tuple[str, str, int, int]]) -> None:
    leases = Leases(TTL_MS)
    now_ms = highest = 0
    holder_of: dict[int, str] = {}
    for what, holder, term, later_ms in steps:
        now_ms += later_ms
        if what == "release":
            leases.release(ROOM, now_ms)
        else:
            getattr(leases, what)(ROOM, holder, term, now_ms)
        believed = [
            (one, number)
            for one in ("one", "two", "three")
            for number in range(13)
            if leases.is_held(ROOM, one, number, now_ms)
        ]
        assert len(believed) <= 1
        for one, number in believed:
            assert holder_of.setdefault(number, one) == one
            assert number >= highest
            highest = number

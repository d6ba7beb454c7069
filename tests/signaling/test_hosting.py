"""When the lease of a host that nobody hears any more ends, and when it does not."""

from __future__ import annotations

from itertools import count

import pytest
from msgspec import UNSET

from peerbus.protocol.groups import HOST_RENEW_MS, HOST_TTL_MS
from peerbus.signaling.hosting import GroupCounters, Hosting
from peerbus.signaling.participant import Participant

BEGAN_MS = 10_000


class Situation:
    """Ann is host, and Bob and Cyd are there."""

    def __init__(self) -> None:
        self.members = {name: Participant(name, order) for order, name in enumerate(("ann", "bob", "cyd"))}
        for member in self.members.values():
            member.modes = frozenset({"host"})
        terms = count(8)
        self.hosting = Hosting(self.members, lambda: next(terms), first_term=1, counters=GroupCounters())
        self.hosting.begin("ann", 7, BEGAN_MS)

    def unheard(self, *names: str, term: int = 7) -> None:
        for name in names:
            self.hosting.unheard(name, term)

    def host_at(self, after_ms: int) -> str:
        """Who is host so long after the last renewal."""
        self.hosting.settle(BEGAN_MS + after_ms)
        host = self.hosting.host
        assert host is not UNSET
        return host.identity


def test_a_host_whom_nobody_hears_and_who_missed_two_renewals_is_followed() -> None:
    situation = Situation()
    situation.unheard("bob", "cyd")
    assert situation.hosting.deadline_ms == BEGAN_MS + 2 * HOST_RENEW_MS
    assert situation.host_at(2 * HOST_RENEW_MS - 1) == "ann"
    assert situation.host_at(2 * HOST_RENEW_MS) == "bob"


def test_one_who_still_hears_it_is_enough() -> None:
    situation = Situation()
    situation.unheard("bob")
    assert situation.hosting.deadline_ms == BEGAN_MS + HOST_TTL_MS
    assert situation.host_at(HOST_TTL_MS - 1) == "ann"
    assert situation.host_at(HOST_TTL_MS) == "bob"


@pytest.mark.parametrize("why", ["away", "unreachable"])
def test_who_is_away_or_has_no_link_is_not_asked(why: str) -> None:
    situation = Situation()
    situation.unheard("bob")
    if why == "away":
        situation.members["cyd"].is_away = True
    else:
        situation.members["cyd"].unreachable["ann"] = BEGAN_MS + 300_000
    assert situation.host_at(2 * HOST_RENEW_MS) == "bob"


def test_a_host_whose_connection_is_lost_too_is_followed_at_once() -> None:
    situation = Situation()
    situation.members["ann"].is_away = True
    assert situation.host_at(450) == "ann"
    situation.unheard("bob", "cyd")
    assert situation.host_at(451) == "bob"


def test_a_renewal_makes_what_was_said_before_it_void() -> None:
    situation = Situation()
    situation.unheard("bob", "cyd")
    situation.hosting.renew("ann", 7, is_answered=False, now_ms=BEGAN_MS + 590)
    assert situation.host_at(590 + 2 * HOST_RENEW_MS) == "ann"
    situation.unheard("bob", "cyd")
    assert situation.host_at(590 + 2 * HOST_RENEW_MS + 1) == "bob"


def test_what_is_said_of_another_term_or_by_the_host_itself_means_nothing() -> None:
    situation = Situation()
    situation.unheard("bob", "cyd", term=6)
    situation.unheard("ann")
    assert situation.host_at(HOST_TTL_MS - 1) == "ann"


def test_without_a_word_of_anybody_the_lease_is_good_to_its_end() -> None:
    """As while signaling is away from the guests, or all of them sleep."""
    situation = Situation()
    for member in ("bob", "cyd"):
        situation.members[member].is_away = True
    assert situation.hosting.deadline_ms is None
    assert situation.host_at(HOST_TTL_MS * 3) == "ann"


def test_after_a_restart_nobody_is_made_host_before_those_who_know_one_had_time_to_come_back() -> None:
    hosting = Situation().hosting
    hosting.end()
    hosting.await_return(BEGAN_MS)
    assert not hosting.settle(BEGAN_MS + 1_999)
    assert hosting.host is UNSET
    assert hosting.deadline_ms == BEGAN_MS + 2_000
    assert hosting.settle(BEGAN_MS + 2_000)
    assert hosting.host is not UNSET

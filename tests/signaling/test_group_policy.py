"""Which mode a group should be in, where it leaves that to the server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.groups import Mode
from peerbus.signaling.group_policy import AutoPolicy, Situation
from peerbus.signaling.participant import ALL_MODES

EVERY: frozenset[Mode] = frozenset(ALL_MODES)


def situation(
    members: int,
    *,
    has_media: bool = False,
    has_unreachable: bool = False,
    has_worker: bool = True,
    modes: frozenset[Mode] = EVERY,
) -> Situation:
    return Situation(
        members=members,
        has_media=has_media,
        has_unreachable=has_unreachable,
        has_worker=has_worker,
        modes=modes,
    )


def settled(what: Situation, mode: Mode = "mesh") -> Mode:
    """The mode in which a group of this kind ends up."""
    policy, now_ms = AutoPolicy(), 0
    for _ in range(20):
        choice = policy.decide(what, mode, now_ms)
        mode = mode if choice is None else choice.mode
        now_ms += 1_000
    return mode


@pytest.mark.parametrize(
    ("what", "mode"),
    [
        (situation(1), "mesh"),
        (situation(3), "mesh"),
        (situation(4), "host"),
        (situation(6), "host"),
        (situation(7), "datachannel"),
        (situation(16), "datachannel"),
        (situation(40), "datachannel"),
        (situation(7, has_worker=False), "host"),
        (situation(17, has_worker=False), "relay"),
        (situation(3, has_unreachable=True), "datachannel"),
        (situation(3, has_unreachable=True, has_worker=False), "relay"),
        (situation(4, has_media=True), "mesh"),
        (situation(5, has_media=True), "sfu"),
        (situation(5, has_media=True, has_worker=False), "mesh"),
        (situation(2, has_media=True, has_unreachable=True), "sfu"),
        (situation(4, modes=frozenset({"mesh", "relay"})), "relay"),
        (situation(4, modes=frozenset({"mesh"})), "mesh"),
        (situation(4, modes=frozenset()), "mesh"),
    ],
)
def test_what_is_chosen(what: Situation, mode: Mode) -> None:
    assert settled(what) == mode


@pytest.mark.parametrize(
    ("mode", "members", "shrinks"),
    [("host", 3, False), ("host", 2, True), ("datachannel", 6, False), ("datachannel", 5, True)],
)
def test_one_member_coming_and_going_changes_nothing(mode: Mode, members: int, shrinks: bool) -> None:
    assert (settled(situation(members), mode) != mode) is shrinks


def test_a_smaller_mode_has_to_be_right_for_a_while_without_a_break() -> None:
    policy = AutoPolicy()
    assert (policy.decide(situation(2), "host", 0), policy.deadline_ms) == (None, 5_000)
    assert (policy.decide(situation(4), "host", 4_000), policy.deadline_ms) == (None, None)
    assert policy.decide(situation(2), "host", 4_500) is None
    assert policy.decide(situation(2), "host", 9_499) is None
    choice = policy.decide(situation(2), "host", 9_500)
    assert choice is not None
    assert (choice.mode, choice.reason) == ("mesh", "shrunk")


def test_media_are_the_reason_where_without_them_another_mode_would_be_right() -> None:
    policy = AutoPolicy()
    assert policy.decide(situation(4, has_media=True), "host", 0) is None
    choice = policy.decide(situation(4, has_media=True), "host", 5_000)
    assert choice is not None
    assert (choice.mode, choice.reason) == ("mesh", "media")
    choice = policy.decide(situation(5, has_media=True), "mesh", 5_001)
    assert choice is not None
    assert (choice.mode, choice.reason) == ("sfu", "media")
    assert policy.decide(situation(2, has_media=True), "sfu", 6_000) is None
    choice = policy.decide(situation(2, has_media=True), "sfu", 11_000)
    assert choice is not None
    assert (choice.mode, choice.reason) == ("mesh", "shrunk")


def test_a_worker_that_is_started_again_is_waited_for() -> None:
    policy = AutoPolicy()
    gone = situation(8, has_worker=False)
    assert policy.decide(gone, "datachannel", 0) is None
    assert policy.decide(situation(8), "datachannel", 2_000) is None
    assert policy.decide(gone, "datachannel", 3_000) is None
    choice = policy.decide(gone, "datachannel", 8_000)
    assert choice is not None
    assert (choice.mode, choice.reason) == ("host", "no_worker")


def test_what_was_rolled_back_is_left_alone_for_a_time() -> None:
    policy = AutoPolicy()
    policy.failed("host", 0)
    choice = policy.decide(situation(4), "mesh", 0)
    assert choice is not None
    assert choice.mode == "datachannel"
    assert policy.decide(situation(4), "datachannel", 29_000) is None
    # And then in its turn: it costs the server less.
    assert policy.decide(situation(4), "datachannel", 30_000) is None
    choice = policy.decide(situation(4), "datachannel", 35_000)
    assert choice is not None
    assert choice.mode == "host"


def test_what_fails_again_and_again_is_proposed_more_and_more_rarely() -> None:
    policy = AutoPolicy()
    waits, failed_ms = [], 0
    for now_ms in range(0, 1_000_000, 1_000):
        choice = policy.decide(situation(4, modes=frozenset({"mesh", "host"})), "mesh", now_ms)
        if choice is not None:
            policy.failed(choice.mode, now_ms)
            waits.append(now_ms - failed_ms)
            failed_ms = now_ms
    assert waits == [0, 30_000, 60_000, 120_000, 240_000, 480_000]
    # Somebody has left: maybe that one could not.
    assert policy.decide(situation(3, modes=frozenset({"mesh", "host"})), "mesh", 1_000_000) is None
    policy.failed("host", 1_000_000)
    choice = policy.decide(situation(4, modes=frozenset({"mesh", "host"})), "mesh", 1_030_000)
    assert choice is not None


@given(
    members=st.integers(1, 100),
    has_media=st.booleans(),
    has_unreachable=st.booleans(),
    has_worker=st.booleans(),
    modes=st.frozensets(st.sampled_from(ALL_MODES)),
    current=st.sampled_from(ALL_MODES),
)
def test_it_comes_to_rest_in_a_mode_that_all_can_do(
    *,
    members: int,
    has_media: bool,
    has_unreachable: bool,
    has_worker: bool,
    modes: frozenset[Mode],
    current: Mode,
) -> None:
    what = situation(
        members, has_media=has_media, has_unreachable=has_unreachable, has_worker=has_worker, modes=modes
    )
    mode = settled(what, current)
    assert mode == current or mode in modes
    assert settled(what, mode) == mode

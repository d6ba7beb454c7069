"""Groups: who is in one, how its mode is decided, and who is host, in emulated time."""

from __future__ import annotations

import pytest
from msgspec import UNSET, structs

from peerbus.protocol.grants import ALL_OPERATIONS, Operation
from peerbus.protocol.groups import (
    GROUP_AGENT,
    HOST_TTL_MS,
    PROPOSAL_MS,
    GroupState,
    ProposalEnded,
    Ready,
    Removed,
    RenewHost,
    Seen,
    SeenHost,
    Veto,
)
from peerbus.protocol.messages import Ack, Error, Send
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.limits import Limits
from peerbus.signaling.member import Member
from tests.support.group_stage import GroupStage, code


def entered(stage: GroupStage, mode: str, *names: str) -> list[Member]:
    members = [stage.join(name) for name in names]
    for member in members:
        assert isinstance(stage.enter(member, mode), Ack)
    return members


def names(state: GroupState) -> list[str]:
    return [one.name for one in state.members]


def ends(stage: GroupStage, member: Member) -> list[str]:
    return [one.code for one in stage.read(member) if isinstance(one, ProposalEnded)]


# --- who is in it -----------------------------------------------------------------------------------------


def test_the_first_member_says_the_mode_and_the_others_take_it() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    cyd = stage.join("cyd")
    stage.enter(cyd, "sfu", has_media=True)
    state = stage.group(ann)
    assert state == stage.group(bob) == stage.group(cyd)
    assert (state.mode, state.reason, state.is_auto) == ("mesh", "first", False)
    assert [(one.name, one.order, one.has_media) for one in state.members] == [
        ("ann", 1, False),
        ("bob", 2, False),
        ("cyd", 3, True),
    ]
    assert state.host is UNSET


def test_who_cannot_do_the_mode_is_refused_and_nobody_notices() -> None:
    stage = GroupStage()
    (ann,) = entered(stage, "mesh", "ann")
    before = stage.group(ann)
    bob = stage.join("bob")
    refused = stage.enter(bob, "mesh", "sfu", "relay")
    assert isinstance(refused, Error)
    assert (refused.code, refused.details) == ("not_supported", {"mode": "mesh"})
    assert stage.heard(bob) == []
    assert stage.group(ann) == before


def test_a_first_member_needs_the_mode_it_asks_for() -> None:
    stage = GroupStage()
    ann = stage.join("ann")
    assert code(stage.enter(ann, "host", "mesh")) == "not_supported"
    assert len(stage.groups) == 0


def test_leaving_the_channel_or_the_group_is_told_and_the_last_one_takes_all_with_it() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "mesh", "ann", "bob", "cyd")
    assert isinstance(stage.exit(bob), Ack)
    assert names(stage.group(ann)) == ["ann", "cyd"]
    stage.heard(bob)
    stage.leave(cyd)
    assert names(stage.group(ann)) == ["ann"]
    assert stage.heard(bob) == []
    assert isinstance(stage.exit(bob), Ack)
    stage.leave(ann)
    assert (len(stage.groups), stage.groups.members) == (0, 0)
    stage.later(1_000)
    assert stage.groups.deadline_ms is None
    (dan,) = entered(stage, "relay", "dan")
    assert names(stage.group(dan)) == ["dan"]


def test_versions_rise_from_one_group_to_the_next() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    for has_media in (True, False, True):
        stage.enter(bob, has_media=has_media)
    versions = [one.version for one in stage.heard(ann) if isinstance(one, GroupState)]
    assert versions == sorted(set(versions))
    stage.exit(ann)
    stage.exit(bob)
    stage.enter(ann)
    state = stage.group(ann)
    assert state.version > versions[-1]
    assert state.term > 0


def test_to_enter_again_is_answered_and_changes_nothing() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    before = stage.group(bob)
    stage.heard(ann)
    stage.heard(bob)
    assert isinstance(stage.enter(bob), Ack)
    assert structs.replace(stage.group(bob), version=0) == structs.replace(before, version=0)
    assert stage.group(bob).members[1].order == 2


def test_a_lost_connection_keeps_its_place_and_an_ended_session_does_not() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    stage.cut(bob)
    stage.later(10_000)
    assert names(stage.group(ann)) == ["ann", "bob"]
    stage.come_back(bob)
    stage.cut(bob)
    stage.later(stage.limits.resume_window_ms + 2_000)
    assert names(stage.group(ann)) == ["ann"]


def test_a_client_that_begins_another_session_keeps_its_place_if_it_goes_on() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    seen = stage.seen(ann)
    again = stage.join("ann")
    assert again is not ann
    stage.enter(again, seen=seen)
    assert [(one.name, one.order) for one in stage.group(bob).members] == [("ann", 1), ("bob", 2)]
    # A page that was loaded anew has seen nothing: it is another one for the others.
    anew = stage.join("ann")
    stage.enter(anew)
    assert [(one.name, one.order) for one in stage.group(bob).members] == [("bob", 2), ("ann", 3)]
    # One that does not enter again is gone after a moment.
    stage.join("ann")
    stage.later(3_500)
    assert names(stage.group(bob)) == ["bob"]


def test_of_two_sessions_of_one_identity_the_last_that_entered_is_in_the_group() -> None:
    stage = GroupStage()
    (bob,) = entered(stage, "mesh", "bob")
    phone, desk = (stage.join("ann", client=client, sessions=2) for client in ("phone", "desk"))
    stage.enter(phone)
    stage.enter(desk)
    assert names(stage.group(bob)) == ["bob", "ann"]
    (removed,) = [one for one in stage.read(phone) if isinstance(one, Removed)]
    assert removed.code == "replaced"
    stage.heard(phone)
    assert code(stage.propose(phone, "relay", stage.group(bob).term)) == "not_found"
    stage.leave(phone)
    assert names(stage.group(bob)) == ["bob", "ann"]
    stage.leave(desk)
    assert names(stage.group(bob)) == ["bob"]
    assert stage.heard(phone) == []


def test_a_grant_that_no_longer_allows_signals_ends_the_membership() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    credential = CredentialIds("k", "k", frozenset({"k"}))
    stage.membership.readmit(bob, stage.admission(ALL_OPERATIONS), credential, stage.now_ms)
    stage.settle()
    assert names(stage.group(ann)) == ["ann", "bob"]
    narrow = ALL_OPERATIONS - {Operation.DIRECT}
    stage.membership.readmit(bob, stage.admission(narrow), credential, stage.now_ms)
    stage.settle()
    assert names(stage.group(ann)) == ["ann"]
    assert isinstance(stage.read(bob)[-1], Removed)
    assert code(stage.enter(bob)) == "forbidden"


@pytest.mark.parametrize("missing", [Operation.DIRECT, Operation.SEND_LIVE])
def test_who_may_not_send_live_signals_to_some_is_refused(missing: Operation) -> None:
    stage = GroupStage()
    ann = stage.join("ann", operations=ALL_OPERATIONS - {missing})
    assert code(stage.enter(ann)) == "forbidden"
    assert len(stage.groups) == 0


def test_a_group_has_as_many_members_as_it_may_have() -> None:
    stage = GroupStage(limits=Limits(group_members=2))
    entered(stage, "mesh", "ann", "bob")
    assert code(stage.enter(stage.join("cyd"))) == "channel_full"


def test_a_disk_that_is_full_refuses_what_needs_a_term_and_tells_the_rest() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    stage.is_disk_full = True
    assert code(stage.propose(ann, "relay")) == "storage_unavailable"
    stage.exit(bob)
    assert names(stage.group(ann)) == ["ann"]
    for has_media in (True, False, True):
        stage.enter(ann, has_media=has_media)
    version = stage.group(ann).version
    stage.exit(ann)
    assert code(stage.enter(ann)) == "storage_unavailable"
    assert len(stage.groups) == 0
    stage.is_disk_full = False
    stage.enter(ann)
    assert stage.group(ann).version > version


# --- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"content": {"kind": "dance"}}, "bad_request"),
        ({"content": {"kind": "group"}}, "bad_request"),
        ({"content": None}, "bad_request"),
        ({"content": {"kind": "enter", "mode": "mesh"}}, "bad_request"),
        ({"content": {"kind": "ready", "term": "1"}}, "bad_request"),
        ({"content": {"kind": "ready", "term": -1}}, "bad_request"),
        ({"content": {"kind": "veto", "term": 1, "reason": "x" * 9_000}}, "too_large"),
        ({"type": "chat-text"}, "bad_request"),
        ({"to": [GROUP_AGENT, "bob"]}, "bad_request"),
        ({"delivery": "durable"}, "bad_request"),
        ({"delivery": "lossy"}, "bad_request"),
        ({"content": {"kind": "propose", "mode": "mesh", "term": 1}}, "not_found"),
        ({"content": {"kind": "renew", "term": 1}}, "not_found"),
        ({"content": {"kind": "ready", "term": 1}}, "not_found"),
        ({"content": {"kind": "report", "peer": "x", "is_reachable": False}}, "not_found"),
    ],
)
def test_bad_requests_are_refused_with_a_code(fields: dict[str, object], expected: str) -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    before = stage.group(bob)
    mallory = stage.join("mallory")
    asked = {
        "to": [GROUP_AGENT],
        "type": "signal",
        "delivery": "live",
        "content": {"kind": "enter", "mode": "mesh", "modes": ["mesh"]},
    }
    assert code(stage.send(mallory, **(asked | fields))) == expected
    assert stage.group(bob) == before
    assert stage.switch("relay", ann, bob).mode == "relay"


def test_reports_name_another_member() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    assert code(stage.report(ann, ann)) == "not_found"
    assert code(stage.report(ann, stage.join("cyd"))) == "not_found"
    assert isinstance(stage.report(ann, bob), Ack)


# --- switching --------------------------------------------------------------------------------------------


def test_a_mode_holds_once_all_are_ready_and_not_before() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "mesh", "ann", "bob", "cyd")
    before = stage.group(ann)
    assert isinstance(stage.propose(bob, "datachannel"), Ack)
    proposal = stage.group(cyd).proposal
    assert proposal is not UNSET
    assert (proposal.mode, proposal.by, proposal.reason) == ("datachannel", bob.identity, "proposed")
    assert proposal.term > before.term
    assert 0 < proposal.waits_ms <= PROPOSAL_MS
    stage.ready(ann, bob, bob)
    assert stage.group(ann).mode == "mesh"
    stage.ready(cyd)
    after = stage.group(ann)
    assert (after.mode, after.term, after.proposal) == ("datachannel", proposal.term, UNSET)
    assert ends(stage, ann) == []
    assert stage.groups.counters.switches == 1


def test_a_veto_rolls_back_and_names_who_could_not() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "mesh", "ann", "bob", "cyd")
    before = stage.group(ann)
    stage.propose(ann, "sfu")
    stage.ready(ann, bob)
    stage.veto(cyd, "no ICE path")
    (ended,) = [one for one in stage.read(ann) if isinstance(one, ProposalEnded)]
    assert (ended.code, ended.mode, ended.by) == ("vetoed", "sfu", cyd.identity)
    assert ended.reason == "cyd: no ICE path"
    after = stage.group(ann)
    assert (after.mode, after.term, after.proposal) == ("mesh", before.term, UNSET)
    assert code(stage.ask(bob, Ready(term=ended.term))) == "stale_term"
    assert code(stage.ask(bob, Veto(term=ended.term))) == "stale_term"


def test_who_was_ready_may_still_object() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    stage.propose(ann, "sfu")
    stage.ready(bob)
    stage.veto(bob)
    assert ends(stage, ann) == ["vetoed"]


def test_who_never_answers_is_named() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "mesh", "ann", "bob", "cyd")
    stage.propose(ann, "sfu")
    stage.ready(ann, cyd)
    stage.later(PROPOSAL_MS - 100)
    assert ends(stage, ann) == []
    stage.later(100)
    (ended,) = [one for one in stage.read(cyd) if isinstance(one, ProposalEnded)]
    assert (ended.code, ended.by, ended.reason) == ("timeout", bob.identity, "no answer from bob")
    assert stage.group(ann).mode == "mesh"


def test_only_one_proposal_at_a_time_and_none_of_an_older_term() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    old = stage.group(ann).term
    stage.propose(ann, "sfu")
    refused = stage.propose(bob, "relay")
    assert isinstance(refused, Error)
    assert refused.code == "proposal_pending"
    assert isinstance(refused.retry_after_ms, int)
    assert 0 < refused.retry_after_ms <= PROPOSAL_MS
    stage.ready(ann, bob)
    refused = stage.propose(bob, "relay", old)
    assert isinstance(refused, Error)
    assert (refused.code, refused.details) == ("stale_term", {"term": stage.group(bob).term})


def test_a_mode_that_somebody_cannot_do_is_refused_at_once() -> None:
    stage = GroupStage()
    (ann,) = entered(stage, "mesh", "ann")
    bob = stage.join("bob")
    stage.enter(bob, "mesh", "mesh", "relay")
    refused = stage.propose(ann, "sfu")
    assert isinstance(refused, Error)
    assert (refused.code, refused.details) == ("not_supported", {"members": [bob.identity]})
    assert "bob" in refused.message
    assert stage.group(ann).proposal is UNSET


def test_what_goes_through_a_worker_needs_one() -> None:
    stage = GroupStage()
    (ann,) = entered(stage, "mesh", "ann")
    stage.has_worker = False
    assert code(stage.propose(ann, "sfu")) == "no_worker"
    assert code(stage.propose(ann, "datachannel")) == "no_worker"
    assert stage.switch("relay", ann).mode == "relay"


def test_a_newcomer_answers_too_and_ends_what_it_cannot_do() -> None:
    stage = GroupStage()
    (ann,) = entered(stage, "mesh", "ann")
    stage.propose(ann, "sfu")
    bob = stage.join("bob")
    stage.enter(bob)
    stage.ready(ann)
    assert stage.group(ann).mode == "mesh"
    cyd = stage.join("cyd")
    stage.enter(cyd, "mesh", "mesh")
    (ended,) = [one for one in stage.read(ann) if isinstance(one, ProposalEnded)]
    assert (ended.code, ended.by) == ("not_supported", cyd.identity)
    assert names(stage.group(bob)) == ["ann", "bob", "cyd"]


def test_newcomers_cannot_make_a_proposal_last_for_ever() -> None:
    stage = GroupStage()
    (ann,) = entered(stage, "mesh", "ann")
    stage.propose(ann, "sfu")
    for number in range(7):
        stage.enter(stage.join(f"n{number}"))
        stage.later(2_000)
    # They get as long as the others had.
    assert ends(stage, ann) == []
    stage.enter(stage.join("late"))
    stage.later(3_000)
    assert ends(stage, ann) == ["timeout"]


def test_who_leaves_is_not_waited_for() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "mesh", "ann", "bob", "cyd")
    stage.propose(cyd, "sfu")
    stage.ready(ann, bob)
    stage.leave(cyd)
    assert stage.group(ann).mode == "sfu"


# --- a member that means ill --------------------------------------------------------------------------------


def test_proposals_and_entering_have_a_rate() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    for _ in range(stage.limits.group_proposals_per_min):
        stage.propose(ann, "mesh")
    assert code(stage.propose(ann, "mesh")) == "rate_limited"
    assert isinstance(stage.propose(bob, "mesh"), Ack)
    replies = [stage.enter(ann) for _ in range(stage.limits.group_enters_per_min)]
    assert code(replies[-1]) == "rate_limited"
    # Leaving gives nothing back.
    stage.exit(ann)
    assert code(stage.enter(ann)) == "rate_limited"


def test_vetoes_for_ever_are_not_heeded() -> None:
    stage = GroupStage()
    ann, bob, mallory = entered(stage, "mesh", "ann", "bob", "mallory")
    for _ in range(stage.limits.group_vetoes_per_min):
        stage.propose(ann, "sfu")
        stage.veto(mallory)
    assert stage.group(ann).mode == "mesh"
    stage.propose(ann, "sfu")
    stage.veto(mallory)
    stage.ready(ann, bob)
    assert stage.group(ann).mode == "sfu"
    stage.later(25_000)
    # Its word counts again after a while.
    stage.propose(ann, "mesh")
    stage.veto(mallory)
    assert stage.group(ann).mode == "sfu"


def test_silence_for_ever_is_not_waited_for() -> None:
    stage = GroupStage(limits=Limits(group_vetoes_per_min=1))
    ann, bob, mallory = entered(stage, "mesh", "ann", "bob", "mallory")
    stage.propose(ann, "sfu")
    stage.ready(ann, bob)
    stage.later(PROPOSAL_MS)
    assert ends(stage, ann) == ["timeout"]
    stage.propose(ann, "sfu")
    stage.ready(ann, bob)
    assert stage.group(mallory).mode == "sfu"


def test_leaving_and_entering_gives_no_more_vetoes() -> None:
    stage = GroupStage(limits=Limits(group_vetoes_per_min=1))
    ann, mallory = entered(stage, "mesh", "ann", "mallory")
    stage.propose(ann, "sfu")
    stage.veto(mallory)
    stage.exit(mallory)
    stage.enter(mallory)
    stage.propose(ann, "sfu")
    stage.veto(mallory)
    stage.ready(ann)
    assert stage.group(ann).mode == "sfu"


def test_a_large_group_is_told_many_changes_as_one() -> None:
    stage = GroupStage()
    members = [stage.join(f"m{number}") for number in range(60)]
    for member in members:
        stage.enter(member, "relay")
    stage.heard(members[0])
    for number in range(100):
        content = {"kind": "enter", "mode": "relay", "modes": ["relay"], "has_media": bool(number % 2)}
        frame = Send(
            id=members[1 + number % 10].session.received_id + 1,
            to=[GROUP_AGENT],
            type="signal",
            delivery="live",
            content=content,
        )
        stage.hub.receive(members[1 + number % 10], frame, stage.now_ms)
        stage.now_ms += 1
        stage.groups.flush(stage.now_ms)
    assert len(stage.heard(members[0])) == 1
    stage.later(200)
    assert len(stage.heard(members[0])) == 1


# --- the host ---------------------------------------------------------------------------------------------


def test_the_first_to_enter_is_host_and_stays_it_while_it_renews() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "host", "ann", "bob", "cyd")
    state = stage.group(cyd)
    assert state.host is not UNSET
    assert (stage.host(cyd), state.host.successor) == ("ann", bob.identity)
    stage.later(20_000, ann)
    assert stage.group(cyd).host == state.host
    assert stage.refused(ann) == []


def test_a_host_that_falls_silent_is_followed_by_its_successor() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "host", "ann", "bob", "cyd")
    stage.later(1_000, ann)
    old = stage.host_term(cyd)
    began_ms = stage.now_ms
    stage.later(HOST_TTL_MS)
    assert stage.host(cyd) == "bob"
    assert stage.host_term(cyd) > old
    assert stage.now_ms - began_ms <= HOST_TTL_MS + 50
    # It wakes: told once who is host now, and then follows.
    stage.heard(ann)
    for _ in range(3):
        stage.renew(ann, old)
    (told,) = stage.heard(ann)
    assert told == stage.group(cyd)
    assert stage.refused(ann) == []
    assert code(stage.ask(ann, RenewHost(term=old))) == "stale_term"
    stage.later(5_000, bob)
    assert stage.host(cyd) == "bob"


def test_a_silent_former_host_is_the_last_to_follow() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "host", "ann", "bob", "cyd")
    stage.later(HOST_TTL_MS + 200)
    assert stage.host(cyd) == "bob"
    state = stage.group(cyd)
    assert state.host is not UNSET
    assert state.host.successor == cyd.identity
    stage.later(1_000, bob)
    stage.leave(bob)
    assert stage.host(ann) == "cyd"


def test_who_is_cut_off_from_the_host_is_not_its_successor() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "host", "ann", "bob", "cyd")
    stage.report(bob, cyd)
    host = stage.group(ann).host
    assert host is not UNSET
    assert host.successor == bob.identity
    stage.report(ann, bob)
    host = stage.group(ann).host
    assert host is not UNSET
    assert host.successor == cyd.identity
    stage.report(ann, cyd)
    host = stage.group(ann).host
    assert host is not UNSET
    assert host.successor is UNSET
    # Better somebody than nobody; and what the former host said of them is void.
    stage.exit(ann)
    host = stage.group(cyd).host
    assert host is not UNSET
    assert (host.identity, host.successor) == (bob.identity, cyd.identity)


def test_a_host_that_nobody_can_follow_stays_host() -> None:
    stage = GroupStage()
    (ann,) = entered(stage, "host", "ann")
    term = stage.host_term(ann)
    stage.later(60_000)
    assert stage.host_term(ann) == term
    bob = stage.join("bob")
    stage.enter(bob, "host")
    stage.later(200, ann)
    assert stage.host_term(bob) == term
    stage.later(2_000)
    assert stage.host(ann) == "bob"


def test_a_former_lease_of_the_same_host_is_not_renewed() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "host", "ann", "bob")
    old = stage.host_term(ann)
    stage.later(HOST_TTL_MS + 50)
    stage.ask(ann, RenewHost(term=old))
    stage.exit(bob)
    stage.enter(bob)
    assert stage.host(bob) == "ann"
    for _ in range(5):
        stage.later(300)
        stage.renew(ann, old)
    assert stage.host(ann) == "bob"


def test_who_was_silent_and_is_heard_again_can_follow_and_the_others_know() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "host", "ann", "bob", "cyd")
    stage.later(HOST_TTL_MS + 50)
    stage.renew(ann, 0)
    host = stage.group(cyd).host
    assert host is not UNSET
    assert (host.identity, host.successor) == (bob.identity, ann.identity)


def test_silent_members_do_not_hand_the_lease_around() -> None:
    stage = GroupStage()
    entered(stage, "host", "ann", "bob")
    stage.later(60_000)
    assert stage.groups.counters.hosts <= 2


def test_a_host_whose_connection_is_lost_is_given_a_moment() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "host", "ann", "bob")
    stage.later(1_000, ann)
    term = stage.host_term(bob)
    stage.cut(ann)
    stage.later(200)
    stage.come_back(ann)
    stage.later(5_000, ann)
    assert stage.host_term(bob) == term
    stage.cut(ann)
    stage.later(stage.limits.group_host_away_ms)
    assert stage.host(bob) == "bob"


def test_a_host_that_leaves_is_followed_at_once() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "host", "ann", "bob", "cyd")
    stage.exit(ann)
    assert stage.host(cyd) == "bob"
    stage.later(500, bob)
    stage.leave(bob)
    assert stage.host(cyd) == "cyd"


def test_what_the_server_slept_through_is_nobodys_silence() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "host", "ann", "bob")
    stage.later(1_000, ann)
    term = stage.host_term(bob)
    stage.now_ms += 5_000
    stage.settle()
    assert stage.host_term(bob) == term
    stage.later(3_000, ann)
    assert stage.host_term(bob) == term
    stage.now_ms += 5_000
    stage.settle()
    stage.later(400)
    assert stage.host(bob) == "bob"


def test_renewals_without_being_host_do_nothing_but_are_told_once() -> None:
    stage = GroupStage()
    ann, mallory = entered(stage, "host", "ann", "mallory")
    term = stage.host_term(ann)
    stage.heard(mallory)
    for guess in (term, term + 1, term - 1, 0, 2**53 - 1):
        stage.renew(mallory, guess)
    assert stage.heard(mallory) == [stage.group(ann)]
    assert stage.refused(mallory) == []
    stage.later(3_000, ann)
    assert (stage.host(ann), stage.host_term(ann)) == ("ann", term)
    assert stage.groups.counters.stale == 5


def test_a_proposal_for_a_host_says_who_it_would_be() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "mesh", "ann", "bob", "cyd")
    stage.propose(bob, "host")
    proposal = stage.group(cyd).proposal
    assert proposal is not UNSET
    assert proposal.host is not UNSET
    assert (proposal.host.identity, proposal.host.successor) == (ann.identity, bob.identity)
    stage.renew(ann, proposal.term)
    assert stage.refused(ann) == []
    stage.ready(ann, bob, cyd)
    state = stage.group(cyd)
    assert state.host is not UNSET
    assert (state.host.term, state.term) == (proposal.term, proposal.term)
    # Back again: a mesh has no host.
    assert stage.switch("mesh", bob, ann, cyd).host is UNSET


def test_a_host_to_be_that_leaves_ends_the_proposal() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "mesh", "ann", "bob", "cyd")
    stage.propose(cyd, "host")
    stage.leave(ann)
    assert ends(stage, bob) == ["host_left"]
    assert stage.group(bob).mode == "mesh"


# --- after a restart of the server ----------------------------------------------------------------------------


def test_a_group_goes_on_after_a_restart_by_what_its_members_have_seen() -> None:
    stage = GroupStage()
    ann, bob, cyd = entered(stage, "mesh", "ann", "bob", "cyd")
    before = stage.switch("host", bob, ann, cyd)
    seen = {member.name: stage.seen(member) for member in (ann, bob, cyd)}
    stage = stage.restarted()
    cyd2 = stage.join("cyd")
    stage.enter(cyd2, "auto", seen=seen["cyd"])
    first = stage.group(cyd2)
    assert (first.mode, first.term, first.reason) == ("host", before.term, "returned")
    assert first.is_gathering
    assert first.version > before.version
    assert first.host is not UNSET
    assert before.host is not UNSET
    assert (first.host.identity, first.host.term) == (ann.identity, before.host.term)
    stage.later(3_000)
    ann2, bob2 = stage.join("ann"), stage.join("bob")
    stage.enter(ann2, "mesh", seen=seen["ann"])
    stage.enter(bob2, "mesh", seen=seen["bob"])
    stage.later(60_000, ann2)
    after = stage.group(bob2)
    assert not after.is_gathering
    assert [(one.name, one.order) for one in after.members] == [("ann", 1), ("bob", 2), ("cyd", 3)]
    assert after.host == before.host
    assert after.term == before.term


def test_a_host_that_does_not_come_back_after_a_restart_is_followed() -> None:
    stage = GroupStage()
    _, bob, cyd = entered(stage, "host", "ann", "bob", "cyd")
    term = stage.host_term(bob)
    seen = {member.name: stage.seen(member) for member in (bob, cyd)}
    stage = stage.restarted()
    cyd, bob = stage.join("cyd"), stage.join("bob")
    stage.enter(cyd, seen=seen["cyd"])
    stage.enter(bob, seen=seen["bob"])
    stage.later(4_000)
    assert stage.host_term(cyd) == term
    stage.later(400)
    assert stage.host(cyd) == "bob"
    assert stage.host_term(cyd) > term


def test_a_newer_mode_that_somebody_saw_before_a_restart_wins() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    old = stage.seen(ann)
    new = stage.switch("relay", ann, bob)
    seen = stage.seen(bob)
    stage = stage.restarted()
    ann, bob = stage.join("ann"), stage.join("bob")
    stage.enter(ann, seen=old)
    assert stage.group(ann).mode == "mesh"
    stage.enter(bob, seen=seen)
    after = stage.group(ann)
    assert (after.mode, after.term) == ("relay", new.term)


def test_who_comes_first_after_a_restart_without_having_seen_anything_is_no_reason_to_switch() -> None:
    stage = GroupStage()
    (ann,) = entered(stage, "relay", "ann")
    seen = stage.seen(ann)
    stage = stage.restarted()
    eve, ann = stage.join("eve"), stage.join("ann")
    stage.enter(eve, "mesh")
    told = stage.group(eve)
    stage.enter(ann, seen=seen)
    after = stage.group(eve)
    assert (after.mode, after.reason) == ("relay", "returned")
    assert after.term > told.term


def test_what_a_member_claims_to_have_seen_is_believed_only_after_a_restart() -> None:
    stage = GroupStage()
    ann, mallory = entered(stage, "host", "ann", "mallory")
    term = stage.host_term(ann)
    for claimed in (0, term, term + 1, 2**53 - 1):
        host = SeenHost(identity=mallory.identity, term=claimed)
        stage.enter(mallory, "relay", seen=Seen(term=claimed, mode="relay", order=1, host=host))
    assert (stage.host(ann), stage.host_term(ann), stage.group(ann).mode) == ("ann", term, "host")
    stage.exit(ann)
    stage.exit(mallory)
    # The numbers of the future are not used up by it, either.
    stage.enter(ann)
    assert stage.group(ann).term < 1_000


def test_two_hosts_of_one_term_are_never_told_without_a_newer_one() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "host", "ann", "bob")
    true, term = stage.seen(ann), stage.host_term(ann)
    lie = structs.replace(stage.seen(bob), host=SeenHost(identity=bob.identity, term=term))
    stage = stage.restarted()
    ann, bob = stage.join("ann"), stage.join("bob")
    stage.enter(bob, seen=lie)
    stage.enter(ann, seen=true)
    assert stage.host_term(ann) > term
    assert stage.host_term(bob) == stage.host_term(ann)
    # And a host that works is not unseated by who claims to have seen a newer one.
    working, other = (ann, bob) if stage.host(ann) == "ann" else (bob, ann)
    stage.later(1_000, working)
    term = stage.host_term(ann)
    stage.enter(other, seen=structs.replace(lie, host=SeenHost(identity=other.identity, term=term - 1)))
    stage.later(1_000, working)
    assert stage.host_term(ann) == term


def test_nobody_is_told_a_mode_under_a_lower_term_than_it_has_seen() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "mesh", "ann", "bob")
    old = stage.seen(bob)
    stage.switch("sfu", ann, bob)
    new = stage.seen(ann)
    assert new.term > old.term
    stage = stage.restarted()
    bob, ann = stage.join("bob"), stage.join("ann")
    stage.enter(bob, "mesh", "mesh", seen=old)
    assert stage.group(bob).term == old.term
    stage.enter(ann, seen=new)
    assert stage.group(ann).mode == "mesh"
    assert stage.group(ann).term > new.term


def test_what_was_seen_of_a_mode_that_the_others_cannot_do_is_left() -> None:
    stage = GroupStage()
    (ann,) = entered(stage, "sfu", "ann")
    seen = stage.seen(ann)
    stage = stage.restarted()
    bob, ann = stage.join("bob"), stage.join("ann")
    stage.enter(bob, "mesh", "mesh")
    stage.enter(ann, seen=seen)
    assert stage.group(ann).mode == "mesh"


# --- auto -------------------------------------------------------------------------------------------------


def answering(stage: GroupStage, *members: Member) -> GroupState:
    """All of them are ready for what the server proposed."""
    proposal = stage.group(members[0]).proposal
    assert proposal is not UNSET
    assert proposal.by == "auto"
    stage.ready(*members)
    return stage.group(members[0])


def test_a_group_that_grows_and_shrinks_changes_its_mode() -> None:
    stage = GroupStage()
    members = entered(stage, "auto", "ann", "bob", "cyd")
    assert (stage.group(members[0]).mode, stage.group(members[0]).proposal) == ("mesh", UNSET)
    members += entered(stage, "auto", "dan")
    state = answering(stage, *members)
    assert (state.mode, state.reason, state.is_auto) == ("host", "grown", True)
    stage.leave(members.pop())
    stage.later(10_000, members[0])
    assert stage.group(members[0]).proposal is UNSET
    stage.leave(members.pop())
    stage.later(4_500, members[0])
    assert stage.group(members[0]).proposal is UNSET
    stage.later(1_000, members[0])
    state = answering(stage, *members)
    assert (state.mode, state.reason) == ("mesh", "shrunk")


def test_an_explicit_mode_ends_auto_until_somebody_wants_it_again() -> None:
    stage = GroupStage()
    members = entered(stage, "auto", "ann", "bob")
    state = stage.switch("relay", *members)
    assert (state.mode, state.is_auto) == ("relay", False)
    stage.later(60_000)
    assert stage.group(members[0]).proposal is UNSET
    assert isinstance(stage.propose(members[1], "auto"), Ack)
    assert stage.group(members[0]).is_auto
    stage.later(6_000)
    assert answering(stage, *members).mode == "mesh"


def test_an_explicit_mode_comes_before_one_that_the_server_proposes() -> None:
    stage = GroupStage()
    members = entered(stage, "auto", "ann", "bob", "cyd", "dan")
    assert isinstance(stage.propose(members[0], "sfu"), Ack)
    assert ends(stage, members[1]) == ["superseded"]
    stage.ready(*members)
    assert stage.group(members[0]).mode == "sfu"


def test_an_explicit_mode_that_is_rolled_back_leaves_auto_as_it_was() -> None:
    stage = GroupStage()
    members = entered(stage, "auto", "ann", "bob")
    stage.propose(members[0], "sfu")
    stage.veto(members[1])
    assert stage.group(members[0]).is_auto


def test_a_mode_that_was_rolled_back_is_not_proposed_again_at_once() -> None:
    stage = GroupStage()
    members = entered(stage, "auto", "ann", "bob", "cyd", "dan")
    stage.veto(members[2])
    proposal = stage.group(members[0]).proposal
    assert proposal is not UNSET
    assert proposal.mode == "datachannel"
    stage.veto(members[2])
    modes = []
    while (proposal := stage.group(members[0]).proposal) is not UNSET:
        modes.append(proposal.mode)
        stage.veto(members[1])
    assert set(modes) <= {"sfu", "relay"}
    stage.later(31_000)
    proposal = stage.group(members[0]).proposal
    assert proposal is not UNSET
    assert proposal.mode == "host"


def test_links_that_cannot_be_made_lead_to_the_worker_or_to_the_relay() -> None:
    stage = GroupStage()
    members = entered(stage, "auto", "ann", "bob", "cyd")
    stage.report(members[0], members[2])
    state = answering(stage, *members)
    assert (state.mode, state.reason) == ("datachannel", "unreachable")
    stage.has_worker = False
    stage.later(7_000)
    state = answering(stage, *members)
    assert (state.mode, state.reason) == ("relay", "no_worker")
    # It can again, and the group is small enough.
    stage.report(members[0], members[2], is_reachable=True)
    stage.later(6_000)
    assert answering(stage, *members).mode == "mesh"


def test_a_host_that_does_not_hear_of_somebody_is_no_reason_to_leave_the_mode() -> None:
    stage = GroupStage()
    members = entered(stage, "auto", "ann", "bob", "cyd", "dan")
    answering(stage, *members)
    stage.report(members[0], members[1])
    assert stage.group(members[0]).proposal is UNSET
    # Who has no link to the host says so itself.
    stage.report(members[1], members[0])
    proposal = stage.group(members[0]).proposal
    assert proposal is not UNSET
    assert (proposal.mode, proposal.reason) == ("datachannel", "unreachable")


def test_auto_does_not_ask_who_cannot_answer() -> None:
    stage = GroupStage()
    members = entered(stage, "auto", "ann", "bob", "cyd")
    stage.cut(members[1])
    entered(stage, "auto", "dan")
    assert stage.group(members[0]).proposal is UNSET
    stage.come_back(members[1])
    assert stage.group(members[0]).proposal is not UNSET


def test_a_draining_server_unseats_nobody() -> None:
    stage = GroupStage()
    _, bob = entered(stage, "host", "ann", "bob")
    before = stage.group(bob)
    stage.membership.drain(lambda: 500)
    stage.settle()
    for _ in range(10):
        stage.now_ms += 500
        stage.groups.flush(stage.now_ms)
    assert stage.group(bob) == before
    assert stage.groups.deadline_ms is None


def test_who_comes_first_after_a_restart_takes_neither_the_place_of_a_member_nor_that_of_the_host() -> None:
    stage = GroupStage()
    ann, bob = entered(stage, "host", "ann", "bob")
    term, seen = stage.host_term(ann), [stage.seen(one) for one in (ann, bob)]
    after = stage.restarted()
    zoe = after.join("zoe")
    after.enter(zoe, "host")
    assert after.group(zoe).host is UNSET
    after.later(500)
    bob, ann = after.join("bob"), after.join("ann")
    after.enter(bob, "host", seen=seen[1])
    after.enter(ann, "host", seen=seen[0])
    state = after.group(zoe)
    assert [one.name for one in state.members] == ["ann", "bob", "zoe"]
    assert (after.host(zoe), after.host_term(zoe)) == ("ann", term)

"""The host machine: the transcripts that both SDKs share, and who is refused."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.host_frames import (
    HOST_ROLE,
    Ack,
    Alive,
    EntryMessage,
    Hello,
    Message,
    Passed,
    Safe,
    StatePiece,
    Submit,
    Sync,
    Synced,
    Welcome,
    decode,
    encode,
    join,
)
from peerbus.client.webrtc.host_mode import HostMode
from peerbus.client.webrtc.host_record import (
    REPLAY_ENTRIES_MAX,
    Bad,
    FrameCame,
    HostMessage,
    HostView,
    Transmit,
    Unheard,
)
from peerbus.client.webrtc.peer_frames import encode_mark, encode_reliable, form_of
from tests.support.host_transcripts import FILE, play

TRANSCRIPTS: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript["name"])
def test_transcript(transcript: dict[str, Any]) -> None:
    told = json.loads(json.dumps(play(transcript["steps"], transcript["identity"])))
    for number, (step, expected) in enumerate(zip(told, transcript["steps"], strict=True)):
        if "take" not in expected["do"]:
            step = {**step, "at": expected["at"]}
        assert step == expected, f"step {number}"


def view(version: int, host: str, term: int, successor: str | None = None) -> HostView:
    members = {"ann": 1, "bob": 2, "cyd": 3}
    return HostView(version=version, term=term, host=host, successor=successor, members=members)


def guest() -> HostMode:
    """Bob, with Ann as host, and a link to all."""
    mode = HostMode("bob")
    for peer in ("ann", "cyd"):
        mode.link_up(peer)
    mode.follow(view(1, "ann", 7), 0)
    mode.receive("ann", join([encode(Welcome(7, 0))])[0], 0)
    assert mode.is_ready
    mode.take(0)
    return mode


@pytest.mark.parametrize(
    ("peer", "term", "is_taken"), [("ann", 7, True), ("ann", 6, False), ("ann", 8, False), ("cyd", 7, False)]
)
def test_only_the_host_under_its_term_is_heard(peer: str, term: int, is_taken: bool) -> None:
    mode = guest()
    frame = encode_mark(2, 5, 1)
    mode.receive(peer, join([encode(Passed(term, "cyd", frame))])[0], 1)
    came = [output for output in mode.take(1) if isinstance(output, FrameCame)]
    assert came == ([FrameCame("cyd", frame)] if is_taken else [])
    assert mode.stale == (0 if is_taken else 1)


def test_a_host_that_is_none_any_more_is_no_host_at_once() -> None:
    mode = HostMode("ann")
    mode.follow(view(1, "ann", 7), 0)
    mode.tick(2_000)
    assert (mode.is_host, mode.is_ready) == (True, True)
    mode.follow(view(2, "bob", 8), 2_001)
    assert (mode.is_host, mode.is_ready) == (False, False)
    with pytest.raises(PeerbusError) as caught:
        mode.set_state({}, 2_002)
    assert caught.value.code is ErrorCode.FORBIDDEN


def test_what_is_said_twice_to_the_host_is_taken_in_once_also_by_the_next_one() -> None:
    kind, data = form_of("goal")
    frame = encode_reliable(9, 1, None, kind << 1, data)
    host = HostMode("bob")
    host.follow(view(1, "bob", 7), 0)
    host.tick(2_000)
    assert host.submit((HOST_ROLE,), frame, 2_001)
    messages = [one for _ in range(3) for one in host.take(2_001) if isinstance(one, HostMessage)]
    assert [one.payload for one in messages] == ["goal"]
    host.set_state(["goal"], 2_002)
    host.tick(2_300)  # The log is pruned: only the state knows.
    host.follow(view(2, "bob", 8), 2_301)
    assert host.submit((HOST_ROLE,), frame, 2_302)
    assert not [one for _ in range(4) for one in host.take(2_302) if isinstance(one, HostMessage)]


def test_nobody_is_shown_what_the_successor_has_not() -> None:
    kind, data = form_of("x")
    frame = encode_reliable(9, 1, None, kind << 1, data)
    host = HostMode("ann")
    host.follow(view(1, "ann", 7, "bob"), 0)
    host.tick(2_000)
    assert host.submit(("bob", "cyd"), frame, 2_001)
    assert not [one for _ in range(3) for one in host.take(2_001) if isinstance(one, FrameCame | Transmit)]


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x91\x01", b"\x91\x92\x63\x01", join([encode(Submit(7, ["x" * 200], b""))])[0]]
)
def test_what_can_not_be_read_is_told_and_disturbs_nothing(data: bytes) -> None:
    mode = guest()
    mode.receive("ann", data, 1)
    assert [type(output).__name__ for output in mode.take(1)] == ["Bad"]
    assert mode.is_ready


def mode_at(identity: str, *views: HostView) -> HostMode:
    """A member with links to all, that was told these."""
    mode = HostMode(identity)
    for peer in {"ann", "bob", "cyd"} - {identity}:
        mode.link_up(peer)
    for one in views:
        mode.follow(one, 0)
    mode.take(0)
    return mode


def said(mode: HostMode, now_ms: int) -> list[Message]:
    """What it says on its links now, to whomever."""
    mode.tick(now_ms)
    messages: list[Message] = []
    while outputs := mode.take(now_ms):
        messages += [
            one
            for out in outputs
            if isinstance(out, Transmit)
            for one in decode(out.data)
            if not out.is_lossy
        ]
    return messages


def test_what_a_host_said_before_it_read_a_hello_counts_for_nothing() -> None:
    """Else a successor would take the end of what it did not hear for all there is."""
    bob = mode_at("bob", view(1, "ann", 7, "bob"))
    frame = encode_reliable(9, 1, None, 0, b"\xc0")
    tail: list[Message] = [
        Sync(7, 1, [], {}),
        EntryMessage(7, 1, 7, "cyd", ["cyd"], False, frame),
        Synced(7, 1),
    ]
    bob.receive("ann", join([encode(one) for one in [Welcome(7, 0), *tail]])[0], 1)
    assert Safe(7, 1) in said(bob, 1)
    # Another was named in between: it asks for all once more, and what is still under way is from before that.
    bob.follow(view(2, "ann", 7, "cyd"), 2)
    bob.follow(view(3, "ann", 7, "bob"), 2)
    assert [type(one) for one in said(bob, 2)] == [Hello]
    bob.receive("ann", join([encode(Sync(7, 3, [], {})), encode(Synced(7, 1))])[0], 3)
    assert said(bob, 3) == []
    bob.receive("ann", join([encode(Welcome(7, 1)), encode(Sync(7, 3, [], {})), encode(tail[1])])[0], 4)
    bob.receive("ann", join([encode(Synced(7, 1))])[0], 4)
    assert Safe(7, 1) in said(bob, 4)


def test_a_successor_has_not_all_before_it_has_the_state() -> None:
    """Messages that are in the newest state are not in the log any more."""
    ann = mode_at("ann", view(1, "ann", 7))
    ann.tick(2_000)
    ann.set_state(["large"], 2_000)
    said(ann, 2_001)
    ann.follow(view(2, "ann", 7, "bob"), 2_010)
    ann.receive("bob", join([encode(Hello(7, 2, 0, 0, 0, 0))])[0], 2_020)
    kinds = [type(one) for one in said(ann, 2_020)]
    assert kinds.index(Sync) < kinds.index(StatePiece) < kinds.index(Synced)
    assert kinds.count(StatePiece) == 1


def test_every_version_of_the_group_is_marked() -> None:
    """A guest may learn only by a later version than the host that somebody left."""
    ann = mode_at("ann", view(1, "ann", 7))
    ann.tick(2_000)
    ann.receive("cyd", join([encode(Hello(7, 1, 0, 0, 0, 0))])[0], 2_001)
    said(ann, 2_001)
    ann.follow(view(2, "ann", 7), 2_002)
    markers = [one for one in said(ann, 2_002) if isinstance(one, EntryMessage) and not one.sender]
    assert [int.from_bytes(one.frame, "big") for one in markers] == [2]


def test_a_silent_host_is_told_of_and_a_working_one_says_something_all_the_time() -> None:
    bob = guest()
    outputs = []
    for now_ms in range(0, 1_000, 20):
        bob.tick(now_ms)
        outputs += bob.take(now_ms)
    assert Unheard(7) in outputs
    ann = mode_at("ann", view(1, "ann", 7))
    ann.tick(2_000)
    ann.receive("cyd", join([encode(Hello(7, 1, 0, 0, 0, 0))])[0], 2_001)
    beats = [at for at in range(2_010, 4_010, 10) if Alive(7) in said(ann, at)]
    assert len(beats) >= 19
    assert max(later - one for one, later in pairwise(beats)) <= 110


def test_what_came_after_a_state_that_is_never_set_again_is_kept_up_to_a_bound() -> None:
    ann = mode_at("ann", HostView(version=1, term=7, host="ann", successor=None, members={"ann": 1}))
    ann.tick(2_000)
    ann.set_state({}, 2_000)
    told = []
    now_ms = 2_000
    for seq in range(1, REPLAY_ENTRIES_MAX + 1_009):
        ann.submit((HOST_ROLE,), encode_reliable(9, seq, None, 0, b"\xc0"), now_ms)
        if seq % 100 == 0:
            now_ms += 250
            ann.tick(now_ms)
            while outputs := ann.take(now_ms):
                told += [one for one in outputs if isinstance(one, Bad)]
    assert [one.error.code for one in told] == [ErrorCode.QUEUE_FULL]
    assert REPLAY_ENTRIES_MAX / 2 < len(ann._record.log) <= REPLAY_ENTRIES_MAX
    ann.set_state({}, now_ms)
    ann.tick(now_ms + 250)
    assert len(ann._record.log) == 0


def test_a_member_that_never_comes_does_not_make_the_host_keep_everything() -> None:
    ann = mode_at("ann", view(1, "ann", 7))
    ann.tick(2_000)
    ann.receive("bob", join([encode(Hello(7, 1, 0, 0, 0, 0))])[0], 2_001)
    for seq, now_ms in enumerate(range(2_010, 62_010, 100), 1):
        ann.submit(("bob", "cyd"), encode_reliable(9, seq, None, 0, b"\xc0"), now_ms)
        last = max((one.n for one in said(ann, now_ms) if isinstance(one, EntryMessage)), default=0)
        ann.receive("bob", join([encode(Ack(7, last))])[0], now_ms)
    assert len(ann._record.log) <= 310

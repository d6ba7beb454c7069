"""The host machine: the transcripts that both SDKs share, and who is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.host_frames import HOST_ROLE, Passed, Submit, Welcome, encode, join
from peerbus.client.webrtc.host_mode import HostMode
from peerbus.client.webrtc.host_record import FrameCame, HostMessage, HostView, Transmit
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

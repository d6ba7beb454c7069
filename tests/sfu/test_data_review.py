"""The check of data messages: what it makes of their frames, and that nothing else notices."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgpack
import msgspec
import pytest

from peerbus.client.webrtc.peer_delivery import Bad, Delivered, Delivery
from peerbus.client.webrtc.peer_frames import (
    CONTINUES,
    MORE,
    PIECE_BYTES,
    encode_lossy,
    encode_mark,
    encode_reliable,
)
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.sfu.data_review import ACCEPTED, MESSAGE_BYTES_MAX, Changed, DataReview, Reviewed, Verdict

Check = Callable[[Any], Verdict]
NO = ProtocolError(ErrorCode.MESSAGE_REFUSED, "no")


def review(reviewer: DataReview, to: list[str] | None, payload: Any, check: Check) -> Reviewed:
    """Reviews a data message to its end."""
    steps = reviewer.review(to, msgspec.Raw(msgpack.packb(payload)))
    try:
        asked = next(steps)
        while True:
            asked = steps.send(check(asked.payload))
    except StopIteration as end:
        reviewed: Reviewed = end.value
        return reviewed


def contents(reviewed: Reviewed) -> list[Any]:
    return [msgpack.unpackb(payload) for _, payload in reviewed.sent]


def fussy(payload: Any) -> Verdict:
    """Refuses what is bad, and makes what is loud quiet."""
    text = payload if isinstance(payload, str) else str(payload.get("say", "")) if payload else ""
    if text.startswith("bad"):
        return NO
    return Changed({"say": text.lower()}) if text.isupper() else ACCEPTED


class World:
    """Ann's messages to two others, through a check, by paths that break."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_ms = 0
        self.ann = Delivery("ann", 7)
        self.others = {name: Delivery(name, 8) for name in ("bob", "cyd")}
        self.reviewer = DataReview()
        self.asked: list[Any] = []
        self.problems: list[ProtocolError] = []
        self.got: dict[str, list[Any]] = {"bob": [], "cyd": []}
        for name, other in self.others.items():
            self.ann.set_path(name, "worker")
            other.set_path("ann", "worker")

    def check(self, payload: Any) -> Verdict:
        self.asked.append(payload)
        return fussy(payload)

    def carry(self, loss: float) -> None:
        """Everything that can go goes; what comes out of the check may be lost with a receiver's connection."""
        for one in self.ann.take("worker", self.now_ms, reliable_room=10**9, lossy_room=10**9):
            reviewed = review(self.reviewer, list(one.to), one.frame, self.check)
            self.problems += reviewed.problems
            for to, payload in reviewed.sent:
                for name in to or self.others:
                    if self.chance.random() < loss:
                        continue
                    events = self.others[name].receive("ann", msgpack.unpackb(payload), self.now_ms)
                    assert not any(isinstance(event, Bad) for event in events), events
                    self.got[name] += [event.payload for event in events if isinstance(event, Delivered)]
        for name, other in self.others.items():
            for one in other.take("worker", self.now_ms, reliable_room=10**9, lossy_room=0):
                if self.chance.random() >= loss:
                    self.ann.receive(name, one.frame, self.now_ms)
        self.now_ms += 60


@pytest.mark.parametrize("seed", range(12))
def test_whatever_gets_lost_each_message_is_judged_once_and_the_rest_arrives_in_order(seed: int) -> None:
    world = World(seed)
    wanted: dict[str, list[Any]] = {"bob": [], "cyd": []}
    sent: list[Any] = []
    for number in range(60):
        filling = "x" * world.chance.choice([0, 0, 0, PIECE_BYTES, 3 * PIECE_BYTES])
        payload = world.chance.choice(
            [f"good {number} {filling}", f"bad {number} {filling}", f"LOUD {number} {filling.upper()}"]
        )
        to = world.chance.choice([["bob"], ["cyd"], ["bob", "cyd"]])
        world.ann.send(number, to, payload, is_lossy=False, now_ms=world.now_ms)
        sent.append(payload)
        if not payload.startswith("bad"):
            arriving = {"say": payload.lower()} if payload.isupper() else payload
            for name in to:
                wanted[name].append(arriving)
        if world.chance.random() < 0.4:
            world.carry(0.3)
    for _ in range(150):
        world.carry(0.1)
    assert world.got == wanted
    assert world.asked == sent
    assert len(world.problems) == sum(payload.startswith("bad") for payload in sent)
    assert world.ann.kept_bytes == 0


def test_lossy_messages_of_one_frame_are_judged_one_by_one() -> None:
    reviewer = DataReview()
    values = [msgpack.packb(value) for value in ("good", "bad", "LOUD", {"say": "good"})]
    reviewed = review(reviewer, ["bob"], encode_lossy(7, values), fussy)
    (frame,) = contents(reviewed)
    assert msgpack.unpackb(frame) == [1, 7, "good", {"say": "loud"}, {"say": "good"}]
    assert reviewed.problems == [NO]
    assert review(reviewer, ["bob"], encode_lossy(7, values[1:2]), fussy).sent == []


def test_what_is_no_message_passes_unasked_and_what_is_no_frame_is_a_message() -> None:
    reviewer = DataReview()
    asked: list[Any] = []

    def note(payload: Any) -> Verdict:
        asked.append(payload)
        return fussy(payload) if isinstance(payload, str) else ACCEPTED

    for kind in (2, 3, 4):
        mark = encode_mark(kind, 7, 1)
        assert contents(review(reviewer, ["bob"], mark, note)) == [mark]
    assert asked == []
    assert contents(review(reviewer, None, "plain", note)) == ["plain"]
    assert contents(review(reviewer, None, "LOUD", note)) == [{"say": "loud"}]
    assert contents(review(reviewer, None, b"\x93", note)) == [b"\x93"]
    assert review(reviewer, None, "bad", note).problems == [NO]
    assert asked == ["plain", "LOUD", b"\x93", "bad"]


def void(seq: int) -> bytes:
    return encode_reliable(7, seq, None, 16, b"")


def test_nobody_gets_past_the_check_by_how_frames_are_sent() -> None:
    reviewer = DataReview()
    first = encode_reliable(7, 1, None, MORE | 2, b"ba")
    assert contents(review(reviewer, ["bob"], first, fussy)) == [], "held until it is whole"
    other = encode_reliable(7, 1, None, MORE | 2, b"go")
    again = review(reviewer, ["cyd"], other, fussy)
    assert (contents(again), len(again.problems)) == ([void(1)], 1), "another content under its number"
    last = encode_reliable(7, 2, None, CONTINUES | 2, b"d")
    assert contents(review(reviewer, ["bob"], last, fussy)) == [void(1), void(2)]
    assert contents(review(reviewer, ["cyd"], last, fussy)) == [void(2)], (
        "the same fate for whoever gets it later"
    )
    lone = review(reviewer, ["bob"], encode_reliable(7, 9, None, CONTINUES | 2, b"x"), fussy)
    assert (contents(lone), len(lone.problems)) == ([void(9)], 1), "the end of what nobody began"
    good = encode_reliable(7, 10, None, 2, b"good")
    assert contents(review(reviewer, ["bob"], good, fussy)) == [good]
    assert contents(review(reviewer, ["cyd"], encode_reliable(7, 10, None, 2, b"evil"), fussy)) == [void(10)]


def test_what_cannot_be_held_or_put_in_its_place_is_refused() -> None:
    reviewer = DataReview()
    count = MESSAGE_BYTES_MAX // PIECE_BYTES + 2
    sent: list[Any] = []
    problems: list[ProtocolError] = []
    for seq in range(1, count + 1):
        flags = 2 | (MORE if seq < count else 0) | (CONTINUES if seq > 1 else 0)
        reviewed = review(reviewer, ["bob"], encode_reliable(7, seq, None, flags, bytes(PIECE_BYTES)), fussy)
        sent += contents(reviewed)
        problems += reviewed.problems
    assert sent == [void(seq) for seq in range(1, count + 1)]
    assert [problem.code for problem in problems] == [ErrorCode.TOO_LARGE]

    small = encode_reliable(7, count + 1, None, 2, b"small")
    for unfit in ("y" * (PIECE_BYTES + 1), object()):
        reviewed = review(DataReview(), ["bob"], small, lambda _, unfit=unfit: Changed(unfit))  # type: ignore[misc]
        assert contents(reviewed) == [void(count + 1)]
        assert [problem.code for problem in reviewed.problems] == [ErrorCode.MESSAGE_REFUSED]

    # Messages that are begun and never ended do not pile up.
    begun = [encode_reliable(7, 1_000 + 10 * n, None, MORE | 2, bytes(10)) for n in range(9)]
    outcomes = [review(reviewer, ["bob"], frame, fussy) for frame in begun]
    assert [contents(one) for one in outcomes] == [[]] * 8 + [[void(1_000)]]

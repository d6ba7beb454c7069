"""Delivery between peers: the transcripts, and what holds whatever the paths do."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.peer_delivery import Bad, Delivered, Delivery, Flushed
from peerbus.client.webrtc.peer_frames import MESSAGE_BYTES_MAX, PIECE_BYTES, encode_reliable
from peerbus.client.webrtc.peer_receiving import HELD_BYTES_MAX
from peerbus.client.webrtc.peer_sending import KEPT_BYTES_MAX
from tests.support.mutations import mutated
from tests.support.peer_transcripts import FOLDER, expected, play

TRANSCRIPTS: list[dict[str, Any]] = [
    transcript
    for path in sorted(FOLDER.glob("delivery*.json"))
    for transcript in json.loads(path.read_text("utf-8"))
]


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda one: one["name"])
def test_transcripts(transcript: dict[str, Any]) -> None:
    for step, done in zip(transcript["steps"], play(transcript), strict=True):
        assert done == expected(step), step


class World:
    """Peers and the frames between them, which keep their order on a path; when it is replaced, anything goes."""

    def __init__(self, chance: random.Random, names: list[str]) -> None:
        self.chance = chance
        self.now_ms = 0
        self.peers = {name: Delivery(name, chance.randrange(1, 2**32)) for name in names}
        self.flying: dict[tuple[str, str], list[bytes]] = {}
        self.strays: list[tuple[str, str, bytes]] = []
        self.sent: dict[tuple[str, str], list[Any]] = {}
        self.got: dict[tuple[str, str], list[Any]] = {}
        self.count = 0
        for name in names:
            for other in names:
                if other != name:
                    self.peers[name].set_path(other, f"to {other}")

    def send(self) -> None:
        name = self.chance.choice(list(self.peers))
        others = [other for other in self.peers if other != name]
        to = self.chance.sample(others, self.chance.randint(1, len(others)))
        self.count += 1
        size = self.chance.choice((0, 10, 10, 10, PIECE_BYTES + 1, 3 * PIECE_BYTES))
        payload = {"n": self.count, "data": bytes(size)}
        self.peers[name].send(self.count, to, payload, is_lossy=False, now_ms=self.now_ms)
        for other in to:
            self.sent.setdefault((name, other), []).append(payload)

    def pump(self, room: int) -> None:
        for name, peer in self.peers.items():
            for other in self.peers:
                if other != name:
                    for out in peer.take(f"to {other}", self.now_ms, reliable_room=room, lossy_room=room):
                        self.flying.setdefault((name, other), []).append(out.frame)

    def arrive(self) -> None:
        for (sender, receiver), frames in self.flying.items():
            for _ in range(self.chance.randint(0, len(frames))):
                self.receive(sender, receiver, frames.pop(0))
        for _ in range(self.chance.randint(0, len(self.strays))):
            self.receive(*self.strays.pop(self.chance.randrange(len(self.strays))))

    def receive(self, sender: str, receiver: str, frame: bytes) -> None:
        for event in self.peers[receiver].receive(sender, frame, self.now_ms):
            assert isinstance(event, Delivered | Flushed), event
            if isinstance(event, Delivered):
                self.got.setdefault((sender, receiver), []).append(event.payload)

    def replace(self) -> None:
        """A path in one direction is replaced: what was on it is lost, comes late, or twice."""
        sender, receiver = self.chance.sample(list(self.peers), 2)
        for frame in self.flying.pop((sender, receiver), []):
            self.strays += [(sender, receiver, frame)] * self.chance.choice((0, 0, 1, 2))
        if self.chance.random() < 0.7:
            self.peers[sender].set_path(receiver, f"to {receiver}")
        else:
            self.peers[receiver].ask(sender)

    def settle(self) -> None:
        for _ in range(120):
            self.pump(1 << 30)
            self.arrive()
            self.now_ms += 100


@pytest.mark.parametrize("seed", range(60))
def test_everything_arrives_once_and_in_order_whatever_the_paths_do(seed: int) -> None:
    chance = random.Random(seed)
    world = World(chance, ["ann", "bob", "cyd", "dan"][: chance.randint(2, 4)])
    for _ in range(150):
        world.now_ms += chance.randint(0, 40)
        if chance.random() < 0.5:
            world.send()
        if chance.random() < 0.15:
            world.replace()
        world.pump(chance.choice((0, 1, 5_000, 100_000)))
        world.arrive()
    world.settle()
    assert world.got == world.sent
    assert all(peer.kept_bytes == 0 for peer in world.peers.values())
    assert sorted(number for peer in world.peers.values() for number in peer.take_settled()[0]) == list(
        range(1, world.count + 1)
    )


def test_who_begins_anew_misses_only_what_it_had_acknowledged() -> None:
    world = World(random.Random(1), ["ann", "bob"])
    ann = world.peers["ann"]
    for number in range(20):
        ann.send(number, ["bob"], number, is_lossy=False, now_ms=0)
        world.settle() if number == 9 else None
    world.pump(1 << 30)
    world.peers["bob"] = Delivery("bob", 77)
    world.peers["bob"].set_path("ann", "to ann")
    world.settle()
    assert world.got[("ann", "bob")] == list(range(20))


def test_a_message_of_64_mib_goes_through_and_one_byte_more_does_not() -> None:
    world = World(random.Random(2), ["ann", "bob"])
    ann = world.peers["ann"]
    ann.send(1, ["bob"], bytes(MESSAGE_BYTES_MAX), is_lossy=False, now_ms=0)
    with pytest.raises(PeerbusError) as caught:
        ann.send(2, ["bob"], "more", is_lossy=False, now_ms=0)
    assert caught.value.code is ErrorCode.QUEUE_FULL
    world.settle()
    assert [len(payload) for payload in world.got[("ann", "bob")]] == [MESSAGE_BYTES_MAX]
    assert ann.kept_bytes == 0
    with pytest.raises(PeerbusError) as caught:
        ann.send(3, ["bob"], bytes(MESSAGE_BYTES_MAX + 1), is_lossy=False, now_ms=0)
    assert caught.value.code is ErrorCode.TOO_LARGE
    with pytest.raises(PeerbusError) as caught:
        ann.send(4, ["bob"], object(), is_lossy=False, now_ms=0)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_a_sender_may_not_fill_the_memory() -> None:
    ann = Delivery("ann", 1)
    body = bytes(PIECE_BYTES)
    for seq in range(2, 2_000):
        assert ann.receive("eve", encode_reliable(9, seq, None, 5, body), 0) == []
    receiving = ann._senders["eve"]
    assert receiving._held_bytes <= HELD_BYTES_MAX
    assert len(receiving._held) * PIECE_BYTES <= HELD_BYTES_MAX
    events = []
    for seq in range(1, 4_500):
        flags = 5 if seq == 1 else 13
        events += ann.receive("mal", encode_reliable(9, seq, None, flags, body), 0)
    assert [(type(event), event.error.code) for event in events if isinstance(event, Bad)] == [
        (Bad, ErrorCode.TOO_LARGE)
    ]
    assert ann._senders["mal"]._pieces is None


def test_nobody_who_does_not_acknowledge_fills_the_memory_either() -> None:
    ann = Delivery("ann", 1)
    ann.set_path("bob", "p")
    for number in range(KEPT_BYTES_MAX // 1_048_576):
        ann.send(number, ["bob"], bytes(1_048_576), is_lossy=False, now_ms=0)
    with pytest.raises(PeerbusError) as caught:
        ann.send(98, ["bob"], "one more", is_lossy=False, now_ms=0)
    assert caught.value.code is ErrorCode.QUEUE_FULL
    ann.left("bob")
    assert ann.kept_bytes == 0
    ann.send(99, ["bob"], "again", is_lossy=False, now_ms=0)


def test_damaged_frames_hurt_nobody_else() -> None:
    chance = random.Random(3)
    ann = Delivery("ann", 1)
    ann.set_path("bob", "p")
    good = [bytes.fromhex(step["frame"]) for one in TRANSCRIPTS for step in one["steps"] if "frame" in step]
    for number in range(4_000):
        ann.receive("eve", mutated(chance.choice(good)[:300], chance), number)
    ann.send(1, ["bob"], "fine", is_lossy=False, now_ms=5_000)
    assert [out.to for out in ann.take("p", 5_000, reliable_room=1, lossy_room=1)] == [("bob",)]
    assert ann.receive("bob", encode_reliable(9, 1, None, 2, b"fine"), 5_000) == [
        Delivered("bob", "fine", is_lossy=False)
    ]

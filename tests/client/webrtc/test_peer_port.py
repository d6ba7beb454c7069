"""Messages between two members over a simulated network, in emulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc.network_simulator import Simulation
from peerbus.client.webrtc.peer_delivery import Outgoing
from peerbus.client.webrtc.peer_port import PeerPort
from peerbus.client.webrtc.ways import Rooms
from peerbus.protocol.groups import GroupMember, Mode
from tests.support.emulated_loop import emulated


class Wire:
    """A way straight to the other member's port."""

    mode: Final[Mode] = "mesh"
    failure: PeerbusError | None = None

    def __init__(self, sender: str) -> None:
        self.sender = sender
        self.other: PeerPort | None = None

    def follow(self, members: Mapping[str, GroupMember], order: int) -> None:
        """See `Way`."""

    def path_of(self, peer: str) -> str | None:
        """See `Way`."""
        return None if self.other is None else f"wire to {peer}"

    def can_carry(self, peer: str) -> bool:
        """See `Way`."""
        return True

    def rooms(self, path: str) -> Rooms:
        """See `Way`."""
        return Rooms() if self.other is None else Rooms(reliable=100_000, lossy=100_000)

    def send(self, path: str, frames: Sequence[Outgoing]) -> None:
        """See `Way`."""
        assert self.other is not None
        for one in frames:
            self.other.receive(self.sender, one.frame)

    async def round_trip_ms(self, peer: str) -> float | None:
        """See `Way`."""
        return None

    def retire(self) -> None:
        """See `Way`."""

    def revive(self) -> None:
        """See `Way`."""

    async def close(self) -> None:
        """See `Way`."""


class Member:
    """One member, and what it was told, with the time."""

    def __init__(self, name: str, stream: int) -> None:
        self.told: list[tuple[float, Any]] = []
        self.flushed: list[str] = []
        self.errors: list[Exception] = []
        self.port = PeerPort(
            stream,
            on_data=lambda sender, payload: self.told.append((now_ms(), payload)),
            on_flushed=self.flushed.append,
            on_error=self.errors.append,
        )
        self.port.become(name)
        self.wire = Wire(name)


def now_ms() -> float:
    return asyncio.get_running_loop().time() * 1000


def pair() -> tuple[Member, Member]:
    ann, bob = Member("ann", 7), Member("bob", 8)
    ann.wire.other, bob.wire.other = bob.port, ann.port
    ann.port.assign("bob", ann.wire, "wire to bob")
    bob.port.assign("ann", bob.wire, "wire to ann")
    return ann, bob


@emulated
async def test_a_simulated_network_is_as_bad_as_was_asked_for_and_loses_nothing_reliable() -> None:
    ann, bob = pair()
    simulation = Simulation(delay_ms=100, jitter_ms=20, loss=0.1)
    ann.port.simulate(simulation)
    sent_ms: dict[int, float] = {}
    for number in range(500):
        sent_ms[number] = now_ms()
        ann.port.send(["bob"], number, is_lossy=number % 2 == 1)
        await asyncio.sleep(0.01)
    reply_ms = now_ms()
    bob.port.send(["ann"], "to who simulates", is_lossy=False)
    await asyncio.sleep(3)
    reliable = [payload for _, payload in bob.told if payload % 2 == 0]
    assert reliable == list(range(0, 500, 2))
    assert 190 < len(bob.told) - len(reliable) < 250
    assert all(at - sent_ms[payload] >= 100 for at, payload in bob.told)
    # What comes in is late, too, where only that side simulates.
    assert [payload for _, payload in ann.told] == ["to who simulates"]
    assert ann.told[0][0] - reply_ms >= 100

    ann.port.simulate(Simulation())
    at_once_ms = now_ms()
    ann.port.send(["bob"], "well again", is_lossy=False)
    await asyncio.sleep(0.02)
    assert bob.told[-1] == (at_once_ms, "well again")
    assert ann.port.unacknowledged("bob") <= 1
    assert ann.errors + bob.errors == []


@emulated
async def test_a_path_that_is_replaced_under_a_simulated_network() -> None:
    ann, bob = pair()
    ann.port.simulate(Simulation(delay_ms=200))
    for number in range(5):
        ann.port.send(["bob"], number, is_lossy=False)
    await asyncio.sleep(0.1)
    # The mark on the path that is given up comes behind what is under way there.
    old = ann.wire
    ann.wire = Wire("ann")
    ann.wire.other = bob.port
    ann.port.assign("bob", ann.wire, "another to bob")
    ann.port.flush(old, ["bob"])
    ann.port.send(["bob"], 5, is_lossy=False)
    await asyncio.sleep(0.12)
    assert [payload for _, payload in bob.told] == [0, 1, 2, 3, 4]
    assert bob.flushed == []
    await asyncio.sleep(0.1)
    assert bob.flushed == ["ann"]
    await asyncio.sleep(0.2)
    assert [payload for _, payload in bob.told] == [0, 1, 2, 3, 4, 5]

    # One that is gone takes with it what was on it; that goes by the next.
    ann.port.send(["bob"], 6, is_lossy=False)
    await asyncio.sleep(0.05)
    gone, ann.wire = ann.wire, Wire("ann")
    gone.other, ann.wire.other = None, bob.port
    ann.port.assign("bob", ann.wire, "a third to bob")
    await asyncio.sleep(0.5)
    assert [payload for _, payload in bob.told][-1] == 6
    assert ann.port.unacknowledged("bob") == 0
    ann.port.close()
    bob.port.close()

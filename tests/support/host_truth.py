"""
What must hold of a group in mode `host`, whatever goes wrong, and the days on which it does (`play`).

One loss at a time of those two who have everything, host and successor, breaks nothing (`is_strict`). When both are
lost together, what only they had is lost unless its sender lives, and the order holds for each sender only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Final

from msgspec import UNSET

from peerbus.client.webrtc.host_frames import HOST_ROLE
from tests.support.host_world import Node, Sent, World

DAY_MS: Final = 14_000
QUIET_MS: Final = 4_500
"""At the end, without faults and messages, so that all can arrive."""


class Day:
    """One seed: members, traffic, faults."""

    def __init__(self, seed: int, *, is_double: bool = False) -> None:
        self.world: Final = World(seed)
        self.is_double: Final = is_double
        self.faults: Final[list[tuple[int, str, str]]] = []
        self._critical: Final[list[tuple[int, str]]] = []
        self.is_strict = True
        self._joined = 0
        rng = self.world.rng
        for _ in range(rng.randint(3, 6)):
            self.world.at(rng.randint(0, 400), self._join)
        self.world.at(700, self._chatter)
        for at in (rng.randint(1_600, 1_900), rng.randint(7_500, 7_700)):
            self.world.at(at, self._fault)

    def run(self) -> Day:
        self.world.run(DAY_MS)
        return self

    # --- what happens -------------------------------------------------------------------------------------------

    def _join(self) -> None:
        self._joined += 1
        self.world.add(f"m{self._joined}").enter()

    def _chatter(self) -> None:
        rng = self.world.rng
        if self.world.now < DAY_MS - QUIET_MS:
            self.world.at(rng.randint(10, 150), self._chatter)
            nodes = [node for node in self.world.nodes.values() if node.is_running and len(node.members) > 1]
            if nodes:
                rng.choice(nodes).send(to_role=rng.random() < 0.3, is_lossy=rng.random() < 0.15)

    def _fault(self) -> None:
        rng, world = self.world.rng, self.world
        host, successor = self._centre()
        others = [name for name in world.nodes if name not in (host, successor)]
        if self.is_double and host is not None and successor is not None:
            self._lose(host, rng.choice(("killed", "frozen", "net", "left")))
            world.at(rng.choice((0, 0, 10, 200, 1_000, 1_500)), lambda: self._lose_if(successor, "killed"))
            return
        who = rng.choice([host, host, host, successor, rng.choice(others) if others else None])
        what = rng.choice(
            ("killed", "left", "frozen", "net", "offline", "links", "cut", "restart", "join", "handover")
        )
        if what == "handover" and host is not None and successor is not None:
            # Another successor is named, and the host is gone before that one has everything.
            self.faults.append((world.now, what, successor))
            world.server.offline(world.nodes[successor], rng.randint(400, 900), notice_ms=0)
            world.at(rng.randint(0, 100), lambda: self._lose_if(host, "killed"))
        elif what == "restart":
            self.faults.append((world.now, what, ""))
            world.server.restart(rng.choice((50, 500, 1_500)))
        elif what == "join" or who is None:
            self._join()
        else:
            self._lose(who, what)
        # A new host waits for 2 s for those who may have more: what keeps them away besides is a second loss.
        if what != "handover" and rng.random() < 0.5 and others:
            beside = rng.choice(("join", "killed", "links", "left", "frozen"))
            target = rng.choice(others)
            world.at(
                rng.randint(0, 2_500),
                self._join if beside == "join" else lambda: self._lose_if(target, beside),
            )

    def _lose_if(self, who: str, what: str) -> None:
        if who in self.world.nodes:
            self._lose(who, what)

    def _centre(self) -> tuple[str | None, str | None]:
        host = self.world.server.group.state(self.world.now).host
        if not self.world.server.is_up or host is UNSET:
            return None, None
        return host.identity, None if host.successor is UNSET else host.successor

    def _lose(self, who: str, what: str) -> None:
        world, rng = self.world, self.world.rng
        node = world.nodes[who]
        if len(world.nodes) <= 2 and what in ("killed", "left"):
            return
        if not node.is_running or not node.is_online:
            return
        self.faults.append((world.now, what, who))
        self._count_critical(who, what)
        if what == "killed":
            node.die()
            world.at(rng.choice((5, 500, 2_500)), lambda: self._server_misses(who))
        elif what == "left":
            world.server.leave(who)
            node.die()
        elif what == "frozen":
            node.freeze(rng.randint(600, 4_000))
        elif what == "net":
            for_ms = rng.randint(800, 4_500)
            for peer in list(world.nodes):
                if peer != who:
                    world.cut(who, peer, for_ms)
            world.server.offline(node, for_ms)
        elif what == "offline":
            world.server.offline(node, rng.randint(100, 4_000))
        elif what == "cut":
            peer = rng.choice([name for name in world.nodes if name != who])
            world.cut(who, peer, rng.randint(500, 3_500))
        else:
            world.break_links(who)

    def _server_misses(self, who: str) -> None:
        if who not in self.world.nodes:
            self.world.server.leave(who)

    def _count_critical(self, who: str, what: str) -> None:
        """Two losses of whoever has everything, too close to one another, are beyond the strict promises."""
        now = self.world.now
        if what not in ("killed", "left", "frozen", "net"):
            return
        recent = {name for at, name in self._critical if now - at < 5_500 and name != who}
        if who in self._centre() or recent:
            self._critical.append((now, who))
            if recent:
                self.is_strict = False


# --- what must hold -------------------------------------------------------------------------------------------


def check(day: Day) -> Mapping[str, int]:
    """Raises `AssertionError` with what was broken; gives what was counted."""
    world = day.world
    sent = world.sent
    hosts = [node for node in world.nodes.values() if node.is_host]
    assert all(len(hosts) == 1 for hosts in world.hosts.values()), f"two hosts of one term: {world.hosts}"
    assert len(hosts) == 1, f"{len(hosts)} hosts at the end"
    for node in world.nodes.values():
        assert node.mode.is_ready, f"{node.identity} is with no host"
        assert node.mode.term == hosts[0].mode.term, f"{node.identity} is with another host"
    for node in world.all_nodes:
        assert not node.errors, node.errors[:3]
        if node in world.nodes.values():
            missed = node.missing - node.gone
            assert not missed, f"{node.identity} was never told that nothing more comes of {missed}"
        _check_once_and_in_order(node)
    _check_whole(world, sent)
    _check_history(hosts[0], day)
    if day.is_strict:
        _check_one_order(world, hosts[0])
        _check_atomic(world, sent, hosts[0])
    return {
        "messages": len(sent),
        "received": sum(len(node.seen) for node in world.all_nodes),
        "hosts": sum(node.served for node in world.all_nodes),
        "strict": int(day.is_strict),
        "refused": sum(node.mode.stale for node in world.all_nodes),
    }


def _check_once_and_in_order(node: Node) -> None:
    assert len(set(node.seen)) == len(node.seen), f"{node.identity} received twice"
    last: dict[str, int] = {}
    for name in node.seen:
        sender, _, number = name.rpartition(".")
        assert int(number) > last.get(sender, 0), f"{node.identity} received {name} after {last[sender]}"
        last[sender] = int(number)


def _present(world: World, who: str, at: int) -> Node | None:
    """The member that was there at that time and still is, in one life."""
    node = world.nodes.get(who)
    return node if node is not None and node.since_ms < at - 1_500 else None


def _check_whole(world: World, sent: list[Sent]) -> None:
    seen = {node: set(node.seen) for node in world.nodes.values()}
    for at, sender, name, to in sent:
        if world.nodes.get(sender.identity) is sender:
            for who in to:
                node = _present(world, who, at)
                assert node is None or name in seen[node], f"{name} of {at} never came to {who}"


def _check_atomic(world: World, sent: list[Sent], host: Node) -> None:
    seen = {node: set(node.seen) for node in world.all_nodes}
    shown = set().union(*seen.values())
    taken_in = set(host.history)
    for at, _, name, to in sent:
        if name in shown:
            for who in to:
                node = _present(world, who, at)
                assert node is None or name in seen[node], f"{name} of {at} was shown, but not to {who}"
        for node in world.all_nodes:
            if HOST_ROLE in to and name in node.history:
                assert name in taken_in, f"{name} was taken in by {node.identity}, and is not in the state"


def _check_history(host: Node, day: Day) -> None:
    world = day.world
    to_role = {name for _, _, name, to in world.sent if HOST_ROLE in to}
    # After two losses at once a state may hold what was for the host by its name and comes to the next one as well.
    once = host.history if day.is_strict else [name for name in host.history if name in to_role]
    assert len(set(once)) == len(once), "a message was taken in twice"
    if not day.is_strict:
        return
    taken_in = set(host.history)
    for _, sender, name, to in world.sent:
        if HOST_ROLE in to and world.nodes.get(sender.identity) is sender:
            assert name in taken_in, f"{name} never came to the host"
    for node in world.all_nodes:
        for length, name in node.claims:
            assert host.history[length - 1 : length] == [name], (
                f"{node.identity} saw {name} as number {length}"
            )


def _check_one_order(world: World, host: Node) -> None:
    orders = [(node.identity, node.seen) for node in world.all_nodes] + [("the state", host.history)]
    places = [(who, {name: place for place, name in enumerate(names)}) for who, names in orders]
    for (one, first), (other, second) in combinations(places, 2):
        common = sorted((place, name) for name, place in first.items() if name in second)
        last = -1
        for _, name in common:
            assert second[name] > last, f"{one} and {other} saw {name} in different orders"
            last = second[name]


def play(
    seed: int, *, is_double: bool = False, change: Callable[[Day], None] | None = None
) -> Mapping[str, int]:
    """One day, checked. `change` may spoil it before it begins."""
    day = Day(seed, is_double=is_double)
    if change is not None:
        change(day)
    try:
        return check(day.run())
    except Exception as error:
        error.add_note(f"seed {seed}, double {is_double}, strict {day.is_strict}, faults {day.faults}")
        raise

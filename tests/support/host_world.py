"""
A group in mode `host` in emulated time: members with their delivery layer and their host machine, links between them,
the server's own group machine, and everything that can go wrong. What must hold is checked by `host_truth`.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from peerbus.client.webrtc.host_frames import HOST_ROLE
from peerbus.client.webrtc.host_mode import HostMode
from peerbus.client.webrtc.host_record import (
    Bad,
    FrameCame,
    Gone,
    HostChanged,
    HostMessage,
    HostView,
    PathReady,
    Reachable,
    Renew,
    Transmit,
    Unheard,
)
from peerbus.client.webrtc.peer_delivery import Delivered, Delivery
from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.groups import Enter, GroupState, Report, Seen, SeenHost
from peerbus.signaling.group import Group
from peerbus.signaling.hosting import GroupCounters
from peerbus.signaling.limits import Limits

AWAY_MS: Final = 2_500
"""How long a member may be without the server before it is out of the group."""


class Sent(NamedTuple):
    """A reliable message that an application sent."""

    at: int
    sender: Node
    name: str
    to: tuple[str, ...]


class World:
    """The clock, the links and the server."""

    def __init__(self, seed: int) -> None:
        self.rng: Final = random.Random(seed)
        self.now = 0
        self.sent: Final[list[Sent]] = []
        self.has_large = True
        """Whether some messages have several pieces."""
        self._agenda: Final[list[tuple[int, int, Callable[[], None]]]] = []
        self._count = 0
        self.nodes: Final[dict[str, Node]] = {}
        self.all_nodes: Final[list[Node]] = []
        """Every life of every member."""
        self.links: Final[dict[frozenset[str], Link]] = {}
        self.blocked: Final[set[frozenset[str]]] = set()
        """Pairs that can't reach each other now."""
        self.server: Final = Server(self)
        self.hosts: Final[dict[int, set[str]]] = {}
        """By term: whose messages any guest took as a host's."""
        self.new_mode: Callable[[str], HostMode] = HostMode
        self.at(0, self._make_links)

    def at(self, after_ms: int, what: Callable[[], None]) -> None:
        """Does it later."""
        self._count += 1
        heapq.heappush(self._agenda, (self.now + after_ms, self._count, what))

    def run(self, until_ms: int) -> None:
        while self._agenda and self._agenda[0][0] <= until_ms:
            self.now, _, what = heapq.heappop(self._agenda)
            what()
        self.now = until_ms

    def add(self, identity: str) -> Node:
        node = Node(self, identity)
        self.nodes[identity] = node
        self.all_nodes.append(node)
        return node

    def reborn(self, node: Node) -> None:
        """A member is out of the group, and enters anew."""
        node.die()
        self.add(node.identity).enter()

    # --- links --------------------------------------------------------------------------------------------------

    def _make_links(self) -> None:
        self.at(60, self._make_links)
        names = sorted(self.nodes)
        for index, a in enumerate(names):
            for b in names[index + 1 :]:
                pair = frozenset((a, b))
                one, other = self.nodes[a], self.nodes[b]
                wanted = b in one.mode.wanted_links or a in other.mode.wanted_links
                if wanted and pair not in self.links and self._can_link(one, other):
                    link = self.links[pair] = Link(self, one, other)
                    self.at(self.rng.randint(40, 300), link.open)

    def _can_link(self, one: Node, other: Node) -> bool:
        return (
            one.is_running
            and other.is_running
            and frozenset((one.identity, other.identity)) not in self.blocked
        )

    def cut(self, a: str, b: str, for_ms: int) -> None:
        """No packet goes between these two for a while."""
        pair = frozenset((a, b))
        self.blocked.add(pair)
        self.break_link(pair)
        self.at(for_ms, lambda: self.blocked.discard(pair))

    def break_link(self, pair: frozenset[str]) -> None:
        link = self.links.get(pair)
        if link is not None:
            link.die()

    def break_links(self, identity: str) -> None:
        for pair in [pair for pair in self.links if identity in pair]:
            self.break_link(pair)


class Link:
    """Two ordered ways between two members, until one of the two notices that it is dead."""

    def __init__(self, world: World, one: Node, other: Node) -> None:
        self.world: Final = world
        self.ends: Final = (one, other)
        self.is_alive = True
        self.is_open = False
        self._arrives: dict[str, int] = {one.identity: 0, other.identity: 0}
        self._delay = world.rng.choice((1, 5, 20, 60))

    def open(self) -> None:
        if not self.is_alive or not all(node.is_running for node in self.ends):
            self.forget()
            return
        self.is_open = True
        for node, peer in (self.ends, self.ends[::-1]):
            node.do(partial(self._tell_up, node, peer))

    def _tell_up(self, node: Node, peer: Node) -> None:
        if self.world.links.get(self._pair) is self:
            node.mode.link_up(peer.identity)

    @property
    def _pair(self) -> frozenset[str]:
        return frozenset((self.ends[0].identity, self.ends[1].identity))

    def send(self, sender: Node, data: bytes, is_lossy: bool) -> None:
        rng, world = self.world.rng, self.world
        receiver = self.ends[1] if self.ends[0] is sender else self.ends[0]
        if not self.is_alive or (is_lossy and rng.random() < 0.1):
            return
        delay = self._delay + rng.randint(0, self._delay)
        at = world.now + delay
        if not is_lossy:
            at = self._arrives[receiver.identity] = max(at, self._arrives[receiver.identity])
        world.at(at - world.now, lambda: self._arrive(sender, receiver, data))

    def _arrive(self, sender: Node, receiver: Node, data: bytes) -> None:
        if self.is_alive:
            receiver.do(lambda: self._read(sender, receiver, data))

    def _read(self, sender: Node, receiver: Node, data: bytes) -> None:
        # A frozen member reads what had come when it wakes, unless the link was replaced meanwhile.
        if self.world.links.get(self._pair) is self:
            record = receiver.mode._record
            before = len(record.outputs)
            receiver.mode.receive(sender.identity, data, self.world.now)
            if not receiver.mode.is_host and any(
                isinstance(one, FrameCame) for one in record.outputs[before:]
            ):
                self.world.hosts.setdefault(receiver.mode.term, set()).add(sender.identity)

    def die(self) -> None:
        """Nothing arrives any more; the ends notice one after the other."""
        if self.is_alive:
            self.is_alive = False
            for node, peer in (self.ends, self.ends[::-1]):
                self.world.at(self.world.rng.randint(0, 700), partial(self._notice, node, peer))
            self.world.at(701, self.forget)

    def _notice(self, node: Node, peer: Node) -> None:
        if self.world.nodes.get(node.identity) is node:
            node.do(lambda: self._tell_down(node, peer))

    def _tell_down(self, node: Node, peer: Node) -> None:
        if self.world.links.get(self._pair) in (None, self):
            node.mode.link_down(peer.identity)

    def forget(self) -> None:
        if self.world.links.get(self._pair) is self:
            del self.world.links[self._pair]


class Node:
    """One life of a member: from entering the group until it leaves it, or is told that it is out."""

    def __init__(self, world: World, identity: str) -> None:
        self.world: Final = world
        self.identity: Final = identity
        self.mode: Final = world.new_mode(identity)
        self.delivery: Final = Delivery(identity, world.rng.randint(1, 2**32 - 1))
        self.is_alive = True
        self.is_frozen = False
        self._is_waking = False
        self.is_online = True
        self.since_ms = world.now
        self.until_ms: int | None = None
        self.state: GroupState | None = None
        self.has_gap = False
        self.members: dict[str, int] = {}
        self.seen: Final[list[str]] = []
        """The reliable messages that came through the delivery layer, in order."""
        self.missing: Final[set[tuple[str, int]]] = set()
        """Who left: identities and orders."""
        self.gone: Final[set[tuple[str, int]]] = set()
        """Of whom nothing more comes."""
        self.served = 0
        """How often it became host."""
        self.history: list[str] = []
        """As host: all messages for the host, in order."""
        self.claims: Final[list[tuple[int, str]]] = []
        """What hosts said of their histories: how long, and the last of it."""
        self.lossy = 0
        self.errors: Final[list[str]] = []
        self._backlog: Final[list[Callable[[], None]]] = []
        self._numbers = 0
        self._has_turn = False
        self._timer_ms: int | None = None
        self.pending_told: Final[list[GroupState]] = []

    @property
    def is_running(self) -> bool:
        return self.is_alive and not self.is_frozen

    @property
    def is_host(self) -> bool:
        return self.mode.is_host and self.mode.is_ready

    @property
    def path(self) -> str:
        return f"host {self.mode.path}"

    # --- running ------------------------------------------------------------------------------------------------

    def do(self, what: Callable[[], None]) -> None:
        """Something comes in: now, or when it wakes."""
        if not self.is_alive:
            return
        if self.is_frozen or self._is_waking:
            self._backlog.append(what)
            return
        what()
        self.touch()

    def touch(self) -> None:
        if not self._has_turn:
            self._has_turn = True
            self.world.at(0, self._turn)

    def _turn(self) -> None:
        self._has_turn = False
        if not self.is_running:
            return
        now = self.world.now
        self.mode.tick(now)
        while outputs := self.mode.take(now):
            for output in outputs:
                self._follow(output)
        if self.mode.path is not None:
            for frame in self.delivery.take(self.path, now, reliable_room=1 << 20, lossy_room=1 << 20):
                self.mode.submit(frame.to, frame.frame, now)
        else:
            self.delivery.tick(now)
        while outputs := self.mode.take(now):
            for output in outputs:
                self._follow(output)
        self.delivery.take_settled()
        due = [at for at in (self.mode.deadline_ms, self.delivery.deadline_ms) if at is not None]
        if due:
            at = max(min(due), now + 1)
            if self._timer_ms is None or at < self._timer_ms or self._timer_ms <= now:
                self._timer_ms = at
                self.world.at(at - now, self._timer)

    def _timer(self) -> None:
        if self._timer_ms is not None and self.world.now >= self._timer_ms:
            self._timer_ms = None
        self.do(lambda: None)

    def freeze(self, for_ms: int) -> None:
        self.is_frozen = True
        self.world.at(for_ms, self._wake)

    def _wake(self) -> None:
        if not self.is_alive:
            return
        self.is_frozen = False
        self._is_waking = True
        self._has_turn = False
        self.touch()  # Its own timers are first.
        self.world.at(1, self._catch_up)

    def _catch_up(self) -> None:
        if self.is_frozen:
            return
        self._is_waking = False
        backlog, self._backlog[:] = list(self._backlog), []
        for what in backlog:
            self.do(what)

    def die(self) -> None:
        self.is_alive = False
        self.until_ms = self.world.now
        self.world.nodes.pop(self.identity, None)
        self.world.break_links(self.identity)
        for pair in [pair for pair in self.world.links if self.identity in pair]:
            self.world.links[pair].forget()

    # --- what the machine says ----------------------------------------------------------------------------------

    def _follow(self, output: Any) -> None:
        world, now = self.world, self.world.now
        if isinstance(output, Transmit):
            link = world.links.get(frozenset((self.identity, output.peer)))
            if link is not None and link.is_open and self in link.ends:
                link.send(self, output.data, output.is_lossy)
        elif isinstance(output, FrameCame):
            for event in self.delivery.receive(output.sender, output.frame, now):
                if isinstance(event, Delivered):
                    self._came(event, is_for_host=output.is_for_host)
                else:
                    self.errors.append(repr(event))
            self.touch()
        elif isinstance(output, HostMessage):
            self._took_in(output.payload)
        elif isinstance(output, HostChanged):
            self._host_changed(output)
        elif isinstance(output, PathReady):
            for peer in self.members:
                if peer != self.identity:
                    self.delivery.set_path(peer, self.path)
            self.delivery.set_path(HOST_ROLE, self.path)
            self.touch()
        elif isinstance(output, Gone):
            self.delivery.left_as_sender(output.identity)
            self.gone.update(one for one in self.missing if one[0] == output.identity)
        elif isinstance(output, Renew):
            world.server.say(self, lambda: world.server.renew(self.identity, output.term), is_lossy=True)
        elif isinstance(output, Unheard):
            world.server.say(self, lambda: world.server.unheard(self.identity, output.term), is_lossy=True)
        elif isinstance(output, Reachable):
            world.server.say(self, lambda: world.server.report(self.identity, output))
        elif isinstance(output, Bad):
            self.errors.append(repr(output))

    def _host_changed(self, change: HostChanged) -> None:
        if change.host == self.identity:
            value = None if change.state is None else change.state.value()
            self.history = list(value) if isinstance(value, list) else []
            self.served += 1
            if change.state is None:
                self.mode.set_state([], self.world.now)

    def _came(self, event: Delivered, *, is_for_host: bool) -> None:
        payload = event.payload
        if event.is_lossy:
            self.lossy += 1
            return
        self.seen.append(payload["id"])
        if "claim" in payload:
            self.claims.append(tuple(payload["claim"]))
        if is_for_host:
            self._took_in(payload)

    def _took_in(self, payload: Any) -> None:
        self.history.append(payload["id"])

    # --- the application ----------------------------------------------------------------------------------------

    def send(self, *, to_role: bool = False, is_lossy: bool = False) -> None:
        """A message to some of the others, or to the host's role."""
        rng, others = self.world.rng, [who for who in self.members if who != self.identity]
        self._numbers += 1
        name = f"{self.identity}.{self.since_ms}.{self._numbers}"
        is_large = self.world.has_large and rng.random() < 0.1 and not is_lossy
        size = rng.choice((0, 10, 20_000 if is_large else 30))
        payload: dict[str, Any] = {"id": name, "fill": "x" * size}
        if to_role:
            to = [HOST_ROLE]
        else:
            to = others if rng.random() < 0.6 else rng.sample(others, rng.randint(0, len(others)))
            if self.is_host and self.history:
                payload["claim"] = [len(self.history), self.history[-1]]
        self.delivery.send(self._numbers, to, payload, is_lossy=is_lossy, now_ms=self.world.now)
        if not is_lossy and to:
            self.world.sent.append(Sent(self.world.now, self, name, tuple(to)))
        if self.is_host and rng.random() < 0.3:
            self.mode.set_state(list(self.history), self.world.now)
        self.touch()

    # --- the server's word --------------------------------------------------------------------------------------

    def told(self, state: GroupState) -> None:
        if self.state is not None and state.version <= self.state.version:
            return
        orders = {member.identity: member.order for member in state.members}
        own_before = self.members.get(self.identity)
        if self.identity not in orders:
            return
        if own_before is not None and orders[self.identity] != own_before:
            self.world.reborn(self)
            return
        if state.is_gathering:
            orders = {**self.members, **orders}
        for peer, order in self.members.items():
            if orders.get(peer) != order:
                self.delivery.left_as_recipient(peer)
                self.missing.add((peer, order))
        for peer in orders.keys() - {self.identity}:
            if orders[peer] == self.members.get(peer):
                continue
            self.delivery.set_path(peer, self.path if self.mode.is_ready else None)
        self.state, self.members = state, orders
        if state.host is UNSET:
            return
        view = HostView(
            version=state.version,
            term=state.host.term,
            host=state.host.identity,
            successor=None if state.host.successor is UNSET else state.host.successor,
            members=orders,
            has_gap=self.has_gap,
        )
        self.has_gap = False
        self.mode.follow(view, self.world.now)

    def enter(self) -> None:
        """Enters the group, or enters it again."""
        seen: Any = UNSET
        state = self.state
        if state is not None:
            host: Any = UNSET
            if state.host is not UNSET:
                host = SeenHost(identity=state.host.identity, term=state.host.term)
            seen = Seen(term=state.term, mode=state.mode, order=self.members[self.identity], host=host)
        request = Enter(mode="host", modes=["host", "mesh"], seen=seen)
        self.world.server.say(self, lambda: self.world.server.enter(self.identity, request))


class Server:
    """The server's group behind one ordered connection to each member, which may be lost."""

    def __init__(self, world: World) -> None:
        self._world: Final = world
        self._term = 0
        self.is_up = True
        self.group = self._new()
        self._deadline: int | None = None
        self._arrives: dict[tuple[str, bool], int] = {}

    def _next(self, lowest: int) -> int:
        self._term = max(self._term + 1, lowest)
        return self._term

    def _new(self) -> Group:
        return Group(
            Limits(),
            self._next,
            first_term=self._next(1),
            gather_until_ms=self._world.now + 30_000,
            version=self._term,
            counters=GroupCounters(),
        )

    # --- connections --------------------------------------------------------------------------------------------

    def say(self, node: Node, what: Callable[[], None], *, is_lossy: bool = False) -> None:
        """A member says something; what is not lossy waits for the connection."""

        def arrive() -> None:
            if self._world.nodes.get(node.identity) is not node:
                return
            if not self.is_up or not node.is_online:
                if not is_lossy:
                    self._world.at(100, arrive)
                return
            what()
            self.settle()

        self._world.at(self._delay(node.identity, True), arrive)

    def _delay(self, identity: str, is_up: bool) -> int:
        at = max(self._world.now + self._world.rng.randint(1, 40), self._arrives.get((identity, is_up), 0))
        self._arrives[identity, is_up] = at
        return at - self._world.now

    def _tell(self, node: Node, state: GroupState) -> None:
        def arrive() -> None:
            if node.is_online:
                node.do(lambda: node.told(state))
            else:
                node.pending_told.append(state)

        self._world.at(self._delay(node.identity, False), arrive)

    def offline(self, node: Node, for_ms: int, notice_ms: int = 400) -> None:
        """A member's connection is lost for so long; the server notices after `notice_ms` at most."""
        node.is_online = False
        if node.identity in self.group and self.is_up:
            self._world.at(
                self._world.rng.randint(0, notice_ms),
                lambda: self._away(node) if not node.is_online and node.is_alive else None,
            )
        self._world.at(for_ms, lambda: self._online(node))
        self._world.at(AWAY_MS, lambda: self._expire(node))

    def _away(self, node: Node) -> None:
        if node.identity in self.group and self.is_up and self._world.nodes.get(node.identity) is node:
            self.group.away(node.identity, self._world.now)
            self.settle()

    def away(self, identity: str) -> None:
        """The connection of somebody who is gone without a word is closed."""
        if self.is_up and identity in self.group:
            self.group.away(identity, self._world.now)
            self.settle()

    def _expire(self, node: Node) -> None:
        if not node.is_online and self.is_up and self._world.nodes.get(node.identity) is node:
            self.leave(node.identity)

    def _online(self, node: Node) -> None:
        if not node.is_alive or node.is_online:
            return
        node.is_online = True
        told, node.pending_told[:] = list(node.pending_told), []
        if not self.is_up:
            return
        if node.identity in self.group:
            self.group.back(node.identity)
            for state in told:
                self._tell(node, state)
        else:
            self._world.reborn(node)
        self.settle()

    # --- requests -----------------------------------------------------------------------------------------------

    def enter(self, identity: str, request: Enter) -> None:
        self.group.enter(identity, identity, request, is_anew=False, now_ms=self._world.now)

    def leave(self, identity: str) -> None:
        if self.is_up:
            self.group.leave(identity, self._world.now)
            self.settle()

    def renew(self, identity: str, term: int) -> None:
        try:
            self.group.renew(identity, term, is_answered=False, now_ms=self._world.now)
        except ProtocolError:
            pass

    def unheard(self, identity: str, term: int) -> None:
        try:
            self.group.unheard(identity, term)
        except ProtocolError:
            pass

    def report(self, identity: str, output: Reachable) -> None:
        try:
            request = Report(peer=output.peer, is_reachable=output.is_reachable)
            self.group.report(identity, request, self._world.now)
        except ProtocolError:
            pass

    def settle(self) -> None:
        if not self.is_up:
            return
        self.group.settle(self._world.now)
        for signal in self.group.news(self._world.now):
            if isinstance(signal, GroupState):
                for identity in list(self.group.members):
                    node = self._world.nodes.get(identity)
                    if node is not None:
                        self._tell(node, signal)
        deadline = self.group.deadline_ms
        if deadline is not None and deadline != self._deadline:
            self._deadline = deadline
            self._world.at(max(deadline - self._world.now, 1), self._due)

    def _due(self) -> None:
        self._deadline = None
        self.settle()

    # --- restarts -----------------------------------------------------------------------------------------------

    def restart(self, down_ms: int) -> None:
        """The server is killed and comes back with nothing but its terms."""
        self.is_up = False
        self._world.at(down_ms, self._come_back)

    def _come_back(self) -> None:
        self.is_up = True
        self.group = self._new()
        self._deadline = None
        for node in list(self._world.nodes.values()):
            self._world.at(self._world.rng.randint(10, 800), partial(node.do, partial(self._again, node)))

    def _again(self, node: Node) -> None:
        if self._world.nodes.get(node.identity) is node:
            node.has_gap = True
            node.enter()

"""
A world in emulated time: one server process after another over one store, and the people of one channel.

Owns the parts and how a program of steps moves them. Never draws a random number: what happens is all in the program.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from peerbus.protocol.codec import EncodingName
from peerbus.protocol.grants import ALL_OPERATIONS, Operation
from peerbus.protocol.messages import (
    Bye,
    ClientFrame,
    GlobFilter,
    Kick,
    Lock,
    Members,
    Ping,
    Receive,
    Renew,
    Send,
    Update,
)
from peerbus.protocol.secrets import Secret
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.interface import Store
from peerbus.signaling.quota import NO_QUOTA, Quota
from tests.support.emulated.agenda import Agenda
from tests.support.emulated.log import EmulatedLog
from tests.support.emulated.longpoll import LongPollLink
from tests.support.emulated.person import Person, connect_frame
from tests.support.emulated.server import WALL_OFFSET_MS, EmulatedServer, Key
from tests.support.emulated.truth import Truth, check, number_of
from tests.support.emulated.websocket import Link, WebSocketLink

NAMES = ("ann", "bob", "cid", "dee", "", "Zoë")
TYPES = ("chat-text", "note", "move")
FILTERS: tuple[str | GlobFilter, ...] = (
    "ann|bob",
    ".*",
    "[a-c].*",
    "nobody",
    "(",
    GlobFilter(glob="*"),
    GlobFilter(glob="?[no]?"),
    GlobFilter(glob="[!a]*"),
)
REST_MS = 150_000
FAREWELL_MS = 120_000

KEYS: dict[str, Key] = {
    "full": Key(),
    "plain": Key(operations=ALL_OPERATIONS - {Operation.KICK, Operation.LOCK}),
    "claiming": Key(is_claiming=True),
    "family": Key(is_claiming=True, sessions=2),
    "silent": Key(operations=frozenset({Operation.READ, Operation.PRESENCE, Operation.HISTORY})),
    "blind": Key(operations=ALL_OPERATIONS - {Operation.PRESENCE}),
    "slow": Key(rate_per_s=2.5),
}

Step = tuple[Any, ...]
"""(milliseconds to let pass, name of a method of `World`, its arguments …)."""


@dataclass(frozen=True)
class Setting:
    """What a world is made with."""

    seed: int
    limits: Limits
    quota: Quota = NO_QUOTA
    log_times: tuple[int, int, int] = (0, 0, 0)
    """Milliseconds before a commit, from there to its answer, and before a read."""
    is_sealed: bool = False
    """The channel is one that the server cannot read."""


class World:
    """`open_store` opens the store anew for each process."""

    def __init__(self, setting: Setting, open_store: Callable[[], Store]) -> None:
        self.setting = setting
        self.agenda = Agenda()
        self.truth = Truth(setting.limits)
        self.people: dict[int, Person] = {}
        self.gone: list[Person] = []
        self._open_store = open_store
        self._keys = dict(KEYS)
        self._ids = itertools.count(1)
        self._numbers = itertools.count(1)
        self._lineages = itertools.count(1)
        self._jitter = random.Random(setting.seed).random
        self._is_keyless = False
        self._log_times = setting.log_times
        self.server: EmulatedServer | None = None
        self._last_sends: dict[int, Send] = {}
        self._start()

    # --- the server -------------------------------------------------------------------------------------------

    def _start(self) -> None:
        log = EmulatedLog(self._open_store(), self.agenda, self.truth.committed)
        log.commit_ms, log.tell_ms, log.read_ms = self._log_times
        self.server = EmulatedServer(
            self.setting.limits,
            log,
            self._keys,
            self.agenda,
            self.truth,
            self._ids,
            quota=self.setting.quota,
        )

    def restart(self, down_ms: int, is_graceful: bool, is_noticed: bool) -> None:
        """The process ends (by draining, or at once), and another one starts."""
        server = self.server
        if server is None:
            return
        if is_graceful:
            server.drain()
            self.agenda.run(100)
        self.server = None
        server.kill()
        server.log.store.close()
        for person in self.people.values():
            if person.link is not None and not person.has_vanished:
                person.link.cut(server_is_told=False, client_is_told=is_noticed)
        self.agenda.after(down_ms, self._start)

    def log(self, commit_ms: int, tell_ms: int, read_ms: int, is_refusing: bool, fails_reads: bool) -> None:
        """How the log behaves from now on."""
        self._log_times = commit_ms, tell_ms, read_ms
        if self.server is not None:
            log = self.server.log
            log.commit_ms, log.tell_ms, log.read_ms = self._log_times
            log.is_refusing, log.are_reads_failing = is_refusing, fails_reads

    # --- people come and go ---------------------------------------------------------------------------------

    def join(
        self,
        slot: int,
        name: int,
        key: str,
        encoding: EncodingName,
        transports: tuple[Any, ...],
        types: int,
        auto_receive: bool,
        lifetime_ms: int | None,
    ) -> None:
        """Somebody new takes a slot; whoever had it vanishes."""
        if slot in self.people:
            self.vanish(slot)
            self.gone.append(self.people[slot])
        number = next(self._lineages)
        if not NAMES[name] and KEYS[key].is_claiming:
            key = "full"

        def new_key() -> Secret | None:
            if self._is_keyless:
                return None
            return Secret(self._key_for(key, lifetime_ms))

        self.people[slot] = Person(
            number,
            connect_frame(
                NAMES[name],
                number,
                types=list(TYPES[:types]),
                auto_receive=auto_receive,
                attributes={"since": number},
            ),
            self.truth,
            self.agenda,
            self._open_link,
            encoding=encoding,
            transports=transports,
            is_claiming=KEYS[key].is_claiming,
            new_key=new_key,
            jitter=self._jitter,
            is_sealed=self.setting.is_sealed,
        )

    def _key_for(self, key: str, lifetime_ms: int | None) -> str:
        if lifetime_ms is None:
            return key
        base = KEYS[key]
        text = f"{key}-{len(self._keys)}"
        self._keys[text] = Key(
            operations=base.operations,
            is_claiming=base.is_claiming,
            sessions=base.sessions,
            rate_per_s=base.rate_per_s,
            expires_ms=self.agenda.now_ms + WALL_OFFSET_MS + lifetime_ms,
        )
        return text

    def _open_link(self, person: Person, transport: str, encoding: EncodingName) -> Link:
        made = WebSocketLink if transport == "websocket" else LongPollLink
        return made(self.agenda, person.path, encoding, person, lambda: self.server)

    def close(self, slot: int) -> None:
        """Says bye."""
        if person := self._acting(slot):
            person.close()

    def vanish(self, slot: int) -> None:
        """Is gone without a word."""
        if slot in self.people:
            self.people[slot].vanish()

    def reload(self, slot: int, hangs_up: bool, keeps_token: bool) -> None:
        """The same lineage connects anew, with its token or without."""
        if slot in self.people:
            self.people[slot].reload(hangs_up=hangs_up, keeps_token=keeps_token)

    def keys(self, are_there: bool) -> None:
        """Whether somebody gives out new keys."""
        self._is_keyless = not are_there

    # --- what they do -----------------------------------------------------------------------------------------

    def _acting(self, slot: int) -> Person | None:
        person = self.people.get(slot)
        if person is None or person.has_vanished or person.state == "closed":
            return None
        return person

    def send(
        self,
        slot: int,
        delivery: str,
        address: tuple[str, int],
        form: int,
        type_: int,
        size: int,
        count: int,
        every_ms: int,
    ) -> None:
        """So many messages, of a class, for somebody, in a form, of a type, of a size: at once or one by one."""
        person = self._acting(slot)
        if person is None or not count:
            return
        frame = self._message(person, delivery, address, form, type_, size)
        if delivery == "lossy" and form != 2:
            person.send_lossy(frame)
        else:
            self._last_sends[person.number] = frame
            person.request(frame)
        rest = slot, delivery, address, form, type_, size, count - 1, every_ms
        if every_ms:
            self.agenda.after(every_ms, lambda: self.send(*rest))
        else:
            self.send(*rest)

    def _message(
        self, person: Person, delivery: str, address: tuple[str, int], form: int, type_: int, size: int
    ) -> Send:
        number = next(self._numbers)
        self.truth.authors[number] = person.number
        content: Any = UNSET
        binary: Any = UNSET
        pad = "p" * size
        if form == 0:
            content = {"n": number, "pad": pad, "é": [1, None, 2.5, True]}
        elif form == 1:
            content = f"{number}:{pad}"
        else:
            binary = f"{number}:{pad}".encode()
        how, which = address
        return Send(
            id=1,
            type=TYPES[type_],
            custom_event_type="move" if size % 3 == 1 else UNSET,
            delivery=delivery,  # type: ignore[arg-type]  # a program is plain data
            to=[NAMES[which] or "ghost", "bob"][: 1 + size % 2] if how == "to" else UNSET,
            filter=FILTERS[which] if how == "filter" else UNSET,
            content=content,
            binary=binary,
            idempotency_key=f"k{number:08}",
        )

    def again(self, slot: int, is_changed: bool) -> None:
        """The last message once more under its key, as it was or changed."""
        person = self._acting(slot)
        frame = None if person is None else self._last_sends.get(person.number)
        if person is None or frame is None or frame.delivery != "durable":
            return
        if is_changed:
            number = next(self._numbers)
            self.truth.authors[number] = person.number
            frame = Send(id=1, content=f"{number}:changed", idempotency_key=frame.idempotency_key)
        else:
            self.truth.out_of_order.add(number_of(frame.content, frame.binary))
        person.request(frame)

    def ask(self, slot: int, what: str, number: int) -> None:
        """Another request."""
        if person := self._acting(slot):
            person.request(self._question(what, number))

    def _question(self, what: str, number: int) -> ClientFrame:
        name = NAMES[number % len(NAMES)] or "ghost"
        match what:
            case "members":
                return Members(id=1)
            case "update":
                return Update(id=1, attributes={"v": number})
            case "newest":
                return Receive(id=1, limit=1 + number)
            case "older":
                return Receive(id=1, before=number, limit=1 + number % 7, types=list(TYPES[: number % 3]))
            case "newer":
                return Receive(id=1, after=number, limit=1 + number % 7)
            case "kick":
                return Kick(id=1, agent=name, reason="so")
            case "lock":
                return Lock(id=1, locked=number % 2 == 1)
            case _:
                return Renew(id=1, api_key=Secret("nonsense"))

    def raw(self, slot: int, what: str) -> None:
        """Frames that a session machine would not send."""
        person = self.people.get(slot)
        if person is None or person.has_vanished or person.state != "connected":
            return
        match what:
            case "pings":
                person.send_raw([Ping(live_seq=2**40), Ping(), Ping(live_seq=3)])
            case "old id":
                person.send_raw([Members(id=1)])
            case "bye":
                person.send_raw([Bye(), Bye(), Members(id=2**50), Ping()])
            case "connect":
                person.send_raw([connect_frame("x", 1, types=[], auto_receive=True, attributes={})])

    # --- the network ------------------------------------------------------------------------------------------

    def cut(self, slot: int, server_is_told: bool, client_is_told: bool) -> None:
        """The connection is gone with all that was on its way; one end, both or none hear of it."""
        person = self._acting(slot)
        if person is not None and person.link is not None:
            person.link.cut(server_is_told=server_is_told, client_is_told=client_is_told)

    def path(
        self, slot: int, latency_ms: int, bytes_per_s: int | None, up_for_ms: int, down_for_ms: int
    ) -> None:
        """Slow, or swallowing one way or both."""
        if slot in self.people:
            path = self.people[slot].path
            path.latency_ms, path.bytes_per_s = latency_ms, bytes_per_s
            path.up_until_ms = self.agenda.now_ms + up_for_ms
            path.down_until_ms = self.agenda.now_ms + down_for_ms

    def trip(self, slot: int, up_after: int | None, down_after: int | None) -> None:
        """The connection is cut by one of the next messages, this way or that."""
        if slot in self.people:
            path = self.people[slot].path
            path.up_trips_after, path.down_trips_after = up_after, down_after

    # --- running ----------------------------------------------------------------------------------------------

    def run(self, program: list[Step]) -> None:
        """The program, then rest, then the end; raises AssertionError where a promise is broken."""
        for wait_ms, what, *arguments in program:
            self.agenda.run(wait_ms)
            self._check_rosters()
            getattr(self, what)(*arguments)
        self._rest()
        for person in [*self.people.values(), *self.gone]:
            person.check_end(is_rested=True)
        self.truth.check_order()
        self._settle()
        self._check_keys()
        self._check_mail()
        self._leave()
        if self.server is not None:
            server, self.server = self.server, None
            server.kill()
            server.log.store.close()

    def _rest(self) -> None:
        self.keys(True)
        self.log(0, 0, 0, False, False)
        for person in self.people.values():
            person.path.heal()
        self.agenda.run(REST_MS)

    def _check_rosters(self) -> None:
        """Who has got everything that the server said knows who is here."""
        if self.server is None or self.server.membership.dispatch.is_restless:
            return
        members = self.server.membership.members
        for person in self.people.values():
            connected = person.session.connected
            if connected is None or person.has_vanished or person.state != "connected":
                continue
            member = members.get(connected.session_id)
            if member is None or not member.session.is_attached or not member.pushes_presence:
                continue
            outbox, cursors = member.session.outbox, person.session.cursors
            if (cursors.live_epoch, cursors.live_seq) == (member.session.live_epoch, outbox._live_end() - 1):
                seen = {other.session_id: other for other in person.session.roster.members}
                there = {other.session_id: other for other in member.channel.snapshot()}
                check(seen == there, f"{person.name} sees {seen}, there are {there}")

    def _settle(self) -> None:
        """Some frame may just be on its way, but not always."""
        for _ in range(20):
            try:
                self._check_presence()
            except AssertionError:
                self.agenda.run(37)
            else:
                return
        self._check_presence()

    def _check_presence(self) -> None:
        assert self.server is not None
        there = {member.session.session_id: member.info for member in self.server.membership.members.values()}
        present = {sid for sid, info in there.items() if info.state == "present"}
        connected = set()
        for person in self.people.values():
            if person.state != "connected" or person.has_vanished:
                continue
            welcome = person.session.connected
            assert welcome is not None
            connected.add(welcome.session_id)
            seen = {member.session_id: member for member in person.session.roster.members}
            if Operation.PRESENCE in welcome.operations:
                check(seen == there, f"{person.name} sees {list(seen)}, there are {list(there)}")
            is_locked = next(iter(self.server.membership.channels.values())).is_locked
            check(welcome.channel.is_locked is is_locked, f"{person.name} does not know of the lock")
            member = self.server.membership.members[welcome.session_id]
            outbox = member.session.outbox
            check(outbox.is_empty, "something still waits")
            check(member.attributes in person.attributes, f"{member.attributes} of {person.attributes}")
            check(
                (person.session.cursors.live_epoch, person.session.cursors.live_seq)
                == (member.session.live_epoch, outbox.live_next_seq - 1),
                f"{person.name} is at {person.session.cursors.live_epoch, person.session.cursors.live_seq},"
                f" the server at {member.session.live_epoch, outbox.live_next_seq - 1}",
            )
        check(present == connected, f"present {present}, connected {connected}")

    def _check_keys(self) -> None:
        for number, places in self.truth.offsets.items():
            epochs = [epoch for epoch, _ in places]
            check(len(epochs) == len(set(epochs)), f"{number} was stored more than once: {places}")

    def _check_mail(self) -> None:
        """Whoever has got all mail has said so, and it is out of the mailbox."""
        assert self.server is not None
        for person in self.people.values():
            welcome = person.session.connected
            is_reading = person.state == "connected" and not person.has_vanished
            if welcome is None or not is_reading or person.types or not person.connect.auto_receive:
                continue
            if person.is_claiming:
                unread = self.truth.unread[welcome.epoch, person.identity]
                check(not unread, f"{person.name} has still the mail {list(unread)}")

    def _leave(self) -> None:
        for slot in self.people:
            self.close(slot)
        self.agenda.run(FAREWELL_MS)
        assert self.server is not None
        membership = self.server.membership
        check(not membership.members, "members are left")
        check(not membership.channels, "channels are left")
        check(not len(membership._resting), "resting channels are left")
        check(not membership.dispatch.is_restless, "something restless is left")
        check(not membership.dispatch.has_effects, "effects are left")
        check(membership._occupancy.is_empty, "counts are left")

"""
Calls: signals between clients and the media workers that serve their channels.

Owns who serves which channel (by `placement` and `lease`), and what is passed on to whom.
A client addresses `peerbus:sfu` and never learns who that is; a worker is heard only for rooms that it holds, under the
term it holds them. Never looks into a description and never touches a socket, a clock or the disk: terms come from
`next_term`, which has to make sure that none is ever given twice. See PROTOCOL.md, section 12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UNSET

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Operation
from peerbus.protocol.messages import Send
from peerbus.protocol.signals import (
    Announce,
    Deliver,
    Forward,
    Gone,
    Load,
    Offer,
    Release,
    Renewed,
    Restart,
    Room,
    Roster,
    ServerToWorker,
)
from peerbus.signaling.call import Call
from peerbus.signaling.call_speech import CallSpeech, participant_of, read_control, read_signal
from peerbus.signaling.lease import Leases
from peerbus.signaling.log.interface import ChannelKey
from peerbus.signaling.member import Member
from peerbus.signaling.membership import Membership
from peerbus.signaling.placement import Placement, WorkerLoad

_CALL_OPERATIONS: Final = frozenset(
    {
        Operation.SUBSCRIBE,
        Operation.PUBLISH_AUDIO,
        Operation.PUBLISH_VIDEO,
        Operation.PUBLISH_SCREEN,
        Operation.PUBLISH_DATA,
    }
)
_NEW_ROOM_MS: Final = 3_000
"""A room that was placed this long ago must be in what its worker says it serves; else nobody is in it."""
_RETRY_MS: Final = 500
_NONE_CONNECTED: Final = (
    "No media worker is connected. `peerbus serve` starts one unless --sfu-workers is 0; "
    "`peerbus sfu --signaling URL` is one on another machine."
)


class CallCounters(msgspec.Struct):
    """What happened since the start; read by the metrics."""

    forwarded: int = 0
    delivered: int = 0
    placements: int = 0
    stale: int = 0
    """What workers said of rooms that are not theirs, or not any more."""


class Calls:
    """
    The calls of one server. `next_term(lowest)` gives a term that is at least `lowest`, and on disk already.

    `was_serving` says that rooms were held when the server last ended: for one time-to-live nobody else gets them.
    """

    def __init__(
        self,
        membership: Membership,
        next_term: Callable[[int], int],
        *,
        was_serving: bool,
        now_ms: int,
    ) -> None:
        self._membership: Final = membership
        self._next_term: Final = next_term
        self._leases: Final = Leases(membership.limits.worker_lease_ms)
        self._placement: Final = Placement()
        self._workers: Final[dict[str, Member]] = {}
        """Those that have announced themselves, by identity."""
        self._calls: Final[dict[ChannelKey, Call]] = {}
        self._reserved_until_ms = now_ms + self._leases.ttl_ms if was_serving else now_ms
        self._speech: Final = CallSpeech(membership.dispatch)
        self._now_ms = now_ms
        self._notes: list[str] = []
        self.counters: Final = CallCounters()
        membership.on_leave.append(self.left)
        membership.on_part.append(self.parted)
        membership.on_admission.append(self.admitted)

    # --- what can be looked at --------------------------------------------------------------------------------

    @property
    def is_serving(self) -> bool:
        """Whether any room is placed, or waits for the worker that it had before a restart."""
        return bool(self._calls) or self._now_ms < self._reserved_until_ms

    @property
    def workers(self) -> list[tuple[str, WorkerLoad, int]]:
        """Each worker's name, what it said last, and how many rooms it serves."""
        return [
            (
                self._placement.name_of(worker),
                self._placement.load_of(worker),
                len(self._placement.rooms_of(worker)),
            )
            for worker in self._placement.workers
        ]

    @property
    def can_place(self) -> bool:
        """Whether a worker can be reached that takes new rooms."""
        return self._placement.choose(self._reachable()) is not None

    @property
    def rooms(self) -> int:
        """How many channels have a call."""
        return len(self._calls)

    def worker_states(self) -> dict[str, int]:
        """How many workers are `ready`, `draining` or `away` (their connection is lost)."""
        states = {"ready": 0, "draining": 0, "away": 0}
        for identity, member in self._workers.items():
            is_draining = self._placement.load_of(identity).is_draining
            states["away" if member.connection is None else "draining" if is_draining else "ready"] += 1
        return states

    def notes_to_log(self) -> list[str]:
        """What the operator should read since the last call; empties the list."""
        notes, self._notes = self._notes, []
        return notes

    # --- clients ----------------------------------------------------------------------------------------------

    def signal(self, member: Member, frame: Send, now_ms: int) -> None:
        """A client's signal. Raises `ProtocolError`: `bad_request`, `forbidden`, `no_worker`."""
        self._now_ms = now_ms
        if not _CALL_OPERATIONS & member.admission.operations:
            raise ProtocolError(ErrorCode.FORBIDDEN, "The grant allows neither to publish nor to subscribe.")
        signal = read_signal(frame)
        key = member.channel.key
        call = self._calls.get(key)
        if isinstance(signal, Offer):
            call = self._placed(key, now_ms)
        room = None if call is None else self._room_of(key, now_ms)
        if room is not None:
            assert call is not None
            if isinstance(signal, Offer):
                call.offered(member)
            forward = Forward(room=room, participant=participant_of(member), signal=signal)
            self._tell_worker(key, forward, now_ms)
            self.counters.forwarded += 1
        if frame.id is not UNSET:
            recipients = 0 if room is None else 1
            self._membership.dispatch.accepted(member, frame.id, recipients, now_ms)

    def _placed(self, key: ChannelKey, now_ms: int) -> Call:
        """The call of a channel, on a worker that can be reached. Raises `ProtocolError` (`no_worker`)."""
        call = self._calls.get(key)
        worker = self._placement.worker_of(key)
        if call is not None and worker is not None and self._leases.current(key, now_ms) is not None:
            return call
        if now_ms < self._reserved_until_ms:
            # Whoever served it before the restart says so any moment.
            raise ProtocolError(ErrorCode.NO_WORKER, retry_after_ms=_RETRY_MS)
        if call is not None and worker is not None and self._is_other_reachable(worker):
            self._move(key, now_ms, "The media worker has not been heard of.")
        elif worker is not None or not self._place(key, now_ms):
            # A worker that is silent has its rooms back as soon as it speaks, where nobody else could take them.
            text = "" if self._workers else _NONE_CONNECTED
            raise ProtocolError(ErrorCode.NO_WORKER, text, retry_after_ms=_RETRY_MS)
        return self._calls[key]

    def _reachable(self) -> set[str]:
        return {identity for identity, member in self._workers.items() if member.connection is not None}

    def _is_other_reachable(self, worker: str) -> bool:
        return self._placement.choose(self._reachable() - {worker}) is not None

    def _place(self, key: ChannelKey, now_ms: int) -> bool:
        """Gives a channel to the best worker there is, under a new term."""
        worker = self._placement.choose(self._reachable())
        if worker is None:
            return False
        self._leases.release(key, now_ms)
        self._leases.grant(key, worker, self._next_term(1), now_ms)
        self._placement.place(key, worker)
        call = self._calls.setdefault(key, Call(now_ms))
        call.placed_at_ms = now_ms
        self.counters.placements += 1
        return True

    def left(self, member: Member, code: ErrorCode) -> None:
        """A session has ended for good."""
        if member.identity in self._workers and self._workers[member.identity] is member:
            self._lose_worker(member.identity, self._now_ms, "The media worker was lost.")
            return
        key = member.channel.key
        # Replaced is the same client again, under another session: its connection goes on.
        call = self._calls.get(key)
        if call is not None and code is not ErrorCode.REPLACED and call.left(member, code):
            self._tell_room(key, lambda room: Gone(room=room, identity=member.identity, code=code.value))

    def parted(self, member: Member) -> None:
        """The page of a session has gone, and its connection to the worker; another may go on with the session."""
        self.left(member, ErrorCode.CLOSED)

    def admitted(self, member: Member) -> None:
        """A member has a credential, maybe another one than its worker knows of."""
        call = self._calls.get(member.channel.key)
        if call is not None and call.is_for(member):
            self._tell_room(
                member.channel.key, lambda room: Renewed(room=room, participant=participant_of(member))
            )

    # --- workers ----------------------------------------------------------------------------------------------

    def from_worker(self, member: Member, frame: Send, now_ms: int) -> None:
        """A control message. Raises `ProtocolError` (`bad_request`)."""
        self._now_ms = now_ms
        message = read_control(frame)
        if isinstance(message, Announce):
            self._announced(member, message, now_ms)
        elif member.identity not in self._workers:
            raise ProtocolError(ErrorCode.BAD_REQUEST, "A worker announces itself first.")
        elif isinstance(message, Load):
            self._loaded(member.identity, message, now_ms)
        else:
            self._deliver(member.identity, message, now_ms)
        if frame.id is not UNSET:
            self._membership.dispatch.accepted(member, frame.id, 0, now_ms)

    def _announced(self, member: Member, message: Announce, now_ms: int) -> None:
        worker = member.identity
        if worker not in self._workers:
            self._notes.append(f"media worker {member.name} is ready")
        self._workers[worker] = member
        self._placement.add(worker, member.name)
        for room in message.rooms:
            key = ChannelKey(room.scope, room.channel_id)
            is_its = self._leases.renew(key, worker, room.term, now_ms)
            if not is_its and not self._adopt(key, worker, room.term, now_ms):
                self._release(worker, room, now_ms)
                continue
            call = self._calls.setdefault(key, Call(now_ms))
            call.placed_at_ms = now_ms
            # Members come back one after another after a restart; who has not by then is not in the channel.
            call.roster_at_ms = now_ms + self._membership.limits.resume_window_ms

    def _adopt(self, key: ChannelKey, worker: str, term: int, now_ms: int) -> bool:
        """
        A room that a worker has served since before a restart stays with it, unless a later term is known.

        Of two that come back with the same room, the one with the later term has it, whichever comes first.
        """
        self._next_term(term + 1)  # Whatever is placed from now on is later.
        former = self._leases.current(key, now_ms)
        if not self._leases.adopt(key, worker, term, now_ms):
            return False
        if former is not None and former.holder in self._workers:
            room = Room(scope=key.scope, channel_id=key.channel_id, term=former.term)
            self._release(former.holder, room, now_ms)
        self._placement.place(key, worker)
        return True

    def _release(self, worker: str, room: Room, now_ms: int) -> None:
        self.counters.stale += 1
        self._speech.control(self._workers[worker], Release(room=room), now_ms)

    def _loaded(self, worker: str, message: Load, now_ms: int) -> None:
        self._placement.report(
            worker,
            WorkerLoad(
                participants=message.participants,
                cpu_share=message.cpu_share,
                is_draining=message.is_draining,
                counts=message.counts,
            ),
        )
        served = {ChannelKey(room.scope, room.channel_id): room.term for room in message.rooms}
        for key, term in served.items():
            if not self._leases.renew(key, worker, term, now_ms):
                self._release(worker, Room(scope=key.scope, channel_id=key.channel_id, term=term), now_ms)
        for key in self._placement.rooms_of(worker):
            call = self._calls[key]
            if key not in served and now_ms - call.placed_at_ms > _NEW_ROOM_MS:
                self._free(key, now_ms)
        if message.is_draining:
            for key in self._placement.rooms_of(worker):
                self._move(key, now_ms, "The media worker is being stopped.")

    def _deliver(self, worker: str, message: Deliver, now_ms: int) -> None:
        key = ChannelKey(message.room.scope, message.room.channel_id)
        if not self._leases.is_held(key, worker, message.room.term, now_ms):
            name, term = self._placement.name_of(worker), message.room.term
            self._notes.append(
                f"media worker {name} spoke for a room that it does not hold under term {term}"
            )
            self._release(worker, message.room, now_ms)
            return
        channel = self._membership.channels.get(key)
        if channel is None:
            return
        wanted = set(message.identities)
        call = self._calls[key]
        members = [
            one
            for one in channel.members.values()
            if not wanted or (one.identity in wanted and call.is_for(one))
        ]
        self._speech.signal(members, message.signal, now_ms)
        self.counters.delivered += len(members)

    def _lose_worker(self, worker: str, now_ms: int, reason: str) -> None:
        name = self._workers.pop(worker).name
        rooms = self._placement.remove(worker)
        self._notes.append(f"media worker {name} is gone, with {len(rooms)} rooms")
        for key in rooms:
            self._leases.release(key, now_ms)
            self._tell_restart(key, now_ms, reason)

    def _move(self, key: ChannelKey, now_ms: int, reason: str) -> None:
        self._placement.free(key)
        self._leases.release(key, now_ms)
        self._tell_restart(key, now_ms, reason)

    def _tell_restart(self, key: ChannelKey, now_ms: int, reason: str) -> None:
        """The call's clients are to offer anew; it is placed at once if there is a worker for it."""
        call = self._calls.pop(key, None)
        channel = self._membership.channels.get(key)
        if call is None or channel is None:
            return
        try:
            lease = self._leases.current(key, now_ms) if self._place(key, now_ms) else None
            term = self._next_term(1) if lease is None else lease.term
        except ProtocolError as error:
            # Clients notice by themselves that nothing comes any more, and offer again.
            self._notes.append(f"a call could not be placed anew: {error.message}")
            return
        # Who is in the call is its worker's to know; to the others it means nothing.
        self._speech.signal(channel.members.values(), Restart(term=term, reason=reason), now_ms)

    def _free(self, key: ChannelKey, now_ms: int) -> None:
        self._placement.free(key)
        self._leases.release(key, now_ms)
        self._calls.pop(key, None)

    # --- time -------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Leases that ran out, and rosters that are due."""
        self._now_ms = now_ms
        for key in list(self._calls):
            worker = self._placement.worker_of(key)
            if worker is None or self._leases.current(key, now_ms) is not None:
                continue
            # Where nobody else could take the room, the worker may yet go on with it.
            if self._is_other_reachable(worker):
                self._move(key, now_ms, "The media worker has not been heard of.")
        self._leases.forget(now_ms)
        for key, call in self._calls.items():
            channel = self._membership.channels.get(key)
            for identity in call.forget_replaced({} if channel is None else channel.by_lineage):
                self._tell_room(key, _gone(identity))
        for key, call in self._calls.items():
            if call.roster_at_ms is not None and now_ms >= call.roster_at_ms:
                call.roster_at_ms = None
                channel = self._membership.channels.get(key)
                present = [] if channel is None else [one.identity for one in channel.members.values()]
                self._tell_room(key, _roster(present))

    # --- out --------------------------------------------------------------------------------------------------

    def _room_of(self, key: ChannelKey, now_ms: int) -> Room | None:
        lease = self._leases.current(key, now_ms)
        return None if lease is None else Room(scope=key.scope, channel_id=key.channel_id, term=lease.term)

    def _tell_room(self, key: ChannelKey, make: Callable[[Room], ServerToWorker]) -> None:
        # Also where the lease has run out, as after a pause of this server: a worker that still serves the room must
        # hear who has left it. To any other the term is too old.
        lease = self._leases.last(key)
        if lease is not None:
            room = Room(scope=key.scope, channel_id=key.channel_id, term=lease.term)
            self._tell_worker(key, make(room), self._now_ms)

    def _tell_worker(self, key: ChannelKey, message: ServerToWorker, now_ms: int) -> None:
        worker = self._placement.worker_of(key)
        if worker is not None:
            self._speech.control(self._workers[worker], message, now_ms)


def _gone(identity: str) -> Callable[[Room], ServerToWorker]:
    return lambda room: Gone(room=room, identity=identity, code=ErrorCode.REPLACED.value)


def _roster(present: list[str]) -> Callable[[Room], ServerToWorker]:
    return lambda room: Roster(room=room, identities=present)

"""
The groups of one server: which session is which member, what it may ask for, and who is told what.

Owns the way from a message to `peerbus:group` to the group of its channel and back, the rates of requests, and when a
group is to be looked at again. Never decides what becomes of a group (that is `group`), and never touches a socket, a
clock or the disk. See PROTOCOL.md, section 16.

What comes in changes a group at once; what follows from it is settled, and told, when the turn is over (`flush`), so
that many changes of one moment are one signal. The larger a group is, the longer is waited between two of them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import UNSET

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Admission, Operation
from peerbus.protocol.groups import (
    GROUP_AGENT,
    Enter,
    Exit,
    GroupRequest,
    GroupSignal,
    Propose,
    Ready,
    Removed,
    RenewHost,
    Report,
    Unheard,
    Veto,
)
from peerbus.protocol.messages import SIGNAL_TYPE, Send
from peerbus.signaling.group import Group
from peerbus.signaling.hosting import GroupCounters
from peerbus.signaling.log.interface import ChannelKey
from peerbus.signaling.member import Member
from peerbus.signaling.membership import Membership
from peerbus.signaling.rate import TokenBucket
from peerbus.signaling.server_agent import ServerAgent

_PACE_MS: Final = 2
"""For each member of a group, between two signals to all: what they cost rises with the square of their number."""
_RETURN_MS: Final = 3_000
"""How long the place of a session that its client has replaced by another waits for that one to enter."""
_WORD_OF_WORKERS_MS: Final = 500
"""How often groups that choose their mode look whether a worker has come or gone."""


class _Room:
    """The group of one channel, and the sessions of its members."""

    __slots__ = ("due_ms", "group", "key", "returning", "sessions", "told_at_ms")

    def __init__(self, key: ChannelKey, group: Group) -> None:
        self.key: Final = key
        self.group: Final = group
        self.sessions: Final[dict[str, Member]] = {}
        """By identity: the one that entered last."""
        self.returning: Final[dict[str, int]] = {}
        """Identities whose session was replaced, and until when their place is kept."""
        self.told_at_ms: int | None = None
        self.due_ms: int | None = None
        """When it is to be looked at, as the heap knows it."""


class _Rates:
    """What one session may still ask for."""

    __slots__ = ("enters", "proposals")

    def __init__(self, enters_per_min: int, proposals_per_min: int, now_ms: int) -> None:
        self.enters: Final = TokenBucket(enters_per_min / 60, enters_per_min, now_ms)
        self.proposals: Final = TokenBucket(proposals_per_min / 60, proposals_per_min, now_ms)


class Groups:
    """
    All groups of one server. `next_term` as for `Group`; `has_worker` tells whether a media worker can be reached.

    Raises `ProtocolError` (`storage_unavailable`) where not a single term can be had.
    """

    def __init__(
        self,
        membership: Membership,
        next_term: Callable[[int], int],
        has_worker: Callable[[], bool],
        *,
        now_ms: int,
    ) -> None:
        self._membership: Final = membership
        self._agent: Final = ServerAgent(GROUP_AGENT, membership.dispatch)
        self._limits: Final = membership.limits
        self._next_term: Final = next_term
        self._has_worker: Final = has_worker
        self._first_term: Final = next_term(1)
        self._gather_until_ms: Final = now_ms + membership.limits.resume_window_ms
        self._rooms: Final[dict[ChannelKey, _Room]] = {}
        self._rates: Final[dict[str, _Rates]] = {}
        """By session, as long as it lasts: leaving the group gives nothing back."""
        self._touched: Final[set[ChannelKey]] = set()
        """What something has come in for since the last `flush`."""
        self._due: Final[list[tuple[int, int, ChannelKey]]] = []
        self._numbers = 0
        self._version = 0
        """The highest that any group has come to."""
        self._now_ms = now_ms
        self._is_worker_here = has_worker()
        self._asked_workers_at_ms = now_ms
        self.counters: Final = GroupCounters()
        membership.on_leave.append(self.left)
        membership.on_admission.append(self.admitted)
        membership.on_away.append(self.away)
        membership.on_part.append(self.parted)

    # --- what can be looked at --------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rooms)

    @property
    def deadline_ms(self) -> int | None:
        """When to `flush` though nothing has come in."""
        return self._due[0][0] if self._due else None

    def modes(self) -> Counter[str]:
        """How many groups are in which mode."""
        return Counter(room.group.mode for room in self._rooms.values())

    @property
    def members(self) -> int:
        """How many members all groups have."""
        return sum(len(room.group) for room in self._rooms.values())

    # --- what members say -------------------------------------------------------------------------------------

    def request(self, member: Member, frame: Send, now_ms: int) -> None:
        """
        What a member says to `peerbus:group`; answered by an `ack` where it has an id.

        Raises `ProtocolError`: `bad_request`, `too_large`, `rate_limited`, and those of `Group`.
        """
        self._now_ms = now_ms
        request = _request_of(frame)
        key = member.channel.key
        room = self._rooms.get(key)
        if isinstance(request, Enter):
            self._enter(member, request, now_ms)
        elif room is None or room.sessions.get(member.identity) is not member:
            if not isinstance(request, Exit):
                raise ProtocolError(
                    ErrorCode.NOT_FOUND, "You are not in the channel's group; enter it first."
                )
        else:
            self._follow(room, member, request, is_answered=frame.id is not UNSET, now_ms=now_ms)
        if frame.id is not UNSET:
            self._membership.dispatch.accepted(member, frame.id, 0, now_ms)

    def _follow(
        self, room: _Room, member: Member, request: GroupRequest, *, is_answered: bool, now_ms: int
    ) -> None:
        group, identity = room.group, member.identity
        if isinstance(request, RenewHost):
            try:
                group.renew(identity, request.term, is_answered=is_answered, now_ms=now_ms)
            except ProtocolError:
                if is_answered:
                    raise
                # Nobody waits for an answer, and an error would be nobody's: what holds is said instead.
                if not group.has_news:
                    self._push([member], group.state(now_ms), now_ms)
            finally:
                # Else nothing follows from it, now or earlier than before.
                if group.has_news:
                    self._touched.add(room.key)
            return
        self._touched.add(room.key)
        if isinstance(request, Unheard):
            group.unheard(identity, request.term)
        elif isinstance(request, Ready):
            group.ready(identity, request.term)
        elif isinstance(request, Veto):
            group.veto(identity, request, now_ms)
        elif isinstance(request, Report):
            group.report(identity, request, now_ms)
        elif isinstance(request, Propose):
            self._take(self._rates_of(member, now_ms).proposals, "proposals", now_ms)
            group.has_worker = self._has_worker()
            group.propose(identity, request, now_ms)
        else:
            self._drop(room, identity, now_ms)

    def _enter(self, member: Member, request: Enter, now_ms: int) -> None:
        self._take(self._rates_of(member, now_ms).enters, "requests to enter", now_ms)
        key, identity = member.channel.key, member.identity
        room = self._rooms.get(key)
        if room is None:
            room = _Room(key, self._new_group())
        group = room.group
        group.has_worker = self._is_worker_here
        former = room.sessions.get(identity)
        # The same session, or the next one of a client that goes on with its links; all others begin anew.
        goes_on = former is member or (identity in room.returning and request.seen is not UNSET)
        group.enter(identity, member.name, request, is_anew=not goes_on, now_ms=now_ms)
        self._rooms[key] = room
        self._touched.add(key)
        room.sessions[identity] = member
        room.returning.pop(identity, None)
        if former is not None and former is not member and not former.is_gone:
            text = "Another session of the same identity has entered the group."
            self._push([former], Removed(code=ErrorCode.REPLACED.value, message=text), now_ms)
        if not group.has_news:
            self._push([member], group.state(now_ms), now_ms)

    def _new_group(self) -> Group:
        return Group(
            self._limits,
            self._next_term,
            first_term=self._first_term,
            gather_until_ms=self._gather_until_ms,
            version=self._version,
            counters=self.counters,
        )

    def _rates_of(self, member: Member, now_ms: int) -> _Rates:
        session_id = member.session.session_id
        rates = self._rates.get(session_id)
        if rates is None:
            limits = self._limits
            rates = _Rates(limits.group_enters_per_min, limits.group_proposals_per_min, now_ms)
            self._rates[session_id] = rates
        return rates

    @staticmethod
    def _take(bucket: TokenBucket, what: str, now_ms: int) -> None:
        wait_ms = bucket.take(now_ms)
        if wait_ms:
            raise ProtocolError(
                ErrorCode.RATE_LIMITED, f"Too many {what} in a minute.", retry_after_ms=wait_ms
            )

    # --- what becomes of their sessions -------------------------------------------------------------------------

    def left(self, member: Member, code: ErrorCode) -> None:
        """A session has ended for good."""
        self._rates.pop(member.session.session_id, None)
        room = self._room_of(member)
        if room is None:
            return
        identity = member.identity
        if code is ErrorCode.REPLACED:
            # The same client again, under another session: it may go on with the links it has.
            room.returning[identity] = self._now_ms + _RETURN_MS
            room.group.away(identity, self._now_ms)
        else:
            self._drop(room, identity, self._now_ms)

    def parted(self, member: Member) -> None:
        """The page of a session has gone, and with it all its links; another may go on with the session."""
        room = self._room_of(member)
        if room is not None:
            self._drop(room, member.identity, self._now_ms)

    def away(self, member: Member, now_ms: int) -> None:
        """The connection of a session is lost; it may be resumed."""
        room = self._room_of(member)
        if room is not None and not self._membership.is_draining:
            room.group.away(member.identity, now_ms)

    def admitted(self, member: Member) -> None:
        """A session is back, or has another credential."""
        room = self._room_of(member)
        if room is None:
            return
        if may_take_part(member.admission):
            room.group.back(member.identity)
            return
        self._drop(room, member.identity, self._now_ms)
        text = "The grant does not allow live signals to some members only."
        self._push([member], Removed(code=ErrorCode.FORBIDDEN.value, message=text), self._now_ms)

    def _room_of(self, member: Member) -> _Room | None:
        """The room in which this session stands for its identity; it is looked at when the turn is over."""
        room = self._rooms.get(member.channel.key)
        if room is None or room.sessions.get(member.identity) is not member:
            return None
        self._touched.add(room.key)
        return room

    def _drop(self, room: _Room, identity: str, now_ms: int) -> None:
        room.group.leave(identity, now_ms)
        room.sessions.pop(identity, None)
        room.returning.pop(identity, None)
        if not room.group.members:
            del self._rooms[room.key]
            self._touched.discard(room.key)

    # --- time, and out ----------------------------------------------------------------------------------------

    def flush(self, now_ms: int) -> None:
        """Settles what has come in or is due, and tells the members; to be called at the end of each turn."""
        self._now_ms = now_ms
        if self._membership.is_draining:
            # What members are told by now holds; they go on with it, and enter again elsewhere.
            self._due.clear()
            return
        self._look_for_workers(now_ms)
        while self._due and self._due[0][0] <= now_ms:
            due_ms, _, key = heapq.heappop(self._due)
            room = self._rooms.get(key)
            if room is not None and room.due_ms == due_ms:
                room.due_ms = None
                self._touched.add(key)
        # One by one: a defect that one of them brings to light is not to cost the others their turn.
        while self._touched:
            room = self._rooms.get(self._touched.pop())
            if room is not None:
                self._settle(room, now_ms)

    def _look_for_workers(self, now_ms: int) -> None:
        if now_ms - self._asked_workers_at_ms < _WORD_OF_WORKERS_MS:
            return
        self._asked_workers_at_ms = now_ms
        has_worker = self._has_worker()
        if has_worker is not self._is_worker_here:
            self._is_worker_here = has_worker
            self._touched.update(key for key, room in self._rooms.items() if room.group.is_auto)

    def _settle(self, room: _Room, now_ms: int) -> None:
        group = room.group
        for identity in [one for one, until_ms in room.returning.items() if now_ms >= until_ms]:
            self._drop(room, identity, now_ms)
        if not group.members:
            return
        group.has_worker = self._is_worker_here
        group.settle(now_ms)
        times = [] if group.deadline_ms is None else [group.deadline_ms]
        times.extend(room.returning.values())
        if group.has_news:
            pace_ms = _PACE_MS * len(group)
            if room.told_at_ms is None or now_ms - room.told_at_ms >= pace_ms:
                room.told_at_ms = now_ms
                for signal in group.news(now_ms):
                    self._push(room.sessions.values(), signal, now_ms)
                self._version = max(self._version, group.version)
            else:
                times.append(room.told_at_ms + pace_ms)
        due_ms = min(times, default=None)
        if due_ms is not None and (room.due_ms is None or due_ms < room.due_ms):
            room.due_ms = due_ms
            self._numbers += 1
            heapq.heappush(self._due, (due_ms, self._numbers, room.key))

    def _push(self, members: Iterable[Member], signal: GroupSignal, now_ms: int) -> None:
        present = [member for member in members if not member.is_gone]
        self._agent.push(present, SIGNAL_TYPE, now_ms, content=msgspec.to_builtins(signal))


def may_take_part(admission: Admission) -> bool:
    """Whether a grant allows what peers say to each other and to the server."""
    return admission.allows(Operation.SEND_LIVE, message_type=SIGNAL_TYPE) and admission.allows(
        Operation.DIRECT
    )


def _request_of(frame: Send) -> GroupRequest:
    if frame.to != [GROUP_AGENT] or frame.type != SIGNAL_TYPE or frame.delivery == "durable":
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, f"{GROUP_AGENT} takes live messages of the type {SIGNAL_TYPE}, and alone."
        )
    try:
        request: GroupRequest = msgspec.convert(frame.content, GroupRequest)
    except msgspec.ValidationError as error:
        raise ProtocolError(ErrorCode.BAD_REQUEST, f"Not a request to a group: {error}.") from None
    if frame.delivery == "lossy" and not isinstance(request, RenewHost | Unheard):
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, "Of the requests to a group only those about a host's lease may be lossy."
        )
    return request

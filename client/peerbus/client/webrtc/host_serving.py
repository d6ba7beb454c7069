"""
The host of a group: gives every reliable frame its place, and shows nothing to anybody before it is safe.

Owns who of the guests has what, what is released, and the gathering of what a host before it has left. Never decides
who is host (the server does) and never keeps what the delivery layer keeps: frames wait here only until they were
received. See PROTOCOL.md, section "Host mode".
"""

from __future__ import annotations

from collections import deque
from typing import Final

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc import peer_frames
from peerbus.client.webrtc.host_frames import (
    HOST_ROLE,
    Ack,
    Alive,
    EntryMessage,
    Fetch,
    Hello,
    Known,
    Message,
    Pass,
    Passed,
    Safe,
    StateHave,
    StatePiece,
    Submit,
    Sync,
    Synced,
    TailEnd,
    Welcome,
    encode,
    kind_of,
)
from peerbus.client.webrtc.host_guests import Guest, Guests
from peerbus.client.webrtc.host_inbox import HostInbox
from peerbus.client.webrtc.host_log import Entry, entry_of, reliable_of
from peerbus.client.webrtc.host_record import (
    Bad,
    FrameCame,
    HostChanged,
    HostMessage,
    HostRecord,
    HostView,
    Reachable,
    is_role,
)
from peerbus.client.webrtc.host_state import snapshot_of
from peerbus.client.webrtc.peer_receiving import ACK_MS, Delivered
from peerbus.protocol.groups import HOST_ALIVE_MS

GATHER_MS: Final = 2_000
"""How long a new host that may not have everything waits for the others."""
KNOWN_MS: Final = 200
"""How often guests are told what everybody has."""
GONE_MS: Final = 3_000
"""How long a frame is kept for a recipient that the host does not know, or not yet."""
ABSENT_MS: Final = 30_000
"""Likewise for a member that has no link to the host."""
STALL_MS: Final = 1_000
"""After how much silence of the successor the server is told."""
LINK_MS: Final = 3_000
"""Likewise, if it has not come yet."""


class Serving:
    """See the module. For one term."""

    def __init__(
        self, record: HostRecord, view: HostView, *, is_sure: bool, last_host: str, now_ms: int
    ) -> None:
        """`is_sure`: this member has all that was ever shown to anybody; then it begins at once."""
        self.term: Final = view.term
        self.is_ready = False
        self.released = 0
        """Everything up to here may be seen."""
        self._record: Final = record
        self._view = view
        self._pending: Final[deque[Entry]] = deque()
        """What is released and not taken in yet."""
        self._taken = 0
        """Up to here this member was given what is for it."""
        self._guests: Final = Guests(record, view.term)
        self._gathered: Final[set[str]] = set()
        self._last_host: Final = last_host
        self._gather_until_ms = now_ms if is_sure else now_ms + GATHER_MS
        self._is_sure: Final = is_sure
        self._inbox = HostInbox({})
        self._applied = 0
        self._replays = False
        self._versions = 0
        self._warned = -1
        """The version of the state that was found too old."""
        self._alive_due_ms = now_ms + HOST_ALIVE_MS
        self._known_due_ms = now_ms + KNOWN_MS
        self._known = (0, 0)
        self._stalled_ms: int | None = None
        self._reported: Final[set[str]] = set()
        self._gather(now_ms)

    # --- the group ----------------------------------------------------------------------------------------------

    def regroup(self, view: HostView, now_ms: int) -> None:
        """The group changed, not the host."""
        before, self._view = self._view, view
        self._reported.intersection_update(view.members)
        for peer, hello in self._guests.regroup(view):
            self._hello(peer, hello, now_ms)
        if view.successor != before.successor:
            self._stalled_ms = None
            self._guests.only_replica(view.successor)
            self._sync(now_ms)
        if not self.is_ready:
            self._gather(now_ms)
        else:
            # Each version: a guest may learn by a later one than others that somebody left.
            self._mark(now_ms)
        self._advance(now_ms)

    def unlinked(self, peer: str) -> None:
        """The link to a guest is gone."""
        self._guests.drop(peer)

    # --- frames -------------------------------------------------------------------------------------------------

    def submit(self, sender: str, to: list[str], frame: bytes, now_ms: int) -> None:
        """A frame of a guest or of the host itself: it is given a place, or passed on."""
        kind = kind_of(frame)
        if kind == peer_frames.RELIABLE:
            read = reliable_of(frame)
            if read is None:
                return
            if HOST_ROLE in to:
                self._inbox.owe(sender, now_ms + ACK_MS)
            fresh = self._record.log.uncovered(sender, read, to)
            if fresh:
                self._place(sender, fresh, frame, now_ms)
        elif kind == peer_frames.FLUSHED:
            self._place(sender, tuple(to), frame, now_ms)
        else:
            self.pass_on(sender, to, frame)

    def pass_on(self, sender: str, to: list[str] | None, frame: bytes) -> None:
        """A frame that has no place in the order."""
        me = self._record.identity
        everybody = [who for who in self._view.members if who != sender]
        is_lossy = kind_of(frame) == peer_frames.LOSSY
        message = encode(Passed(self.term, sender, frame))
        for peer in everybody if to is None else to:
            if peer in (me, HOST_ROLE):
                self._record.outputs.append(FrameCame(sender, frame))
            else:
                self._guests.say(peer, message, is_lossy=is_lossy)

    def set_state(self, state: object, now_ms: int) -> None:
        """The application's state as it is now. Raises `PeerbusError`: `bad_request`, `too_large`."""
        record = self._record
        kept = self._view.members.keys() | record.absent.keys()
        done = {who: seen for who, seen in self._inbox.done.items() if who in kept}
        floor = self._inbox.floor(self._taken)
        snapshot = snapshot_of(state, self.term, self._versions + 1, self._taken, floor, done)
        self._versions += 1
        record.take_snapshot(snapshot)
        self._push_states(now_ms)

    # --- what guests say ----------------------------------------------------------------------------------------

    def receive(self, peer: str, message: Message, now_ms: int) -> None:
        """A message of a guest, under this term."""
        if isinstance(message, Hello):
            if self._guests.expects(peer, message, self._view):
                self._hello(peer, message, now_ms)
            return
        guest = self._guests.get(peer)
        if guest is None:
            return
        if peer in self._reported:
            self._reported.discard(peer)
            self._record.outputs.append(Reachable(peer, is_reachable=True))
        if not guest.is_welcome:
            self._tail(peer, guest, message, now_ms)
        elif isinstance(message, Submit):
            self.submit(peer, message.to, message.frame, now_ms)
        elif isinstance(message, Pass):
            self.pass_on(peer, message.to, message.frame)
        elif isinstance(message, Ack):
            guest.acked = max(guest.acked, message.n)
        elif isinstance(message, Safe):
            if guest.is_replica and message.n > guest.safe:
                guest.safe = min(message.n, guest.sent)
                self._stalled_ms = None
                self._advance(now_ms)
            guest.acked = max(guest.acked, min(message.n, guest.sent))
        elif isinstance(message, StateHave):
            guest.states.got((message.state_term, message.version))
            self._push_states(now_ms)

    def tick(self, now_ms: int) -> None:
        """Does what is due."""
        if not self.is_ready:
            self._gather(now_ms)
            return
        for sender, frame in self._inbox.acks(now_ms):
            self._answer(sender, frame)
        if now_ms >= self._alive_due_ms:
            self._alive_due_ms = now_ms + HOST_ALIVE_MS
            self._guests.say_to_all(encode(Alive(self.term)))
        if now_ms >= self._known_due_ms:
            self._known_due_ms = now_ms + KNOWN_MS
            self._tell_known(now_ms)
        self._push_states(now_ms)
        self._watch_successor(now_ms)

    @property
    def deadline_ms(self) -> int:
        """When to call `tick`."""
        if not self.is_ready:
            return self._gather_until_ms
        acks = self._inbox.deadline_ms
        due_ms = min(self._alive_due_ms, self._known_due_ms)
        return due_ms if acks is None else min(due_ms, acks)

    # --- taking over --------------------------------------------------------------------------------------------

    def _hello(self, peer: str, hello: Hello, now_ms: int) -> None:
        guest = self._guests.greet(peer, hello)
        if self.is_ready:
            self._welcome(peer, guest, now_ms)
        else:
            own = (0, 0) if self._record.snapshot is None else self._record.snapshot.age
            wants_state = (hello.state_term, hello.state_version) > own
            self._record.say(peer, Fetch(self.term, wants_state))

    def _tail(self, peer: str, guest: Guest, message: Message, now_ms: int) -> None:
        if isinstance(message, EntryMessage):
            self._record.log.put(entry_of(message, now_ms))
        elif isinstance(message, StatePiece):
            try:
                snapshot = guest.reader.read(message)
            except PeerbusError as error:
                self._record.outputs.append(Bad(peer, error))
                return
            if snapshot is not None:
                self._record.take_snapshot(snapshot)
        elif isinstance(message, TailEnd):
            self._record.log.last_n = max(self._record.log.last_n, guest.hello.position)
            self._gathered.add(peer)
            self._gather(now_ms)

    def _gather(self, now_ms: int) -> None:
        """Begins when everybody has said what it has, or when that takes too long."""
        awaited = self._view.members.keys() - self._gathered - {self._record.identity, self._last_host}
        if self.is_ready or (awaited and now_ms < self._gather_until_ms):
            return
        record = self._record
        self.is_ready = True
        record.log.last_n = max(record.log.last_n, record.position, record.stable, record.released)
        record.took_over(self.term)
        record.position_term = self.term
        snapshot = record.snapshot
        self._replays = snapshot is not None
        self._inbox = HostInbox(record.done if snapshot is None else snapshot.done)
        self._applied = record.released if snapshot is None else snapshot.n
        self.released = min(record.stable, self._applied if snapshot is None else snapshot.floor - 1)
        self._taken = self.released
        record.outputs.append(HostChanged(record.identity, self.term, snapshot))
        record.begin_path()
        self._mark(now_ms)
        for peer, guest in self._guests.items():
            self._welcome(peer, guest, now_ms)
        self._advance(now_ms)

    def _welcome(self, peer: str, guest: Guest, now_ms: int) -> None:
        n = self._record.resume_from(guest.hello.position_term, guest.hello.position, self.term)
        guest.is_welcome = True
        guest.sent = guest.acked = n
        self._record.say(peer, Welcome(self.term, n))
        self._sync(now_ms)
        self._guests.tell(peer, guest, self.released, {})
        self._push_states(now_ms)

    def _sync(self, now_ms: int) -> None:
        """Has the successor take in everything."""
        replica = self._replica
        if not self.is_ready or replica is None or not replica.is_welcome or replica.is_replica:
            return
        record, peer = self._record, self._view.successor
        assert peer is not None
        done = self._inbox.done if record.snapshot is None else record.done
        record.say(peer, Sync(self.term, self._view.version, record.bases, dict(done)))
        for entry in record.log.between(0, record.log.last_n):
            record.say(peer, entry.message(self.term))
        # What the snapshot holds is not in the log any more: without it, the successor would not have all.
        self._guests.push_state_to(peer, replica, now_ms)
        record.say(peer, Synced(self.term, record.log.last_n))
        replica.is_replica = True
        replica.sent, replica.safe = record.log.last_n, 0
        self._push_states(now_ms)

    @property
    def _replica(self) -> Guest | None:
        return None if self._view.successor is None else self._guests.get(self._view.successor)

    # --- the order ----------------------------------------------------------------------------------------------

    def _place(self, sender: str, to: tuple[str, ...], frame: bytes, now_ms: int) -> None:
        log = self._record.log
        log.put(
            Entry(
                n=log.last_n + 1,
                term=self.term,
                sender=sender,
                to=to,
                is_for_host=HOST_ROLE in to or self._record.identity in to,
                frame=frame,
                at_ms=now_ms,
            )
        )
        self._advance(now_ms)

    def _mark(self, now_ms: int) -> None:
        """All of this version of the group is behind what came before: who is gone sends nothing more."""
        self._place("", tuple(self._view.members), self._view.version.to_bytes(8, "big"), now_ms)

    def _advance(self, now_ms: int) -> None:
        """Replicates, releases what is safe, and tells it to whom it is for."""
        if not self.is_ready:
            return
        encoded: dict[int, bytes] = {}
        if self._view.successor is None:
            safe = self._record.log.last_n
        else:
            replica = self._replica
            if replica is not None and replica.is_replica:
                self._guests.tell(self._view.successor, replica, self.released, encoded)
            safe = 0 if replica is None else replica.safe
        if safe > self.released:
            entries = list(self._record.log.between(self.released, safe))
            self.released = safe
            for peer, guest in self._guests.items():
                self._guests.tell(peer, guest, self.released, encoded)
            self._pending.extend(entries)

    def take_in(self, now_ms: int) -> bool:
        """Takes in the next entry that is released, if there is one: one by one, so that a state is at its place."""
        if self._pending:
            entry = self._pending.popleft()
            self._taken = entry.n
            self._take_in(entry, now_ms)
            return True
        self._taken = self.released
        return False

    def _take_in(self, entry: Entry, now_ms: int) -> None:
        record = self._record
        is_new = record.reached(entry)
        frame = reliable_of(entry.frame) if entry.sender else None
        if frame is None:
            if is_new:
                record.outputs.append(FrameCame(entry.sender, entry.frame))
            return
        events = []
        if entry.is_for_host:
            events = self._inbox.feed(entry.n, entry.sender, frame, now_ms, is_role=is_role(entry))
        if is_role(entry):
            self._inbox.owe(entry.sender, now_ms + ACK_MS)
        elif is_new:
            is_in_state = self._replays and entry.is_for_host and entry.n <= self._applied
            is_for_host = entry.is_for_host and not is_in_state
            record.outputs.append(FrameCame(entry.sender, entry.frame, is_for_host, is_in_state))
            return
        elif not self._replays:
            return
        if entry.n > self._applied:
            for event in events:
                if isinstance(event, Delivered):
                    record.outputs.append(
                        HostMessage(entry.sender, event.payload, entry.n, is_replayed=entry.term != self.term)
                    )

    def _answer(self, sender: str, frame: bytes) -> None:
        """An acknowledgement of the host's role."""
        if sender == self._record.identity:
            self._record.outputs.append(FrameCame(HOST_ROLE, frame))
        else:
            self._guests.say(sender, encode(Passed(self.term, HOST_ROLE, frame)))

    # --- what is due --------------------------------------------------------------------------------------------

    def _tell_known(self, now_ms: int) -> None:
        record = self._record
        stable = record.stable
        for entry in record.log.between(stable, self._taken):
            if not all(self._has(peer, entry, now_ms) for peer in entry.to):
                break
            stable = entry.n
        else:
            stable = max(stable, self._taken)
        record.stable, record.released = stable, self._taken
        if (stable, self._taken) != self._known:
            self._known = (stable, self._taken)
            record.prune()
            self._tell_forgotten()
            self._guests.say_to_all(encode(Known(self.term, stable, self._taken)))

    def _tell_forgotten(self) -> None:
        """Once for a state."""
        record = self._record
        if record.forgotten and self._warned != self._versions:
            self._warned = self._versions
            text = "The state was set too long ago: a new host would not be given all messages since then."
            record.outputs.append(Bad(record.identity, PeerbusError(ErrorCode.QUEUE_FULL, text)))
        record.forgotten = 0

    def _has(self, peer: str, entry: Entry, now_ms: int) -> bool:
        if peer in (self._record.identity, HOST_ROLE):
            return True
        guest = self._guests.get(peer)
        if guest is not None:
            return guest.acked >= entry.n
        # Who can't come to the host gets it from the sender, which keeps it.
        wait_ms = ABSENT_MS if peer in self._view.members else GONE_MS
        return now_ms >= entry.at_ms + wait_ms

    def _push_states(self, now_ms: int) -> None:
        self._guests.push_states(self._view.successor, now_ms)

    def _watch_successor(self, now_ms: int) -> None:
        """A successor that does not answer holds everybody up: the server is told, and names another."""
        successor, replica = self._view.successor, self._replica
        if successor is None:
            return
        is_linked = replica is not None and replica.is_replica
        if replica is not None and is_linked and replica.safe >= self._record.log.last_n:
            self._stalled_ms = None
        elif self._stalled_ms is None:
            self._stalled_ms = now_ms
        elif (
            now_ms - self._stalled_ms >= (STALL_MS if is_linked else LINK_MS)
            and successor not in self._reported
        ):
            self._reported.add(successor)
            self._record.outputs.append(Reachable(successor, is_reachable=False))

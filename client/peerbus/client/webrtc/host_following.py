"""
A guest of a host: says hello, takes its place in the order, and keeps what the host needs it to keep.

Owns whether the host has this guest, and whether this guest, as successor, has everything. Never takes a message of any
other host or term than the server names. See PROTOCOL.md, section "Host mode".
"""

from __future__ import annotations

from typing import Final

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc import peer_frames
from peerbus.client.webrtc.host_frames import (
    Ack,
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
from peerbus.client.webrtc.host_log import entry_of
from peerbus.client.webrtc.host_record import Bad, FrameCame, HostChanged, HostRecord, HostView, Unheard
from peerbus.client.webrtc.host_silence import Silence
from peerbus.client.webrtc.host_state import SnapshotReader, pieces_of
from peerbus.client.webrtc.peer_receiving import ACK_FRAMES, ACK_MS


class Following:
    """See the module. For one host under one term."""

    def __init__(self, record: HostRecord, view: HostView) -> None:
        self.host: Final = view.host
        self.term: Final = view.term
        self.is_greeted = False
        self._record: Final = record
        self._has_said_hello = False
        self._was_greeted = False
        view_names_it = view.successor == record.identity
        self._unnamed_version = 0 if view_names_it else view.version
        """The last version of the group by which it was not the successor, or may have been none before."""
        self._sync_version = 0
        """The version by which the host told it everything."""
        self._was_synced = False
        self._coming_version = 0
        self._synced: set[int] | None = None
        self._reader = SnapshotReader()
        self._ack_due_ms: int | None = None
        self._unacknowledged = 0
        self._silence: Final = Silence()
        self.greet()

    def greet(self) -> None:
        """Says hello, once for a link."""
        if self._has_said_hello or self.host not in self._record.links:
            return
        self._has_said_hello = True
        # What is said between hello and welcome counts for nothing: the host may let the guest wait.
        self.is_greeted = False
        record = self._record
        assert record.view is not None
        age = (0, 0) if record.snapshot is None else record.snapshot.age
        version = record.view.version
        record.say(self.host, Hello(self.term, version, record.position_term, record.position, *age))

    @property
    def has_all(self) -> bool:
        """Whether it was told everything, as the successor that the server has named ever since."""
        return self._sync_version > self._unnamed_version

    def unlinked(self) -> None:
        """The link to the host is gone."""
        self.is_greeted = self._has_said_hello = False
        self._synced = None
        self._reader = SnapshotReader()
        self._ack_due_ms = None

    def regroup(self, view: HostView, *, is_next: bool) -> None:
        """The group changed, not the host."""
        is_named = view.successor == self._record.identity
        if not is_named:
            self._unnamed_version = view.version
        elif not is_next:
            # Another successor may have been named in between: all once more.
            self._unnamed_version = view.version - 1
        if is_named and not self.has_all and self._was_synced and self.is_greeted:
            self._was_synced = self._has_said_hello = False
            self.greet()

    # --- what this member sends ---------------------------------------------------------------------------------

    def submit(self, to: tuple[str, ...], frame: bytes) -> bool:
        """Hands a frame to the host; False if it has no way there."""
        if not self.is_greeted:
            return False
        kind = kind_of(frame)
        if kind in (peer_frames.RELIABLE, peer_frames.FLUSHED):
            self._record.say(self.host, Submit(self.term, list(to), frame))
        elif kind == peer_frames.LOSSY:
            self._record.say_lossy(self.host, encode(Pass(self.term, list(to), frame)))
        else:
            self._record.say(self.host, Pass(self.term, list(to), frame))
        return True

    # --- what the host says -------------------------------------------------------------------------------------

    def receive(self, message: Message, now_ms: int) -> None:
        """A message of the host, under its term."""
        record = self._record
        self._silence.heard(now_ms)
        if not (self.is_greeted or isinstance(message, Welcome | Fetch)):
            return  # It was said to this guest as it was before its hello.
        if isinstance(message, EntryMessage):
            self._entry(message, now_ms)
        elif isinstance(message, Passed):
            record.outputs.append(FrameCame(message.sender, message.frame))
        elif isinstance(message, Welcome):
            self._welcome(message, now_ms)
        elif isinstance(message, Known):
            record.stable, record.released = message.stable, message.released
            record.prune()
        elif isinstance(message, Sync):
            record.bases = list(message.bases)
            record.done = dict(message.done)
            self._synced = set()
            self._coming_version = message.version
        elif isinstance(message, Synced):
            self._sync_ends(message)
        elif isinstance(message, StatePiece):
            self._state(message)
        elif isinstance(message, Fetch):
            self._tell_all(wants_state=message.wants_state)

    def tick(self, now_ms: int) -> None:
        """Acknowledges what is due, and notices a host that is silent."""
        if self._silence.is_to_be_told(now_ms):
            self._record.outputs.append(Unheard(self.term))
        if self._ack_due_ms is not None and now_ms >= self._ack_due_ms:
            self._ack_due_ms = None
            self._unacknowledged = 0
            if self.has_all:
                self._record.say(self.host, Safe(self.term, self._record.log.last_n))
            else:
                self._record.say(self.host, Ack(self.term, self._record.position))

    @property
    def deadline_ms(self) -> int | None:
        """When to call `tick`."""
        due = (self._ack_due_ms, self._silence.deadline_ms)
        return min((at for at in due if at is not None), default=None)

    def _welcome(self, message: Welcome, now_ms: int) -> None:
        record = self._record
        record.position_term, record.position = self.term, message.n
        record.stable, record.released = min(record.stable, message.n), min(record.released, message.n)
        record.log.cut(message.n)
        self.is_greeted = True
        self._silence.start(now_ms)
        if not self._was_greeted:
            self._was_greeted = True
            record.outputs.append(HostChanged(self.host, self.term, record.snapshot))
        record.begin_path()

    def _entry(self, message: EntryMessage, now_ms: int) -> None:
        record = self._record
        entry = entry_of(message, now_ms)
        record.log.put(entry)
        if self._synced is not None:
            self._synced.add(entry.n)
        if record.reached(entry):
            record.outputs.append(FrameCame(entry.sender, entry.frame))
        self._unacknowledged += 1
        is_urgent = self.has_all or self._unacknowledged >= ACK_FRAMES
        due_ms = now_ms if is_urgent else now_ms + ACK_MS
        self._ack_due_ms = due_ms if self._ack_due_ms is None else min(due_ms, self._ack_due_ms)

    def _sync_ends(self, message: Synced) -> None:
        told, self._synced = self._synced, None
        if told is None:
            return
        self._record.log.keep(lambda entry: entry.n in told)
        self._record.log.last_n = message.n
        self._sync_version, self._was_synced = self._coming_version, True
        self._record.say(self.host, Safe(self.term, message.n))

    def _state(self, piece: StatePiece) -> None:
        try:
            snapshot = self._reader.read(piece)
        except PeerbusError as error:
            self._record.outputs.append(Bad(self.host, error))
            return
        if snapshot is not None:
            self._record.take_snapshot(snapshot)
            self._record.say(self.host, StateHave(self.term, *snapshot.age))

    def _tell_all(self, *, wants_state: bool) -> None:
        record = self._record
        for entry in record.log.between(0, record.log.last_n):
            record.say(self.host, entry.message(self.term))
        if wants_state and record.snapshot is not None:
            for piece in pieces_of(record.snapshot, self.term):
                record.say(self.host, piece)
        record.say(self.host, TailEnd(self.term))

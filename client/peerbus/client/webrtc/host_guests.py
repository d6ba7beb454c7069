"""
The guests of a host: what each of them has been told, and what it said that it has.

Owns who is welcome, who has to wait because it knows more of the group than the host, and what goes to whom on the
links. Never gives a place in the order, and never decides what is safe (`host_serving`).
"""

from __future__ import annotations

from collections.abc import ItemsView
from typing import Final

from peerbus.client.webrtc.host_frames import Hello, encode
from peerbus.client.webrtc.host_record import HostRecord, HostView
from peerbus.client.webrtc.host_state import Snapshot, SnapshotReader, SnapshotSending, pieces_of


class Guest:
    """What the host knows of a guest, on one link."""

    def __init__(self, hello: Hello) -> None:
        self.hello: Final = hello
        self.is_welcome = False
        self.is_replica = False
        """It is the successor, and is told everything."""
        self.sent = 0
        """The last place it was told of, or passed over."""
        self.acked = 0
        self.safe = 0
        """As successor: it has everything up to here."""
        self.states: Final = SnapshotSending((hello.state_term, hello.state_version))
        self.reader: Final = SnapshotReader()


class Guests:
    """See the module. For one term of one host."""

    def __init__(self, record: HostRecord, term: int) -> None:
        self._record: Final = record
        self._term: Final = term
        self._guests: Final[dict[str, Guest]] = {}
        self._early: dict[str, Hello] = {}
        """Who said hello with a version of the group that the host does not know yet."""

    def get(self, peer: str) -> Guest | None:
        """The guest of this identity, welcome or not."""
        return self._guests.get(peer)

    def items(self) -> ItemsView[str, Guest]:
        """All of them."""
        return self._guests.items()

    # --- who they are -------------------------------------------------------------------------------------------

    def expects(self, peer: str, hello: Hello, view: HostView) -> bool:
        """Whether a hello is to be answered now; else it waits for a later version of the group."""
        if peer in view.members and hello.version <= view.version:
            return True
        self._guests.pop(peer, None)
        self._early[peer] = hello
        return False

    def greet(self, peer: str, hello: Hello) -> Guest:
        """A guest is there, on a new link or anew."""
        guest = self._guests[peer] = Guest(hello)
        return guest

    def regroup(self, view: HostView) -> list[tuple[str, Hello]]:
        """The group changed; gives what is to be answered now."""
        for peer in [peer for peer in self._guests if peer not in view.members]:
            self._early[peer] = self._guests.pop(peer).hello
        waiting, self._early = self._early, {}
        return [(peer, hello) for peer, hello in waiting.items() if self.expects(peer, hello, view)]

    def drop(self, peer: str) -> None:
        """The link is gone."""
        self._guests.pop(peer, None)
        self._early.pop(peer, None)

    def only_replica(self, successor: str | None) -> None:
        """Whoever else was the successor is a guest like others."""
        for peer, guest in self._guests.items():
            if peer != successor:
                guest.is_replica = False

    # --- what they are told -------------------------------------------------------------------------------------

    def say(self, peer: str, message: bytes, *, is_lossy: bool = False) -> None:
        """Tells one of them, if it is welcome."""
        guest = self._guests.get(peer)
        if guest is None or not guest.is_welcome:
            return
        if is_lossy:
            self._record.say_lossy(peer, message)
        else:
            self._record.say_bytes(peer, message)

    def say_to_all(self, message: bytes) -> None:
        """Tells all who are welcome."""
        for peer in self._guests:
            self.say(peer, message)

    def tell(self, peer: str, guest: Guest, released: int, encoded: dict[int, bytes]) -> None:
        """
        What a guest has not been told: the successor of everything, others of what is `released` and for them.

        `encoded` keeps what is told to many.
        """
        up_to = self._record.log.last_n if guest.is_replica else released
        if not guest.is_welcome or up_to <= guest.sent:
            return
        for entry in self._record.log.between(guest.sent, up_to):
            if guest.is_replica or peer in entry.to:
                if entry.n not in encoded:
                    encoded[entry.n] = encode(entry.message(self._term))
                self._record.say_bytes(peer, encoded[entry.n])
        guest.sent = up_to

    def push_states(self, successor: str | None, now_ms: int) -> None:
        """The newest snapshot to the successor at once, and to all others as soon as that has it."""
        snapshot = self._record.snapshot
        if snapshot is None:
            return
        replica = None if successor is None else self._guests.get(successor)
        is_safe = successor is None or (replica is not None and replica.states.has >= snapshot.age)
        pieces: list[bytes] = []
        for peer, guest in self._guests.items():
            is_due = guest.is_replica or (is_safe and now_ms >= guest.states.next_ms)
            if guest.is_welcome and is_due and guest.states.wants(snapshot):
                pieces = pieces or self._pieces(snapshot)
                self._send_state(peer, guest, snapshot, pieces, now_ms)

    def push_state_to(self, peer: str, guest: Guest, now_ms: int) -> None:
        """Sees to it that a guest has the newest snapshot before all that it is told from now on."""
        snapshot = self._record.snapshot
        if snapshot is not None and snapshot.age > max(guest.states.has, guest.states.under_way or (0, 0)):
            self._send_state(peer, guest, snapshot, self._pieces(snapshot), now_ms)

    def _pieces(self, snapshot: Snapshot) -> list[bytes]:
        return [encode(piece) for piece in pieces_of(snapshot, self._term)]

    def _send_state(
        self, peer: str, guest: Guest, snapshot: Snapshot, pieces: list[bytes], now_ms: int
    ) -> None:
        for piece in pieces:
            self._record.say_bytes(peer, piece)
        guest.states.sent(snapshot, now_ms)

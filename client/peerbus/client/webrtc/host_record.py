"""
What a member of a group in mode `host` knows, whether it is host or guest: it stays when the one becomes the other.

Owns the group as the server told it last, the log, how far this member has got in the order, the newest snapshot, and
what is to go out. Never decides anything: `host_serving` and `host_following` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from msgspec import Struct

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc.host_frames import HOST_ROLE, Message, encode, join
from peerbus.client.webrtc.host_inbox import Done, note_done
from peerbus.client.webrtc.host_log import Entry, OrderLog, reliable_of
from peerbus.client.webrtc.host_state import Snapshot
from peerbus.protocol.groups import HOST_RENEW_MS, HOST_TTL_MS

__all__ = ["HOST_RENEW_MS", "HOST_TTL_MS"]

_BASES_MAX: Final = 16
REPLAY_ENTRIES_MAX: Final = 8_192
REPLAY_BYTES_MAX: Final = 4 * 1_048_576
"""How much is kept for a new host beyond what everybody has: messages to the host since its state was set last."""


class HostView(Struct, frozen=True, kw_only=True):
    """What the server says of the group that matters here."""

    version: int
    term: int
    """Of the host."""
    host: str
    successor: str | None
    members: Mapping[str, int]
    """Identities and their orders, the own one included. Under another order a member has begun anew."""
    has_gap: bool = False
    """This member may have missed what the server said before this."""


class Transmit(Struct, frozen=True):
    """Bytes for the data channel to a peer: the reliable or the lossy one."""

    peer: str
    data: bytes
    is_lossy: bool


class FrameCame(Struct, frozen=True):
    """A frame of the delivery layer, for this member."""

    sender: str
    frame: bytes
    is_for_host: bool = False
    """This member is host, and the frame is one of those that a state holds."""
    is_in_state: bool = False
    """This member is a new host, and the state that it goes on from holds the frame: its application has it by that."""


class HostMessage(Struct, frozen=True):
    """
    A whole message for the application of the host: it was for the host's role, or came after the state that a new
    host goes on from (`is_replayed`); then the application may have been given it before, as a guest.
    """

    sender: str
    payload: Any
    n: int
    is_replayed: bool


class HostChanged(Struct, frozen=True):
    """There is a host, and this member is with it. `state` is the newest snapshot here, None if there is none."""

    host: str
    term: int
    state: Snapshot | None


class PathReady(Struct, frozen=True):
    """Frames can be handed in; what the delivery layer has not acknowledged goes out once more, in order."""


class Gone(Struct, frozen=True):
    """Nothing of this peer comes any more: it left, and what was safe of it is delivered."""

    identity: str


class Renew(Struct, frozen=True):
    """The lease is to be renewed under this term."""

    term: int


class Unheard(Struct, frozen=True):
    """Nothing comes from the host any more, though the link to it stands; for the server."""

    term: int


class Reachable(Struct, frozen=True):
    """A peer that others count on does not answer, or does again; for the server."""

    peer: str
    is_reachable: bool


class Bad(Struct, frozen=True):
    """What came was dropped."""

    peer: str
    error: PeerbusError


Output: TypeAlias = (
    Transmit | FrameCame | HostMessage | HostChanged | PathReady | Gone | Renew | Unheard | Reachable | Bad
)


class HostRecord:
    """See the module."""

    def __init__(self, identity: str) -> None:
        self.identity: Final = identity
        self.view: HostView | None = None
        self.log: Final = OrderLog()
        self.position_term = 0
        """The term of the host that the position is of; 0: none was ever joined."""
        self.position = 0
        """This member was given all that is for it up to here."""
        self.stable = 0
        """Everybody was."""
        self.released = 0
        """The host's application was given all that is for it up to here, as far as is known."""
        self.snapshot: Snapshot | None = None
        self.bases: list[tuple[int, int]] = []
        """The term of each host, and the last place of the order that it took over."""
        self.done: Done = {}
        """What hosts took in of each sender that is not kept in the log any more."""
        self.links: Final[set[str]] = set()
        self.absent: Final[dict[str, int]] = {}
        """Who left, and by which version of the group, while not everything of it may have come."""
        self.marked = 0
        """The version of the group that the last marker told."""
        self.paths = 0
        """How many times the way to all others began anew."""
        self.forgotten = 0
        """How many messages to the host were dropped that came after its last state."""
        self.stale = 0
        """How many messages of an older term were refused."""
        self.outputs: list[Output] = []
        self._out: dict[str, list[bytes]] = {}

    # --- going out ----------------------------------------------------------------------------------------------

    def say(self, peer: str, message: Message) -> None:
        """On the reliable channel, with what else goes there now."""
        self.say_bytes(peer, encode(message))

    def say_bytes(self, peer: str, message: bytes) -> None:
        """Likewise, for what many are told."""
        if peer in self.links:
            self._out.setdefault(peer, []).append(message)

    def say_lossy(self, peer: str, message: bytes) -> None:
        """On the lossy channel."""
        if peer in self.links:
            self.outputs += [Transmit(peer, data, is_lossy=True) for data in join([message])]

    def take(self) -> list[Output]:
        """All that was to be told since it was asked before."""
        for peer, messages in self._out.items():
            self.outputs += [Transmit(peer, data, is_lossy=False) for data in join(messages)]
        self._out = {}
        outputs, self.outputs = self.outputs, []
        return outputs

    @property
    def has_output(self) -> bool:
        """Whether `take` has something to give."""
        return bool(self._out or self.outputs)

    def unsay(self, peer: str) -> None:
        """The link is gone, and with it what was to go there."""
        self._out.pop(peer, None)

    def begin_path(self) -> None:
        """There is a way to all others, which knows nothing of what was handed in before."""
        self.paths += 1
        self.outputs.append(PathReady())

    # --- the order ----------------------------------------------------------------------------------------------

    def reached(self, entry: Entry) -> bool:
        """Moves on to an entry; whether it is new to this member and for it."""
        if entry.n <= self.position:
            return False
        self.position = entry.n
        if self.identity not in entry.to:
            return False
        if not entry.sender:
            self._marker(entry.frame)
            return False
        return True

    def left(self, identity: str, version: int) -> None:
        """The server says, with this version of the group, that somebody left."""
        self.absent[identity] = version
        self.log.forget_recipient(identity)
        self._tell_gone()

    def _marker(self, frame: bytes) -> None:
        self.marked = max(self.marked, int.from_bytes(frame, "big"))
        self._tell_gone()

    def _tell_gone(self) -> None:
        for identity in [who for who, version in self.absent.items() if version <= self.marked]:
            del self.absent[identity]
            self.outputs.append(Gone(identity))

    def prune(self) -> None:
        """Drops what everybody has, but for what a new host would take in again after the newest snapshot."""
        floor = self.stable + 1 if self.snapshot is None else self.snapshot.floor
        for entry in self.log.between(0, min(self.stable, floor - 1)):
            if entry.is_for_host and self.snapshot is None:
                frame = reliable_of(entry.frame)
                if frame is not None:
                    note_done(self.done, entry.sender, frame, is_role=is_role(entry))
        self.log.keep(lambda entry: entry.n > self.stable or (entry.is_for_host and entry.n >= floor))
        self._bound_replay()

    def _bound_replay(self) -> None:
        """An application that sets its state once and never again has no claim to all that came since."""
        kept = list(self.log.between(0, self.stable))
        size = sum(len(entry.frame) for entry in kept)
        if len(kept) <= REPLAY_ENTRIES_MAX and size <= REPLAY_BYTES_MAX:
            return
        # A quarter more than has to, so that this is not done for each message.
        entries, first = len(kept), 0
        while entries > REPLAY_ENTRIES_MAX * 3 // 4 or size > REPLAY_BYTES_MAX * 3 // 4:
            size -= len(kept[first].frame)
            entries, first = entries - 1, first + 1
        low = kept[first].n if first < len(kept) else self.stable + 1
        self.log.keep(lambda entry: entry.n >= low)
        self.forgotten += first

    def take_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps it if it is the newest."""
        if self.snapshot is None or snapshot.age > self.snapshot.age:
            self.snapshot = snapshot
            self.prune()

    def took_over(self, term: int) -> None:
        """A host begins: the order goes on behind the log."""
        self.bases = [*self.bases, (term, self.log.last_n)][-_BASES_MAX:]

    def resume_from(self, position_term: int, position: int, term: int) -> int:
        """How far a guest with this position has the order of `term`."""
        if position_term == term:
            return position
        later = [base for base_term, base in self.bases if base_term > position_term]
        return min([position, *later])


def is_role(entry: Entry) -> bool:
    """Whether an entry is for the host by its role."""
    return HOST_ROLE in entry.to

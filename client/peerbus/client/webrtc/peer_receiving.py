"""
What comes from one peer: in order, once, whole.

Owns what was delivered of the peer's stream, what is held back for its turn, the message that is not whole yet, and
what is owed to the sender: an acknowledgement, or the request to send again. Never sends anything.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Any, Final, TypeAlias

from msgspec import Struct

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc import peer_frames
from peerbus.client.webrtc.peer_frames import CONTINUES, MESSAGE_BYTES_MAX, MORE, VOID, Lossy, Reliable

HELD_BYTES_MAX: Final = 4 * 1_048_576
_HELD_COST: Final = 64
"""What a frame that is held back costs beside its body."""
ACK_MS: Final = 50
ACK_FRAMES: Final = 32
GAP_MS: Final = 1_000
_RETIRED_MAX: Final = 8


class Delivered(Struct, frozen=True):
    """A whole message."""

    sender: str
    payload: Any
    is_lossy: bool


class Flushed(Struct, frozen=True):
    """Nothing of the sender up to `seq` comes any more on the path this came by."""

    sender: str
    seq: int


class Bad(Struct, frozen=True):
    """What came was dropped."""

    sender: str
    error: PeerbusError


Event: TypeAlias = Delivered | Flushed | Bad


class Receiving:
    """See the module."""

    def __init__(self, sender: str) -> None:
        self.sender: Final = sender
        self.stream = 0
        """That of the sender; 0: none was seen."""
        self.last = 0
        """The last frame that was delivered."""
        self.ack_due_ms: int | None = None
        self.again_due_ms: int | None = None
        self._retired: Final[deque[int]] = deque(maxlen=_RETIRED_MAX)
        self._pieces: list[bytes] | None = None
        """Of the message that is not whole yet; None between two."""
        self._pieces_bytes = 0
        self._begin(0)

    def reliable(self, frame: Reliable, now_ms: int) -> list[Event]:
        """A frame came; gives what is whole by it."""
        if not self.follows(frame.stream):
            return []
        if frame.seq <= self.last:
            self._owe_ack(now_ms)
            return []
        if frame.prev > self.last:
            self._hold(frame, now_ms)
            return []
        events = self._deliver(frame, now_ms)
        while self._order:
            held = self._held.get(self._order[0])
            if held is not None and held.seq > self.last:
                if held.prev > self.last:
                    break
                events += self._deliver(held, now_ms)
            self._release(heapq.heappop(self._order))
        self.again_due_ms = now_ms + GAP_MS if self._has_gap else None
        return events

    def lossy(self, frame: Lossy) -> list[Event]:
        """Lossy messages came."""
        if not self.follows(frame.stream):
            return []
        return [Delivered(self.sender, payload, is_lossy=True) for payload in frame.payloads]

    def follows(self, stream: int) -> bool:
        """Whether a frame of this stream counts; one that was not seen yet begins the sender anew."""
        if stream != self.stream:
            if stream in self._retired:
                return False
            if self.stream:
                self._retired.append(self.stream)
            self._begin(stream)
        return True

    def acknowledged(self) -> None:
        """The sender was told."""
        self.ack_due_ms = None
        self._unacknowledged = 0

    def asked(self, now_ms: int) -> None:
        """The sender was asked to send again."""
        self.again_due_ms = now_ms + GAP_MS if self._has_gap else None

    @property
    def _has_gap(self) -> bool:
        return bool(self._held) or self._dropped_up_to > self.last

    def _begin(self, stream: int) -> None:
        self.stream = stream
        self.last = 0
        self.ack_due_ms = self.again_due_ms = None
        self._unacknowledged = 0
        self._held: dict[int, Reliable] = {}
        self._order: list[int] = []
        self._held_bytes = 0
        self._dropped_up_to = 0
        self._forget_pieces()
        self._is_skipping = False

    # --- what is not its turn yet -------------------------------------------------------------------------------

    def _hold(self, frame: Reliable, now_ms: int) -> None:
        if not self._has_gap:
            self.again_due_ms = now_ms + GAP_MS
        before = self._held.get(frame.seq)
        if before is not None:
            if frame.prev < before.prev:
                self._held[frame.seq] = frame
                self._held_bytes += len(frame.body) - len(before.body)
        elif self._held_bytes + len(frame.body) + _HELD_COST > HELD_BYTES_MAX:
            self._dropped_up_to = max(self._dropped_up_to, frame.seq)
        else:
            self._held[frame.seq] = frame
            self._held_bytes += len(frame.body) + _HELD_COST
            heapq.heappush(self._order, frame.seq)

    def _release(self, seq: int) -> None:
        frame = self._held.pop(seq)
        self._held_bytes -= len(frame.body) + _HELD_COST

    # --- what is ------------------------------------------------------------------------------------------------

    def _deliver(self, frame: Reliable, now_ms: int) -> list[Event]:
        self.last = frame.seq
        self._unacknowledged += 1
        self._owe_ack(now_ms)
        if frame.flags & VOID:
            self._forget_pieces()
            self._is_skipping = True
            return []
        has_more = bool(frame.flags & MORE)
        if not frame.flags & CONTINUES:
            self._forget_pieces()
            self._is_skipping = False
        elif self._pieces is None:
            was_skipping, self._is_skipping = self._is_skipping, has_more
            if was_skipping:
                return []
            return [Bad(self.sender, peer_frames.bad_frame("the beginning of its message is missing"))]
        if self._pieces is None:
            self._pieces = []
        self._pieces.append(frame.body)
        self._pieces_bytes += len(frame.body)
        if self._pieces_bytes > MESSAGE_BYTES_MAX:
            error = peer_frames.too_large(self._pieces_bytes, MESSAGE_BYTES_MAX)
            self._forget_pieces()
            self._is_skipping = has_more
            return [Bad(self.sender, error)]
        return [] if has_more else [self._whole(frame.kind)]

    def _whole(self, kind: int) -> Event:
        data = b"".join(self._pieces or ())
        self._forget_pieces()
        try:
            return Delivered(self.sender, peer_frames.payload_of(kind, data), is_lossy=False)
        except PeerbusError as error:
            return Bad(self.sender, error)

    def _forget_pieces(self) -> None:
        self._pieces = None
        self._pieces_bytes = 0

    def _owe_ack(self, now_ms: int) -> None:
        if self.ack_due_ms is None:
            self.ack_due_ms = now_ms + ACK_MS
        if self._unacknowledged >= ACK_FRAMES:
            self.ack_due_ms = min(self.ack_due_ms, now_ms)

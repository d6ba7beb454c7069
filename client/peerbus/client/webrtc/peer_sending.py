"""
What goes to all peers: one numbered stream, kept until everybody it was for has it.

Owns the frames that are not acknowledged, for each recipient how far its path has got, the lossy messages that wait for
room, and which messages were handed over. Never sends anything: `take` says what goes onto a path now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc.peer_frames import (
    CONTINUES,
    LOSSY_FRAME_BYTES,
    MORE,
    PIECE_BYTES,
    encode_lossy,
    encode_reliable,
    form_of,
    lossy_form_of,
)

KEPT_BYTES_MAX: Final = 16 * 1_048_576
"""When so much is kept, no reliable message is taken."""
LOSSY_WAIT_MS: Final = 100
LOSSY_BYTES_MAX: Final = 256 * 1_024
AGAIN_MS: Final = 250
"""Requests to send again are followed at most so often."""
STALL_MS: Final = 5_000
"""What was sent to a recipient that acknowledges nothing for so long is sent again."""


class Outgoing(Struct, frozen=True):
    """A frame for these recipients, who share a path."""

    to: tuple[str, ...]
    frame: bytes
    is_lossy: bool


class _Message(Struct):
    """One that was not handed over yet."""

    number: int
    missing: set[str]
    """The recipients that were not given all of it."""
    was_given: bool = False


class _Piece(Struct):
    seq: int
    flags: int
    body: bytes | memoryview
    readers: int
    """Recipients that have not acknowledged it."""
    message: _Message | None
    """Of which it is the last piece."""


class _Turn(Struct):
    """A piece in the line of one recipient."""

    piece: _Piece
    prev: int


class _LossyMessage(Struct):
    message: _Message
    to: tuple[str, ...]
    data: bytes
    since_ms: int


class Recipient:
    """How far one peer has got."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.turns: Final[deque[_Turn]] = deque()
        self.sent = 0
        """How many of them went onto the present path."""
        self.last = 0
        """The last piece that is for it."""
        self.followed_ms: int | None = None
        """When it was last sent everything again because it had asked."""
        self.again_due_ms: int | None = None
        self.stalls_ms: int | None = None
        """When it has not acknowledged anything for too long; None while nothing was sent that it could."""

    def send_again(self) -> None:
        """Everything that is not acknowledged goes onto the path once more."""
        self.sent = 0
        self.stalls_ms = None
        if self.turns:
            self.turns[0].prev = 0

    @property
    def next_seq(self) -> int | None:
        """The piece whose turn it is."""
        return self.turns[self.sent].piece.seq if self.sent < len(self.turns) else None


class Sending:
    """See the module."""

    def __init__(self, stream: int) -> None:
        self.stream: Final = stream
        self.seq = 0
        """The last piece that was numbered."""
        self.kept_bytes = 0
        self.handed: list[int] = []
        self.dropped: list[int] = []
        self.recipients: Final[dict[str, Recipient]] = {}
        self._open: Final[dict[int, _Message]] = {}
        self._lossy: deque[_LossyMessage] = deque()
        self._lossy_bytes = 0

    # --- messages -----------------------------------------------------------------------------------------------

    def send_reliable(self, number: int, to: Sequence[str], payload: Any) -> None:
        """Takes a message. Raises `PeerbusError`: `bad_request`, `too_large`, `queue_full`."""
        kind, data = form_of(payload)
        if self.kept_bytes >= KEPT_BYTES_MAX:
            text = f"{self.kept_bytes} bytes were not acknowledged yet; await send_data to keep pace."
            raise PeerbusError(ErrorCode.QUEUE_FULL, text)
        message = _Message(number, set(to))
        if not to:
            self.handed.append(number)
            return
        self._open[number] = message
        whole = memoryview(data)
        for start in range(0, max(len(data), 1), PIECE_BYTES):
            has_more = start + PIECE_BYTES < len(data)
            flags = kind << 1 | (MORE if has_more else 0) | (CONTINUES if start else 0)
            body = whole[start : start + PIECE_BYTES] if has_more or start else data
            self._append(flags, body, to, None if has_more else message)

    def send_lossy(self, number: int, to: Sequence[str], payload: Any, now_ms: int) -> None:
        """Takes a message that may be dropped. Raises `PeerbusError`: `bad_request`, `too_large`."""
        data = lossy_form_of(payload)
        message = _Message(number, set(to))
        if not to:
            self.handed.append(number)
            return
        self._open[number] = message
        self._lossy.append(_LossyMessage(message, tuple(to), data, now_ms))
        self._lossy_bytes += len(data)
        self._drop_lossy(now_ms)

    def _append(
        self, flags: int, body: bytes | memoryview, to: Sequence[str], message: _Message | None
    ) -> None:
        self.seq += 1
        piece = _Piece(self.seq, flags, body, len(to), message)
        self.kept_bytes += len(body)
        for identity in to:
            recipient = self.recipient(identity)
            recipient.turns.append(_Turn(piece, recipient.last))
            recipient.last = self.seq

    # --- recipients ---------------------------------------------------------------------------------------------

    def recipient(self, identity: str) -> Recipient:
        """What is known of a peer; nothing at first."""
        return self.recipients.setdefault(identity, Recipient())

    def set_path(self, identity: str, path: str | None) -> None:
        """Everything for it goes here from now on, what is not acknowledged once more."""
        recipient = self.recipient(identity)
        recipient.path = path
        recipient.send_again()
        recipient.again_due_ms = None
        self._settle_all()

    def acknowledged(self, identity: str, stream: int, seq: int, now_ms: int) -> None:
        """A recipient has everything up to `seq`."""
        if stream != self.stream or identity not in self.recipients:
            return
        recipient = self.recipients[identity]
        while recipient.turns and recipient.turns[0].piece.seq <= seq:
            self._forget(identity, recipient.turns.popleft().piece)
            recipient.sent = max(recipient.sent - 1, 0)
            recipient.stalls_ms = now_ms + STALL_MS if recipient.sent else None

    def asked(self, identity: str, stream: int, seq: int, now_ms: int) -> None:
        """A recipient has everything up to `seq`, and wants what follows."""
        if identity not in self.recipients or stream not in (0, self.stream):
            return
        self.acknowledged(identity, stream, seq, now_ms)
        recipient = self.recipients[identity]
        if recipient.followed_ms is not None and now_ms < recipient.followed_ms + AGAIN_MS:
            recipient.again_due_ms = recipient.followed_ms + AGAIN_MS
        else:
            recipient.followed_ms = now_ms
            recipient.send_again()

    def left(self, identity: str) -> None:
        """It is gone; nothing is kept for it."""
        recipient = self.recipients.pop(identity, None)
        if recipient is not None:
            for turn in recipient.turns:
                self._forget(identity, turn.piece)
            for waiting in self._lossy:
                waiting.message.missing.discard(identity)
            self._settle_all()

    def _forget(self, identity: str, piece: _Piece) -> None:
        piece.readers -= 1
        if piece.readers == 0:
            self.kept_bytes -= len(piece.body)
        if piece.message is not None:
            self._given(piece.message, identity)

    # --- what goes onto paths -----------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Drops what waited too long, and follows requests that had to wait."""
        self._drop_lossy(now_ms)
        for recipient in self.recipients.values():
            if recipient.again_due_ms is not None and now_ms >= recipient.again_due_ms:
                recipient.again_due_ms = None
                recipient.followed_ms = now_ms
                recipient.send_again()
            elif recipient.stalls_ms is not None and now_ms >= recipient.stalls_ms:
                recipient.send_again()

    def take_reliable(self, path: str, room_bytes: int, now_ms: int) -> list[Outgoing]:
        """What goes onto a path now; the last frame may overshoot its room."""
        out: list[Outgoing] = []
        on_path = [(who, recipient) for who, recipient in self.recipients.items() if recipient.path == path]
        while room_bytes > 0:
            turns = [seq for _, recipient in on_path if (seq := recipient.next_seq) is not None]
            if not turns:
                break
            frame = self._next_frame(min(turns), on_path, now_ms)
            room_bytes -= len(frame.frame)
            out.append(frame)
        return out

    def take_lossy(self, path: str, room_bytes: int) -> list[Outgoing]:
        """Likewise of what may be lost; messages to the same recipients share a frame."""
        out: list[Outgoing] = []
        shared: list[_LossyMessage] = []
        shared_to: tuple[str, ...] = ()
        shared_bytes = 0

        def close() -> None:
            nonlocal shared_bytes, room_bytes
            if shared:
                frame = encode_lossy(self.stream, [waiting.data for waiting in shared])
                out.append(Outgoing(shared_to, frame, is_lossy=True))
                room_bytes -= len(frame)
                for waiting in shared:
                    for identity in shared_to:
                        self._given(waiting.message, identity)
                shared.clear()
                shared_bytes = 0

        for waiting in self._lossy:
            to = tuple(who for who in waiting.to if self._awaits(who, waiting, path))
            if not to:
                continue
            if shared and (
                to != shared_to or shared_bytes + len(waiting.data) > LOSSY_FRAME_BYTES - _HEAD_BYTES
            ):
                close()
            if room_bytes <= 0:
                break
            shared.append(waiting)
            shared_to = to
            shared_bytes += len(waiting.data)
        close()
        self._lossy = deque(waiting for waiting in self._lossy if waiting.message.number in self._open)
        self._lossy_bytes = sum(len(waiting.data) for waiting in self._lossy)
        return out

    @property
    def deadline_ms(self) -> int | None:
        """When to call `tick`."""
        due = [
            at
            for one in self.recipients.values()
            for at in (one.again_due_ms, one.stalls_ms)
            if at is not None
        ]
        if self._lossy:
            due.append(self._lossy[0].since_ms + LOSSY_WAIT_MS)
        return min(due, default=None)

    def _next_frame(self, seq: int, on_path: list[tuple[str, Recipient]], now_ms: int) -> Outgoing:
        to: list[str] = []
        prevs: dict[str, int] = {}
        piece: _Piece | None = None
        for identity, recipient in on_path:
            if recipient.next_seq == seq:
                turn = recipient.turns[recipient.sent]
                recipient.sent += 1
                if recipient.stalls_ms is None:
                    recipient.stalls_ms = now_ms + STALL_MS
                piece = turn.piece
                to.append(identity)
                if turn.prev != seq - 1:
                    prevs[identity] = turn.prev
        assert piece is not None
        if piece.message is not None:
            for identity in to:
                self._given(piece.message, identity)
        frame = encode_reliable(self.stream, seq, prevs, piece.flags, piece.body)
        return Outgoing(tuple(to), frame, is_lossy=False)

    # --- what became of messages --------------------------------------------------------------------------------

    def _awaits(self, identity: str, waiting: _LossyMessage, path: str) -> bool:
        recipient = self.recipients.get(identity)
        return recipient is not None and recipient.path == path and identity in waiting.message.missing

    def _given(self, message: _Message, identity: str) -> None:
        if identity in message.missing:
            message.missing.discard(identity)
            message.was_given = True
            self._settle(message)

    def _settle(self, message: _Message) -> None:
        """It is handed over when whoever has a path was given it; with nobody left to give it to, too."""
        has_path = any(self._has_path(identity) for identity in message.missing)
        if message.number in self._open and not has_path and (message.was_given or not message.missing):
            del self._open[message.number]
            self.handed.append(message.number)

    def _settle_all(self) -> None:
        for message in list(self._open.values()):
            self._settle(message)

    def _has_path(self, identity: str) -> bool:
        recipient = self.recipients.get(identity)
        return recipient is not None and recipient.path is not None

    def _drop_lossy(self, now_ms: int) -> None:
        while self._lossy and (
            self._lossy_bytes > LOSSY_BYTES_MAX or now_ms - self._lossy[0].since_ms >= LOSSY_WAIT_MS
        ):
            waiting = self._lossy.popleft()
            self._lossy_bytes -= len(waiting.data)
            if self._open.pop(waiting.message.number, None) is not None:
                settled = self.handed if waiting.message.was_given else self.dropped
                settled.append(waiting.message.number)


_HEAD_BYTES: Final = 16
"""Of a lossy frame, at most."""

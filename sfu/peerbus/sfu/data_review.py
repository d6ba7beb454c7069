"""
Messages of one sender, looked into before they go on: what is asked of a check, and what its verdict makes of them.

Owns putting the pieces of a message together, and what becomes of its frames: as they came, with other content, or
*void*, which keeps the frame's place in the order and tells nothing, so that acknowledgements and what follows are not
disturbed. Never calls the check and never sends. See PROTOCOL.md, section 16, "Delivery".

What is not passed on yet is held. A frame that comes again, for a recipient that missed it, has the fate that it had.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Generator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc.peer_frames import (
    CONTINUES,
    LOSSY,
    MORE,
    PIECE_BYTES,
    RELIABLE,
    VOID,
    decode_frame,
    form_of,
    lossy_form_of,
    payload_of,
)
from peerbus.protocol.errors import ErrorCode, ProtocolError

MESSAGE_BYTES_MAX: Final = 1_048_576
"""A larger message is refused where there is a check, since all of it has to be held for that."""
_OPEN_MAX: Final = 8
"""So many messages of one sender can be incomplete at a time."""
_KNOWN_MAX: Final = 16_384
_CHANGED_BYTES_MAX: Final = 4 * 1_048_576
_KIND_BITS: Final = 6

To: TypeAlias = list[str] | None


class Accepted(NamedTuple):
    """The message goes on as it is."""


class Changed(NamedTuple):
    """It goes on with another payload."""

    payload: Any


Verdict: TypeAlias = Accepted | Changed | ProtocolError
ACCEPTED: Final = Accepted()


class Asked(NamedTuple):
    """A whole message, to be judged."""

    payload: Any
    to: To


class Reviewed(Struct):
    """What goes on, as data messages, and what the sender is to be told."""

    sent: list[tuple[To, msgspec.Raw]] = []
    problems: list[ProtocolError] = []


Review: TypeAlias = Generator[Asked, Verdict, Reviewed]


class _Frame(NamedTuple):
    """A reliable frame, and who it is for."""

    to: To
    stream: int
    seq: int
    prev: Any
    flags: int
    body: bytes

    @property
    def digest(self) -> bytes:
        return hashlib.blake2b(self.body, digest_size=16, salt=bytes([self.flags])).digest()

    def sent(self, flags: int, body: bytes) -> tuple[To, msgspec.Raw]:
        frame = msgspec.msgpack.encode([RELIABLE, self.stream, self.seq, self.prev, flags, body])
        return self.to, msgspec.Raw(msgspec.msgpack.encode(frame))


class _Fate(NamedTuple):
    """What became of a frame; `flags` and `body` are those it goes on with."""

    digest: bytes
    flags: int
    body: bytes | None
    """None: its own."""


class _Open:
    """A message of which the last piece has not come."""

    def __init__(self) -> None:
        self.pieces: dict[int, _Frame] = {}
        self.held: list[_Frame] = []
        self.size_bytes = 0
        self.is_refused = False


class DataReview:
    """See the module. One for each sender; each message is reviewed to its end before the next."""

    def __init__(self) -> None:
        self._open: Final[OrderedDict[tuple[int, int], _Open]] = OrderedDict()
        """By stream, and the number of the piece that is missing."""
        self._fates: Final[OrderedDict[tuple[int, int], _Fate]] = OrderedDict()
        self._changed_bytes = 0

    def review(self, to: To, payload: msgspec.Raw) -> Review:
        """Asks by `yield` for each message that is whole by this; gets the verdict in return."""
        fields = _fields(payload)
        if fields is None:
            value = msgspec.msgpack.decode(payload)
            verdict = yield Asked(value, to)
            if isinstance(verdict, ProtocolError):
                return Reviewed(problems=[verdict])
            if isinstance(verdict, Changed):
                return Reviewed(sent=[(to, msgspec.Raw(msgspec.msgpack.encode(verdict.payload)))])
            return Reviewed(sent=[(to, payload)])
        if fields[0] == LOSSY:
            return (yield from self._lossy(to, payload, fields))
        if fields[0] != RELIABLE:
            return Reviewed(sent=[(to, payload)])
        return (yield from self._reliable(_Frame(to, *fields[1:])))

    # --- lossy --------------------------------------------------------------------------------------------------

    def _lossy(self, to: To, payload: msgspec.Raw, fields: Sequence[Any]) -> Review:
        kept: list[Any] = []
        problems: list[ProtocolError] = []
        is_changed = False
        for value in fields[2:]:
            verdict = yield Asked(value, to)
            try:
                if isinstance(verdict, Changed):
                    is_changed = True
                    kept.append(msgspec.Raw(lossy_form_of(verdict.payload)))
                elif isinstance(verdict, Accepted):
                    kept.append(value)
                else:
                    problems.append(verdict)
            except PeerbusError as error:
                problems.append(_unsendable(error))
        if not problems and not is_changed:
            return Reviewed(sent=[(to, payload)])
        frame = msgspec.msgpack.encode([*fields[:2], *kept])
        sent = [(to, msgspec.Raw(msgspec.msgpack.encode(frame)))] if kept else []
        return Reviewed(sent=sent, problems=problems)

    # --- reliable -----------------------------------------------------------------------------------------------

    def _reliable(self, frame: _Frame) -> Review:
        fate = self._fates.get((frame.stream, frame.seq))
        if fate is not None:
            if fate.digest != frame.digest:
                return self._void([frame], [_changed_afterwards()])
            return Reviewed(sent=[frame.sent(fate.flags, frame.body if fate.body is None else fate.body)])
        if frame.flags & VOID:
            return self._void([frame], [])
        for known in self._open.values():
            first = known.pieces.get(frame.seq)
            if first is not None and first.stream == frame.stream:
                if first.digest != frame.digest:
                    return self._void([frame], [_changed_afterwards()])
                known.held.append(frame)
                return Reviewed()
        message = _Open()
        if frame.flags & CONTINUES:
            found = self._open.pop((frame.stream, frame.seq), None)
            if found is None:
                return self._refused([frame], [_without_beginning()])
            message = found
        message.pieces[frame.seq] = frame
        message.held.append(frame)
        message.size_bytes += len(frame.body)
        return (yield from self._grown(frame, message))

    def _grown(self, frame: _Frame, message: _Open) -> Review:
        """A message has one piece more."""
        has_more = bool(frame.flags & MORE)
        if message.is_refused or message.size_bytes > MESSAGE_BYTES_MAX:
            problems = [] if message.is_refused else [_too_large(message.size_bytes)]
            held, message.held = message.held, []
            message.is_refused = True
            message.pieces.clear()
            self._keep_open(frame, message) if has_more else None
            return self._refused(held, problems)
        if has_more:
            gone = self._keep_open(frame, message)
            return Reviewed() if gone is None else self._refused(gone.held, [_overtaken()])
        body = b"".join(piece.body for piece in message.pieces.values())
        try:
            payload = payload_of((frame.flags & _KIND_BITS) >> 1, body)
        except PeerbusError as error:
            return self._refused(message.held, [ProtocolError(ErrorCode.BAD_FRAME, error.message)])
        verdict = yield Asked(payload, frame.to)
        if isinstance(verdict, ProtocolError):
            return self._refused(message.held, [verdict])
        fates = {seq: _Fate(piece.digest, piece.flags, None) for seq, piece in message.pieces.items()}
        if isinstance(verdict, Changed):
            try:
                fates = _changed(list(message.pieces.values()), verdict.payload)
            except PeerbusError as error:
                return self._refused(message.held, [_unsendable(error)])
        for seq, fate in fates.items():
            self._remember(frame.stream, seq, fate)
        pairs = [(one, fates[one.seq]) for one in message.held]
        return Reviewed(
            sent=[one.sent(fate.flags, one.body if fate.body is None else fate.body) for one, fate in pairs]
        )

    def _keep_open(self, frame: _Frame, message: _Open) -> _Open | None:
        """The message waits for its next piece; gives one that waited for too long instead."""
        self._open[frame.stream, frame.seq + 1] = message
        if len(self._open) <= _OPEN_MAX:
            return None
        _, gone = self._open.popitem(last=False)
        return gone

    def _refused(self, frames: Sequence[_Frame], problems: list[ProtocolError]) -> Reviewed:
        for frame in frames:
            self._remember(frame.stream, frame.seq, _Fate(frame.digest, VOID, b""))
        return self._void(frames, problems)

    @staticmethod
    def _void(frames: Sequence[_Frame], problems: list[ProtocolError]) -> Reviewed:
        return Reviewed(sent=[frame.sent(VOID, b"") for frame in frames], problems=problems)

    def _remember(self, stream: int, seq: int, fate: _Fate) -> None:
        self._fates[stream, seq] = fate
        self._changed_bytes += len(fate.body or b"")
        while len(self._fates) > _KNOWN_MAX or self._changed_bytes > _CHANGED_BYTES_MAX:
            _, oldest = self._fates.popitem(last=False)
            self._changed_bytes -= len(oldest.body or b"")


def _fields(payload: msgspec.Raw) -> list[Any] | None:
    """Those of a frame of the delivery layer; None if it is none."""
    try:
        frame = msgspec.msgpack.decode(payload, type=bytes)
        decode_frame(frame, "")
    except (msgspec.MsgspecError, PeerbusError):
        return None
    fields: list[Any] = msgspec.msgpack.decode(frame)
    return fields


def _changed(pieces: Sequence[_Frame], payload: Any) -> dict[int, _Fate]:
    """The pieces with another content; it has to fit into as many. Raises `PeerbusError`."""
    kind, data = form_of(payload)
    if len(data) > len(pieces) * PIECE_BYTES:
        raise PeerbusError(
            ErrorCode.TOO_LARGE, f"It has {len(data)} bytes now, for which {len(pieces)} pieces are too few."
        )
    fates: dict[int, _Fate] = {}
    for number, piece in enumerate(pieces):
        start = number * PIECE_BYTES
        if number and start >= len(data):
            fates[piece.seq] = _Fate(piece.digest, VOID, b"")
            continue
        more = MORE if start + PIECE_BYTES < len(data) else 0
        flags = kind << 1 | more | (CONTINUES if number else 0)
        fates[piece.seq] = _Fate(piece.digest, flags, data[start : start + PIECE_BYTES])
    return fates


def _unsendable(error: PeerbusError) -> ProtocolError:
    text = f"The check gave something in its place that can't be sent: {error.message}"
    return ProtocolError(ErrorCode.MESSAGE_REFUSED, text)


def _too_large(size_bytes: int) -> ProtocolError:
    text = f"Where messages are checked, one has {MESSAGE_BYTES_MAX} bytes at most; this has {size_bytes} or more."
    return ProtocolError(ErrorCode.TOO_LARGE, text)


def _changed_afterwards() -> ProtocolError:
    return ProtocolError(ErrorCode.MESSAGE_REFUSED, "It was sent again with another content.")


def _without_beginning() -> ProtocolError:
    return ProtocolError(
        ErrorCode.MESSAGE_REFUSED, "Its beginning is not known here, so it can't be checked."
    )


def _overtaken() -> ProtocolError:
    text = f"More than {_OPEN_MAX} messages were begun before it was whole."
    return ProtocolError(ErrorCode.MESSAGE_REFUSED, text)

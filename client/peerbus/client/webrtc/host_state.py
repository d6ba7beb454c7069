"""
The state of a host's application, as snapshots that outlive the host.

Owns the form of a snapshot, its pieces on the link, and which snapshot a guest gets when: the newest only, one under
way at a time. A snapshot says up to which place of the order (`host_log`) its messages are in it. Never reads a state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from peerbus.client.webrtc.host_frames import STATE_BYTES_MAX, STATE_PIECE_BYTES, Number, StatePiece
from peerbus.client.webrtc.peer_frames import bad_frame, form_of, payload_of, too_large

STATE_EVERY_MS: Final = 250
"""How often a guest that is not the successor is sent a snapshot, at most."""


class Snapshot(Struct, frozen=True, array_like=True):
    """A state, and where in the order it stands. On the link it is this array in MessagePack."""

    term: Number
    version: Number
    """Counts the states of one host, from 1."""
    n: Number
    """All messages for the host up to here are in the state, and no other."""
    floor: Number
    """The first place that is needed to go on from here: a message of several pieces may begin before `n`."""
    done: dict[str, tuple[Number, Number, Number]]
    """What of each sender is in the state (`host_inbox.Done`)."""
    kind: Annotated[int, Meta(ge=0, le=2)]
    data: bytes

    @property
    def age(self) -> tuple[int, int]:
        """Of two snapshots the one of the higher age is the newer."""
        return self.term, self.version

    def value(self) -> object:
        """The state as the application gave it. Raises `PeerbusError` (`bad_frame`)."""
        return payload_of(self.kind, self.data)


def snapshot_of(
    state: object, term: int, version: int, n: int, floor: int, done: Mapping[str, tuple[int, int, int]]
) -> Snapshot:
    """Raises `PeerbusError`: `bad_request` (no MessagePack form), `too_large`."""
    kind, data = form_of(state)
    if len(data) > STATE_BYTES_MAX:
        raise too_large(len(data), STATE_BYTES_MAX)
    return Snapshot(term, version, n, floor, dict(done), kind, data)


def pieces_of(snapshot: Snapshot, term: int) -> list[StatePiece]:
    """The messages that carry it under this term."""
    data = msgspec.msgpack.encode(snapshot)
    starts = range(0, len(data), STATE_PIECE_BYTES)
    return [
        StatePiece(
            term, snapshot.term, snapshot.version, index, len(starts), data[start : start + STATE_PIECE_BYTES]
        )
        for index, start in enumerate(starts)
    ]


class SnapshotReader:
    """Puts the pieces of one sender together; they come in order, and one snapshot after the other."""

    def __init__(self) -> None:
        self._age = (0, 0)
        self._pieces: list[bytes] = []

    def read(self, piece: StatePiece) -> Snapshot | None:
        """The snapshot, with its last piece. Raises `PeerbusError` (`bad_frame`) if it is none."""
        age = (piece.state_term, piece.version)
        if piece.index == 0:
            self._age, self._pieces = age, []
        if age != self._age or piece.index != len(self._pieces):
            return None
        self._pieces.append(piece.piece)
        if len(self._pieces) < piece.count:
            return None
        data, self._pieces = b"".join(self._pieces), []
        try:
            return msgspec.msgpack.decode(data, type=Snapshot)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise bad_frame(f"a snapshot is none: {error}") from None


class SnapshotSending:
    """What one guest has of the snapshots, and what is under way to it."""

    def __init__(self, has: tuple[int, int]) -> None:
        self.has = has
        self.under_way: tuple[int, int] | None = None
        self.next_ms = 0

    def wants(self, newest: Snapshot | None) -> bool:
        """Whether there is something to send, as soon as it may be."""
        return newest is not None and newest.age > self.has and self.under_way is None

    def sent(self, snapshot: Snapshot, now_ms: int) -> None:
        """It was sent."""
        self.under_way = snapshot.age
        self.next_ms = now_ms + STATE_EVERY_MS

    def got(self, age: tuple[int, int]) -> None:
        """The guest says what it has."""
        self.has = max(self.has, age)
        if self.under_way is not None and age >= self.under_way:
            self.under_way = None

"""
What the host of a group and its guests say on the link between them (PROTOCOL.md, section "Host mode").

Owns the MessagePack forms of these messages, as one struct each with a number for a tag, and what is refused. Never
looks into the frames of the delivery layer that they carry (`peer_frames`), and never decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from peerbus.client.errors import ErrorCode, PeerbusError

HOST_ROLE: Final = "peerbus:host"
"""The recipient that is whoever is host."""
BATCH_BYTES: Final = 16_000
"""How much is joined into one message of a data channel; a single message may be larger."""
STATE_PIECE_BYTES: Final = 16_000
STATE_BYTES_MAX: Final = 4 * 1_048_576

Number: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Name: TypeAlias = Annotated[str, Meta(max_length=128)]
Names: TypeAlias = Annotated[list[Name], Meta(max_length=256)]
Frame: TypeAlias = Annotated[bytes, Meta(max_length=65_536)]


class LinkMessage(Struct, frozen=True, array_like=True):
    """What all share: they are arrays `[kind, term, …]`, and `term` is that of the host."""

    term: Number


# --- guest to host ----------------------------------------------------------------------------------------


class Submit(LinkMessage, frozen=True, array_like=True, tag=0):
    """A frame that is to get its place in the order."""

    to: Names
    frame: Frame


class Pass(LinkMessage, frozen=True, array_like=True, tag=1):
    """A frame that is passed on as it comes; to everybody else if `to` is nil."""

    to: Names | None
    frame: Frame


class Hello(LinkMessage, frozen=True, array_like=True, tag=2):
    """The first on a link, and under a new term: how far the guest has got. Zeros: not at all."""

    version: Number
    """Of the group, as the guest knows it; a host that is behind it lets the guest wait."""
    position_term: Number
    position: Number
    state_term: Number
    state_version: Number


class Ack(LinkMessage, frozen=True, array_like=True, tag=3):
    """The guest has all entries for it up to `n`."""

    n: Number


class Safe(LinkMessage, frozen=True, array_like=True, tag=4):
    """The successor has all entries up to `n`, whoever they are for."""

    n: Number


class TailEnd(LinkMessage, frozen=True, array_like=True, tag=5):
    """The guest has sent all that it was asked for by `Fetch`."""


class StateHave(LinkMessage, frozen=True, array_like=True, tag=6):
    """The guest has this snapshot."""

    state_term: Number
    version: Number


# --- host to guest ----------------------------------------------------------------------------------------


class Welcome(LinkMessage, frozen=True, array_like=True, tag=8):
    """The answer to `Hello`: the order goes on behind `n`, and what the guest has beyond it does not count."""

    n: Number


class Passed(LinkMessage, frozen=True, array_like=True, tag=9):
    """A frame that was passed on."""

    sender: Name
    frame: Frame


class Fetch(LinkMessage, frozen=True, array_like=True, tag=10):
    """The guest is to send all entries that it keeps, and its snapshot where that is wanted."""

    wants_state: bool


class Sync(LinkMessage, frozen=True, array_like=True, tag=11):
    """To the successor: all that the host keeps follows, and from now on every entry."""

    version: Number
    """Of the group, by which the host takes it for the successor."""
    bases: Annotated[list[tuple[Number, Number]], Meta(max_length=64)]
    """The term of each host, and the last `n` of the order that it took over."""
    done: dict[Name, tuple[Number, Number, Number]]
    """What the host took in of each sender and does not keep (`host_inbox.Done`)."""


class Synced(LinkMessage, frozen=True, array_like=True, tag=12):
    """To the successor: it has everything up to `n` now."""

    n: Number


class Known(LinkMessage, frozen=True, array_like=True, tag=13):
    """Everybody has everything up to `stable`; the host's application was given everything up to `released`."""

    stable: Number
    released: Number


class Alive(LinkMessage, frozen=True, array_like=True, tag=15):
    """The host's work loop runs; every `HOST_ALIVE_MS`, whatever else there is to say."""


# --- both ways --------------------------------------------------------------------------------------------


class EntryMessage(LinkMessage, frozen=True, array_like=True, tag=7):
    """
    A place in the order and what stands there: to its recipients, to the successor, or to a new host that asks.

    An entry of no sender is a marker: its frame is the version of the group that the host has come to.
    """

    n: Number
    entry_term: Number
    sender: Name
    to: Names
    is_for_host: bool
    """It is for the host of that time, by its role or by its name."""
    frame: Frame


class StatePiece(LinkMessage, frozen=True, array_like=True, tag=14):
    """A part of a snapshot in its encoded form (`host_state`)."""

    state_term: Number
    version: Number
    index: Number
    count: Annotated[int, Meta(ge=1, le=1_024)]
    piece: Annotated[bytes, Meta(max_length=STATE_PIECE_BYTES)]


Message: TypeAlias = (
    Submit
    | Pass
    | Hello
    | Ack
    | Safe
    | TailEnd
    | StateHave
    | Welcome
    | Passed
    | Fetch
    | Sync
    | Synced
    | Known
    | EntryMessage
    | StatePiece
    | Alive
)

_BATCH: Final = msgspec.msgpack.Decoder(list[Message])
_ENCODER: Final = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """The bytes of one message."""
    return _ENCODER.encode(message)


def join(messages: Iterable[bytes]) -> list[bytes]:
    """What goes into the data channel: arrays of messages, none above `BATCH_BYTES` unless one message is."""
    batches: list[list[bytes]] = []
    size = 0
    for message in messages:
        if not batches or size + len(message) > BATCH_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(message)
        size += len(message)
    return [_ENCODER.encode([msgspec.Raw(message) for message in batch]) for batch in batches]


def decode(data: bytes) -> list[Message]:
    """Reads what came on a link. Raises `PeerbusError` (`bad_frame`)."""
    try:
        return _BATCH.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PeerbusError(
            ErrorCode.BAD_FRAME, f"A message on a host's link could not be read: {error}"
        ) from None


def kind_of(frame: bytes) -> int:
    """The kind of a frame of the delivery layer, by its first bytes; -1 if it is none."""
    at = {0xDC: 3, 0xDD: 5}.get(frame[0], 1 if 0x90 <= frame[0] <= 0x9F else len(frame)) if frame else 0
    return frame[at] if at < len(frame) else -1

"""
What the client hands out: messages, acks, pages of history.

Owns their shapes, in which what is absent is None. Never sends anything; the wire's own shapes are in
`peerbus.protocol.messages`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from msgspec import UNSET, Struct, UnsetType, field

from peerbus.client.errors import SealingError
from peerbus.protocol import messages as wire
from peerbus.protocol.messages import AckPromise, Attributes, Delivery, Departure, Filter, GlobFilter

T = TypeVar("T")


def Glob(pattern: str) -> GlobFilter:  # noqa: N802 - reads as the value it makes
    """A filter of agent names by a glob: `send_message("go", filter=Glob("team-*"))`."""
    return GlobFilter(glob=pattern)


class Member(wire.Member, frozen=True, kw_only=True):
    """One session in the channel, as this client knows it."""

    private_attributes: Attributes = field(default_factory=dict)
    """What it shows to members only; empty in an open channel, and where it could not be opened."""


class Presence(Struct, frozen=True, kw_only=True):
    """Who came, who changed, who went since the last one."""

    joined: list[Member] = []
    updated: list[Member] = []
    left: list[Departure] = []


class Message(Struct, frozen=True, kw_only=True):
    """A message that was received, pushed or as part of a history."""

    content: Any
    """Any JSON value, or the bytes of a binary message."""
    type: str
    sender: str
    """The agent's name."""
    sender_session: str | None
    """Only for live and lossy messages: the session it came from."""
    identity: str
    """Who the sender is, beyond the name."""
    delivery: Delivery
    message_id: str
    offset: int | None
    """Its place in the channel's log; None unless it is durable."""
    time_ms: int
    """The server's time, milliseconds since 1970."""
    custom_event_type: str | None
    to: list[str] | None
    """The names it was sent to; None if to everyone or by a filter."""
    filter: Filter | None
    reply_to: str | None
    metadata: dict[str, Any]
    idempotency_key: str | None
    is_sealed: bool = False
    """It came in an envelope that only members can open and make."""

    @property
    def is_direct(self) -> bool:
        """Whether it was sent to names, not to everyone."""
        return self.to is not None

    @property
    def text(self) -> str:
        """The content if it is text, else an empty string."""
        return self.content if isinstance(self.content, str) else ""


class Ack(Struct, frozen=True, kw_only=True):
    """A request has been done; for a message it says what is promised from here on."""

    promise: AckPromise | None = None
    """`local-fsync`: on the server's disk. `memory`: accepted for the sessions present. None: nothing (lossy)."""
    message_id: str | None = None
    offset: int | None = None
    time_ms: int | None = None
    recipients: int | None = None
    """To how many sessions it went at once; None for a duplicate."""
    is_duplicate: bool = False
    is_dropped: bool = False
    """A lossy message that never left this side: no connection, or more than the server takes."""


class History(Struct, frozen=True, kw_only=True):
    """A page of stored messages by rising offset; can be iterated."""

    messages: list[Message]
    is_complete: bool
    """Nothing more lies in the asked direction."""
    next: int | None
    """What to pass as `after` (or, going back, as `before`) to go on."""
    head: int
    """The last stored offset."""
    tail: int
    """The lowest offset that is still kept."""
    epoch: str
    refused: list[SealingError] = []
    """What stands in this range and is not among the messages, since it could not be opened; sealed channels only."""

    def __iter__(self) -> Iterator[Message]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self.messages)


def member_of(member: wire.Member, private_attributes: Attributes | None = None) -> Member:
    """A member as the wire has it, for users."""
    known = {name: getattr(member, name) for name in wire.Member.__struct_fields__}
    return Member(**known, private_attributes=private_attributes or {})


def message_of(frame: wire.Message, *, is_sealed: bool = False) -> Message:
    """A message as the wire has it, for users; `is_sealed`: it was, and has been opened."""
    return Message(
        content=frame.content if frame.binary is UNSET else frame.binary,
        type=frame.type,
        sender=frame.sender,
        sender_session=_or_none(frame.sender_session),
        identity=frame.identity,
        delivery=frame.delivery,
        message_id=frame.message_id,
        offset=_or_none(frame.offset),
        time_ms=frame.time_ms,
        custom_event_type=_or_none(frame.custom_event_type),
        to=_or_none(frame.to),
        filter=None if isinstance(frame.filter, UnsetType) else frame.filter,
        reply_to=_or_none(frame.reply_to),
        metadata={} if frame.metadata is UNSET else frame.metadata,
        idempotency_key=_or_none(frame.idempotency_key),
        is_sealed=is_sealed,
    )


def ack_of(frame: wire.Ack) -> Ack:
    """An ack as the wire has it, for users."""
    return Ack(
        promise=_or_none(frame.promise),
        message_id=_or_none(frame.message_id),
        offset=_or_none(frame.offset),
        time_ms=_or_none(frame.time_ms),
        recipients=_or_none(frame.recipients),
        is_duplicate=frame.is_duplicate,
    )


def history_of(
    frame: wire.History, messages: list[Message] | None = None, refused: Sequence[SealingError] = ()
) -> History:
    """A page as the wire has it, for users; of a sealed channel with what could be opened of it, and what not."""
    return History(
        messages=[message_of(message) for message in frame.messages] if messages is None else messages,
        is_complete=frame.is_complete,
        next=_or_none(frame.next),
        head=frame.head,
        tail=frame.tail,
        epoch=frame.epoch,
        refused=list(refused),
    )


def _or_none(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value

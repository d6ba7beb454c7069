"""
A message on its way: who is meant by it, what of it is stored, what its receivers get.

Owns resolving recipients at send, the stored body, and the push to every member that may see a message and wants it.
Never looks at time or permission, and never re-evaluates recipients later. See PROTOCOL.md, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from peerbus.protocol.addressing import check_address, compile_filter, name_of
from peerbus.protocol.channel import addressed_session, claimed_name
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import Filter, Message, Send
from peerbus.signaling.channel import Channel
from peerbus.signaling.log.interface import Append, Entry, visible
from peerbus.signaling.member import Member
from peerbus.signaling.sealed import retry_form


class Body(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What of a message the log keeps as bytes it does not look into (MessagePack)."""

    to: list[str] | UnsetType = UNSET
    filter: Filter | UnsetType = UNSET
    content: Any = UNSET
    binary: bytes | UnsetType = UNSET
    sealed: bytes | UnsetType = UNSET
    reply_to: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    idempotency_key: str | UnsetType = UNSET


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Body)
_FINGERPRINT_BYTES: Final = 16


def resolve(channel: Channel, sender: Member, frame: Send, *, max_recipients: int) -> list[Member] | None:
    """
    The sessions that a live or lossy message is for, now; None means everyone.

    Raises `ProtocolError`: `bad_filter`, `bad_request`, or `unknown_recipient` naming who is missing.
    """
    check_address(frame.to, frame.filter, max_recipients=max_recipients)
    if frame.to is not UNSET:
        meant: dict[str, Member] = {}
        missing = []
        for written in frame.to:
            sessions = _sessions(channel, written)
            if not sessions:
                missing.append(written)
            for member in sessions:
                meant[member.session.session_id] = member
        if missing:
            raise ProtocolError(ErrorCode.UNKNOWN_RECIPIENT, details={"missing": missing})
        return list(meant.values())
    if frame.filter is not UNSET:
        matches = compile_filter(frame.filter)
        return [
            member for member in channel.members.values() if member is not sender and matches(member.name)
        ]
    return None


def _sessions(channel: Channel, written: str) -> list[Member]:
    """The sessions that somebody means who writes a name, or the address of a session, into `to`."""
    session_id = addressed_session(written)
    if session_id is None:
        return channel.by_name.get(name_of(written), [])
    member = channel.members.get(session_id)
    return [] if member is None else [member]


def identities(
    channel: Channel, sender: Member, frame: Send, *, max_recipients: int
) -> tuple[str, ...] | None:
    """
    Who a durable message is for, now, whoever is claimed included even while away; None means everyone.

    Raises `ProtocolError`: `bad_filter`, `bad_request`, or `unknown_recipient` naming who is missing.
    """
    check_address(frame.to, frame.filter, max_recipients=max_recipients)
    if frame.to is not UNSET:
        return _named_identities(channel, frame.to)
    if frame.filter is UNSET:
        return None
    matches = compile_filter(frame.filter)
    present = [one.identity for one in channel.members.values() if one is not sender and matches(one.name)]
    claimed = {identity: claimed_name(identity) for identity in channel.claims}
    away = [identity for identity, name in claimed.items() if name not in channel.by_name and matches(name)]
    if len(away) > max_recipients:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST,
            f"The filter means {len(away)} mailboxes of members who are away; at most {max_recipients} are taken.",
        )
    return tuple(dict.fromkeys([*present, *sorted(away)]))


def _named_identities(channel: Channel, to: list[str]) -> tuple[str, ...]:
    meant: dict[str, None] = {}
    missing = []
    for written in to:
        if addressed_session(written) is not None:
            text = "One session is addressed by live and lossy messages; what is kept is for a name."
            raise ProtocolError(ErrorCode.BAD_REQUEST, text)
        name = name_of(written)
        bearers = channel.by_name.get(name)
        identity = bearers[0].identity if bearers else f"name:{name}"
        if bearers or identity in channel.claims:
            meant[identity] = None
        else:
            missing.append(written)
    if missing:
        raise ProtocolError(ErrorCode.UNKNOWN_RECIPIENT, details={"missing": missing})
    return tuple(meant)


def append_of(
    channel: Channel,
    sender: Member,
    frame: Send,
    recipients: tuple[str, ...] | None,
    now_ms: int,
    *,
    is_retry: bool = False,
) -> Append:
    """The entry to store for a durable message; with `is_retry` it is only to be found, not stored."""
    said = Body(
        to=frame.to,
        filter=frame.filter,
        content=frame.content,
        binary=frame.binary,
        sealed=frame.sealed,
        reply_to=frame.reply_to,
        metadata=frame.metadata,
        idempotency_key=frame.idempotency_key,
    )
    body = _ENCODER.encode(said)
    custom = None if frame.custom_event_type is UNSET else frame.custom_event_type
    key = None if frame.idempotency_key is UNSET else frame.idempotency_key
    fingerprint = b""
    if key is not None:
        named = _ENCODER.encode((frame.type, custom))
        same = body if frame.sealed is UNSET else _ENCODER.encode(replace(said, sealed=retry_form(frame)))
        fingerprint = blake2b(named + same, digest_size=_FINGERPRINT_BYTES).digest()
    return Append(
        channel=channel.key,
        identity=sender.identity,
        sender=sender.name,
        recipients=recipients,
        type=frame.type,
        custom_event_type=custom,
        body=body,
        time_ms=now_ms,
        idempotency_key=key,
        fingerprint=fingerprint,
        is_retry=is_retry,
        author=None if sender.author == sender.identity else sender.author,
        needs_room=frame.to is not UNSET,
    )


def content_bytes(frame: Send) -> int:
    """How large what the sender wrote is: text and binary by their bytes, else the MessagePack form."""
    size = 0
    if type(frame.content) is str:
        size = (
            len(frame.content) if frame.content.isascii() else len(frame.content.encode("utf-8", "replace"))
        )
    elif frame.content is not UNSET:
        size = len(_ENCODER.encode(frame.content))
    if frame.binary is not UNSET:
        size += len(frame.binary)
    if frame.sealed is not UNSET:
        size += len(frame.sealed)
    if frame.metadata is not UNSET:
        size += len(_ENCODER.encode(frame.metadata))
    return size


def message_of(entry: Entry, epoch: str) -> Message:
    """A stored message as its readers get it."""
    body = _DECODER.decode(entry.body)
    return Message(
        delivery="durable",
        offset=entry.offset,
        message_id=f"{epoch}.{entry.offset}",
        time_ms=entry.time_ms,
        sender=entry.sender,
        identity=entry.identity,
        type=entry.type,
        custom_event_type=UNSET if entry.custom_event_type is None else entry.custom_event_type,
        to=body.to,
        filter=body.filter,
        content=body.content,
        binary=body.binary,
        sealed=body.sealed,
        reply_to=body.reply_to,
        metadata=body.metadata,
        idempotency_key=body.idempotency_key,
    )


def committed_message(append: Append, frame: Send, offset: int, epoch: str) -> Message:
    """The same as `message_of`, for a message that was just stored and is still at hand."""
    return Message(
        delivery="durable",
        offset=offset,
        message_id=f"{epoch}.{offset}",
        time_ms=append.time_ms,
        sender=append.sender,
        identity=append.identity,
        type=frame.type,
        custom_event_type=frame.custom_event_type,
        to=frame.to,
        filter=frame.filter,
        content=frame.content,
        binary=frame.binary,
        sealed=frame.sealed,
        reply_to=frame.reply_to,
        metadata=frame.metadata,
        idempotency_key=frame.idempotency_key,
    )


def passing_message(sender: Member, frame: Send, message_id: str, now_ms: int) -> Message:
    """A live or lossy message as its receivers get it."""
    return Message(
        delivery=frame.delivery,
        message_id=message_id,
        time_ms=now_ms,
        sender=sender.name,
        sender_session=sender.session.session_id,
        identity=sender.identity,
        type=frame.type,
        custom_event_type=frame.custom_event_type,
        to=frame.to,
        filter=frame.filter,
        content=frame.content,
        binary=frame.binary,
        sealed=frame.sealed,
        reply_to=frame.reply_to,
        metadata=frame.metadata,
        idempotency_key=frame.idempotency_key,
    )


def wanting(
    members: Iterable[Member], author: str, type_: str, custom_event_type: str | None
) -> list[Member]:
    """Those of the members who get a message of this type from that author."""
    return [
        member
        for member in members
        if (member.wants_all or member.wants(type_, custom_event_type)) and member.author != author
    ]


def readers(channel: Channel, append: Append) -> list[Member]:
    """The members who get a committed message: they may see it, want it and did not send it."""
    members: Iterable[Member] = channel.members.values()
    recipients = append.recipients
    if recipients is not None:
        # The one predicate of the log, over an entry that differs from the stored one only in what it ignores.
        entry = Entry(0, 0, append.identity, append.sender, recipients, append.type, None, b"")
        members = [member for member in members if visible(entry, member.identity)]
    author = append.identity if append.author is None else append.author
    return wanting(members, author, append.type, append.custom_event_type)

"""
What the hub asks its shell to do; each answer comes back by a method of it or of its rooms.

Owns nothing but these values.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.messages import Closing, Send
from peerbus.protocol.secrets import Secret
from peerbus.signaling.audit_entry import AuditAction
from peerbus.signaling.channel import Channel
from peerbus.signaling.log.interface import Append, ChannelKey, MailRead, Range
from peerbus.signaling.member import Member


class AppendEffect(Struct, frozen=True):
    """
    Store a message; then `Sending.appended(effect, result, now_ms)`, in offset order within a channel.

    `unless_known`: nothing is to be stored, since the recipients are not here; this is the answer unless the
    message is a retry of one that was stored.
    """

    append: Append
    member: Member
    channel: Channel
    frame: Send
    unless_known: ProtocolError | None = None


class ReadEffect(Struct, frozen=True):
    """
    Read the log; then `History.page_read` or `History.read_failed`.

    Either a client asked (`request_id`), or its session catches up (`page_ticket`).
    """

    key: ChannelKey
    identity: str
    wanted: Range
    limit_bytes: int
    member: Member
    request_id: int | None = None
    page_ticket: int | None = None


class LockEffect(Struct, frozen=True):
    """Store the channel's lock; then `Hub.lock_stored` or `Hub.lock_failed`."""

    key: ChannelKey
    locked: bool
    member: Member
    request_id: int


class TrimEffect(Struct, frozen=True):
    """Remove stored messages below an offset. There is no answer: what fails is asked for again by the next one."""

    key: ChannelKey
    before: int


class MailReadEffect(Struct, frozen=True):
    """Take read mail out of a mailbox, soon. There is no answer: what fails is shown again to who connects next."""

    read: MailRead


class RenewEffect(Struct, frozen=True):
    """Verify a new credential for a member; then `Hub.renewed` or `Hub.renewal_failed`."""

    credential: Secret
    member: Member
    request_id: int


class AuditEffect(Struct, frozen=True):
    """Note what a member did to another, or to the channel, in the audit log. There is no answer."""

    action: AuditAction
    member: Member
    target: str = ""
    detail: str = ""


class CloseEffect(Struct, frozen=True):
    """
    Write `closing` to a connection and close it.

    What is pending for `member` is written first, unless that is None (its frames are for another connection by
    now). `is_abrupt`: the other end is not expected to answer.
    """

    member: Member | None
    connection: Any
    closing: Closing
    is_abrupt: bool = False


Effect: TypeAlias = (
    AppendEffect
    | ReadEffect
    | LockEffect
    | TrimEffect
    | MailReadEffect
    | RenewEffect
    | CloseEffect
    | AuditEffect
)

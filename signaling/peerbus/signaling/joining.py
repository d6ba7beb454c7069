"""
What a newcomer brings, and where the durable class begins for it.

Owns these two values and the rule that leads from one to the other. Never admits anybody (that is the membership). See
PROTOCOL.md, sections 3 and 5.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from peerbus.protocol.grants import Admission, Operation
from peerbus.protocol.messages import Connect, Resume
from peerbus.protocol.secrets import Secret
from peerbus.signaling.channel import Channel
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.log.interface import ChannelKey, ChannelState
from peerbus.signaling.mail import Mail
from peerbus.signaling.member import Member, Peer
from peerbus.signaling.quota import Quota


class Joining(Struct, frozen=True, kw_only=True):
    """A `connect` whose credential and channel are known: all that the hub needs to admit it."""

    connect: Connect
    version: int
    name: str
    admission: Admission
    key: ChannelKey
    state: ChannelState
    lineage: bytes
    identity: str
    credential: CredentialIds
    project: str
    quota: Quota
    connection: Any
    peer: Peer
    session_id: str
    resume_token: Secret
    unread: tuple[int, ...] = ()
    """The mail of a claimed name, as of `state`: offsets, rising."""


class Start(NamedTuple):
    """Where the durable class of a connection begins."""

    cursor: int
    recovered: bool
    head: int
    mail: Mail | None


def start_of(channel: Channel, joining: Joining, former: Member | None) -> Start:
    """Where the durable class begins, or goes on; `former` is the session as it was before."""
    resume, unread = joining.connect.resume, joining.unread
    recovered = (
        resume is not None
        and resume.epoch == channel.epoch
        and channel.tail - 1 <= resume.offset <= channel.head
        and _may_go_on(joining, resume, former)
    )
    # What is committed while somebody joins is not in `unread`: for a claimed name all that follows is shown.
    head = joining.state.head if joining.admission.is_claimed else channel.head
    cursor = head if not unread else unread[0] - 1
    until = head
    if recovered:
        assert resume is not None
        cursor, head, until = resume.offset, channel.head, min(resume.mail_until, channel.head)
        if former is not None and not joining.admission.allows(Operation.HISTORY):
            until = max(until, former.since)
    mail = None
    if joining.admission.is_claimed:
        known = former.mail if recovered and former is not None else None
        mail = Mail(known.unread if known else unread, after=cursor, until=until)
        mail.arrived(max(unread, default=0))
    return Start(cursor, recovered, head, mail)


def _may_go_on(joining: Joining, resume: Resume, former: Member | None) -> bool:
    """
    Whether it may be shown what was stored since the cursor that it names.

    A cursor proves nothing: anybody could name one of long ago. Who is not allowed history gets what was stored since
    its session began, as long as that is known; before that only mail.
    """
    if joining.admission.allows(Operation.HISTORY):
        return True
    return former is not None and (joining.admission.is_claimed or resume.offset >= former.since)

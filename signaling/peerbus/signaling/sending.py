"""
What becomes of a message: who may send it, who gets it, and what its sender is told.

Owns the way of all three delivery classes from the frame to the ack, and of signals for agents of the server. Never
touches the log: what is to be stored is an effect, whose answer comes back by `appended`. See PROTOCOL.md, section 4.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, UnsetType

from peerbus.protocol.channel import claimed_name
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Operation
from peerbus.protocol.groups import GROUP_AGENT
from peerbus.protocol.messages import Ack, Send
from peerbus.protocol.signals import SFU_AGENT
from peerbus.signaling.calls import Calls
from peerbus.signaling.effects import AppendEffect, TrimEffect
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.fanout import (
    append_of,
    committed_message,
    content_bytes,
    identities,
    passing_message,
    readers,
    resolve,
    wanting,
)
from peerbus.signaling.groups import Groups
from peerbus.signaling.log.interface import Appended, AppendResult, Conflict
from peerbus.signaling.member import Member
from peerbus.signaling.membership import Membership
from peerbus.signaling.sealed import SEALED, check_message

_SEND_OPERATION: Final = {
    "durable": Operation.SEND_DURABLE,
    "live": Operation.SEND_LIVE,
    "lossy": Operation.SEND_LOSSY,
}


class Sending:
    """The messages of one server. Without `calls` nobody can call here, without `groups` there are none of peers."""

    def __init__(self, membership: Membership, calls: Calls | None, groups: Groups | None) -> None:
        self._membership: Final = membership
        self._dispatch: Final = membership.dispatch
        self._limits: Final = membership.limits
        self._calls: Final = calls
        self._groups: Final = groups

    def send(self, member: Member, frame: Send, now_ms: int) -> None:
        """A message: checked, then stored, passed on, or given to an agent of the server. Raises `ProtocolError`."""
        delivery = frame.delivery
        if frame.id is UNSET and delivery != "lossy":
            raise ProtocolError(ErrorCode.BAD_REQUEST, "Only lossy messages may be sent without an id.")
        wait_ms = member.take_send(delivery == "lossy", now_ms)
        if wait_ms:
            raise ProtocolError(
                ErrorCode.RATE_LIMITED,
                f"Too many {delivery} messages a second {member.exhausted}.",
                retry_after_ms=wait_ms,
            )
        admission = member.admission
        if not admission.allows(_SEND_OPERATION[delivery], message_type=frame.type):
            raise ProtocolError(
                ErrorCode.FORBIDDEN, f"The grant does not allow {delivery} messages of type {frame.type!r}."
            )
        is_addressed = frame.to is not UNSET or frame.filter is not UNSET
        if is_addressed and not admission.allows(Operation.DIRECT):
            raise ProtocolError(
                ErrorCode.FORBIDDEN, "The grant does not allow messages to some members only."
            )
        size = content_bytes(frame)
        if admission.is_service:
            self._calls_here().from_worker(member, frame, now_ms)
            return
        if frame.to is not UNSET and SFU_AGENT in frame.to:
            if size > self._limits.call_signal_bytes:
                text = f"A signal has at most {self._limits.call_signal_bytes} bytes."
                raise ProtocolError(ErrorCode.TOO_LARGE, text)
            self._calls_here().signal(member, frame, now_ms)
            return
        if frame.to is not UNSET and GROUP_AGENT in frame.to:
            if size > self._limits.group_request_bytes:
                text = f"A request to a group has at most {self._limits.group_request_bytes} bytes."
                raise ProtocolError(ErrorCode.TOO_LARGE, text)
            if self._groups is None:
                raise ProtocolError(ErrorCode.NOT_SUPPORTED)
            self._groups.request(member, frame, now_ms)
            return
        if frame.sealed is not UNSET or member.channel.mode == SEALED:
            check_message(member.channel.mode, frame)
        if size > member.message_bytes:
            raise ProtocolError(
                ErrorCode.TOO_LARGE,
                f"The message has {size} bytes; at most {member.message_bytes} are taken.",
            )
        channel = member.channel
        if delivery == "durable":
            self._store(member, frame, now_ms)
            return
        recipients = resolve(channel, member, frame, max_recipients=self._limits.recipients)
        self._pass_on(member, frame, recipients, now_ms)

    def _store(self, member: Member, frame: Send, now_ms: int) -> None:
        channel = member.channel
        unless_known: ProtocolError | None = None
        recipients: tuple[str, ...] | None = ()
        try:
            recipients = identities(channel, member, frame, max_recipients=self._limits.recipients)
        except ProtocolError as error:
            if error.code is not ErrorCode.UNKNOWN_RECIPIENT or frame.idempotency_key is UNSET:
                raise
            # It may have been stored while they were here, and its ack be lost.
            unless_known = error
        self._dispatch.counters.sends_durable += 1
        append = append_of(
            channel,
            member,
            frame,
            recipients,
            self._dispatch.wall_ms(now_ms),
            is_retry=unless_known is not None,
        )
        channel.changes_under_way += 1
        self._dispatch.add_effect(AppendEffect(append, member, channel, frame, unless_known))

    def _calls_here(self) -> Calls:
        if self._calls is None:
            raise ProtocolError(ErrorCode.NO_WORKER)
        return self._calls

    def _pass_on(self, member: Member, frame: Send, recipients: list[Member] | None, now_ms: int) -> None:
        channel = member.channel
        member.sent_count += 1
        message_id = f"{member.session.session_id}.{member.sent_count}"
        time_ms = self._dispatch.wall_ms(now_ms)
        custom = None if frame.custom_event_type is UNSET else frame.custom_event_type
        among = channel.members.values() if recipients is None else recipients
        targets = wanting(among, member.author, frame.type, custom)
        out = EncodedFrame(passing_message(member, frame, message_id, time_ms))
        if frame.delivery == "live":
            self._dispatch.counters.sends_live += 1
            self._dispatch.push_live(targets, out, now_ms)
        else:
            self._dispatch.counters.sends_lossy += 1
            for target in targets:
                target.session.outbox.push_lossy(out)
                self._dispatch.mark(target)
        self._dispatch.counters.deliveries += len(targets)
        if frame.id is not UNSET:
            ack = Ack(
                id=frame.id,
                promise="memory",
                message_id=message_id,
                time_ms=time_ms,
                recipients=len(targets),
            )
            self._dispatch.reply(member, ack, now_ms)

    def appended(self, effect: AppendEffect, result: AppendResult, now_ms: int) -> None:
        """The log's answer to an `AppendEffect`; called in the order of commits."""
        member, frame = effect.member, effect.frame
        assert frame.id is not UNSET
        effect.channel.changes_under_way -= 1
        if isinstance(result, Appended):
            reached: int | UnsetType = UNSET
            channel = effect.channel
            if not result.duplicate:
                reached = self._committed(effect, result)
            ack = Ack(
                id=frame.id,
                promise=self._membership.welcome.ack_promise,
                message_id=f"{channel.epoch}.{result.offset}",
                offset=result.offset,
                time_ms=result.time_ms,
                recipients=reached,
                is_duplicate=result.duplicate,
            )
            self._dispatch.reply(member, ack, now_ms)
            return
        if isinstance(result, Conflict):
            error = ProtocolError(ErrorCode.IDEMPOTENCY_CONFLICT, details={"offset": result.offset})
        elif result.code is ErrorCode.UNKNOWN_RECIPIENT and effect.unless_known is not None:
            error = effect.unless_known
        elif result.code is ErrorCode.MAILBOX_FULL:
            full = [claimed_name(identity) for identity in result.identities]
            error = ProtocolError(result.code, details={"full": full})
        else:
            error = ProtocolError(result.code, result.reason)
        self._dispatch.refuse(member, frame.id, error, now_ms)

    def _committed(self, effect: AppendEffect, result: Appended) -> int:
        channel = effect.channel
        channel.head = max(channel.head, result.offset)
        before = channel.trim_below()
        if before is not None:
            channel.tail = before
            self._dispatch.add_effect(TrimEffect(channel.key, before))
        targets = readers(channel, effect.append)
        if targets:
            message = committed_message(effect.append, effect.frame, result.offset, channel.epoch)
            out = EncodedFrame(message)
            for target in targets:
                target.session.outbox.push_durable(result.offset, out)
                self._dispatch.mark(target)
                if target.mail is not None and effect.append.recipients is not None:
                    target.mail.arrived(result.offset)
            self._dispatch.counters.deliveries += len(targets)
        return len(targets)

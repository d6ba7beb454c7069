"""
What the frames of an established session do: who receives what.

Owns every decision about a request, from the frame to its reply. Never touches a socket, a clock, the disk or a random
source: what has to be done outside goes through `Dispatch.effects_to_do`, and comes back by the methods under
"answers from outside". See PROTOCOL.md, sections 2 to 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import UNSET, UnsetType

from peerbus.protocol.addressing import name_of
from peerbus.protocol.channel import claimed_name
from peerbus.protocol.codec import Rejected
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Admission, Operation
from peerbus.protocol.groups import GROUP_AGENT
from peerbus.protocol.messages import (
    Ack,
    Bye,
    ChannelUpdate,
    ClientFrame,
    History,
    IceServers,
    IceServersReply,
    Kick,
    Lock,
    Members,
    MembersReply,
    Ping,
    Pong,
    Receive,
    Renew,
    Send,
    Update,
)
from peerbus.protocol.signals import SFU_AGENT
from peerbus.signaling.audit_entry import AuditAction
from peerbus.signaling.calls import SIGNAL_BYTES_MAX, Calls
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.effects import (
    AppendEffect,
    AuditEffect,
    LockEffect,
    ReadEffect,
    RenewEffect,
    TrimEffect,
)
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.fanout import (
    append_of,
    committed_message,
    content_bytes,
    identities,
    message_of,
    passing_message,
    readers,
    resolve,
    wanting,
)
from peerbus.signaling.groups import REQUEST_BYTES_MAX, Groups
from peerbus.signaling.log.interface import Appended, AppendResult, Conflict, Page, Range
from peerbus.signaling.member import Member
from peerbus.signaling.membership import Membership
from peerbus.signaling.sealed import SEALED, check_message
from peerbus.signaling.sealed import check_attributes as check_sealed_attributes

_KICKED_MAX: Final = 1000
_SEND_OPERATION: Final = {
    "durable": Operation.SEND_DURABLE,
    "live": Operation.SEND_LIVE,
    "lossy": Operation.SEND_LOSSY,
}


class Hub:
    """
    The requests of all sessions of one server.

    No method raises for what a client did: the client is told by an `error` frame.
    """

    def __init__(
        self, membership: Membership, calls: Calls | None = None, groups: Groups | None = None
    ) -> None:
        self.membership: Final = membership
        self.calls: Final = calls
        """Without it nobody can call here."""
        self.groups: Final = groups
        """Without it there are no groups of peers here."""
        self.limits: Final = membership.limits
        self.counters: Final = membership.dispatch.counters
        self._dispatch: Final = membership.dispatch
        self._handlers: Final[dict[type, Callable[[Member, Any, int], None]]] = {
            Send: self._send,
            Receive: self._receive_history,
            Update: self._update,
            Members: self._list_members,
            IceServers: self._give_ice_servers,
            Kick: self._kick,
            Lock: self._lock,
            Renew: self._renew,
        }

    # --- frames -----------------------------------------------------------------------------------------

    def receive(self, member: Member, frame: ClientFrame | Rejected, now_ms: int) -> None:
        """A frame from a member's connection. What comes behind the end of the session means nothing."""
        if member.is_gone:
            return
        member.session.heard(now_ms)
        if isinstance(frame, Ping):
            member.session.outbox.acknowledge(frame.live_seq)
            member.session.outbox.push_pong(_PONG)
            self._dispatch.mail_read(member, frame.offset)
            self._dispatch.mark(member)
            return
        if isinstance(frame, Bye):
            self.membership.remove(member, "left", ErrorCode.CLOSED)
            return
        request_id: int | None = None
        try:
            if frame.id is not UNSET and frame.id is not None:
                member.session.take_id(frame.id)
                request_id = frame.id
            if isinstance(frame, Rejected):
                raise frame.error
            handler = self._handlers.get(type(frame))
            if handler is None:
                raise ProtocolError(ErrorCode.BAD_REQUEST, "The session is connected already.")
            if not isinstance(frame, Send):
                self._take_request(member, now_ms)
            handler(member, frame, now_ms)
        except ProtocolError as error:
            self._dispatch.refuse(member, request_id, error, now_ms)

    def _take_request(self, member: Member, now_ms: int) -> None:
        wait_ms = member.take_request(now_ms)
        if wait_ms:
            raise ProtocolError(
                ErrorCode.RATE_LIMITED,
                f"More than {self.limits.request_rate_per_s} requests a second.",
                retry_after_ms=wait_ms,
            )

    def _send(self, member: Member, frame: Send, now_ms: int) -> None:
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
            if size > SIGNAL_BYTES_MAX:
                raise ProtocolError(ErrorCode.TOO_LARGE, f"A signal has at most {SIGNAL_BYTES_MAX} bytes.")
            self._calls_here().signal(member, frame, now_ms)
            return
        if frame.to is not UNSET and GROUP_AGENT in frame.to:
            if size > REQUEST_BYTES_MAX:
                raise ProtocolError(
                    ErrorCode.TOO_LARGE, f"A request to a group has at most {REQUEST_BYTES_MAX} bytes."
                )
            if self.groups is None:
                raise ProtocolError(ErrorCode.NOT_SUPPORTED)
            self.groups.request(member, frame, now_ms)
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
        recipients = resolve(channel, member, frame, max_recipients=self.limits.recipients)
        self._pass_on(member, frame, recipients, now_ms)

    def _store(self, member: Member, frame: Send, now_ms: int) -> None:
        channel = member.channel
        unless_known: ProtocolError | None = None
        recipients: tuple[str, ...] | None = ()
        try:
            recipients = identities(channel, member, frame, max_recipients=self.limits.recipients)
        except ProtocolError as error:
            if error.code is not ErrorCode.UNKNOWN_RECIPIENT or frame.idempotency_key is UNSET:
                raise
            # It may have been stored while they were here, and its ack be lost.
            unless_known = error
        self.counters.sends_durable += 1
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
        if self.calls is None:
            raise ProtocolError(ErrorCode.NO_WORKER)
        return self.calls

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
            self.counters.sends_live += 1
            self._dispatch.push_live(targets, out, now_ms)
        else:
            self.counters.sends_lossy += 1
            for target in targets:
                target.session.outbox.push_lossy(out)
                self._dispatch.mark(target)
        self.counters.deliveries += len(targets)
        if frame.id is not UNSET:
            ack = Ack(
                id=frame.id,
                promise="memory",
                message_id=message_id,
                time_ms=time_ms,
                recipients=len(targets),
            )
            self._dispatch.reply(member, ack, now_ms)

    def _receive_history(self, member: Member, frame: Receive, now_ms: int) -> None:
        if not member.admission.allows(Operation.HISTORY):
            raise ProtocolError(ErrorCode.FORBIDDEN, "The grant does not allow reading history.")
        after = None if frame.after is UNSET else frame.after
        wanted = Range(
            after=after,
            before=None if frame.before is UNSET else frame.before,
            limit=min(frame.limit, self.limits.history_page),
            newest_first=after is None,
            types=frozenset(frame.types) or None,
        )
        self._dispatch.add_effect(
            ReadEffect(
                member.channel.key, member.identity, wanted, self.limits.history_page_bytes, member, frame.id
            )
        )

    def _update(self, member: Member, frame: Update, now_ms: int) -> None:
        check_sealed_attributes(member.channel.mode, frame.sealed_attributes)
        self.membership.check_attributes(frame.attributes, frame.sealed_attributes)
        member.attributes = frame.attributes
        member.sealed_attributes = frame.sealed_attributes
        self.membership.changed(member)
        self._dispatch.reply(member, Ack(id=frame.id), now_ms)

    def _list_members(self, member: Member, frame: Members, now_ms: int) -> None:
        if not member.admission.allows(Operation.PRESENCE):
            raise ProtocolError(ErrorCode.FORBIDDEN, "The grant does not allow seeing who is here.")
        reply = MembersReply(id=frame.id, members=member.channel.snapshot())
        self._dispatch.answer(member, frame.id, reply, now_ms)

    def _give_ice_servers(self, member: Member, frame: IceServers, now_ms: int) -> None:
        ice = self.membership.welcome.ice
        reply = IceServersReply(
            id=frame.id,
            ice_servers=self.membership.welcome.ice_servers(member, now_ms),
            ice_expires_in_ms=UNSET if ice is None else ice.ttl_ms,
        )
        self._dispatch.answer(member, frame.id, reply, now_ms)

    def _kick(self, member: Member, frame: Kick, now_ms: int) -> None:
        if not member.admission.allows(Operation.KICK):
            raise ProtocolError(ErrorCode.FORBIDDEN, "The grant does not allow kicking.")
        channel = member.channel
        if (frame.agent is UNSET) is (frame.session_id is UNSET):
            raise ProtocolError(ErrorCode.BAD_REQUEST, "Kick names an agent or a session, one of them.")
        named = channel.by_name.get(name_of(frame.agent), []) if frame.agent is not UNSET else []
        target = (
            channel.members.get(frame.session_id)
            if frame.session_id is not UNSET
            else next(iter(named), None)
        )
        if target is None:
            raise ProtocolError(ErrorCode.NOT_FOUND, "Nobody of that name or session is here.")
        if target.identity == member.identity:
            raise ProtocolError(ErrorCode.BAD_REQUEST, "That is you; `bye` leaves the channel.")
        if len(channel.kicked) >= _KICKED_MAX:
            channel.kicked.pop()
        channel.kicked.add(target.identity)
        self._dispatch.add_effect(AuditEffect(AuditAction.KICK, member, target.name, frame.reason))
        # All sessions of whoever it is: one alone would not make a difference.
        for one in [one for one in channel.members.values() if one.identity == target.identity]:
            self.membership.remove(one, "kicked", ErrorCode.KICKED, frame.reason)
        self._dispatch.reply(member, Ack(id=frame.id), now_ms)

    def _lock(self, member: Member, frame: Lock, now_ms: int) -> None:
        if not member.admission.allows(Operation.LOCK):
            raise ProtocolError(ErrorCode.FORBIDDEN, "The grant does not allow locking the channel.")
        member.channel.changes_under_way += 1
        self._dispatch.add_effect(LockEffect(member.channel.key, frame.locked, member, frame.id))

    def _renew(self, member: Member, frame: Renew, now_ms: int) -> None:
        self._dispatch.add_effect(RenewEffect(frame.api_key, member, frame.id))

    # --- answers from outside ---------------------------------------------------------------------------------

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
                promise=self.membership.welcome.ack_promise,
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
            self.counters.deliveries += len(targets)
        return len(targets)

    def page_read(self, effect: ReadEffect, page: Page, now_ms: int) -> None:
        """The log's answer to a `ReadEffect`; who is gone meanwhile, by a revocation perhaps, gets none of it."""
        member = effect.member
        if member.is_gone:
            return
        channel = member.channel
        messages = [message_of(entry, channel.epoch) for entry in page.entries]
        if effect.request_id is not None:
            history = History(
                id=effect.request_id,
                epoch=page.state.epoch,
                head=page.state.head,
                tail=page.state.tail,
                messages=messages,
                is_complete=page.complete,
                next=UNSET if page.next is None else page.next,
            )
            self._dispatch.answer(member, effect.request_id, history, now_ms)
            return
        outbox = member.session.outbox
        assert effect.page_ticket is not None
        if not outbox.awaits_page(effect.page_ticket):
            return
        channel.tail = max(channel.tail, page.state.tail)
        # Mail that is no longer kept is no mail any more; of all other messages none may be missing.
        is_mail = effect.wanted.only is not None
        if not is_mail and effect.wanted.after is not None and page.history_gone(effect.wanted.after):
            text = "Messages that were not read yet are no longer kept."
            self.membership.lose(member, ErrorCode.SLOW_CONSUMER, text, now_ms)
            return
        frames = [
            (entry.offset, EncodedFrame(message))
            for entry, message in zip(page.entries, messages, strict=True)
        ]
        outbox.push_page(effect.page_ticket, frames, page.scanned_to, channel.head)
        self.counters.deliveries += len(frames)
        self._dispatch.mark(member)

    def read_failed(self, effect: ReadEffect, error: ProtocolError, now_ms: int) -> None:
        """The log could not be read. A session that catches up is closed, and comes again."""
        member = effect.member
        if effect.request_id is not None:
            self._dispatch.refuse(member, effect.request_id, error, now_ms)
        elif effect.page_ticket is not None and member.session.outbox.awaits_page(effect.page_ticket):
            self.membership.lose(member, ErrorCode.STORAGE_UNAVAILABLE, error.message, now_ms)

    def lock_stored(self, effect: LockEffect, now_ms: int) -> None:
        """The lock is stored: tell everyone."""
        channel = effect.member.channel
        channel.changes_under_way -= 1
        channel.is_locked = effect.locked
        action = AuditAction.LOCK if effect.locked else AuditAction.UNLOCK
        self._dispatch.add_effect(AuditEffect(action, effect.member))
        out = EncodedFrame(ChannelUpdate(is_locked=effect.locked))
        self._dispatch.push_live(channel.members.values(), out, now_ms)
        self._dispatch.reply(effect.member, Ack(id=effect.request_id), now_ms)

    def lock_failed(self, effect: LockEffect, error: ProtocolError, now_ms: int) -> None:
        """The lock could not be stored, and is as it was."""
        effect.member.channel.changes_under_way -= 1
        self._dispatch.refuse(effect.member, effect.request_id, error, now_ms)

    def renewed(
        self,
        effect: RenewEffect,
        admission: Admission,
        credential: CredentialIds,
        now_ms: int,
    ) -> None:
        """A new credential was verified for this member."""
        if effect.member.is_gone:
            return
        self.membership.readmit(effect.member, admission, credential, now_ms)
        self._dispatch.reply(effect.member, Ack(id=effect.request_id), now_ms)

    def renewal_failed(self, effect: RenewEffect, error: ProtocolError, now_ms: int) -> None:
        """The new credential is not good; the member keeps the one it has."""
        self._dispatch.refuse(effect.member, effect.request_id, error, now_ms)


_PONG: Final = EncodedFrame(Pong())

"""
What the frames of an established session do.

Owns the way of each frame to what answers it (`sending` for messages, `history` for pages of the log), and the requests
about members and the channel itself. Never touches a socket, a clock, the disk or a random
source: what has to be done outside goes through `Dispatch.effects_to_do`, and comes back by the methods under
"answers from outside". See PROTOCOL.md, sections 2 to 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import UNSET

from peerbus.protocol.addressing import name_of
from peerbus.protocol.codec import Rejected
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Admission, Operation
from peerbus.protocol.messages import (
    Ack,
    Bye,
    ChannelUpdate,
    ClientFrame,
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
from peerbus.signaling.audit_entry import AuditAction
from peerbus.signaling.calls import Calls
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.effects import AuditEffect, LockEffect, RenewEffect
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.groups import Groups
from peerbus.signaling.history import History
from peerbus.signaling.member import Member
from peerbus.signaling.membership import Membership
from peerbus.signaling.sealed import check_attributes as check_sealed_attributes
from peerbus.signaling.sending import Sending

_KICKED_MAX: Final = 1000


class Hub:
    """
    The requests of all sessions of one server.

    No method raises for what a client did: the client is told by an `error` frame.
    """

    def __init__(
        self, membership: Membership, calls: Calls | None = None, groups: Groups | None = None
    ) -> None:
        self.membership: Final = membership
        self.sending: Final = Sending(membership, calls, groups)
        self.history: Final = History(membership)
        self._dispatch: Final = membership.dispatch
        self._handlers: Final[dict[type, Callable[[Member, Any, int], None]]] = {
            Send: self.sending.send,
            Receive: self.history.read,
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
                f"More than {self.membership.limits.request_rate_per_s} requests a second.",
                retry_after_ms=wait_ms,
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

"""
What a session is told when it is connected: the `connected` frame.

Owns what the server says of itself, its limits among that, and the ICE servers that it hands out. Never decides who is
connected. See PROTOCOL.md, section 3.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from peerbus.protocol.codec import MAX_BATCH_FRAMES
from peerbus.protocol.messages import AckPromise, Connected, IceServer, LimitsInfo
from peerbus.signaling.dispatch import Dispatch
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.joining import Joining, Start
from peerbus.signaling.limits import Limits
from peerbus.signaling.member import Member
from peerbus.signaling.turn import IceIssuer


class Welcome:
    """The welcome of one server. Without `ice` clients are told of no STUN or TURN servers."""

    def __init__(
        self, dispatch: Dispatch, *, ack_promise: AckPromise, server: str, ice: IceIssuer | None
    ) -> None:
        self.ack_promise: Final[AckPromise] = ack_promise
        self.ice: Final = ice
        self._dispatch: Final = dispatch
        self._server: Final = server

    def push(
        self,
        member: Member,
        joining: Joining,
        start: Start,
        limits: Limits,
        now_ms: int,
        *,
        live_seq: int | None = None,
    ) -> None:
        """
        Puts the frame, and what goes with it, into the member's outbox.

        `live_seq` is how far it has the live class of a session that goes on; None where that begins anew.
        """
        session = member.session
        session.outbox.push_control(
            EncodedFrame(self._connected(member, joining, start, limits, now_ms, live_seq))
        )
        self._dispatch.mark(member)
        member.mail = start.mail
        if start.recovered:
            self._dispatch.mail_read(member, start.cursor)

    def ice_servers(self, member: Member, now_ms: int) -> list[IceServer]:
        """STUN and TURN servers for a member, with a credential that begins now."""
        if self.ice is None:
            return []
        return self.ice.servers(member.project, member.identity, self._dispatch.wall_ms(now_ms))

    def _connected(
        self,
        member: Member,
        joining: Joining,
        start: Start,
        limits: Limits,
        now_ms: int,
        live_seq: int | None,
    ) -> Connected:
        channel, session, wall_ms = member.channel, member.session, self._dispatch.wall_ms(now_ms)
        is_mail_to_come = start.mail is not None and bool(start.mail.unread) and not start.recovered
        return Connected(
            id=joining.connect.id,
            version=joining.version,
            session_id=session.session_id,
            resume_token=session.resume_token,
            agent=member.name,
            identity=member.identity,
            order=member.order,
            channel=channel.info,
            epoch=channel.epoch,
            head=start.head,
            recovered=start.recovered,
            mail_after=start.cursor if is_mail_to_come else UNSET,
            live_epoch=session.live_epoch,
            live_seq=live_seq or 0,
            live_recovered=live_seq is not None,
            received_id=session.received_id,
            members=member.members_to_show(),
            operations=sorted(member.admission.operations),
            limits=_limits_of(member, limits),
            ack_promise=self.ack_promise,
            ping_interval_ms=limits.ping_interval_ms,
            silence_timeout_ms=limits.silence_timeout_ms,
            resume_window_ms=limits.resume_window_ms,
            expires_in_ms=UNSET if member.expires_ms is None else max(0, member.expires_ms - wall_ms),
            ice_servers=self.ice_servers(member, now_ms),
            ice_expires_in_ms=UNSET if self.ice is None else self.ice.ttl_ms,
            server=self._server,
            correlation_id=member.peer.correlation_id,
        )


def _limits_of(member: Member, limits: Limits) -> LimitsInfo:
    return LimitsInfo(
        frame_bytes=limits.frame_bytes,
        message_bytes=member.message_bytes,
        batch_frames=MAX_BATCH_FRAMES,
        send_rate_per_s=max(1, int(member.send_rate_per_s)),
        lossy_rate_per_s=limits.lossy_rate_per_s,
        recipients=limits.recipients,
        history_page=limits.history_page,
    )

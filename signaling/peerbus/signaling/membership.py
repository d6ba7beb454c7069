"""
Who is in which channel: joining, resuming, leaving, presence, and the deadlines of all sessions.

Owns the channels and members of one server. Never handles a request of an established session (that is the hub), never
writes to anybody itself (that is the dispatch), and never touches a socket, a clock or the disk. See PROTOCOL.md,
sections 3, 4, 5, 6.

Times are monotonic milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakValueDictionary

import msgspec

from peerbus.protocol.channel import PUBLIC_SCOPE
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Admission
from peerbus.protocol.messages import AckPromise, Connect, Expiring, Presence, Resume
from peerbus.protocol.session.server import Due, ServerSession, SessionTimes
from peerbus.signaling.bearers import takeover
from peerbus.signaling.channel import Channel
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.dispatch import Dispatch
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.joining import Joining, start_of
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.interface import ChannelKey
from peerbus.signaling.member import DepartureReason, Member
from peerbus.signaling.occupancy import Occupancy
from peerbus.signaling.parting import Parting
from peerbus.signaling.quota import NO_QUOTA
from peerbus.signaling.rate import SharedRate
from peerbus.signaling.resting import RestingChannels
from peerbus.signaling.turn import IceIssuer
from peerbus.signaling.welcome import Welcome

_CAPABILITY_CHARACTERS_MAX: Final = 64


class Membership:
    """
    All channels of one server and their members.

    `new_epoch` gives a fresh short id for each live epoch. Only `join` raises `ProtocolError`, since there is no
    session yet to tell.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        ack_promise: AckPromise,
        server: str,
        new_epoch: Callable[[], str],
        ice: IceIssuer | None = None,
    ) -> None:
        self.limits: Final = limits
        self.channels: Final[dict[ChannelKey, Channel]] = {}
        self.members: Final[dict[str, Member]] = {}
        self.is_draining = False
        self.dispatch: Final = Dispatch(limits, new_epoch)
        self.welcome: Final = Welcome(self.dispatch, ack_promise=ack_promise, server=server, ice=ice)
        self._occupancy: Final = Occupancy(limits)
        self._resting: Final = RestingChannels()
        # Each as long as a member of that key is here.
        self._rates_of_keys: Final[WeakValueDictionary[str, SharedRate]] = WeakValueDictionary()
        self._times: Final = SessionTimes(
            silence_timeout_ms=limits.silence_timeout_ms,
            resume_window_ms=limits.resume_window_ms,
            stalled_reader_ms=limits.stalled_reader_ms,
        )
        self._worker_limits: Final = limits.of_worker()
        self._outbox_limits: Final = limits.outbox()
        self._worker_outbox_limits: Final = self._worker_limits.outbox()
        self.on_leave: Final[list[Callable[[Member, ErrorCode], None]]] = []
        """Told of every session that has ended, and why."""
        self.on_away: Final[list[Callable[[Member, int], None]]] = []
        """Told of every session whose connection is lost, and when."""
        self.on_part: Final[list[Callable[[Member], None]]] = []
        """Told of every session whose page has gone, though another may go on with it."""
        self.on_admission: Final[list[Callable[[Member], None]]] = []
        """Told of every member that comes back or renews: it may have another credential than before."""

    # --- joining ----------------------------------------------------------------------------------------

    def join(self, joining: Joining, now_ms: int) -> Member:
        """
        Admits a session, or puts one back on its feet. The `connected` frame is in its outbox afterwards.

        Raises `ProtocolError`: `name_taken`, `channel_locked`, `channel_full`, `kicked`, `overloaded`,
        `server_restarting`.
        """
        if self.is_draining:
            raise ProtocolError(ErrorCode.SERVER_RESTARTING, retry_after_ms=1000)
        channel = self.channels.get(joining.key) or self._new_channel(joining, now_ms)
        channel.tail = max(channel.tail, joining.state.tail)
        channel.note_claims(joining.state.claims)
        if joining.identity in channel.kicked:
            raise ProtocolError(ErrorCode.KICKED)
        own = channel.by_lineage.get(joining.lineage)
        previous, leaving, is_known = takeover(channel, joining)
        if channel.is_locked and not is_known:
            raise ProtocolError(ErrorCode.CHANNEL_LOCKED)
        if previous is None and not leaving:
            self._check_room(channel, joining)
        self._check_connect(joining.connect)
        resume = joining.connect.resume
        for member, code in leaving:
            self.remove(member, "closed" if code is ErrorCode.NAME_TAKEN else "replaced", code)
        if (
            previous is not None
            and resume is not None
            and previous.name == joining.name
            and previous.identity == joining.identity
            and previous.session.resume_token == resume.token
        ):
            return self._resume(previous, joining, resume, now_ms)
        if previous is not None:
            self.remove(previous, "replaced", ErrorCode.REPLACED)
        announced = 0 if resume is None else resume.order
        order = channel.next_order(announced) if own is None else own.order
        member = self._admit(channel, joining, order, now_ms)
        if own is not None or resume is not None:
            # It may be in a call: by another credential until now, or since before a restart of the server.
            self._tell_admission(member)
        return member

    def name_of(self, key: ChannelKey, lineage: bytes) -> str | None:
        """What a lineage is called in a channel at this moment; None if it is not there."""
        channel = self.channels.get(key)
        member = None if channel is None else channel.by_lineage.get(lineage)
        return None if member is None else member.name

    def _new_channel(self, joining: Joining, now_ms: int) -> Channel:
        self._occupancy.check_channels(len(self.channels), joining.project, joining.quota)
        resting = self._resting.of(joining.key)
        if resting is not None:
            return resting
        has_password = bool(joining.connect.join_token)
        return Channel(
            joining.key,
            joining.state,
            joining.project,
            # What all projects share is not trimmed to what one of them may have, whoever came first.
            NO_QUOTA if joining.key.scope == PUBLIC_SCOPE else joining.quota,
            has_password=has_password,
            rate=SharedRate(self.limits_of(joining.admission).channel_send_rate_per_s, now_ms),
        )

    def _check_room(self, channel: Channel, joining: Joining) -> None:
        room = self.limits.members_per_channel
        if joining.admission.members is not None:
            room = min(room, joining.admission.members)
        if len(channel.members) >= room:
            raise ProtocolError(
                ErrorCode.CHANNEL_FULL, f"The channel has {room} members, and no more may join."
            )
        self._occupancy.check_sessions(len(self.members), joining.project, joining.quota)

    def _check_connect(self, connect: Connect) -> None:
        self.check_attributes(connect.attributes, connect.sealed_attributes)
        if len(connect.capabilities) > self.limits.capabilities or len(connect.types) > self.limits.types:
            raise ProtocolError(ErrorCode.BAD_REQUEST, "Too many capabilities or types.")
        if any(len(capability) > _CAPABILITY_CHARACTERS_MAX for capability in connect.capabilities):
            raise ProtocolError(
                ErrorCode.BAD_REQUEST, f"A capability has at most {_CAPABILITY_CHARACTERS_MAX} characters."
            )

    def limits_of(self, admission: Admission) -> Limits:
        """The limits of one session."""
        return self._worker_limits if admission.is_service else self.limits

    def check_attributes(self, attributes: dict[str, Any], sealed_attributes: bytes) -> None:
        """Raises `ProtocolError` (`too_large`) where both together are beyond the limit."""
        size = len(msgspec.msgpack.encode(attributes)) + len(sealed_attributes)
        if size > self.limits.attributes_bytes:
            raise ProtocolError(
                ErrorCode.TOO_LARGE,
                f"The attributes have {size} bytes; at most {self.limits.attributes_bytes} are taken.",
            )

    def _admit(self, channel: Channel, joining: Joining, order: int, now_ms: int) -> Member:
        start = start_of(channel, joining, None)
        is_service = joining.admission.is_service
        session: ServerSession[EncodedFrame] = ServerSession(
            joining.session_id,
            joining.resume_token,
            self.dispatch.new_epoch(),
            self._times,
            self._worker_outbox_limits if is_service else self._outbox_limits,
            durable_cursor=start.cursor,
            now_ms=now_ms,
        )
        member = Member(
            session,
            channel,
            name=joining.name,
            identity=joining.identity,
            lineage=joining.lineage,
            project=joining.project,
            order=order,
            since=start.cursor if start.recovered else start.head,
            limits=self.limits_of(joining.admission),
            now_ms=now_ms,
        )
        self._begin(member, joining, now_ms)
        member.attributes = joining.connect.attributes
        session.take_connect_id(joining.connect.id)
        session.outbox.is_catching_up = member.receives and start.cursor < channel.head
        if joining.key not in self.channels:
            self.channels[joining.key] = channel
            self._occupancy.channel_opened(channel.project)
            self._resting.wake(channel)
        channel.add(member)
        self.members[session.session_id] = member
        self._occupancy.session_begun(member.project)
        self.dispatch.note_presence(channel)
        self.dispatch.counters.joins += 1
        self.welcome.push(member, joining, start, self.limits_of(joining.admission), now_ms)
        self.dispatch.read_page(member)
        return member

    def _resume(self, member: Member, joining: Joining, resume: Resume, now_ms: int) -> Member:
        channel, session = member.channel, member.session
        if member.connection is not None:
            self.dispatch.close_connection(member, ErrorCode.REPLACED)
        self.dispatch.keep_from_farewells(member)
        start = start_of(channel, joining, member)
        self._begin(member, joining, now_ms)
        live_recovered = session.resume(
            resume,
            self.dispatch.new_epoch(),
            start.cursor,
            is_catching_up=member.receives and start.cursor < channel.head,
            now_ms=now_ms,
        )
        session.take_connect_id(joining.connect.id)
        self.changed(member)
        self.dispatch.counters.resumes += 1
        limits = self.limits_of(joining.admission)
        live_seq = resume.live_seq if live_recovered else None
        self.welcome.push(member, joining, start, limits, now_ms, live_seq=live_seq)
        self._tell_admission(member)
        self.dispatch.read_page(member)
        return member

    def _begin(self, member: Member, joining: Joining, now_ms: int) -> None:
        limits = self.limits_of(joining.admission)
        member.begin(joining.connect, joining.admission, limits, joining.connection, joining.peer, now_ms)
        self._bear(member, joining.credential, now_ms)
        self._plan_warning(member, now_ms)
        quota = joining.quota.message_bytes
        member.message_bytes = (
            self.limits.message_bytes if quota is None else min(self.limits.message_bytes, quota)
        )

    def _bear(self, member: Member, credential: CredentialIds, now_ms: int) -> None:
        """The member is here by this credential from now on, and shares the rate of its key."""
        member.credential = credential
        rate = self._rates_of_keys.get(credential.key)
        limits = self.limits_of(member.admission)
        member.key_rate = rate or SharedRate(limits.key_send_rate_per_s, now_ms)
        self._rates_of_keys[credential.key] = member.key_rate

    # --- leaving ----------------------------------------------------------------------------------------

    def readmit(self, member: Member, admission: Admission, credential: CredentialIds, now_ms: int) -> None:
        """A new credential for a member: from now on it sees and may do what that allows."""
        received, saw_presence = member.receives, member.pushes_presence
        member.admit(admission, self.limits_of(admission), now_ms)
        self._bear(member, credential, now_ms)
        self._plan_warning(member, now_ms)
        if member.receives is not received:
            member.session.outbox.catch_up(member.channel.head if member.receives else 0)
            self.dispatch.read_page(member)
        if member.pushes_presence and not saw_presence:
            self.dispatch.reply(member, Presence(joined=member.channel.snapshot()), now_ms)
        self._tell_admission(member)

    def _tell_admission(self, member: Member) -> None:
        for tell in self.on_admission:
            tell(member)

    def detached(self, member: Member, connection: Any, now_ms: int) -> None:
        """A connection ended without `bye`; the session waits for its client. Old connections change nothing."""
        if member.connection is not connection:
            return
        member.connection = None
        self._away(member, now_ms)

    def lose(
        self, member: Member, code: ErrorCode, text: str, now_ms: int, *, is_abrupt: bool = False
    ) -> None:
        """Closes the connection of a member and keeps its session."""
        if member.connection is not None:
            self.dispatch.close_connection(member, code, text, is_abrupt=is_abrupt)
            self._away(member, now_ms)

    def part(self, parting: Parting, now_ms: int) -> None:
        """
        The page of a session says that it goes. If it may return it has `page_return_ms` for that.

        What it says of a connection that was replaced meanwhile changes nothing. Raises `ProtocolError`
        (`session_unknown`), for a wrong token too.
        """
        member = self.members.get(parting.session_id)
        if member is None or member.session.resume_token != parting.resume_token:
            raise ProtocolError(ErrorCode.SESSION_UNKNOWN)
        if member.peer.correlation_id != parting.correlation_id:
            return
        # Not a final code: a page that a browser keeps in memory may be shown again, and connects then.
        self.lose(member, ErrorCode.KEEPALIVE_TIMEOUT, "The page has gone.", now_ms)
        if not parting.may_return:
            self.remove(member, "left", ErrorCode.CLOSED)
            return
        member.session.shorten(self.limits.page_return_ms, now_ms)
        for tell in self.on_part:
            tell(member)

    def changed(self, member: Member) -> None:
        """What the others see of a member is other than before."""
        member.channel.changed(member)
        self.dispatch.note_presence(member.channel)

    def _away(self, member: Member, now_ms: int) -> None:
        member.session.detach(now_ms)
        self.changed(member)
        for tell in self.on_away:
            tell(member, now_ms)

    def drain(self, retry_after_ms: Callable[[], int]) -> None:
        """The server is going down: nobody may join, and everyone is told when to come back."""
        self.is_draining = True
        for member in list(self.members.values()):
            if member.connection is not None:
                self.dispatch.close_connection(
                    member, ErrorCode.SERVER_RESTARTING, retry_after_ms=retry_after_ms()
                )

    def revoke(self, credentials: frozenset[str], reason: ErrorCode) -> None:
        """Ends every session that was admitted by one of these credentials, or by what came from one."""
        for member in list(self.members.values()):
            if not member.credential.all.isdisjoint(credentials):
                self.remove(member, "closed", reason)

    def remove(self, member: Member, departure: DepartureReason, code: ErrorCode, text: str = "") -> None:
        """The member leaves for good; `code` and `text` are what its connection is told."""
        if member.connection is not None:
            self.dispatch.close_connection(member, code, text)
        channel = member.channel
        self.dispatch.counters.lossy_dropped += member.session.outbox.lossy_dropped
        channel.remove(member, departure)
        member.is_gone = True
        del self.members[member.session.session_id]
        self._occupancy.session_ended(member.project)
        self.dispatch.note_presence(channel)
        if not channel.members:
            self.dispatch.forget_presence(channel)
            del self.channels[channel.key]
            self._occupancy.channel_closed(channel.project)
            self._resting.rest(channel)
        for tell in self.on_leave:
            tell(member, code)

    # --- time -------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Deadlines of all sessions; to be called a few times a second."""
        for member in list(self.members.values()):
            session = member.session
            due = session.due(now_ms)
            if due is not Due.NOTHING:
                self._overdue(member, due, now_ms)
                continue
            if not session.outbox.expire(now_ms) and session.is_attached:
                self.dispatch.reset_live(member)
            if member.expires_ms is not None:
                self._check_expiry(member, member.expires_ms, now_ms)
        self._resting.tick(now_ms)

    def _overdue(self, member: Member, due: Due, now_ms: int) -> None:
        if due is Due.GONE:
            self.remove(member, "lost", ErrorCode.KEEPALIVE_TIMEOUT)
            return
        code = ErrorCode.SLOW_CONSUMER if due is Due.STALLED else ErrorCode.KEEPALIVE_TIMEOUT
        self.lose(member, code, "", now_ms, is_abrupt=True)

    def _plan_warning(self, member: Member, now_ms: int) -> None:
        if member.expires_ms is not None:
            # One that is given out for less than the warning time is not to be renewed all the time.
            left_ms = member.expires_ms - self.dispatch.wall_ms(now_ms)
            member.warning_ms = min(self.limits.expiry_warning_ms, left_ms // 2)

    def _check_expiry(self, member: Member, expires_ms: int, now_ms: int) -> None:
        left_ms = expires_ms - self.dispatch.wall_ms(now_ms)
        if left_ms <= 0:
            self.remove(member, "expired", ErrorCode.EXPIRED)
        elif left_ms <= member.warning_ms and not member.is_warned:
            member.is_warned = True
            self.dispatch.reply(member, Expiring(expires_in_ms=left_ms), now_ms)

"""
Who is in which channel: joining, resuming, leaving, presence, and the deadlines of all sessions.

Owns the channels and members of one server, what is written to whom (`push`, `reply`, `refuse`), and the list of
effects that the shell drains. Never handles a request of an established session (that is the hub), and never touches
a socket, a clock or the disk. See PROTOCOL.md, sections 3, 4, 5, 6.

Times are monotonic milliseconds; `wall_offset_ms` (set by the shell) added to them gives milliseconds since 1970.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import replace

from peerbus.protocol.channel import PUBLIC_SCOPE
from peerbus.protocol.codec import MAX_BATCH_FRAMES
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Admission, Operation
from peerbus.protocol.messages import (
    AckPromise,
    Connect,
    Connected,
    Expiring,
    IceServer,
    LimitsInfo,
    Presence,
    Reset,
    Resume,
    ServerFrame,
)
from peerbus.protocol.messages import Member as MemberInfo
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session.server import Due, ServerSession, SessionTimes
from peerbus.signaling.bearers import takeover
from peerbus.signaling.channel import Channel
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.effects import CloseEffect, Effect, MailReadEffect, ReadEffect
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.interface import ChannelKey, ChannelState, MailRead, Range
from peerbus.signaling.mail import Mail
from peerbus.signaling.member import DepartureReason, Member, Peer
from peerbus.signaling.quota import NO_QUOTA, Quota
from peerbus.signaling.rate import SharedRate
from peerbus.signaling.refusal import closing_frame, error_frame
from peerbus.signaling.turn import IceIssuer

_REST_MS: Final = 10_000
_ROOM_RETRY_MS: Final = 1_000


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


class _Start(NamedTuple):
    """Where the durable class of a connection begins."""

    cursor: int
    recovered: bool
    head: int
    mail: Mail | None


class Counters(Struct):
    """What happened since the start; read by the metrics."""

    joins: int = 0
    resumes: int = 0
    sends_durable: int = 0
    sends_live: int = 0
    sends_lossy: int = 0
    deliveries: int = 0
    lossy_dropped: int = 0
    live_resets: int = 0
    errors: int = 0


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
        self.counters: Final = Counters()
        self.is_draining = False
        self.wall_offset_ms = 0
        self.ack_promise: Final[AckPromise] = ack_promise
        self.ice: Final = ice
        """Without it clients are told of no STUN or TURN servers."""
        self._server: Final = server
        self._new_epoch: Final = new_epoch
        self._effects: list[Effect] = []
        self._dirty: list[Member] = []
        self._restless: set[Channel] = set()
        # Left by everyone a moment ago. Whoever joins now may bring a state of the log that is older than the last
        # change of the channel, so it is kept until nothing can be under way any more.
        self._resting: dict[ChannelKey, Channel] = {}
        # Each as long as a member of that key is here.
        self._rates_of_keys: Final[WeakValueDictionary[str, SharedRate]] = WeakValueDictionary()
        self._sessions_of: Counter[str] = Counter()
        self._channels_of: Counter[str] = Counter()
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
        self.on_admission: Final[list[Callable[[Member], None]]] = []
        """Told of every member that comes back or renews: it may have another credential than before."""

    # --- out --------------------------------------------------------------------------------------------

    def effects_to_do(self) -> list[Effect]:
        """What the shell has to do; empties the list."""
        effects, self._effects = self._effects, []
        return effects

    @property
    def has_effects(self) -> bool:
        """Whether there is something for the shell to do."""
        return bool(self._effects)

    def dirty_to_flush(self, now_ms: int) -> list[Member]:
        """
        The members whose outboxes have got something since the last call; empties the list.

        Whoever flushes one first sets its `is_dirty` to false: in the same pass, since a member's memory is cold by
        the time it is its turn again.
        """
        for channel in self._restless:
            presence = channel.presence_to_tell()
            if presence is not None:
                out = EncodedFrame(presence)
                told = [member for member in channel.members.values() if member.pushes_presence]
                self.push_live(told, out, now_ms)
        self._restless.clear()
        dirty, self._dirty = self._dirty, []
        return dirty

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
        if len(self.channels) >= self.limits.channels:
            raise ProtocolError(ErrorCode.OVERLOADED, "The server has as many channels as it may have.")
        if not self._has_room(self._channels_of, joining.project, joining.quota.channels):
            raise ProtocolError(ErrorCode.QUOTA_EXCEEDED, "The project has as many channels as it may have.")
        resting = self._resting.get(joining.key)
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
        if not self._has_room(self._sessions_of, joining.project, joining.quota.sessions):
            raise ProtocolError(ErrorCode.QUOTA_EXCEEDED, "The project has as many sessions as it may have.")
        if len(self.members) >= self.limits.sessions:
            raise ProtocolError(ErrorCode.OVERLOADED, "The server has as many sessions as it may have.")

    @staticmethod
    def _has_room(counts: Counter[str], project: str, most: int | None) -> bool:
        return most is None or counts[project] < most

    def _check_connect(self, connect: Connect) -> None:
        self.check_attributes(connect.attributes, connect.sealed_attributes)
        if len(connect.capabilities) > self.limits.capabilities or len(connect.types) > self.limits.types:
            raise ProtocolError(ErrorCode.BAD_REQUEST, "Too many capabilities or types.")
        if any(len(capability) > 64 for capability in connect.capabilities):
            raise ProtocolError(ErrorCode.BAD_REQUEST, "A capability has at most 64 characters.")

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
        start = _start(channel, joining, None)
        is_service = joining.admission.is_service
        session: ServerSession[EncodedFrame] = ServerSession(
            joining.session_id,
            joining.resume_token,
            self._new_epoch(),
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
            self._channels_of[channel.project] += 1
            self._resting.pop(joining.key, None)
            channel.resting_since_ms = None
        channel.add(member)
        self.members[session.session_id] = member
        self._sessions_of[member.project] += 1
        self._restless.add(channel)
        self.counters.joins += 1
        self._push_connected(member, joining, start, False, 0, now_ms)
        self.read_page(member)
        return member

    def _resume(self, member: Member, joining: Joining, resume: Resume, now_ms: int) -> Member:
        channel, session = member.channel, member.session
        if member.connection is not None:
            self._close_connection(member, ErrorCode.REPLACED)
        self._keep_from_farewells(member)
        start = _start(channel, joining, member)
        self._begin(member, joining, now_ms)
        live_recovered = session.resume(
            resume,
            self._new_epoch(),
            start.cursor,
            is_catching_up=member.receives and start.cursor < channel.head,
            now_ms=now_ms,
        )
        session.take_connect_id(joining.connect.id)
        self.changed(member)
        self.counters.resumes += 1
        live_seq = resume.live_seq if live_recovered else 0
        self._push_connected(member, joining, start, live_recovered, live_seq, now_ms)
        self._tell_admission(member)
        self.read_page(member)
        return member

    @staticmethod
    def _members_for(member: Member) -> list[MemberInfo]:
        return member.channel.snapshot() if member.pushes_presence else [member.info]

    def _keep_from_farewells(self, member: Member) -> None:
        """What a connection that is yet to be closed would take from the outbox belongs to the new one."""
        for index, effect in enumerate(self._effects):
            if isinstance(effect, CloseEffect) and effect.member is member:
                self._effects[index] = replace(effect, member=None)

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

    def _push_connected(
        self,
        member: Member,
        joining: Joining,
        start: _Start,
        live_recovered: bool,
        live_seq: int,
        now_ms: int,
    ) -> None:
        channel, session, limits = member.channel, member.session, self.limits_of(member.admission)
        admission = member.admission
        connected = Connected(
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
            mail_after=start.cursor if start.mail and start.mail.unread and not start.recovered else UNSET,
            live_epoch=session.live_epoch,
            live_seq=live_seq,
            live_recovered=live_recovered,
            received_id=session.received_id,
            members=self._members_for(member),
            operations=sorted(admission.operations),
            limits=LimitsInfo(
                frame_bytes=limits.frame_bytes,
                message_bytes=member.message_bytes,
                batch_frames=MAX_BATCH_FRAMES,
                send_rate_per_s=max(1, int(member.send_rate_per_s)),
                lossy_rate_per_s=limits.lossy_rate_per_s,
                recipients=limits.recipients,
                history_page=limits.history_page,
            ),
            ack_promise=self.ack_promise,
            ping_interval_ms=limits.ping_interval_ms,
            silence_timeout_ms=limits.silence_timeout_ms,
            resume_window_ms=limits.resume_window_ms,
            expires_in_ms=UNSET
            if member.expires_ms is None
            else max(0, member.expires_ms - self.wall_ms(now_ms)),
            ice_servers=self.ice_servers(member, now_ms),
            ice_expires_in_ms=UNSET if self.ice is None else self.ice.ttl_ms,
            server=self._server,
            correlation_id=member.peer.correlation_id,
        )
        session.outbox.push_control(EncodedFrame(connected))
        self.mark(member)
        member.mail = start.mail
        if start.recovered:
            self.mail_read(member, start.cursor)

    def ice_servers(self, member: Member, now_ms: int) -> list[IceServer]:
        """STUN and TURN servers for a member, with a credential that begins now."""
        if self.ice is None:
            return []
        return self.ice.servers(member.project, member.identity, self.wall_ms(now_ms))

    # --- leaving ----------------------------------------------------------------------------------------

    def readmit(self, member: Member, admission: Admission, credential: CredentialIds, now_ms: int) -> None:
        """A new credential for a member: from now on it sees and may do what that allows."""
        received, saw_presence = member.receives, member.pushes_presence
        member.admit(admission, self.limits_of(admission), now_ms)
        self._bear(member, credential, now_ms)
        self._plan_warning(member, now_ms)
        if member.receives is not received:
            member.session.outbox.catch_up(member.channel.head if member.receives else 0)
            self.read_page(member)
        if member.pushes_presence and not saw_presence:
            self.reply(member, Presence(joined=member.channel.snapshot()), now_ms)
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
            self._close_connection(member, code, text, is_abrupt=is_abrupt)
            self._away(member, now_ms)

    def changed(self, member: Member) -> None:
        """What the others see of a member is other than before."""
        member.channel.changed(member)
        self._restless.add(member.channel)

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
                self._close_connection(member, ErrorCode.SERVER_RESTARTING, retry_after_ms=retry_after_ms())

    def revoke(self, credentials: frozenset[str], reason: ErrorCode) -> None:
        """Ends every session that was admitted by one of these credentials, or by what came from one."""
        for member in list(self.members.values()):
            if not member.credential.all.isdisjoint(credentials):
                self.remove(member, "closed", reason)

    def remove(self, member: Member, departure: DepartureReason, code: ErrorCode, text: str = "") -> None:
        """The member leaves for good; `code` and `text` are what its connection is told."""
        if member.connection is not None:
            self._close_connection(member, code, text)
        channel = member.channel
        self.counters.lossy_dropped += member.session.outbox.lossy_dropped
        channel.remove(member, departure)
        member.is_gone = True
        del self.members[member.session.session_id]
        self._sessions_of[member.project] -= 1
        self._restless.add(channel)
        if not channel.members:
            self._restless.discard(channel)
            del self.channels[channel.key]
            self._channels_of[channel.project] -= 1
            self._resting[channel.key] = channel
            channel.presence_to_tell()  # to nobody
        for tell in self.on_leave:
            tell(member, code)

    def _close_connection(
        self,
        member: Member,
        code: ErrorCode,
        text: str = "",
        *,
        retry_after_ms: int | None = None,
        is_abrupt: bool = False,
    ) -> None:
        error = ProtocolError(code, text, retry_after_ms=retry_after_ms)
        closing = closing_frame(error, member.peer)
        pending_of = None if is_abrupt or code is ErrorCode.REPLACED else member
        self._effects.append(CloseEffect(pending_of, member.connection, closing, is_abrupt))
        member.connection = None

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
                self._reset_live(member)
            if member.expires_ms is not None:
                self._check_expiry(member, member.expires_ms, now_ms)
        for channel in list(self._resting.values()):
            self._rest(channel, now_ms)

    def _rest(self, channel: Channel, now_ms: int) -> None:
        if channel.changes_under_way:
            return
        if channel.resting_since_ms is None:
            channel.resting_since_ms = now_ms
        elif now_ms - channel.resting_since_ms >= _REST_MS:
            del self._resting[channel.key]

    def _overdue(self, member: Member, due: Due, now_ms: int) -> None:
        if due is Due.GONE:
            self.remove(member, "lost", ErrorCode.KEEPALIVE_TIMEOUT)
            return
        code = ErrorCode.SLOW_CONSUMER if due is Due.STALLED else ErrorCode.KEEPALIVE_TIMEOUT
        self.lose(member, code, "", now_ms, is_abrupt=True)

    def _plan_warning(self, member: Member, now_ms: int) -> None:
        if member.expires_ms is not None:
            # One that is given out for less than the warning time is not to be renewed all the time.
            left_ms = member.expires_ms - self.wall_ms(now_ms)
            member.warning_ms = min(self.limits.expiry_warning_ms, left_ms // 2)

    def _check_expiry(self, member: Member, expires_ms: int, now_ms: int) -> None:
        left_ms = expires_ms - self.wall_ms(now_ms)
        if left_ms <= 0:
            self.remove(member, "expired", ErrorCode.EXPIRED)
        elif left_ms <= member.warning_ms and not member.is_warned:
            member.is_warned = True
            self.reply(member, Expiring(expires_in_ms=left_ms), now_ms)

    # --- writing ----------------------------------------------------------------------------------------

    def wall_ms(self, now_ms: int) -> int:
        """Milliseconds since 1970 at this moment."""
        return now_ms + self.wall_offset_ms

    def add_effect(self, effect: Effect) -> None:
        """Something for the shell to do."""
        self._effects.append(effect)

    def read_page(self, member: Member) -> None:
        """Asks for the next page of the log where a session that catches up can take one."""
        outbox = member.session.outbox
        ticket = outbox.ask_page()
        if ticket is None:
            return
        cursor, limit = outbox.durable_cursor, self.limits.history_page
        wanted = Range(after=cursor, limit=limit, types=member.types, exclude_author=member.author)
        if member.mail is not None and cursor < member.mail.until:
            only, before = member.mail.page(cursor, limit)
            wanted = replace(wanted, only=only, before=before)
        key = member.channel.key
        limit_bytes = self.limits.history_page_bytes
        self._effects.append(
            ReadEffect(key, member.identity, wanted, limit_bytes, member, page_ticket=ticket)
        )

    def mail_read(self, member: Member, offset: int) -> None:
        """A client says that it has read everything up to an offset: that much of its mail is done with."""
        if member.mail is not None and member.mail.acknowledge(offset):
            read = MailRead(member.channel.key, member.identity, offset, member.types)
            self._effects.append(MailReadEffect(read))

    def reply(self, member: Member, frame: ServerFrame, now_ms: int) -> None:
        """A frame of the live class for one member."""
        self.push_live((member,), EncodedFrame(frame), now_ms)

    def answer(self, member: Member, request_id: int, frame: ServerFrame, now_ms: int) -> None:
        """A reply that may be long: refused where it would make the live class overflow."""
        out = EncodedFrame(frame)
        room_bytes = member.session.outbox.live_room_bytes
        if out.size_bytes <= room_bytes:
            self.push_live((member,), out, now_ms)
            return
        if out.size_bytes > self.limits.live_kept_bytes:
            error = ProtocolError(ErrorCode.TOO_LARGE, "The answer is larger than one may be; ask for less.")
        else:
            text = "Answers that were asked for before wait to be taken; ask again after them."
            error = ProtocolError(ErrorCode.RATE_LIMITED, text, retry_after_ms=_ROOM_RETRY_MS)
        self.refuse(member, request_id, error, now_ms)

    def refuse(self, member: Member, request_id: int | None, error: ProtocolError, now_ms: int) -> None:
        """Tells a member that a request, or something without an id, failed."""
        self.counters.errors += 1
        self.reply(member, error_frame(error, request_id, member.peer), now_ms)

    def push_live(self, members: Iterable[Member], out: EncodedFrame, now_ms: int) -> None:
        """A frame of the live class for each of the members."""
        dirty = self._dirty
        for member in members:
            session = member.session
            if session.outbox.push_live(out, now_ms):
                if not member.is_dirty:
                    member.is_dirty = True
                    dirty.append(member)
            elif session.is_attached:
                self._reset_live(member)

    def _reset_live(self, member: Member) -> None:
        session = member.session
        session.live_epoch = self._new_epoch()
        session.outbox.begin_live_epoch()
        # Presence and locks are told as changes; those that were lost are made up for by the whole.
        reset = Reset(
            live_epoch=session.live_epoch,
            live_seq=0,
            members=self._members_for(member),
            is_locked=member.channel.is_locked,
        )
        session.outbox.push_reset(EncodedFrame(reset))
        member.is_warned = False
        self.counters.live_resets += 1
        self.mark(member)

    def mark(self, member: Member) -> None:
        """The member's outbox has got something."""
        if not member.is_dirty:
            member.is_dirty = True
            self._dirty.append(member)


def _start(channel: Channel, joining: Joining, former: Member | None) -> _Start:
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
    return _Start(cursor, recovered, head, mail)


def _may_go_on(joining: Joining, resume: Resume, former: Member | None) -> bool:
    """
    Whether it may be shown what was stored since the cursor that it names.

    A cursor proves nothing: anybody could name one of long ago. Who is not allowed history gets what was stored since
    its session began, as long as that is known; before that only mail.
    """
    if joining.admission.allows(Operation.HISTORY):
        return True
    return former is not None and (joining.admission.is_claimed or resume.offset >= former.since)

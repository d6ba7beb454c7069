"""
What is written to whom, and what the shell is asked to do.

Owns the ways into the outboxes of one server's members (`push_live`, `reply`, `answer`, `refuse`), the members whose
outboxes have got something, the channels whose presence is to be told, and the list of effects. Never decides who gets
what, and never touches a socket, a clock or the disk. See PROTOCOL.md, sections 4 and 6.

Times are monotonic milliseconds; `wall_offset_ms` (set by the shell) added to them gives milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import Ack, Reset, ServerFrame
from peerbus.signaling.channel import Channel
from peerbus.signaling.effects import CloseEffect, Effect, MailReadEffect, ReadEffect
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.interface import MailRead, Range
from peerbus.signaling.member import Member
from peerbus.signaling.refusal import closing_frame, error_frame

_ROOM_RETRY_MS: Final = 1_000


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


class Dispatch:
    """
    The way out of one server. `new_epoch` gives a fresh short id for each live epoch.

    Nothing here raises: what a member cannot be told makes it read anew.
    """

    def __init__(self, limits: Limits, new_epoch: Callable[[], str]) -> None:
        self.limits: Final = limits
        self.new_epoch: Final = new_epoch
        self.counters: Final = Counters()
        self.wall_offset_ms = 0
        self._effects: list[Effect] = []
        self._dirty: list[Member] = []
        self._restless: set[Channel] = set()

    # --- what the shell takes -------------------------------------------------------------------------------

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

    def wall_ms(self, now_ms: int) -> int:
        """Milliseconds since 1970 at this moment."""
        return now_ms + self.wall_offset_ms

    # --- effects --------------------------------------------------------------------------------------------

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

    def close_connection(
        self,
        member: Member,
        code: ErrorCode,
        text: str = "",
        *,
        retry_after_ms: int | None = None,
        is_abrupt: bool = False,
    ) -> None:
        """The connection of a member is over; unless `is_abrupt`, it gets what is pending for it, and is told why."""
        error = ProtocolError(code, text, retry_after_ms=retry_after_ms)
        closing = closing_frame(error, member.peer)
        pending_of = None if is_abrupt or code is ErrorCode.REPLACED else member
        self._effects.append(CloseEffect(pending_of, member.connection, closing, is_abrupt))
        member.connection = None

    def keep_from_farewells(self, member: Member) -> None:
        """What a connection that is yet to be closed would take from the outbox belongs to the new one."""
        for index, effect in enumerate(self._effects):
            if isinstance(effect, CloseEffect) and effect.member is member:
                self._effects[index] = replace(effect, member=None)

    # --- writing --------------------------------------------------------------------------------------------

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

    def accepted(self, member: Member, request_id: int, recipients: int, now_ms: int) -> None:
        """The ack of a message that is in memory, and was for so many."""
        member.sent_count += 1
        ack = Ack(
            id=request_id,
            promise="memory",
            message_id=f"{member.session.session_id}.{member.sent_count}",
            time_ms=self.wall_ms(now_ms),
            recipients=recipients,
        )
        self.reply(member, ack, now_ms)

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
                self.reset_live(member)

    def reset_live(self, member: Member) -> None:
        """Some of the live class is lost to a member: it is told so, and what it would not hear otherwise."""
        session = member.session
        session.live_epoch = self.new_epoch()
        session.outbox.begin_live_epoch()
        # Presence and locks are told as changes; those that were lost are made up for by the whole.
        reset = Reset(
            live_epoch=session.live_epoch,
            live_seq=0,
            members=member.members_to_show(),
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

    @property
    def is_restless(self) -> bool:
        """Whether some presence, or somebody's outbox, waits for the next flush."""
        return bool(self._restless or self._dirty)

    def note_presence(self, channel: Channel) -> None:
        """Who is in a channel, or how, is other than before: told by the next flush."""
        self._restless.add(channel)

    def forget_presence(self, channel: Channel) -> None:
        """Nobody is left in a channel who could be told."""
        self._restless.discard(channel)
        channel.presence_to_tell()

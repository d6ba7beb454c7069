"""
Pages of the log: those that clients ask for, and those by which their sessions catch up.

Owns what is asked of the log and what becomes of its answer. Never reads it: that is an effect, whose answer comes back
by `page_read` or `read_failed`. See PROTOCOL.md, section 5.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Operation
from peerbus.protocol.messages import History as HistoryFrame
from peerbus.protocol.messages import Receive
from peerbus.signaling.effects import ReadEffect
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.fanout import message_of
from peerbus.signaling.log.interface import Page, Range
from peerbus.signaling.member import Member
from peerbus.signaling.membership import Membership


class History:
    """What was stored, for those who are here."""

    def __init__(self, membership: Membership) -> None:
        self._membership: Final = membership
        self._dispatch: Final = membership.dispatch
        self._limits: Final = membership.limits

    def read(self, member: Member, frame: Receive, now_ms: int) -> None:
        """A client asks for a page. Raises `ProtocolError` (`forbidden`)."""
        if not member.admission.allows(Operation.HISTORY):
            raise ProtocolError(ErrorCode.FORBIDDEN, "The grant does not allow reading history.")
        after = None if frame.after is UNSET else frame.after
        wanted = Range(
            after=after,
            before=None if frame.before is UNSET else frame.before,
            limit=min(frame.limit, self._limits.history_page),
            newest_first=after is None,
            types=frozenset(frame.types) or None,
        )
        self._dispatch.add_effect(
            ReadEffect(
                member.channel.key, member.identity, wanted, self._limits.history_page_bytes, member, frame.id
            )
        )

    def page_read(self, effect: ReadEffect, page: Page, now_ms: int) -> None:
        """The log's answer to a `ReadEffect`; who is gone meanwhile, by a revocation perhaps, gets none of it."""
        member = effect.member
        if member.is_gone:
            return
        channel = member.channel
        messages = [message_of(entry, channel.epoch) for entry in page.entries]
        if effect.request_id is not None:
            history = HistoryFrame(
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
            self._membership.lose(member, ErrorCode.SLOW_CONSUMER, text, now_ms)
            return
        frames = [
            (entry.offset, EncodedFrame(message))
            for entry, message in zip(page.entries, messages, strict=True)
        ]
        outbox.push_page(effect.page_ticket, frames, page.scanned_to, channel.head)
        self._dispatch.counters.deliveries += len(frames)
        self._dispatch.mark(member)

    def read_failed(self, effect: ReadEffect, error: ProtocolError, now_ms: int) -> None:
        """The log could not be read. A session that catches up is closed, and comes again."""
        member = effect.member
        if effect.request_id is not None:
            self._dispatch.refuse(member, effect.request_id, error, now_ms)
        elif effect.page_ticket is not None and member.session.outbox.awaits_page(effect.page_ticket):
            self._membership.lose(member, ErrorCode.STORAGE_UNAVAILABLE, error.message, now_ms)

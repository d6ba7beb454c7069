"""
How far a client has read: the durable offset in its epoch, and the count of the live class in its epoch.

Owns both cursors and says what is new. Never asks for anything. See PROTOCOL.md, sections 4 and 5.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from peerbus.protocol.messages import Connected, Message, Reset, Resume, ServerFrame
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session.classes import class_of

MAX_OWN_AHEAD: Final = 256
"""How many acknowledged offsets beyond the cursor are remembered."""


class Cursors:
    """Where a client stands; starts from what an earlier connection (or page) left, or from nothing."""

    def __init__(self, resume: Resume | None = None) -> None:
        start = resume or Resume(token=Secret())
        self.epoch = start.epoch
        self.offset = start.offset
        self.live_epoch = start.live_epoch
        self.live_seq = start.live_seq
        self.order = start.order
        self.mail_until = start.mail_until
        self._own_ahead: set[int] = set()

    def resume(self, token: Secret) -> Resume:
        """What `connect` says of them."""
        return Resume(
            token=token,
            epoch=self.epoch,
            offset=self.offset,
            live_epoch=self.live_epoch,
            live_seq=self.live_seq,
            order=self.order,
            mail_until=self.mail_until if self.offset < self.mail_until else 0,
        )

    def joined(self, frame: Connected) -> None:
        """A connection begins; what was not recovered starts where the server says."""
        if not frame.recovered:
            self.epoch = frame.epoch
            # Mail is pushed first, from before the head.
            if frame.mail_after is UNSET:
                self.offset, self.mail_until = frame.head, 0
            else:
                self.offset, self.mail_until = frame.mail_after, frame.head
            self._own_ahead.clear()
        self.live_epoch = frame.live_epoch
        self.live_seq = frame.live_seq
        self.order = frame.order

    def reset(self, frame: Reset) -> None:
        """The server dropped live frames and counts anew."""
        self.live_epoch = frame.live_epoch
        self.live_seq = frame.live_seq

    def forget_live(self) -> None:
        """The count can't be trusted: the next resume asks for none."""
        self.live_epoch = ""
        self.live_seq = 0

    def count(self, frame: ServerFrame) -> None:
        """Counts a frame if it is of the live class."""
        if class_of(frame) == "live":
            self.live_seq += 1

    def take(self, message: Message) -> bool:
        """Whether a pushed message is new; a durable one moves the cursor."""
        if message.delivery != "durable" or not isinstance(message.offset, int):
            return True
        if message.offset <= self.offset:
            return False
        self.offset = message.offset
        self._pass_own()
        return True

    def acked(self, offset: int) -> None:
        """
        The own message at `offset` is stored; it is never pushed to its sender.

        The cursor passes it only when nothing lies between: a message of another may still be on its way.
        """
        if offset > self.offset and len(self._own_ahead) < MAX_OWN_AHEAD:
            self._own_ahead.add(offset)
            self._pass_own()

    def _pass_own(self) -> None:
        if not self._own_ahead:
            return
        while self.offset + 1 in self._own_ahead:
            self.offset += 1
        self._own_ahead = {offset for offset in self._own_ahead if offset > self.offset}

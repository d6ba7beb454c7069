"""
From what the server says to what users get: messages, pages of history, members.

Owns the opening of what is sealed on the way, and what is said in place of what cannot be opened. Never sends anything.
In an open channel it only changes shapes (`records`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import UNSET

from peerbus.client.errors import SealingError
from peerbus.client.records import History, Member, Message, Presence, history_of, member_of, message_of
from peerbus.client.sealed_channel import SealedChannel
from peerbus.protocol import messages as wire
from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.groups import GROUP_AGENT
from peerbus.protocol.messages import SIGNAL_TYPE
from peerbus.protocol.signals import SFU_AGENT


class Opening:
    """
    For one connection object; `sealed` is None in an open channel.

    `tell` gets the error in place of what was pushed and cannot be opened.
    """

    def __init__(self, sealed: SealedChannel | None, tell: Callable[[SealingError], None]) -> None:
        self._sealed: Final = sealed
        self._tell: Final = tell

    def message(self, frame: wire.Message, epoch: str) -> Message | None:
        """A message that was pushed; None if it is not to be shown."""
        if self._sealed is None or _is_of_service(frame):
            return message_of(frame)
        try:
            opened = self._sealed.open(frame, epoch)
        except ProtocolError as error:
            self._tell(_refusal(error, frame))
            return None
        return None if opened is None else message_of(opened, is_sealed=True)

    def history(self, page: wire.History) -> History:
        """A page of history; what cannot be opened stands in `refused`."""
        if self._sealed is None:
            return history_of(page)
        messages: list[Message] = []
        refused: list[SealingError] = []
        for frame in page.messages:
            try:
                opened = self._sealed.open(frame, page.epoch)
            except ProtocolError as error:
                refused.append(_refusal(error, frame))
            else:
                if opened is not None:
                    messages.append(message_of(opened, is_sealed=True))
        return history_of(page, messages, refused)

    def member(self, member: wire.Member) -> Member:
        """A member, with the private attributes; without them if they cannot be opened, which is told once."""
        if self._sealed is None:
            return member_of(member)
        try:
            return member_of(member, self._sealed.attributes_of(member))
        except ProtocolError as error:
            self._tell(SealingError(error, sender=member.name))
            return member_of(member)

    def presence(self, presence: wire.Presence) -> Presence:
        """Who came, changed or went."""
        if self._sealed is not None:
            for departure in presence.left:
                self._sealed.forget_member(departure.session_id)
        return Presence(
            joined=[self.member(member) for member in presence.joined],
            updated=[self.member(member) for member in presence.updated],
            left=presence.left,
        )


def _is_of_service(frame: wire.Message) -> bool:
    """Whether it is a signal of the SFU or the server, which write and read theirs; nobody else can bear the names."""
    return frame.sender in (SFU_AGENT, GROUP_AGENT) and frame.type == SIGNAL_TYPE and frame.sealed is UNSET


def _refusal(error: ProtocolError, frame: wire.Message) -> SealingError:
    return SealingError(
        error,
        sender=frame.sender,
        delivery=frame.delivery,
        offset=None if frame.offset is UNSET else frame.offset,
        message_id=frame.message_id,
        time_ms=frame.time_ms,
    )

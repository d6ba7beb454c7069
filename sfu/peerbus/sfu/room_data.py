"""
The data messages of one room: from one participant to others.

Owns who may send and who gets what, that a sender is told what became of its message, and that a message is checked
first where the operator has a check. Never knows about media.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Operation
from peerbus.sfu.data_hook import DataMessage, Hook, HookRunner
from peerbus.sfu.data_message import read_data, write_data, write_problem
from peerbus.sfu.data_review import DataReview, Review, Reviewed
from peerbus.sfu.dtls import MESSAGE_BYTES_MAX
from peerbus.sfu.participant import Participant

logger = logging.getLogger(__name__)

_WAITING_BYTES_MAX: Final = 20 * 1_048_576
"""So much of one sender may wait for the check, which is more than a helper sends before it is acknowledged."""
_REVIEWS_MAX: Final = 256
_TELL_AGAIN_MS: Final = 100
"""How often a sender is told of refusals at most; those in between are counted."""


class _Waiting(Struct):
    """Messages of one participant that wait for the check, and when it was told of a refusal."""

    messages: deque[tuple[bool, bytes]]
    size_bytes: int = 0
    work: asyncio.Task[None] | None = None
    told_at_ms: int = -_TELL_AGAIN_MS
    untold: int = 0


class RoomData:
    """See the module. `participants` are those of the room, by identity; `channel` is its id in hex."""

    def __init__(
        self,
        participants: Mapping[str, Participant],
        now_ms: Callable[[], int],
        hook: Hook | None,
        channel: str,
    ) -> None:
        self._participants: Final = participants
        self._now_ms: Final = now_ms
        self._channel: Final = channel
        self._runner: Final = None if hook is None else HookRunner(hook)
        self._waiting: Final[dict[Participant, _Waiting]] = {}
        self._reviews: Final[OrderedDict[str, DataReview]] = OrderedDict()
        """By identity: they outlive a connection, since what was on it comes again by the next."""

    def receive(self, sender: Participant, is_reliable: bool, message: bytes | str) -> None:
        """A message came from a participant; whatever is wrong with it is told to it."""
        if self._participants.get(sender.identity) is not sender:
            # Removed a moment ago; what was under way in its association is not passed on any more.
            return
        if self._runner is None or sender.who.is_sealed or isinstance(message, str):
            self._pass(sender, is_reliable, message)
            return
        waiting = self._waiting.setdefault(sender, _Waiting(deque()))
        if waiting.size_bytes + len(message) > _WAITING_BYTES_MAX:
            if is_reliable:
                self._tell(sender, ProtocolError(ErrorCode.OVERLOADED, "Too much waits to be checked."))
            return
        waiting.messages.append((is_reliable, message))
        waiting.size_bytes += len(message)
        if waiting.work is None:
            waiting.work = asyncio.create_task(self._check_all(sender, waiting), name="data-check")

    def left(self, sender: Participant) -> None:
        """A participant is gone, and with it what waits of it."""
        waiting = self._waiting.pop(sender, None)
        if waiting is not None and waiting.work is not None:
            waiting.work.cancel()

    def close(self) -> None:
        """The room is over."""
        for sender in list(self._waiting):
            self.left(sender)
        if self._runner is not None:
            self._runner.close()

    # --- the check ----------------------------------------------------------------------------------------------

    async def _check_all(self, sender: Participant, waiting: _Waiting) -> None:
        while waiting.messages:
            is_reliable, message = waiting.messages.popleft()
            waiting.size_bytes -= len(message)
            try:
                await self._check(sender, waiting, is_reliable, message)
            except Exception:  # What one message does must not stop those behind it.
                logger.exception("A data message could not be checked")
        waiting.work = None

    async def _check(self, sender: Participant, waiting: _Waiting, is_reliable: bool, message: bytes) -> None:
        try:
            to, payload = self._read(sender, message)
        except ProtocolError as error:
            self._tell(sender, error)
            return
        reviewed = await self._judged(sender, is_reliable, self._review_of(sender).review(to, payload))
        for recipients, content in reviewed.sent:
            try:
                self._forward(sender, is_reliable, recipients, content)
            except ProtocolError as error:
                self._tell(sender, error)
        for problem in reviewed.problems:
            self._tell_refusal(sender, waiting, problem)

    def _review_of(self, sender: Participant) -> DataReview:
        review = self._reviews.setdefault(sender.identity, DataReview())
        self._reviews.move_to_end(sender.identity)
        if len(self._reviews) > _REVIEWS_MAX:
            self._reviews.popitem(last=False)
        return review

    async def _judged(self, sender: Participant, is_reliable: bool, review: Review) -> Reviewed:
        assert self._runner is not None
        try:
            asked = next(review)
            while True:
                message = DataMessage(
                    sender=sender.identity,
                    name=sender.who.name,
                    to=None if asked.to is None else tuple(asked.to),
                    payload=asked.payload,
                    is_reliable=is_reliable,
                    channel=self._channel,
                )
                asked = review.send(await self._runner.judge(message))
        except StopIteration as end:
            reviewed: Reviewed = end.value
            return reviewed

    def _tell_refusal(self, sender: Participant, waiting: _Waiting, problem: ProtocolError) -> None:
        """A flood of refused messages does not become one of refusals."""
        now_ms = self._now_ms()
        if now_ms < waiting.told_at_ms + _TELL_AGAIN_MS:
            waiting.untold += 1
            return
        details = {"untold": waiting.untold} if waiting.untold else None
        waiting.told_at_ms, waiting.untold = now_ms, 0
        self._tell(sender, ProtocolError(problem.code, problem.message, details=details))

    # --- from one to others -------------------------------------------------------------------------------------

    def _pass(self, sender: Participant, is_reliable: bool, message: bytes | str) -> None:
        try:
            self._forward(sender, is_reliable, *self._read(sender, message))
        except ProtocolError as error:
            self._tell(sender, error)

    def _read(self, sender: Participant, message: bytes | str) -> tuple[list[str] | None, msgspec.Raw]:
        if not sender.may(Operation.PUBLISH_DATA):
            raise ProtocolError(ErrorCode.FORBIDDEN, "The key does not allow publish_data.")
        if len(message) > MESSAGE_BYTES_MAX:
            raise ProtocolError(ErrorCode.TOO_LARGE, f"A data message has {MESSAGE_BYTES_MAX} bytes at most.")
        return read_data(message)

    def _forward(
        self, sender: Participant, is_reliable: bool, to: list[str] | None, payload: msgspec.Raw
    ) -> None:
        """Raises `ProtocolError`, also for those who did not get it for want of room."""
        now_ms = self._now_ms()
        receivers = self._receivers(sender, to)
        data = write_data(sender.identity, payload)
        if len(data) > MESSAGE_BYTES_MAX:
            raise ProtocolError(ErrorCode.TOO_LARGE, f"A data message has {MESSAGE_BYTES_MAX} bytes at most.")
        missing: list[str] = []
        for receiver in receivers:
            if not is_reliable:
                receiver.data.push_lossy(data, now_ms)
            elif not receiver.data.push_reliable(data):
                missing.append(receiver.identity)
            receiver.send_data(now_ms)
        if missing:
            raise ProtocolError(
                ErrorCode.OVERLOADED,
                "Too much waits for some of the recipients; they did not get this message.",
                details={"missing": missing},
            )

    def _receivers(self, sender: Participant, to: list[str] | None) -> list[Participant]:
        if to is None:
            return [
                one
                for one in self._participants.values()
                if one is not sender and one.channels and one.may(Operation.SUBSCRIBE)
            ]
        found = {identity: self._participants.get(identity) for identity in to}
        missing = [identity for identity, one in found.items() if one is None or not one.channels]
        if missing:
            raise ProtocolError(ErrorCode.UNKNOWN_RECIPIENT, details={"missing": missing})
        return [one for one in found.values() if one is not None and one.may(Operation.SUBSCRIBE)]

    def _tell(self, sender: Participant, error: ProtocolError) -> None:
        problem = write_problem(error)
        if len(problem) > MESSAGE_BYTES_MAX:
            # Details that name recipients of its own can be as long as its message was.
            problem = write_problem(ProtocolError(error.code, error.message))
        sender.data.push_reliable(problem)
        sender.send_data(self._now_ms())

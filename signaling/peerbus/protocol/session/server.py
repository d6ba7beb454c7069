"""
The server's side of one session: request ids, life signs, connection and resume.

Owns what must hold between one client and the server whatever the channel does: rising request ids, silence and
resume deadlines, the outbox, the live epoch. Never knows members or messages (that is the hub), never reads a
clock or a socket. See PROTOCOL.md, sections 2, 4, 5, 6.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Generic, TypeVar

import msgspec

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import SUPPORTED_VERSIONS, Resume
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session.outbox import Outbox, OutboxLimits, Sized

T = TypeVar("T", bound=Sized)


def common_version(versions: list[int]) -> int:
    """The highest version that both sides speak. Raises `ProtocolError` (`unsupported_version`)."""
    common = set(versions) & set(SUPPORTED_VERSIONS)
    if not common:
        raise ProtocolError(ErrorCode.UNSUPPORTED_VERSION, details={"supported": list(SUPPORTED_VERSIONS)})
    return max(common)


class SessionTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The deadlines of a session, in milliseconds."""

    silence_timeout_ms: int
    resume_window_ms: int
    stalled_reader_ms: int


class Due(Enum):
    """What a session's deadlines ask for."""

    NOTHING = "nothing"
    SILENT = "silent"
    """The client has been quiet for too long: close its connection, keep the session."""
    STALLED = "stalled"
    """The client takes nothing: close its connection, keep the session."""
    GONE = "gone"
    """The resume window has passed: forget the session."""


class ServerSession(Generic[T]):
    """
    One session, from its first `connect` until it leaves or its resume window ends.

    The owner reports `heard`, `stalled`/`flowing` and `detach`, asks `due` now and then, and puts frames into
    `outbox`. `attach` and `resume` begin a connection.
    """

    __slots__ = (
        "_last_id",
        "_progress",
        "gone_at_ms",
        "heard_at_ms",
        "live_epoch",
        "outbox",
        "received_id",
        "resume_token",
        "session_id",
        "stalled_at_ms",
        "times",
    )

    def __init__(
        self,
        session_id: str,
        resume_token: Secret,
        live_epoch: str,
        times: SessionTimes,
        limits: OutboxLimits,
        *,
        durable_cursor: int,
        now_ms: int,
    ) -> None:
        self.session_id: Final = session_id
        self.resume_token: Final = resume_token
        self.live_epoch = live_epoch
        self.times: Final = times
        self.outbox: Final[Outbox[T]] = Outbox(limits, durable_cursor=durable_cursor)
        self.received_id = 0
        """The highest id of a request that was taken; a client sends again what lies beyond it."""
        self._last_id = 0
        self._progress = self.outbox.progress
        self.heard_at_ms = now_ms
        self.stalled_at_ms: int | None = None
        self.gone_at_ms: int | None = None
        """When the session is forgotten, unless it is resumed; None while there is a connection."""

    @property
    def is_attached(self) -> bool:
        """Whether there is a connection."""
        return self.gone_at_ms is None

    def take_id(self, request_id: int) -> None:
        """
        Notes a request. Raises `ProtocolError` (`out_of_sequence`) unless its id is higher than all before.
        """
        if request_id <= self._last_id:
            raise ProtocolError(
                ErrorCode.OUT_OF_SEQUENCE,
                f"Request ids rise; {request_id} came after {self._last_id}.",
                details={"received_id": self.received_id},
            )
        self._last_id = self.received_id = request_id

    def take_connect_id(self, connect_id: int) -> None:
        """
        Notes the id of a `connect`: the requests that follow have higher ones, and higher than `received_id`.

        It is not what `received_id` tells: if `connected` is lost, a request that was lost before it would count
        as taken at the next attempt. Nor does it bind a client that was loaded anew and counts from 1 again.
        """
        self._last_id = max(self.received_id, connect_id)

    def heard(self, now_ms: int) -> None:
        """A protocol frame came."""
        self.heard_at_ms = now_ms

    def stalled(self, now_ms: int) -> None:
        """Something waits to be written. Counts from when the connection last took anything."""
        progress = self.outbox.progress
        if self.stalled_at_ms is None or progress != self._progress:
            self.stalled_at_ms = now_ms
            self._progress = progress

    def flowing(self) -> None:
        """Nothing waits any more."""
        self.stalled_at_ms = None

    def detach(self, now_ms: int) -> None:
        """The connection is gone; the resume window begins."""
        self.gone_at_ms = now_ms + self.times.resume_window_ms
        self.stalled_at_ms = None
        self.outbox.detach()

    def shorten(self, window_ms: int, now_ms: int) -> None:
        """The client hardly comes back: if not within this time, it does not."""
        if self.gone_at_ms is not None:
            self.gone_at_ms = min(self.gone_at_ms, now_ms + window_ms)

    def due(self, now_ms: int) -> Due:
        """What the deadlines ask for at this moment."""
        times = self.times
        if self.gone_at_ms is not None:
            return Due.GONE if now_ms >= self.gone_at_ms else Due.NOTHING
        if now_ms - self.heard_at_ms >= times.silence_timeout_ms:
            return Due.SILENT
        if self.stalled_at_ms is not None and now_ms - self.stalled_at_ms >= times.stalled_reader_ms:
            return Due.STALLED
        return Due.NOTHING

    def resume(
        self, cursor: Resume, new_live_epoch: str, durable_cursor: int, *, is_catching_up: bool, now_ms: int
    ) -> bool:
        """
        A new connection of the same client. True when its live class goes on without a gap.

        The caller has compared the token, and says where the durable class goes on.
        """
        live_recovered = cursor.live_epoch == self.live_epoch and self.outbox.can_resume_live(cursor.live_seq)
        if not live_recovered:
            self.live_epoch = new_live_epoch
        self.outbox.resume(
            cursor.live_seq if live_recovered else None, durable_cursor, is_catching_up=is_catching_up
        )
        self.gone_at_ms = None
        self.stalled_at_ms = None
        self.heard_at_ms = now_ms
        return live_recovered

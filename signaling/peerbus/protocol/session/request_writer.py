"""
The requests of a client on their way: which is written when, under which id, and what became of it.

Owns their ids, their pace, their sealing and their outcomes. Never decides whether there is a session (that is
`client`), which it gives its frames and events to by `send` and `tell`. See PROTOCOL.md, sections 2 and 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import UNSET, UnsetType, structs

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import ClientFrame, Connected, Error, Renew, Send, Update
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session import failures, outputs
from peerbus.protocol.session.credential import Credential
from peerbus.protocol.session.outputs import Event
from peerbus.protocol.session.pace import Pace
from peerbus.protocol.session.requests import Request, RequestBook
from peerbus.protocol.session.roster import Roster
from peerbus.protocol.session.sealing import FrameSealer
from peerbus.protocol.session.settings import ClientSettings


class RequestWriter:
    """That of one session. All times are in milliseconds."""

    def __init__(
        self,
        settings: ClientSettings,
        credential: Credential,
        sealer: FrameSealer | None,
        *,
        send: Callable[[ClientFrame, int], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._settings: Final = settings
        self._credential: Final = credential
        self._sealer: Final = sealer
        self._send: Final = send
        self._tell: Final = tell
        self._book: Final = RequestBook(
            max_requests=settings.max_requests, max_bytes=settings.max_request_bytes
        )
        self._last_id = 0
        self._renew_handle = 0
        self._pace = Pace(1, 0)
        self._lossy_pace = Pace(1, 0)

    # --- what can be asked ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._book)

    @property
    def queued(self) -> int:
        """How many requests wait to be written."""
        return self._book.queued

    @property
    def next_expiry_ms(self) -> int | None:
        """When the next one runs out of time."""
        return self._book.next_expiry_ms

    @property
    def ready_at(self) -> int:
        """When the next may be written, as far as the pace is concerned."""
        return self._pace.ready_at

    # --- what comes in ----------------------------------------------------------------------------------

    def next_id(self) -> int:
        """An id above all that were used."""
        self._last_id += 1
        return self._last_id

    def add(
        self, frame: ClientFrame, now: int, *, size_bytes: int = 0, timeout_ms: int | UnsetType | None = UNSET
    ) -> int:
        """Takes a request, and gives its handle. Raises `ProtocolError` (`queue_full`)."""
        if timeout_ms is UNSET:
            timeout_ms = self._settings.request_timeout_ms
        return self._book.add(frame, size_bytes, None if timeout_ms is None else now + timeout_ms)

    def ask_renewal(self, api_key: Secret, now: int) -> None:
        """Tells the server of a new key; of several that wait the newest is written."""
        if not self._renew_handle:
            self._renew_handle = self.add(Renew(id=1, api_key=api_key), now)

    def joined(self, frame: Connected, now: int, *, is_same_session: bool) -> None:
        """What the server has not got, as far as it says, is written again."""
        self._last_id = max(self._last_id, frame.received_id)
        if not is_same_session or frame.limits.send_rate_per_s != self._pace.rate_per_s:
            self._pace = Pace(frame.limits.send_rate_per_s, now)
            self._lossy_pace = Pace(frame.limits.lossy_rate_per_s, now)
        self._book.write_again(frame.received_id if frame.live_recovered else 0)

    def write_all_again(self) -> None:
        """Replies may have been lost."""
        self._book.write_again(0)

    def answered(self, frame: outputs.Reply | Error) -> Request | None:
        """Tells the outcome of the request that a reply belongs to; which that was, where it was done."""
        request = self._book.answered(frame.id) if isinstance(frame.id, int) else None
        if isinstance(frame, Error):
            if request is not None:
                self._fail(request, frame)
            elif frame.id is UNSET:
                self._tell(outputs.Trouble(frame))
            return None
        if request is None:
            return None
        if request.handle == self._renew_handle:
            self._renew_handle = 0
        else:
            self._tell(outputs.Done(request.handle, frame))
        return request

    def expire(self, now: int) -> None:
        """Fails those whose time is over."""
        for late in self._book.expired(now):
            self._fail(late, failures.make_error(ErrorCode.TIMEOUT))

    def end(self, error: Error) -> None:
        """The session is over, and with it all requests without an outcome."""
        text = f"Closed before the outcome was known: {error.message}"
        for request in self._book.take_all():
            if request.handle != self._renew_handle:
                self._fail(request, failures.make_error(ErrorCode.CLOSED, text))

    def _fail(self, request: Request, error: Error) -> None:
        if request.handle == self._renew_handle:
            self._renew_handle = 0
            self._tell(outputs.Trouble(error))
        else:
            self._tell(outputs.Failed(request.handle, error))

    # --- writing ----------------------------------------------------------------------------------------

    def write_lossy(self, frame: Send, name: str, present: Roster, now: int) -> bool:
        """A lossy message, without an id; False when it was dropped. Raises `ProtocolError` if it cannot be sealed."""
        if not self._lossy_pace.take(now):
            return False
        frame = structs.replace(frame, id=UNSET)
        self._send(frame if self._sealer is None else self._sealer.seal(frame, name, present), now)
        return True

    def write(self, now: int, connected: Connected, present: Roster) -> None:
        """Writes what may be written on this session, in order; `present` is who is in the channel."""
        limit = connected.limits.frame_bytes
        while (request := self._book.first_queued()) is not None:
            if request.size_bytes > limit:
                self._book.drop(request)
                text = f"{request.size_bytes} bytes; the server takes at most {limit} in one frame."
                self._fail(request, failures.make_error(ErrorCode.TOO_LARGE, text))
                continue
            if not self._pace.take(now):
                return
            try:
                frame = self._frame_of(request, connected.agent, present)
            except ProtocolError as error:
                self._book.drop(request)
                self._fail(request, failures.make_error(error.code, error.message, error.details))
                continue
            request_id = self.next_id()
            self._book.written(request_id)
            self._send(structs.replace(frame, id=request_id), now)

    def _frame_of(self, request: Request, name: str, present: Roster) -> ClientFrame:
        """As it is written now. Raises `ProtocolError` where it cannot be sealed."""
        frame = request.frame
        if isinstance(frame, Renew):
            # A newer key may have come while it waited.
            return structs.replace(frame, api_key=self._credential.api_key)
        if isinstance(frame, Send | Update) and self._sealer is not None:
            return _sealed(request, frame, self._sealer, name, present)
        return frame


def _sealed(
    request: Request, frame: Send | Update, sealer: FrameSealer, name: str, present: Roster
) -> Send | Update:
    """
    The sealed form; of a live message the same in a retry, unless the own name is another by now.

    The rest keeps the order of its counters by being sealed anew: a durable message whose refusal was lost is
    stored behind those that were written after it, and a `connect` may have told attributes since.
    """
    is_kept = isinstance(frame, Send) and frame.delivery != "durable"
    if request.sealed is None or request.sealed_as != name or not is_kept:
        request.sealed = sealer.seal(frame, name, present)
        request.sealed_as = name
    return request.sealed

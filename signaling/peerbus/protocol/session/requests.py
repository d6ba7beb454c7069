"""
The requests of a client that have no outcome yet: waiting to be sent, or sent and waiting for the reply.

Owns their order, their bounds and their deadlines; this is the offline queue. Never builds or sends a frame.

A request gets its id when it is written, and a new, higher one when it is written again, so that ids rise
strictly on every session. All else is the same, the idempotency key above all. See PROTOCOL.md, section 5.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import ClientFrame, Send, Update


@dataclass(slots=True, eq=False)
class Request:
    """
    One request; `ids` are all it was sent under, rising, since a reply to an older one may still come.

    In a sealed channel `sealed` is what it was sent as by the name `sealed_as`.
    """

    handle: int
    frame: ClientFrame
    size_bytes: int
    expires_ms: int | None
    is_queued: bool = True
    ids: list[int] = field(default_factory=list)
    sealed: Send | Update | None = None
    sealed_as: str = ""


class RequestBook:
    """All requests without an outcome, at most `max_requests` and `max_bytes` of them."""

    def __init__(self, *, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._bytes = 0
        self._last_handle = 0
        self._open: dict[int, Request] = {}
        self._by_id: dict[int, Request] = {}
        self._queue: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def queued(self) -> int:
        """How many wait to be written."""
        return len(self._queue)

    def add(self, frame: ClientFrame, size_bytes: int, expires_ms: int | None) -> int:
        """Takes a request and gives its handle. Raises `ProtocolError` (`queue_full`)."""
        if len(self._open) >= self._max_requests or self._bytes + size_bytes > self._max_bytes:
            raise ProtocolError(
                ErrorCode.QUEUE_FULL,
                f"{len(self._open)} requests ({self._bytes} bytes) wait for their outcome already.",
            )
        self._last_handle += 1
        request = Request(self._last_handle, frame, size_bytes, expires_ms)
        self._open[request.handle] = request
        self._bytes += size_bytes
        self._queue.append(request)
        return request.handle

    def first_queued(self) -> Request | None:
        """The request to be written next."""
        return self._queue[0] if self._queue else None

    def written(self, request_id: int) -> None:
        """The first of the queue was written under this id."""
        request = self._queue.popleft()
        request.is_queued = False
        request.ids.append(request_id)
        self._by_id[request_id] = request

    def answered(self, request_id: int) -> Request | None:
        """The request that a reply belongs to, which is over; None for one that was given up."""
        request = self._by_id.get(request_id)
        if request is not None:
            self._close(request)
        return request

    def write_again(self, beyond_id: int) -> None:
        """Puts what was last sent under a higher id than `beyond_id` back, ahead of what was never sent."""
        again = [r for r in self._open.values() if not r.is_queued and r.ids[-1] > beyond_id]
        again.sort(key=lambda request: request.ids[-1], reverse=True)
        for request in again:
            request.is_queued = True
            self._queue.appendleft(request)

    def expired(self, now_ms: int) -> list[Request]:
        """Takes out the requests whose time is over."""
        late = [r for r in self._open.values() if r.expires_ms is not None and r.expires_ms <= now_ms]
        for request in late:
            self._close(request)
        return late

    def take_all(self) -> list[Request]:
        """Takes out everything; the session is over."""
        all_open = list(self._open.values())
        for request in all_open:
            self._close(request)
        return all_open

    def drop(self, request: Request) -> None:
        """Takes one out."""
        self._close(request)

    @property
    def next_expiry_ms(self) -> int | None:
        """When the next request runs out of time."""
        return min((r.expires_ms for r in self._open.values() if r.expires_ms is not None), default=None)

    def _close(self, request: Request) -> None:
        del self._open[request.handle]
        self._bytes -= request.size_bytes
        for request_id in request.ids:
            del self._by_id[request_id]
        if request.is_queued:
            self._queue.remove(request)

"""
A WebSocket in emulated time: two ordered streams that can be slow, half-open or cut.

Owns the bytes between a client and a server process: what was written and not yet taken, what is on its way. A cut
loses all of it. Never looks into a frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from peerbus.protocol.codec import EncodingName, Rejected, server_codec
from peerbus.protocol.messages import ClientFrame, Closing, Connect
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.member import Member
from tests.support.emulated.agenda import Agenda
from tests.support.emulated.path import Path
from tests.support.emulated.server import EmulatedServer

KERNEL_BYTES = 2_000
"""What the machines on the way hold of a stream that nobody reads."""
ABORT_AFTER_MS = 1_000
NOTICE_MS = 30
"""How long it takes to hear that the other side has ended a stream."""


class ClientEnd(Protocol):
    """Who uses a link."""

    def link_opened(self, link: Link) -> None: ...

    def link_received(self, link: Link, messages: list[bytes]) -> None: ...

    def link_heard(self, link: Link) -> None: ...

    def link_lost(self, link: Link, close_code: int | None, reason: str) -> None: ...


class Link(Protocol):
    """A transport as its client sees it."""

    encoding: EncodingName

    def open(self) -> None: ...

    def send(self, message: bytes) -> None: ...

    def hang_up(self) -> None:
        """The client ends it and hears nothing more of it."""

    def cut(self, *, server_is_told: bool, client_is_told: bool) -> None: ...

    def vanish(self) -> None:
        """The client is gone without a word; the server is not told."""


@dataclass
class _Way:
    """One of the two streams."""

    last_ms: int = 0


class WebSocketLink:
    """Both ends of one connection."""

    def __init__(
        self,
        agenda: Agenda,
        path: Path,
        encoding: EncodingName,
        client: ClientEnd,
        server_now: Callable[[], EmulatedServer | None],
    ) -> None:
        self.encoding: EncodingName = encoding
        self._codec = server_codec(encoding, max_bytes=1 << 20)
        self._agenda = agenda
        self._path = path
        self._client = client
        self._server_now = server_now
        self._server: EmulatedServer | None = None
        self._is_cut = False
        self._client_hears = True
        self._member: Member | None = None
        self._early: list[ClientFrame | Rejected] = []
        self._has_connect = False
        # Written by the server, not yet taken by the network.
        self._buffer: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._swallowed_bytes = 0
        self._has_hole_up = False
        self._is_sending = False
        self._closing: Closing | None = None
        self._up = _Way()
        self._down = _Way()

    # --- the client's end ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Connects to the process that is there by then."""
        self._agenda.after(2 * self._path.latency_ms, self._opened)

    def _opened(self) -> None:
        if self._is_cut or not self._client_hears:
            return
        if self._path.swallows_up(self._agenda.now_ms) or self._path.swallows_down(self._agenda.now_ms):
            return
        server = self._server_now()
        if server is None or server.is_down:
            self._client.link_lost(self, None, "refused")
            return
        self._server = server
        self._client.link_opened(self)

    def send(self, message: bytes) -> None:
        if self._path.trips_up():
            self.cut(server_is_told=True, client_is_told=True)
        # A stream with a hole never goes on: what comes behind it is not delivered either.
        self._has_hole_up = self._has_hole_up or self._path.swallows_up(self._agenda.now_ms)
        if not self._has_hole_up:
            self._travel(self._up, lambda: self._arrived_at_server(message))

    def hang_up(self) -> None:
        self._client_hears = False
        if not self._has_hole_up and not self._path.swallows_up(self._agenda.now_ms):
            self._travel(self._up, self._end_at_server)

    def vanish(self) -> None:
        self._client_hears = False

    def cut(self, *, server_is_told: bool, client_is_told: bool) -> None:
        if self._is_cut:
            return
        self._is_cut = True
        if server_is_told:
            self._agenda.after(NOTICE_MS, self._detach)
        if client_is_told:
            self._agenda.after(NOTICE_MS, lambda: self._tell_client_lost(None, ""))

    def _tell_client_lost(self, close_code: int | None, reason: str) -> None:
        if self._client_hears:
            self._client_hears = False
            self._client.link_lost(self, close_code, reason)

    def _travel(self, way: _Way, arrive: Callable[[], None]) -> None:
        # However the latency changes, nothing overtakes what was sent before it.
        way.last_ms = max(way.last_ms, self._agenda.now_ms + self._path.latency_ms)
        self._agenda.after(way.last_ms - self._agenda.now_ms, arrive)

    # --- on the way to the server ---------------------------------------------------------------------------

    def _arrived_at_server(self, message: bytes) -> None:
        server = self._server
        if self._is_cut or server is None or server.is_down or self._closing is not None:
            return
        frames = self._codec.decode(message)
        if not self._has_connect:
            self._has_connect = True
            first = frames.pop(0)
            assert isinstance(first, Connect)
            server.connect(first, self, self._joined)
        if self._member is None:
            self._early += frames
        else:
            server.receive(self._member, self, frames)

    def _joined(self, member: Member) -> None:
        assert self._server is not None
        self._member = member
        early, self._early = self._early, []
        if self._is_cut:
            self._detach()
        elif early:
            self._server.receive(member, self, early)

    def _end_at_server(self) -> None:
        if not self._is_cut:
            self._is_cut = True
            self._detach()

    def _detach(self) -> None:
        if self._server is not None and self._member is not None:
            self._server.detached(self._member, self)

    # --- the server's end -------------------------------------------------------------------------------------

    def flush(self, member: Member) -> bool:
        """See `ServerEnd`."""
        if self._closing is not None:
            return True
        assert self._server is not None
        outbox = member.session.outbox
        room = self._server.limits.socket_buffer_bytes - self._buffered_bytes
        if room > 0:
            self._write(outbox.take(room))
        return outbox.is_empty

    def close(self, member: Member | None, closing: Closing, *, is_abrupt: bool) -> None:
        """See `ServerEnd`."""
        if self._closing is not None:
            return
        if member is not None:
            self.flush(member)
        self._closing = closing
        self._write([EncodedFrame(closing)])
        if is_abrupt:
            self._agenda.after(ABORT_AFTER_MS, self._abort)

    def refuse(self, error: EncodedFrame, closing: Closing) -> None:
        """See `ServerEnd`."""
        if self._closing is None:
            self._write([error])
            self.close(None, closing, is_abrupt=False)

    def _abort(self) -> None:
        if not self._is_cut:
            self.cut(server_is_told=True, client_is_told=not self._path.swallows_down(self._agenda.now_ms))

    def _write(self, frames: list[EncodedFrame]) -> None:
        for frame in frames:
            payload = frame.payload(self.encoding)
            self._buffer.append(payload)
            self._buffered_bytes += len(payload)
        self._send_next()

    # --- on the way to the client -----------------------------------------------------------------------------

    def _send_next(self) -> None:
        if self._is_sending or self._is_cut:
            return
        if not self._buffer:
            if self._closing is not None:
                closing = self._closing
                self._travel(self._down, lambda: self._closed_at_client(closing.close_code, closing.code))
            return
        size = len(self._buffer[0])
        delay_ms = 0 if self._path.bytes_per_s is None else size * 1000 // self._path.bytes_per_s
        if self._path.swallows_down(self._agenda.now_ms):
            if self._swallowed_bytes + size > KERNEL_BYTES:
                # Nobody acknowledges; the stream stands still for good, as a real one does for minutes.
                return
            self._swallowed_bytes += size
        self._is_sending = True
        self._agenda.after(delay_ms, self._sent)

    def _sent(self) -> None:
        self._is_sending = False
        if self._is_cut:
            return
        payload = self._buffer.popleft()
        self._buffered_bytes -= len(payload)
        if self._path.trips_down():
            self.cut(server_is_told=True, client_is_told=True)
        if not self._swallowed_bytes:
            self._travel(self._down, lambda: self._arrived_at_client(payload))
        self._send_next()

    def _arrived_at_client(self, payload: bytes) -> None:
        if self._client_hears and not self._is_cut:
            self._client.link_received(self, [payload])

    def _closed_at_client(self, close_code: int, reason: str) -> None:
        if not self._is_cut and not self._swallowed_bytes:
            self._is_cut = True
            self._detach()
            self._tell_client_lost(close_code, reason)

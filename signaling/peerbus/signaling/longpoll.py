"""
Long-poll: the same session and frames over plain HTTP requests.

Owns numbered responses that are kept until they are acknowledged, numbered posts, and the poll that waits. Never
decides what a frame means. See PROTOCOL.md, section 8.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec

from peerbus.protocol.codec import EncodingName, Rejected, server_codec
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import Closing, Connect
from peerbus.protocol.secrets import Secret
from peerbus.signaling.encoded import EncodedFrame, join_payloads
from peerbus.signaling.member import Member, Peer
from peerbus.signaling.reading_pace import ReadingPace
from peerbus.signaling.server import Server

_RESPONSE_BYTES: Final = 262_144
_HOLD_OF_SILENCE: Final = 0.7
"""A poll ends well before its session would count as silent."""
_FORGET_AFTER_MS: Final = 20_000
"""Long enough for a client to come for the end of its session; what it has not read by then is held so long."""


class LongPollConnection:
    """
    The transport of one session, made of requests: what is not yet acknowledged, and who waits.

    `encoding` is that of the connect request, and holds for all that follow.
    """

    def __init__(self, encoding: EncodingName, server: Server) -> None:
        self.encoding: Final[EncodingName] = encoding
        self._server: Final = server
        limits = server.limits
        self._hold_s: Final = min(limits.poll_hold_ms, _HOLD_OF_SILENCE * limits.silence_timeout_ms) / 1000
        self._last_n = 0
        self._kept: bytes | None = None
        self._waiter: asyncio.Future[bytes] | None = None
        self._post_n = 0
        self._bad_frames = 0
        self._pace: Final = ReadingPace(limits.frames_per_s)
        self.member: Member | None = None
        self._closing: Closing | None = None
        self._closing_is_told = False

    @property
    def is_closed(self) -> bool:
        """Whether the session has left this connection."""
        return self._closing is not None

    @property
    def is_finished(self) -> bool:
        """Whether the client knows that it is over; its address may be forgotten."""
        return self._closing_is_told and self._kept is None

    def flush(self, member: Member) -> bool:
        """See `Connection`. Only a poll that waits takes anything."""
        waiter = self._waiter
        if waiter is not None and not waiter.done() and self._kept is None:
            response = self._next_response(member)
            if response is not None:
                self._waiter = None
                waiter.set_result(response)
        return True

    def close(self, member: Member | None, closing: Closing, *, is_abrupt: bool) -> None:
        """See `Connection`. The poll that waits, or the next one, gets what is pending and `closing`."""
        if self._closing is not None:
            return
        self._closing = closing
        self.member = member
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            self._waiter = None
            if self._kept is None:
                waiter.set_result(self._next_response(member) or b"")

    def take_connected(self, member: Member) -> bytes:
        """The first response, with `connected` in it; as every response it is kept until acknowledged."""
        self.member = member
        response = self._next_response(member)
        assert response is not None
        return response

    async def poll(self, ack: int) -> bytes:
        """
        The next response. Raises `ProtocolError`: `session_unknown` after the end, `out_of_sequence`.
        """
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(self._envelope(0, []))
            self._waiter = None
        if not 0 <= ack <= self._last_n:
            raise ProtocolError(
                ErrorCode.OUT_OF_SEQUENCE, f"Acknowledged is {ack}; the last response was {self._last_n}."
            )
        if ack == self._last_n:
            self._kept = None
        if self._kept is not None:
            return self._kept
        if self.is_finished:
            raise ProtocolError(ErrorCode.SESSION_UNKNOWN)
        if self._closing is not None:
            return self._next_response(self.member) or b""
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        if self.member is not None:
            self._server.polled(self.member)
        try:
            async with asyncio.timeout(self._hold_s):
                return await waiter
        except TimeoutError:
            return self._envelope(self._last_n, [])
        finally:
            if self._waiter is waiter:
                self._waiter = None

    async def wait_for_turn(self) -> None:
        """Returns when the next post may be taken: at once, unless there were too many."""
        if wait_s := self._pace.wait_s(time.monotonic()):
            await asyncio.sleep(wait_s)

    def post(self, number: int, body: bytes) -> None:
        """Takes a numbered batch. Raises `ProtocolError`: `session_unknown`, `out_of_sequence`."""
        member = self.member
        if member is None or self._closing is not None:
            raise ProtocolError(ErrorCode.SESSION_UNKNOWN)
        if number <= self._post_n:
            return
        if number != self._post_n + 1:
            raise ProtocolError(
                ErrorCode.OUT_OF_SEQUENCE,
                f"Post {number} came after {self._post_n}.",
                details={"expected": self._post_n + 1},
            )
        self._post_n = number
        began_s = time.monotonic()
        codec = server_codec(self.encoding, max_bytes=self._server.limits.frame_bytes)
        frames = codec.decode(body)
        self._bad_frames += sum(isinstance(frame, Rejected) for frame in frames)
        self._server.receive(member, self, frames)
        if self._bad_frames > self._server.limits.bad_frames_per_connection:
            self._server.lose(member, self, ErrorCode.PROTOCOL_VIOLATION, "Too many unreadable frames.")
        self._pace.took(len(frames), began_s, time.monotonic())

    def _next_response(self, member: Member | None) -> bytes | None:
        frames: list[EncodedFrame] = [] if member is None else member.session.outbox.take(_RESPONSE_BYTES)
        if self._closing is not None and not self._closing_is_told:
            frames.append(EncodedFrame(self._closing))
            self._closing_is_told = True
        if not frames:
            return None
        self._last_n += 1
        self._kept = self._envelope(self._last_n, frames)
        return self._kept

    def _envelope(self, number: int, frames: list[EncodedFrame]) -> bytes:
        batch = join_payloads(self.encoding, [frame.payload(self.encoding) for frame in frames])
        if self.encoding == "json":
            return b'{"n":%d,"frames":%b}' % (number, batch)
        return b"\x82\xa1n" + msgspec.msgpack.encode(number) + b"\xa6frames" + batch


class LongPolls:
    """The long-poll sessions of one server, by session id."""

    def __init__(self, server: Server) -> None:
        self._server: Final = server
        self._connections: Final[dict[str, LongPollConnection]] = {}
        self._tokens: Final[dict[str, Secret]] = {}
        self._closed_since_ms: dict[str, int] = {}
        server.sweeps.append(self._sweep)

    def __len__(self) -> int:
        return len(self._connections)

    async def connect(self, encoding: EncodingName, body: bytes, peer: Peer) -> bytes:
        """The first response to a connect request. Raises `ProtocolError` with the reason."""
        codec = server_codec(encoding, max_bytes=self._server.limits.connect_bytes)
        frames = codec.decode(body)
        first = frames[0] if frames else None
        if isinstance(first, Rejected):
            raise first.error
        if not isinstance(first, Connect):
            raise ProtocolError(ErrorCode.PROTOCOL_VIOLATION, "The first frame is connect.")
        connection = LongPollConnection(encoding, self._server)
        member = await self._server.connect(first, connection, peer)
        response = connection.take_connected(member)
        session_id = member.session.session_id
        self._connections[session_id] = connection
        self._tokens[session_id] = member.session.resume_token
        self._closed_since_ms.pop(session_id, None)
        if len(frames) > 1:
            self._server.receive(member, connection, frames[1:])
        return response

    def find(self, session_id: str, token: Secret) -> LongPollConnection:
        """The connection of a session. Raises `ProtocolError` (`session_unknown`), for a wrong token too."""
        connection = self._connections.get(session_id)
        known = self._tokens.get(session_id, Secret(""))
        if known != token or connection is None:
            raise ProtocolError(ErrorCode.SESSION_UNKNOWN)
        return connection

    def _sweep(self, now_ms: int) -> None:
        """Forgets what has ended: at once when its client knows, else after a while."""
        for session_id, connection in list(self._connections.items()):
            if not connection.is_closed:
                continue
            since_ms = self._closed_since_ms.setdefault(session_id, now_ms)
            if connection.is_finished or now_ms - since_ms >= _FORGET_AFTER_MS:
                del self._connections[session_id]
                del self._tokens[session_id]
                del self._closed_since_ms[session_id]

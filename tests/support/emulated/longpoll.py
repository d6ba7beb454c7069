"""
Long-poll in emulated time: the same session by requests that can be lost on either way, and are made again.

Owns both ends: numbered responses that are kept until acknowledged, numbered posts, and the client's loop of polls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from peerbus.protocol.codec import EncodingName, server_codec
from peerbus.protocol.messages import Closing, Connect
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.member import Member
from tests.support.emulated.agenda import Agenda
from tests.support.emulated.path import Path
from tests.support.emulated.server import EmulatedServer
from tests.support.emulated.websocket import ClientEnd

HOLD_MS = 17_500
RETRY_MS = 700
TRIES = 3
RESPONSE_BYTES = 1_500

Response = tuple[int, list[bytes]]


class _ServerEnd:
    """What the server keeps of one long-poll connection."""

    def __init__(self, encoding: EncodingName, server: EmulatedServer) -> None:
        self.member: Member | None = None
        self._encoding: EncodingName = encoding
        self._server = server
        self._last_n = 0
        self._kept: Response | None = None
        self._waiter: Callable[[Response | None], None] | None = None
        self._post_n = 0
        self._closing: Closing | None = None
        self._closing_is_told = False
        self.refused: Callable[[EncodedFrame, Closing], None] | None = None

    def flush(self, member: Member) -> bool:
        """See `ServerEnd`. Only a poll that waits takes anything."""
        if self._waiter is not None and self._kept is None:
            response = self.next_response(member)
            if response is not None:
                waiter, self._waiter = self._waiter, None
                waiter(response)
        return True

    def close(self, member: Member | None, closing: Closing, *, is_abrupt: bool) -> None:
        """See `ServerEnd`."""
        if self._closing is None:
            self._closing = closing
            self.member = member
            if self._waiter is not None and self._kept is None:
                waiter, self._waiter = self._waiter, None
                waiter(self.next_response(member))

    def refuse(self, error: EncodedFrame, closing: Closing) -> None:
        """See `ServerEnd`."""
        assert self.refused is not None
        self.refused(error, closing)

    def poll(self, ack: int, answer: Callable[[Response | None], None]) -> None:
        """`answer` gets a response, or None where there is no such session any more."""
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter((0, []))
        if ack == self._last_n:
            self._kept = None
        if self._kept is not None:
            answer(self._kept)
        elif self._closing is not None:
            answer(None if self._closing_is_told else self.next_response(self.member))
        else:
            self._waiter = answer
            if self.member is not None:
                self._server.polled(self.member)

    def end_hold(self, answer: Callable[[Response | None], None]) -> None:
        """A poll was held for long enough."""
        if self._waiter is answer:
            self._waiter = None
            answer((self._last_n, []))

    def post(self, number: int, body: bytes) -> bool:
        """Whether the post was taken, now or before."""
        if self.member is None or self._closing is not None or number > self._post_n + 1:
            return False
        if number == self._post_n + 1:
            self._post_n = number
            codec = server_codec(self._encoding, max_bytes=self._server.limits.frame_bytes)
            self._server.receive(self.member, self, codec.decode(body))
        return True

    def next_response(self, member: Member | None) -> Response | None:
        frames: list[EncodedFrame] = []
        if member is not None and member.connection in (None, self):
            frames = member.session.outbox.take(RESPONSE_BYTES)
        if self._closing is not None and not self._closing_is_told:
            frames.append(EncodedFrame(self._closing))
            self._closing_is_told = True
        if not frames:
            return None
        self._last_n += 1
        self._kept = self._last_n, [frame.payload(self._encoding) for frame in frames]
        return self._kept


class LongPollLink:
    """The client's end, and the requests on their way."""

    def __init__(
        self,
        agenda: Agenda,
        path: Path,
        encoding: EncodingName,
        client: ClientEnd,
        server_now: Callable[[], EmulatedServer | None],
    ) -> None:
        self.encoding: EncodingName = encoding
        self._agenda = agenda
        self._path = path
        self._client = client
        self._server_now = server_now
        self._server: EmulatedServer | None = None
        self._end: _ServerEnd | None = None
        self._is_over = False
        self._lost_until_ms = 0
        self._acked_n = 0
        self._posts: list[bytes] = []
        self._post_n = 0
        self._is_posting = False

    # --- the link ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """There is nothing to open: the first request goes with the connect frame."""
        self._agenda.after(0, lambda: None if self._is_over else self._client.link_opened(self))

    def send(self, message: bytes) -> None:
        if self._end is None:
            self._connect(message)
        else:
            self._posts.append(message)
            self._post_next(1)

    def hang_up(self) -> None:
        # What was posted is still delivered, as a page does with its last request.
        if self._end is not None:
            end, number = self._end, self._post_n + 1
            for offset, body in enumerate(self._posts):
                self._request(partial(end.post, number + offset, body))
        self._is_over = True

    def vanish(self) -> None:
        self._is_over = True

    def cut(self, *, server_is_told: bool, client_is_told: bool) -> None:
        """All requests under way are lost; new ones get through a moment later."""
        self._lost_until_ms = self._agenda.now_ms + 50
        if client_is_told and not server_is_told:
            self._lose()

    def _lose(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._client.link_lost(self, None, "")

    # --- requests -----------------------------------------------------------------------------------------------

    def _request(self, work: Callable[[], object]) -> None:
        """Does something at the server, if the request gets there."""
        if not self._path.swallows_up(self._agenda.now_ms) and not self._path.trips_up():
            sent_ms = self._agenda.now_ms
            self._agenda.after(
                self._path.latency_ms, lambda: None if self._lost_until_ms > sent_ms else work()
            )

    def _respond(self, work: Callable[[], None]) -> None:
        if not self._path.swallows_down(self._agenda.now_ms) and not self._path.trips_down():
            sent_ms = self._agenda.now_ms
            self._agenda.after(
                self._path.latency_ms,
                lambda: None if self._is_over or self._lost_until_ms > sent_ms else work(),
            )

    def _connect(self, message: bytes) -> None:
        def at_server() -> None:
            server = self._server = self._server_now()
            if server is None or server.is_down:
                self._respond(self._lose)
                return
            frame = server_codec(self.encoding, max_bytes=server.limits.frame_bytes).decode(message)[0]
            assert isinstance(frame, Connect)
            end = self._end = _ServerEnd(self.encoding, server)
            end.refused = lambda error, closing: self._respond(
                lambda: self._client.link_received(self, [error.payload(self.encoding)])
            )
            server.connect(frame, end, lambda member: joined(end, member))

        def joined(end: _ServerEnd, member: Member) -> None:
            end.member = member
            response = end.next_response(member)
            assert response is not None
            self._respond(lambda: self._take(response))

        self._request(at_server)

    def _take(self, response: Response | None) -> None:
        if response is None:
            self._lose()
            return
        number, messages = response
        self._client.link_heard(self)
        if number > self._acked_n and messages:
            self._acked_n = number
            self._client.link_received(self, messages)
        if not self._is_over:
            self._poll(1)

    def _poll(self, tries: int) -> None:
        end, ack = self._end, self._acked_n
        assert end is not None
        is_answered = False

        def answer(response: Response | None) -> None:
            def take() -> None:
                nonlocal is_answered
                if not is_answered:
                    is_answered = True
                    self._take(response)

            self._respond(take)

        def at_server() -> None:
            if not self._is_server_gone():
                end.poll(ack, answer)
                self._agenda.after(HOLD_MS, lambda: end.end_hold(answer))

        def look() -> None:
            nonlocal is_answered
            if is_answered or self._is_over:
                return
            is_answered = True
            if tries < TRIES:
                self._poll(tries + 1)
            else:
                self._lose()

        self._request(at_server)
        self._agenda.after(RETRY_MS if self._is_server_gone() else HOLD_MS + RETRY_MS, look)

    def _post_next(self, tries: int) -> None:
        if (self._is_posting and tries == 1) or not self._posts or self._is_over:
            return
        end = self._end
        assert end is not None
        self._is_posting = True
        number, body = self._post_n + 1, self._posts[0]
        is_answered = False

        def taken(is_taken: bool) -> None:
            nonlocal is_answered
            if is_answered:
                return
            is_answered = True
            self._is_posting = False
            if not is_taken:
                # The end is in a response that is on its way, or lost with the session.
                return
            self._post_n = number
            self._posts.pop(0)
            self._client.link_heard(self)
            self._post_next(1)

        def at_server() -> None:
            if not self._is_server_gone():
                is_taken = end.post(number, body)
                self._respond(lambda: taken(is_taken))

        def look() -> None:
            nonlocal is_answered
            if is_answered or self._is_over:
                return
            is_answered = True
            if tries < TRIES:
                self._post_next(tries + 1)
            else:
                self._lose()

        self._request(at_server)
        self._agenda.after(RETRY_MS, look)

    def _is_server_gone(self) -> bool:
        return self._server is None or self._server.is_down

"""
An agent's requests, and what became of them.

Owns the outcomes of those under way, and what was asked before the session began. Never decides when one is sent or
given up: that is the session's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar

from msgspec import UNSET, UnsetType

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.outcome import Outcome
from peerbus.client.sealing import CRYPTO_SESSION_BYTES, MAX_RECIPIENTS, OVERHEAD_BYTES
from peerbus.client.session_loop import SessionLoop
from peerbus.client.transport import MAX_SERVER_BYTES
from peerbus.protocol import messages as wire
from peerbus.protocol.codec import EncodingName, client_codec
from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.messages import ClientFrame

T = TypeVar("T")

_FRAME_OVERHEAD_BYTES: Final = 16
"""What a request id adds to the size of a frame, at most."""
_SEALED_OVERHEAD_BYTES: Final = 2 * OVERHEAD_BYTES + MAX_RECIPIENTS * CRYPTO_SESSION_BYTES
"""What an envelope and its retry tag add, at most."""
_MAX_EARLY: Final = 1_000


class Requests:
    """Those of one agent, over one session after another: `begin`, `start`, `end`."""

    def __init__(self, encoding: EncodingName, on_unobserved: Callable[[Exception], None]) -> None:
        """`on_unobserved` takes the failures that nobody awaits."""
        self._encoding: Final[EncodingName] = encoding
        self._codec: Final = client_codec(encoding, max_bytes=MAX_SERVER_BYTES)
        self._on_unobserved: Final = on_unobserved
        self._is_open = False
        self._session: SessionLoop | None = None
        self._early: Final[deque[tuple[Outcome[Any], Callable[[SessionLoop], None]]]] = deque()
        self._outcomes: Final[dict[int, tuple[Outcome[Any], Callable[[Any], Any]]]] = {}
        self._idle = asyncio.Event()

    @property
    def pending(self) -> int:
        """How many have no outcome yet."""
        return len(self._outcomes) + len(self._early)

    # --- the session --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """There will be a session; until it starts, requests wait."""
        self._is_open = True
        self._session = None
        self._idle = asyncio.Event()

    def start(self, session: SessionLoop) -> None:
        """What waited goes into the session, in order."""
        self._session = session
        while self._early:
            _, begin = self._early.popleft()
            begin(session)

    def end(self, error: PeerbusError) -> None:
        """The session is over, or never began; what is under way in it gets its outcomes from it."""
        self._is_open = False
        while self._early:
            self._early.popleft()[0].fail(PeerbusError(ErrorCode.CLOSED, f"Never sent: {error.message}"))
        self._idle.set()

    async def wait_idle(self) -> None:
        """Returns when the last of those under way has its outcome, or at the end."""
        await self._idle.wait()

    # --- requests -------------------------------------------------------------------------------------------------

    def ask(
        self,
        frame: ClientFrame,
        convert: Callable[[Any], T],
        timeout_ms: int | UnsetType | None = UNSET,
        *,
        may_be_sealed: bool,
    ) -> Outcome[T]:
        """
        Sends a request; its outcome is what `convert` makes of the reply.

        Raises `PeerbusError` (`bad_request`, `too_large`) for what no frame can carry; all else is the outcome's.
        """
        outcome: Outcome[T] = Outcome(self._on_unobserved)
        try:
            size_bytes = len(self._codec.encode(frame)) + _FRAME_OVERHEAD_BYTES
        except ProtocolError as error:
            raise PeerbusError(error.code, error.message) from None
        if may_be_sealed and isinstance(frame, wire.Send | wire.Update):
            size_bytes = self._sealed_size(size_bytes)

        def note(handle: int) -> None:
            self._outcomes[handle] = (outcome, convert)

        def begin(session: SessionLoop) -> None:
            try:
                session.request(frame, note, size_bytes=size_bytes, timeout_ms=timeout_ms)
            except ProtocolError as error:
                outcome.fail(PeerbusError(error.code, error.message))

        if not self._is_open:
            outcome.fail(PeerbusError(ErrorCode.CLOSED, "Not connected: call connect() first."))
        elif self._session is not None:
            begin(self._session)
        elif len(self._early) >= _MAX_EARLY:
            outcome.fail(PeerbusError(ErrorCode.QUEUE_FULL))
        else:
            self._early.append((outcome, begin))
        return outcome

    def done(self, handle: int, reply: Any) -> None:
        """One was answered."""
        found = self._take(handle)
        if found is not None:
            outcome, convert = found
            outcome.succeed(convert(reply))

    def failed(self, handle: int, error: PeerbusError) -> None:
        """One was refused, or given up."""
        found = self._take(handle)
        if found is not None:
            found[0].fail(error)

    def _sealed_size(self, size_bytes: int) -> int:
        """At most so many bytes when it is sealed."""
        size_bytes += _SEALED_OVERHEAD_BYTES
        # Base64 makes four characters of three bytes.
        return size_bytes * 4 // 3 + 4 if self._encoding == "json" else size_bytes

    def _take(self, handle: int) -> tuple[Outcome[Any], Callable[[Any], Any]] | None:
        found = self._outcomes.pop(handle, None)
        if not self.pending:
            self._idle.set()
            self._idle = asyncio.Event()
        return found

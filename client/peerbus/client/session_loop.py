"""
Runs one client session machine: gives it the time, carries out its actions, hands its events on.

Owns the clock, the timer, the transports and the fetching of keys of one session. Never decides anything that the
machine decides. All methods are called from one event loop and return at once.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from msgspec import UNSET, UnsetType

from peerbus.client.errors import ErrorCode, PeerbusError, error_frame
from peerbus.client.transport import MAX_SERVER_BYTES, MakeTransport, Transport, TransportSettings
from peerbus.client.transport.longpoll import LongPollTransport
from peerbus.client.transport.websocket import WebSocketTransport
from peerbus.protocol.codec import Rejected
from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.messages import ClientFrame, Error, Send, ServerFrame
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session.client import ClientSession
from peerbus.protocol.session.outputs import CloseTransport, Event, OpenTransport
from peerbus.protocol.session.paths import TransportName
from peerbus.protocol.session.sealing import FrameSealer
from peerbus.protocol.session.settings import ClientSettings

FetchKey = Callable[[], Awaitable[Secret]]
"""Gets a new key. Raises `PeerbusError`; any other exception counts as a failure that may pass."""

TRANSPORTS: Final[dict[TransportName, MakeTransport]] = {
    "websocket": WebSocketTransport,
    "longpoll": LongPollTransport,
}


@dataclass
class _TransportSink:
    """Hears one transport, and passes on what it says while it is the current one."""

    loop: SessionLoop

    def opened(self) -> None:
        self._input(lambda session, now: session.transport_opened(now))

    def received(self, frames: list[ServerFrame | Rejected]) -> None:
        def take_all(session: ClientSession, now: int) -> None:
            for frame in frames:
                if isinstance(frame, Rejected):
                    session.unreadable(frame.error, now)
                else:
                    session.receive(frame, now)

        self._input(take_all)

    def heard(self) -> None:
        self._input(lambda session, now: session.heard(now))

    def lost(self, close_code: int | None, reason: str) -> None:
        self._input(lambda session, now: session.transport_lost(close_code, reason, now))

    def _input(self, apply: Callable[[ClientSession, int], None]) -> None:
        if self.loop.sink is self:
            self.loop.input(apply)


class SessionLoop:
    """One session from `start` to the state `closed`; afterwards `wait_closed` says when nothing is left of it."""

    def __init__(
        self,
        settings: ClientSettings,
        transports: TransportSettings,
        *,
        on_event: Callable[[Event], None],
        fetch_key: FetchKey,
        sealer: FrameSealer | None = None,
    ) -> None:
        self.session: Final = ClientSession(settings, jitter=random.random, sealer=sealer)
        self.sink: _TransportSink | None = None
        self._transports: Final = transports
        self._on_event: Final = on_event
        self._fetch_key: Final = fetch_key
        self._loop: Final = asyncio.get_running_loop()
        self._transport: Transport | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._fetching: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self._events: deque[Event] = deque()
        self._is_telling = False

    # --- input ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connects."""
        self.input(lambda session, now: session.start(now))

    def request(
        self,
        frame: ClientFrame,
        on_taken: Callable[[int], None],
        *,
        size_bytes: int,
        timeout_ms: int | UnsetType | None = UNSET,
    ) -> None:
        """See `ClientSession.request`. `on_taken` gets the handle before any event can name it."""
        on_taken(self.session.request(frame, self._now_ms(), size_bytes=size_bytes, timeout_ms=timeout_ms))
        self._pump()

    def send_lossy(self, frame: Send) -> bool:
        """See `ClientSession.send_lossy`."""
        is_sent = self.session.send_lossy(frame, self._now_ms())
        self._pump()
        return is_sent

    def renew(self, api_key: Secret) -> None:
        """A new credential."""
        self.input(lambda session, now: session.renew(api_key, now))

    def reconnect_now(self) -> None:
        """Ends the waiting for the next attempt."""
        self.input(lambda session, now: session.reconnect_now(now))

    def close(self) -> None:
        """Leaves for good."""
        self.input(lambda session, now: session.close(now))

    async def wait_closed(self) -> None:
        """Returns when no task and no connection of this session is left."""
        self._retire()
        if self._fetching is not None:
            self._fetching.cancel()
        tasks = [*self._endings, *([] if self._fetching is None else [self._fetching])]
        await asyncio.gather(*tasks, return_exceptions=True)

    def input(self, apply: Callable[[ClientSession, int], None]) -> None:
        """One input of the machine, and all that follows from it."""
        apply(self.session, self._now_ms())
        self._pump()

    # --- output -----------------------------------------------------------------------------------------

    def _pump(self) -> None:
        session = self.session
        frames = session.frames_to_send()
        if frames and self._transport is not None:
            connected = session.connected
            limit = MAX_SERVER_BYTES if connected is None else connected.limits.frame_bytes
            self._transport.send(frames, limit)
        for action in session.actions_to_do():
            if isinstance(action, OpenTransport):
                self._open(action.transport)
            elif isinstance(action, CloseTransport):
                self._close_transport(action.close_code, action.reason)
            else:
                self._fetching = self._loop.create_task(self._fetch(), name="peerbus-fetch-key")
        self._set_timer()
        self._events.extend(session.events())
        self._tell()

    def _tell(self) -> None:
        # A handler may call back into this loop; what follows from that is told after what came before.
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self._events:
                self._on_event(self._events.popleft())
        finally:
            self._is_telling = False

    def _open(self, name: TransportName) -> None:
        self._retire()
        self.sink = _TransportSink(self)
        self._transport = TRANSPORTS[name](self._transports, self.sink)
        self._transport.start()

    def _close_transport(self, close_code: int, reason: str) -> None:
        if self._transport is not None:
            self._transport.close(close_code, reason)
        self._retire()

    def _retire(self) -> None:
        """The transport is over for the machine; it may take a moment to be gone."""
        transport, self._transport = self._transport, None
        self.sink = None
        if transport is not None:
            task = self._loop.create_task(transport.wait_closed(), name="peerbus-transport-ending")
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)

    async def _fetch(self) -> None:
        try:
            api_key = await self._fetch_key()
        except ProtocolError as error:
            failure = error_frame(error.code, error.message, is_retryable=_is_retryable(error))
        except Exception as error:  # noqa: BLE001 - the user's own code; the machine says it and tries again
            failure = error_frame(ErrorCode.CONNECT_FAILED, f"No new key: {error!r}", is_retryable=True)
        else:
            self.renew(api_key)
            return
        self._renew_failed(failure)

    def _renew_failed(self, failure: Error) -> None:
        self.input(lambda session, now: session.renew_failed(failure, now))

    # --- time -------------------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1000)

    def _set_timer(self) -> None:
        deadline = self.session.deadline()
        if self._timer is not None:
            # A timer that fires early costs nothing but a look; most deadlines only move further away.
            if deadline is not None and self._timer_at <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer_at = deadline
            # The clock is cut to whole milliseconds, so the tick comes one later at the most, never too early.
            self._timer = self._loop.call_at((deadline + 1) / 1000, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.input(lambda session, now: session.tick(now))


def _is_retryable(error: ProtocolError) -> bool:
    return error.is_retryable if isinstance(error, PeerbusError) else error.info.is_retryable

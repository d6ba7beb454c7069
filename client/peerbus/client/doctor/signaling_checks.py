"""
Whether signaling can be reached, by each of its transports by itself.

Owns one handshake for each attempt. Never decides what a failure means (`judgement`), and keeps no session.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, NamedTuple

import msgspec

from peerbus.client.crypto import new_lineage_secret
from peerbus.client.doctor.facts import Attempt
from peerbus.client.session_loop import TRANSPORTS
from peerbus.client.transport import TransportSettings
from peerbus.protocol.codec import Rejected
from peerbus.protocol.messages import Bye, Closing, Connect, Connected, Error, ServerFrame
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session.paths import TransportName

_BATCH_BYTES: Final = 65_536


class Handshake(NamedTuple):
    """How one ended."""

    attempt: Attempt
    correlation_id: str
    """Stands in the server's log; empty if the server never answered."""
    connected: Connected | None = None


class _Listener:
    """Hears one transport until it is known how the handshake ends."""

    def __init__(self) -> None:
        self.outcome: Final[asyncio.Future[Connected | Attempt]] = asyncio.get_running_loop().create_future()
        self.is_open: Final = asyncio.Event()
        self.correlation_id = ""

    def opened(self) -> None:
        """See `Sink`."""
        self.is_open.set()

    def received(self, frames: list[ServerFrame | Rejected]) -> None:
        """See `Sink`."""
        for frame in frames:
            if isinstance(frame, Connected):
                self._end(frame)
            elif isinstance(frame, Error):
                self.correlation_id = frame.correlation_id
                self._end(Attempt(error=frame.message, code=frame.code))
            elif isinstance(frame, Closing):
                self._end(Attempt(error=frame.reason, code=frame.code))
            elif isinstance(frame, Rejected):
                self._end(Attempt(error=frame.error.message, code=frame.error.code.value))

    def heard(self) -> None:
        """See `Sink`."""

    def lost(self, close_code: int | None, reason: str) -> None:
        """See `Sink`."""
        what = reason or "The connection ended."
        self._end(Attempt(error=what if close_code is None else f"{what} (close code {close_code})"))
        self.is_open.set()

    def _end(self, outcome: Connected | Attempt) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


async def try_signaling(
    name: TransportName, settings: TransportSettings, api_key: Secret, channel: str, timeout_s: float
) -> Handshake:
    """Joins a channel over one transport, and leaves it."""
    began = time.monotonic()
    handshake = _Listener()
    transport = TRANSPORTS[name](settings, handshake)
    frame = Connect(
        id=1,
        api_key=api_key,
        channel=channel,
        lineage_secret=new_lineage_secret(),
        auto_receive=False,
        client=settings.user_agent,
    )
    transport.start()
    try:
        async with asyncio.timeout(timeout_s):
            await handshake.is_open.wait()
            if not handshake.outcome.done():
                transport.send([frame], _BATCH_BYTES)
            outcome = await handshake.outcome
    except TimeoutError:
        outcome = Attempt(error=f"No answer within {timeout_s:g} s.")
    if isinstance(outcome, Connected):
        transport.send([Bye()], _BATCH_BYTES)
    transport.close(1000, "bye")
    await transport.wait_closed()
    if isinstance(outcome, Attempt):
        return Handshake(outcome, handshake.correlation_id)
    ms = round((time.monotonic() - began) * 1000)
    return Handshake(Attempt(ms=ms), outcome.correlation_id, msgspec.structs.replace(outcome, members=[]))

"""
The data messages of a call, in both directions.

Owns the outbox, the outcomes of those who wait, and the timer that drops what waited too long. Never opens a channel:
`pump` is told the connection of the moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Final

from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.outcome import Outcome
from peerbus.client.webrtc.delivery import Outbox, encode_message
from peerbus.client.webrtc.peer import SfuPeer
from peerbus.client.webrtc.stats import DataStats


class DataPort:
    """See the module. What is reliable and was not handed over yet survives a reconnect."""

    def __init__(self, on_unobserved: Callable[[Exception], None]) -> None:
        self._on_unobserved: Final = on_unobserved
        self._outbox: Final = Outbox()
        self._outcomes: Final[dict[int, Outcome[bool]]] = {}
        self._numbers: Final = count()
        self._peer: SfuPeer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0
        self._received = 0
        self._dropped = 0

    @property
    def stats(self) -> DataStats:
        """The figures so far."""
        return DataStats(
            messages_sent=self._sent,
            messages_received=self._received,
            messages_dropped=self._dropped,
            waiting_bytes=self._outbox.waiting_bytes,
        )

    def send(self, to: Sequence[str] | None, payload: Any, *, is_lossy: bool) -> Outcome[bool]:
        """Takes a message. Raises `PeerbusError`: `too_large`, `bad_request`; the outcome also `queue_full`."""
        data = encode_message(to, payload)
        outcome: Outcome[bool] = Outcome(self._on_unobserved)
        number = next(self._numbers)
        if is_lossy:
            self._outbox.push_lossy(number, data, _now_ms())
        else:
            try:
                self._outbox.push_reliable(number, data, _now_ms())
            except PeerbusError as error:
                outcome.fail(error)
                return outcome
        self._outcomes[number] = outcome
        self.pump(self._peer)
        return outcome

    def received(self) -> None:
        """A message came."""
        self._received += 1

    def pump(self, peer: SfuPeer | None) -> None:
        """Hands over what may go now, into the channels of this connection; None while there is none."""
        self._peer = peer
        taken = self._outbox.take(
            _now_ms(),
            reliable_buffered=None if peer is None else peer.reliable_buffered,
            lossy_buffered=None if peer is None else peer.lossy_buffered,
        )
        for number, data in taken.reliable:
            assert peer is not None
            peer.send_reliable(data)
            self._settle(number, is_sent=True)
        for number, data in taken.lossy:
            assert peer is not None
            peer.send_lossy(data)
            self._settle(number, is_sent=True)
        for number in taken.dropped:
            self._settle(number, is_sent=False)
        self._set_timer()

    def close(self) -> None:
        """Nothing is sent any more; whoever waits hears `closed`."""
        for number in self._outbox.clear():
            self._outcomes.pop(number).fail(
                PeerbusError(ErrorCode.CLOSED, "The call is over."), is_expected=True
            )
        self._peer = None
        self._set_timer()

    def _settle(self, number: int, *, is_sent: bool) -> None:
        if is_sent:
            self._sent += 1
        else:
            self._dropped += 1
        self._outcomes.pop(number).succeed(is_sent)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        expiry_ms = self._outbox.next_expiry_ms()
        if expiry_ms is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at((expiry_ms + 1) / 1000, self._expired)

    def _expired(self) -> None:
        self.pump(self._peer)


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)

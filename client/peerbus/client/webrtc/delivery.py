"""
Data messages of a call: their form, and when each may go into its data channel.

Owns the MessagePack form of `[to, payload]` and `[from, payload]`, the size limit, the queues in front of the two data
channels and the decision what to drop. Never touches a channel: `Outbox.take` says what goes in now.

A data channel's own queue is kept short. What waits here can still be dropped, and a long queue inside the SCTP
association (RFC 8831) makes every message slow, also the reliable ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from peerbus.client.errors import ErrorCode, PeerbusError

MESSAGE_BYTES_MAX: Final = 65_536
"""Larger messages are refused; the SFU's answer says so, too (`a=max-message-size`)."""
LOSSY_WAIT_MS: Final = 100
"""A lossy message that waited for longer is dropped."""
CHANNEL_BYTES: Final = 16_384
"""How much may wait inside a data channel; one message more may overshoot it."""
RELIABLE_BYTES_MAX: Final = 4 * 1_048_576
"""How much may wait to be sent reliably, also before the connection stands."""
LOSSY_BYTES_MAX: Final = 256 * 1_024


class Incoming(Struct, frozen=True):
    """A message from the SFU."""

    sender: str | None
    """An identity; None: the SFU itself, and the payload is an error."""
    payload: Any


class Taken(Struct, frozen=True, kw_only=True):
    """What `Outbox.take` decided: messages to hand over by channel, and the numbers of those that were dropped."""

    reliable: list[tuple[int, bytes]]
    lossy: list[tuple[int, bytes]]
    dropped: list[int]


class _Waiting(Struct, frozen=True):
    number: int
    data: bytes
    since_ms: int


def encode_message(to: Sequence[str] | None, payload: Any) -> bytes:
    """
    The bytes for a payload to everyone else in the call (None), or to these identities.

    Raises `PeerbusError`: `too_large`, or `bad_request` for a payload that MessagePack has no form for.
    """
    try:
        data = msgspec.msgpack.encode([None if to is None else list(to), payload])
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PeerbusError(ErrorCode.BAD_REQUEST, f"The payload has no MessagePack form: {error}") from None
    if len(data) > MESSAGE_BYTES_MAX:
        text = f"A data message has at most {MESSAGE_BYTES_MAX} bytes with its addresses; this one has {len(data)}."
        raise PeerbusError(
            ErrorCode.TOO_LARGE, text, details={"limit_bytes": MESSAGE_BYTES_MAX, "size_bytes": len(data)}
        )
    return data


def decode_message(data: bytes) -> Incoming:
    """Reads a message of the SFU. Raises `PeerbusError` (`bad_frame`) for anything else."""
    try:
        sender, payload = msgspec.msgpack.decode(data, type=tuple[str | None, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PeerbusError(ErrorCode.BAD_FRAME, f"A data message could not be read: {error}") from None
    return Incoming(sender, payload)


class Outbox:
    """
    What waits to be sent, in two queues.

    Reliable messages wait in order for as long as it takes, up to a number of bytes. Lossy ones wait at most
    `LOSSY_WAIT_MS`, and the oldest goes first when there are too many.
    """

    def __init__(self) -> None:
        self._reliable: deque[_Waiting] = deque()
        self._lossy: deque[_Waiting] = deque()
        self._reliable_bytes = 0
        self._lossy_bytes = 0

    @property
    def waiting_bytes(self) -> int:
        """How much waits here."""
        return self._reliable_bytes + self._lossy_bytes

    def push_reliable(self, number: int, data: bytes, now_ms: int) -> None:
        """Adds a message. Raises `PeerbusError` (`queue_full`) when too much waits already."""
        if self._reliable and self._reliable_bytes + len(data) > RELIABLE_BYTES_MAX:
            text = f"{self._reliable_bytes} bytes wait to be sent already; await send_data to keep pace."
            raise PeerbusError(ErrorCode.QUEUE_FULL, text)
        self._reliable.append(_Waiting(number, data, now_ms))
        self._reliable_bytes += len(data)

    def push_lossy(self, number: int, data: bytes, now_ms: int) -> None:
        """Adds a message that may be dropped."""
        self._lossy.append(_Waiting(number, data, now_ms))
        self._lossy_bytes += len(data)

    def take(self, now_ms: int, *, reliable_buffered: int | None, lossy_buffered: int | None) -> Taken:
        """
        What goes into the channels now, given how many bytes wait inside each (None: it is not open).

        Lossy messages that waited too long come back as dropped; call this again at `next_expiry_ms`.
        """
        reliable: list[tuple[int, bytes]] = []
        while self._reliable and reliable_buffered is not None and reliable_buffered < CHANNEL_BYTES:
            message = self._reliable.popleft()
            self._reliable_bytes -= len(message.data)
            reliable_buffered += len(message.data)
            reliable.append((message.number, message.data))
        dropped = self._drop_lossy(now_ms)
        lossy: list[tuple[int, bytes]] = []
        while self._lossy and lossy_buffered is not None and lossy_buffered < CHANNEL_BYTES:
            message = self._pop_lossy()
            lossy_buffered += len(message.data)
            lossy.append((message.number, message.data))
        return Taken(reliable=reliable, lossy=lossy, dropped=dropped)

    def next_expiry_ms(self) -> int | None:
        """When the oldest lossy message has waited too long; None if none waits."""
        return self._lossy[0].since_ms + LOSSY_WAIT_MS if self._lossy else None

    def clear(self) -> list[int]:
        """Forgets everything; gives the numbers of what waited."""
        numbers = [message.number for message in (*self._reliable, *self._lossy)]
        self._reliable.clear()
        self._lossy.clear()
        self._reliable_bytes = self._lossy_bytes = 0
        return numbers

    def _drop_lossy(self, now_ms: int) -> list[int]:
        dropped: list[int] = []
        while self._lossy and (
            self._lossy_bytes > LOSSY_BYTES_MAX or now_ms - self._lossy[0].since_ms >= LOSSY_WAIT_MS
        ):
            dropped.append(self._pop_lossy().number)
        return dropped

    def _pop_lossy(self) -> _Waiting:
        message = self._lossy.popleft()
        self._lossy_bytes -= len(message.data)
        return message

"""
Data messages of a call: their form.

Owns the MessagePack form of `[to, payload]` and `[from, payload]`, and the size limit. Never touches a channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from peerbus.client.errors import ErrorCode, PeerbusError

MESSAGE_BYTES_MAX: Final = 65_536
"""Larger messages are refused; the SFU's answer says so, too (`a=max-message-size`)."""
CHANNEL_BYTES: Final = 16_384
"""How much may wait inside a data channel; one message more may overshoot it. A long queue inside the SCTP association
(RFC 8831) makes every message slow, and what waits outside can still be dropped."""


class Incoming(Struct, frozen=True):
    """A message from the SFU."""

    sender: str | None
    """An identity; None: the SFU itself, and the payload is an error."""
    payload: Any


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

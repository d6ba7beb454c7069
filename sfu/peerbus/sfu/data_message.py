"""
Data messages between a client and the SFU: who they are for, who they are from.

Owns the form: MessagePack arrays `[to, payload]` from a client, `[from, payload]` to a client; a `from` of nil is the
SFU itself, telling what was wrong with a message. The payload is passed on as its bytes are.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from peerbus.protocol.errors import ErrorCode, ProtocolError

RECIPIENTS_MAX: Final = 256

_DECODER: Final = msgspec.msgpack.Decoder(tuple[list[str] | None, msgspec.Raw])
_ENCODER: Final = msgspec.msgpack.Encoder()


def read_data(message: bytes | str) -> tuple[list[str] | None, msgspec.Raw]:
    """
    The recipients' identities (None is everyone else) and the payload as it came.

    Raises `ProtocolError` (`bad_request`).
    """
    if isinstance(message, str):
        raise ProtocolError(ErrorCode.BAD_REQUEST, "Data messages are binary: MessagePack of [to, payload].")
    try:
        to, payload = _DECODER.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, "Not a data message: MessagePack of [to, payload] was expected."
        ) from None
    if to is not None and len(to) > RECIPIENTS_MAX:
        raise ProtocolError(ErrorCode.BAD_REQUEST, f"A message has {RECIPIENTS_MAX} recipients at most.")
    return to, payload


def write_data(sender: str, payload: msgspec.Raw) -> bytes:
    """A message as its receivers get it."""
    return _ENCODER.encode((sender, payload))


def write_problem(error: ProtocolError) -> bytes:
    """What was wrong, for the sender."""
    problem: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.details:
        problem["details"] = error.details
    return _ENCODER.encode((None, problem))

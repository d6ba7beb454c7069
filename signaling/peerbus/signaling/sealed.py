"""
What the server asks of clients in sealed channels, and of nobody in open ones.

Owns the checks of sealed fields, and by what a sealed message is recognised when it is sent again. Never opens one: it
has no keys, and envelopes are stored and passed on as they are. See PROTOCOL.md, section 13.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import Connect, Send

SEALED: Final = "sealed"
"""The mode of a channel whose contents the server cannot read."""
CRYPTO_SESSION_BYTES: Final = 16


def check_connect(connect: Connect) -> None:
    """Raises `ProtocolError` (`bad_request`) unless what a channel of this mode needs is there, and nothing else."""
    if connect.mode == SEALED:
        if connect.join_token is None:
            raise _bad("A sealed channel has a password: the join token is missing.")
        if len(connect.crypto_session) != CRYPTO_SESSION_BYTES:
            raise _bad(
                f"In a sealed channel a client names its crypto-session, {CRYPTO_SESSION_BYTES} bytes."
            )
    elif connect.crypto_session or connect.sealed_attributes:
        raise _bad("An open channel has no crypto-sessions and no sealed attributes.")


def check_message(mode: str, frame: Send) -> None:
    """Raises `ProtocolError`: `not_sealed` in a sealed channel, `bad_request` in an open one, or without its tag."""
    if mode != SEALED:
        if frame.sealed is not UNSET:
            raise _bad("This channel is open: it takes content or binary.")
        return
    if frame.sealed is UNSET:
        raise ProtocolError(ErrorCode.NOT_SEALED)
    if frame.metadata is not UNSET:
        raise ProtocolError(ErrorCode.NOT_SEALED, "In a sealed channel metadata stands in the envelope.")
    if frame.delivery == "durable" and frame.idempotency_key is not UNSET and frame.retry_tag is UNSET:
        raise _bad("A sealed durable message with an idempotency key has a retry tag.")


def check_attributes(mode: str, sealed_attributes: bytes) -> None:
    """Raises `ProtocolError` (`bad_request`) for sealed attributes in an open channel."""
    if sealed_attributes and mode != SEALED:
        raise _bad("An open channel has no sealed attributes.")


def retry_form(frame: Send) -> bytes:
    """What two sendings of one message have in common: the envelope itself may have been sealed anew."""
    return b"" if frame.retry_tag is UNSET else frame.retry_tag


def _bad(text: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_REQUEST, text)

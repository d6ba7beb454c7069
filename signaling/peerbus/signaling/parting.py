"""
What a page says in the moment in which it goes.

Owns the form of it. It comes as a request of its own, since browsers let such a one through (`sendBeacon`) when a frame
on a WebSocket no longer leaves. Whoever says it proves by the resume token that the session is its own; the correlation
id names the connection that goes, so that a word that comes late ends no later one. See PROTOCOL.md, section 9.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.secrets import Secret, dec_hook


class Parting(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/leave`, in JSON."""

    session_id: str
    resume_token: Secret
    correlation_id: str
    may_return: bool = False
    """The page keeps its resume token: after a reload it goes on."""


def read_parting(body: bytes) -> Parting:
    """Raises `ProtocolError` (`bad_request`)."""
    try:
        return msgspec.json.decode(body, type=Parting, dec_hook=dec_hook)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ProtocolError(
            ErrorCode.BAD_REQUEST,
            "The body is a JSON object with session_id, resume_token, correlation_id and maybe may_return.",
        ) from None

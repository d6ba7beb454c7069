"""
A `ProtocolError` as a client gets it: an `error` frame, a `closing` frame, a problem document.

Owns these three forms. Never decides which of them is sent. See PROTOCOL.md, section 11, and RFC 9457.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.messages import Closing, Error
from peerbus.signaling.member import Peer


def error_frame(error: ProtocolError, request_id: int | None, peer: Peer) -> Error:
    """The refusal of one request, or of something without an id."""
    return Error(
        id=UNSET if request_id is None else request_id,
        code=error.code.value,
        message=error.message,
        is_retryable=error.info.is_retryable,
        retry_after_ms=UNSET if error.retry_after_ms is None else error.retry_after_ms,
        correlation_id=peer.correlation_id,
        details=error.details,
    )


def closing_frame(error: ProtocolError, peer: Peer) -> Closing:
    """The last frame of a connection that ends for this reason."""
    return Closing(
        close_code=error.info.close_code,
        code=error.code.value,
        reason=error.message,
        is_retryable=error.info.is_retryable,
        retry_after_ms=UNSET if error.retry_after_ms is None else error.retry_after_ms,
        correlation_id=peer.correlation_id,
    )


def problem(error: ProtocolError, correlation_id: str) -> dict[str, Any]:
    """The members of an `application/problem+json` document."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": error.info.meaning,
        "status": error.info.http_status,
        "detail": error.message,
        "code": error.code.value,
        "is_retryable": error.info.is_retryable,
        "correlation_id": correlation_id,
    }
    if error.retry_after_ms is not None:
        document["retry_after_ms"] = error.retry_after_ms
    if error.details:
        document["details"] = error.details
    return document

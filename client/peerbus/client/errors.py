"""
What the client raises: one exception with a stable code, and the reason for people.

Owns the translation of error frames and HTTP problem documents into it. Never invents codes: they are those of
`peerbus.protocol.errors`, which is shown again here.

    try:
        await agent.send_message("hi", to="bob")
    except PeerbusError as error:
        if error.code is ErrorCode.UNKNOWN_RECIPIENT: ...
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import Delivery, Error
from peerbus.protocol.session.outputs import State

__all__ = ["ErrorCode", "PeerbusError", "ProtocolError", "SealingError", "error_frame", "error_of"]


class PeerbusError(ProtocolError):
    """
    A request, or the connection as a whole, failed.

    `code` says what, `message` says it to people, `is_retryable` whether trying again can help,
    `correlation_id` (may be empty) finds it in the server's log.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str = "",
        *,
        details: dict[str, Any] | None = None,
        retry_after_ms: int | None = None,
        correlation_id: str = "",
        is_retryable: bool | None = None,
    ) -> None:
        super().__init__(code, message, details=details, retry_after_ms=retry_after_ms)
        self.correlation_id = correlation_id
        self.is_retryable = self.info.is_retryable if is_retryable is None else is_retryable


class SealingError(PeerbusError):
    """
    A message, or a member's private attributes, came that is never shown: it could not be opened, or was moved.

    `code` is `wrong_key`, `tampered`, `replayed`, `reordered`, `not_sealed`, `bad_frame` or `not_supported`. The rest
    is what the server says of it, which may be wrong. `delivery` is None for attributes.
    """

    def __init__(
        self,
        cause: ProtocolError,
        *,
        sender: str,
        delivery: Delivery | None = None,
        offset: int | None = None,
        message_id: str = "",
        time_ms: int | None = None,
    ) -> None:
        super().__init__(cause.code, cause.message)
        self.sender = sender
        self.delivery = delivery
        self.offset = offset
        self.message_id = message_id
        self.time_ms = time_ms


def error_of(failure: Error | State) -> PeerbusError:
    """The exception for an error frame, or for the state `closed`; an unknown code of a newer server is `internal`."""
    message = failure.message if isinstance(failure, Error) else failure.why
    try:
        code = ErrorCode(failure.code)
    except ValueError:
        code = ErrorCode.INTERNAL
        message = f"{failure.code}: {message}"
    if isinstance(failure, State):
        return PeerbusError(code, message, details=failure.details, correlation_id=failure.correlation_id)
    return PeerbusError(
        code,
        message,
        details=failure.details,
        retry_after_ms=None if failure.retry_after_ms is UNSET else failure.retry_after_ms,
        correlation_id=failure.correlation_id,
        is_retryable=failure.is_retryable,
    )


def error_frame(code: ErrorCode, message: str, *, is_retryable: bool | None = None) -> Error:
    """What a shell tells the session machine of a failure on this side."""
    error = PeerbusError(code, message, is_retryable=is_retryable)
    return Error(code=code.value, message=error.message, is_retryable=error.is_retryable)

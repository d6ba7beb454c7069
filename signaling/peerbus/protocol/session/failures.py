"""
What went wrong, as an error frame: made here, or by the server in one of its forms.

Owns the readings of `error`, `closing` and close codes. Never decides what happens next.
"""

from __future__ import annotations

from typing import Any, Literal

from peerbus.protocol.errors import ERRORS, ErrorCode, code_of_close, may_reconnect
from peerbus.protocol.messages import Closing, Error
from peerbus.protocol.session.outputs import State


def state_of(error: Error, name: Literal["reconnecting", "closed"], *, retry_in_ms: int = 0) -> State:
    """The state that an error leads to."""
    return State(
        name=name,
        code=error.code,
        why=error.message,
        retry_in_ms=retry_in_ms,
        correlation_id=error.correlation_id,
        details=error.details,
    )


def make_error(code: ErrorCode, message: str = "", details: dict[str, Any] | None = None) -> Error:
    """An error of this side; without a message it says what the code means."""
    info = ERRORS[code]
    return Error(
        code=code.value,
        message=message or info.meaning,
        is_retryable=info.is_retryable,
        details=details or {},
    )


def error_of_closing(frame: Closing) -> Error:
    """What the server's last frame says."""
    return Error(
        code=frame.code,
        message=frame.reason,
        is_retryable=frame.is_retryable,
        retry_after_ms=frame.retry_after_ms,
        correlation_id=frame.correlation_id,
    )


def error_of_close(close_code: int | None, reason: str, *, was_open: bool) -> Error:
    """What the end of a transport says; `close_code` None: it ended without one."""
    code = code_of_close(close_code) if close_code is not None else None
    if code is None:
        code = ErrorCode.CONNECT_FAILED
    return make_error(code, reason or ("The connection was lost." if was_open else ""))


def may_retry(error: Error) -> bool:
    """Whether connecting again is right; codes of a newer server count by their flag."""
    try:
        return may_reconnect(ERRORS[ErrorCode(error.code)].close_code)
    except ValueError:
        return error.is_retryable

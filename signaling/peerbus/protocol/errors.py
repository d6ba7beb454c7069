"""
Every error code and close code of the wire, in one table.

Owns the codes, whether a retry can help, the WebSocket close code and the HTTP status each maps to,
and the exception that carries one. Never decides when an error happens.

Close codes (RFC 6455, section 7.4.2, private range starts at 4000; 3000-3999 is for libraries):
3000-3499 mean "connect again", 3500-3999 mean "stop, a person or a program has to change something".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple


class ErrorCode(StrEnum):
    """The stable name of what went wrong; these never change their meaning."""

    # The session ends, and connecting again is right.
    SERVER_RESTARTING = "server_restarting"
    KEEPALIVE_TIMEOUT = "keepalive_timeout"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    SLOW_CONSUMER = "slow_consumer"
    SESSION_UNKNOWN = "session_unknown"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"
    CHANNEL_FULL = "channel_full"
    QUOTA_EXCEEDED = "quota_exceeded"
    # The session ends or cannot begin, and connecting again unchanged is pointless.
    UNSUPPORTED_VERSION = "unsupported_version"
    PROTOCOL_VIOLATION = "protocol_violation"
    UNAUTHORIZED = "unauthorized"
    EXPIRED = "expired"
    REVOKED = "revoked"
    FORBIDDEN = "forbidden"
    NAME_INVALID = "name_invalid"
    NAME_TAKEN = "name_taken"
    CHANNEL_MISMATCH = "channel_mismatch"
    CHANNEL_LOCKED = "channel_locked"
    NOT_SUPPORTED = "not_supported"
    REPLACED = "replaced"
    KICKED = "kicked"
    USED_UP = "used_up"
    # One request fails, the session goes on.
    BAD_FRAME = "bad_frame"
    BAD_REQUEST = "bad_request"
    BAD_FILTER = "bad_filter"
    TOO_LARGE = "too_large"
    UNKNOWN_RECIPIENT = "unknown_recipient"
    MAILBOX_FULL = "mailbox_full"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    RATE_LIMITED = "rate_limited"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    NO_WORKER = "no_worker"
    OUT_OF_SEQUENCE = "out_of_sequence"
    NOT_FOUND = "not_found"
    NOT_SEALED = "not_sealed"
    STALE_TERM = "stale_term"
    PROPOSAL_PENDING = "proposal_pending"
    MESSAGE_REFUSED = "message_refused"
    # Raised by the SDKs themselves, never sent.
    TIMEOUT = "timeout"
    CLOSED = "closed"
    QUEUE_FULL = "queue_full"
    CONNECT_FAILED = "connect_failed"
    WRONG_KEY = "wrong_key"
    TAMPERED = "tampered"
    REPLAYED = "replayed"
    REORDERED = "reordered"


class ErrorInfo(NamedTuple):
    """One row of the table: what a code means for a retry, a WebSocket and an HTTP response."""

    is_retryable: bool
    close_code: int
    http_status: int
    meaning: str


_RECONNECT: Final = 3000
_STOP: Final = 3500

ERRORS: Final[dict[ErrorCode, ErrorInfo]] = {
    ErrorCode.SERVER_RESTARTING: ErrorInfo(
        True, _RECONNECT, 503, "The server is shutting down or restarting; connect again in a moment."
    ),
    ErrorCode.KEEPALIVE_TIMEOUT: ErrorInfo(
        True, 3001, 408, "Nothing was heard from the other side for too long."
    ),
    ErrorCode.HANDSHAKE_TIMEOUT: ErrorInfo(
        True, 3002, 408, "The connect frame did not come within the deadline."
    ),
    ErrorCode.SLOW_CONSUMER: ErrorInfo(
        True, 3003, 503, "The reader took nothing for so long that it was disconnected."
    ),
    ErrorCode.SESSION_UNKNOWN: ErrorInfo(
        True, 3004, 404, "That session is not known here (any more); connect anew."
    ),
    ErrorCode.OVERLOADED: ErrorInfo(True, 3005, 503, "The server has more work than it can take; try later."),
    ErrorCode.INTERNAL: ErrorInfo(True, 3006, 500, "The server failed; its log holds the correlation id."),
    ErrorCode.CHANNEL_FULL: ErrorInfo(True, 3007, 503, "The channel has as many members as it may have."),
    ErrorCode.QUOTA_EXCEEDED: ErrorInfo(True, 3008, 429, "The project's quota is used up for now."),
    ErrorCode.UNSUPPORTED_VERSION: ErrorInfo(
        False, _STOP, 400, "No protocol version is spoken by both sides; details.supported lists ours."
    ),
    ErrorCode.PROTOCOL_VIOLATION: ErrorInfo(
        False, 3501, 400, "The peer broke the protocol (first frame not connect, too many bad frames)."
    ),
    ErrorCode.UNAUTHORIZED: ErrorInfo(False, 3502, 401, "The credential is unknown or wrong."),
    ErrorCode.EXPIRED: ErrorInfo(False, 3503, 401, "The credential has expired; connect with a new one."),
    ErrorCode.REVOKED: ErrorInfo(False, 3504, 401, "The credential was revoked."),
    ErrorCode.FORBIDDEN: ErrorInfo(False, 3505, 403, "The grant does not allow this."),
    ErrorCode.NAME_INVALID: ErrorInfo(
        False, 3506, 400, "A channel or agent name breaks the rules for names."
    ),
    ErrorCode.NAME_TAKEN: ErrorInfo(False, 3507, 409, "The name belongs to somebody else in the channel."),
    ErrorCode.CHANNEL_MISMATCH: ErrorInfo(
        False, 3508, 409, "The channel id does not belong to this name, mode and join token."
    ),
    ErrorCode.CHANNEL_LOCKED: ErrorInfo(False, 3509, 403, "The channel is locked for newcomers."),
    ErrorCode.NOT_SUPPORTED: ErrorInfo(False, 3510, 501, "This server does not do that."),
    ErrorCode.REPLACED: ErrorInfo(
        False, 3511, 409, "The same client connected again; this older connection ended."
    ),
    ErrorCode.KICKED: ErrorInfo(False, 3512, 403, "A member with the right to do so removed this one."),
    ErrorCode.USED_UP: ErrorInfo(
        False, 3513, 403, "The credential has been used by as many clients as may use it."
    ),
    ErrorCode.BAD_FRAME: ErrorInfo(False, 3501, 400, "The frame could not be read."),
    ErrorCode.BAD_REQUEST: ErrorInfo(False, 3501, 400, "A field has a value that is not allowed."),
    ErrorCode.BAD_FILTER: ErrorInfo(False, 3501, 400, "The filter is malformed; nothing was sent."),
    ErrorCode.TOO_LARGE: ErrorInfo(False, 1009, 413, "The frame or message is larger than the limit."),
    ErrorCode.UNKNOWN_RECIPIENT: ErrorInfo(
        False, 3501, 404, "A named recipient is not here; nothing was sent. details.missing lists them."
    ),
    ErrorCode.MAILBOX_FULL: ErrorInfo(
        True,
        3005,
        429,
        "The mailbox of a named recipient is full; nothing was sent. details.full lists them.",
    ),
    ErrorCode.IDEMPOTENCY_CONFLICT: ErrorInfo(
        False, 3501, 409, "This idempotency key was used with another message."
    ),
    ErrorCode.RATE_LIMITED: ErrorInfo(
        True, 3005, 429, "Too much in too short a time; retry_after_ms says when again."
    ),
    ErrorCode.STORAGE_UNAVAILABLE: ErrorInfo(
        True, 3005, 507, "The message could not be stored, and was not sent."
    ),
    ErrorCode.NO_WORKER: ErrorInfo(
        True, 3005, 503, "No media worker can take the call at the moment; try again."
    ),
    ErrorCode.OUT_OF_SEQUENCE: ErrorInfo(False, 3501, 409, "A request id or post number is not the next."),
    ErrorCode.NOT_FOUND: ErrorInfo(False, 3501, 404, "There is no such thing here."),
    ErrorCode.NOT_SEALED: ErrorInfo(
        False, 3501, 400, "In a sealed channel only sealed messages are sent and read."
    ),
    ErrorCode.STALE_TERM: ErrorInfo(
        False, 3501, 409, "It was said under a term that does not hold; details.term is the one that does."
    ),
    ErrorCode.MESSAGE_REFUSED: ErrorInfo(
        False, 3501, 422, "A check of the server refused the message; the text says why."
    ),
    ErrorCode.PROPOSAL_PENDING: ErrorInfo(
        True,
        3005,
        409,
        "Another mode is being proposed already; retry_after_ms says when that ends at the latest.",
    ),
    ErrorCode.TIMEOUT: ErrorInfo(True, 3001, 504, "No answer came in time; it may still have happened."),
    ErrorCode.CLOSED: ErrorInfo(False, 1000, 410, "The connection is closed."),
    ErrorCode.QUEUE_FULL: ErrorInfo(True, 3005, 503, "The offline queue is full; the message was not taken."),
    ErrorCode.CONNECT_FAILED: ErrorInfo(True, 3004, 503, "The server could not be reached."),
    ErrorCode.WRONG_KEY: ErrorInfo(False, 3501, 400, "A sealed message was sealed with another key."),
    ErrorCode.TAMPERED: ErrorInfo(
        False, 3501, 400, "A sealed message, or what stands around it, was changed on its way."
    ),
    ErrorCode.REPLAYED: ErrorInfo(False, 3501, 409, "A sealed message was shown a second time as a new one."),
    ErrorCode.REORDERED: ErrorInfo(
        False, 3501, 409, "Sealed messages of one sender came in another order than they were sent in."
    ),
}

NORMAL_CLOSURE: Final = 1000
"""Both sides are done (RFC 6455, section 7.4.1)."""


class ProtocolError(Exception):
    """
    A refusal with a stable code; becomes an `error` frame, a close code or a problem document.

    `message` is for people and may change; `details` is JSON-shaped and documented per code.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str = "",
        *,
        details: dict[str, Any] | None = None,
        retry_after_ms: int | None = None,
    ) -> None:
        self.code = code
        self.message = message or ERRORS[code].meaning
        self.details = details or {}
        self.retry_after_ms = retry_after_ms
        super().__init__(f"{code.value}: {self.message}")

    @property
    def info(self) -> ErrorInfo:
        """The row of the table for this code."""
        return ERRORS[self.code]


def may_reconnect(close_code: int) -> bool:
    """Whether a client that was closed with `close_code` should connect again by itself."""
    if 3500 <= close_code <= 3999:
        return False
    return close_code not in (NORMAL_CLOSURE, 1007, 1009)


def code_of_close(close_code: int) -> ErrorCode | None:
    """The error code whose own close code this is, if there is one."""
    return _BY_CLOSE_CODE.get(close_code)


_BY_CLOSE_CODE: Final[dict[int, ErrorCode]] = {}
for _code, _info in ERRORS.items():
    _BY_CLOSE_CODE.setdefault(_info.close_code, _code)

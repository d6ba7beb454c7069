"""
Who may try to get in: connects, and failed connects, counted per address.

Owns both counts and the log line about a refusal. Never looks at a credential, and never believes a header about
where a request comes from.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.signaling.limits import Limits
from peerbus.signaling.member import Peer
from peerbus.signaling.throttle import Throttle

_log: Final = logging.getLogger("peerbus.signaling")

_ADDRESSES_MAX: Final = 10_000
_COUNTED: Final = frozenset({ErrorCode.UNAUTHORIZED, ErrorCode.PROTOCOL_VIOLATION, ErrorCode.BAD_FRAME})
"""What guesses and broken programs look like; a key that has expired or was revoked is neither."""
_ABOUT_CREDENTIALS: Final = frozenset(
    {
        ErrorCode.UNAUTHORIZED,
        ErrorCode.EXPIRED,
        ErrorCode.REVOKED,
        ErrorCode.FORBIDDEN,
        ErrorCode.USED_UP,
    }
)


class Gate:
    """The counts of one server. Times are monotonic milliseconds."""

    def __init__(self, limits: Limits) -> None:
        per_s = limits.connects_per_address_per_s
        failed_per_min = limits.failed_connects_per_address_per_min
        self._connects: Final = Throttle(per_s, 2 * per_s)
        self._failures: Final = Throttle(failed_per_min / 60, failed_per_min)
        self._refused_per_note: Final = failed_per_min
        self._refused: OrderedDict[tuple[str, ErrorCode], int] = OrderedDict()
        self.on_refused: Callable[[Peer, ErrorCode, int], None] | None = None
        """Told of an address each time that so many of its credentials were refused for one reason as may be wrong in
        a minute, and how many that is."""

    def admit(self, peer: Peer, now_ms: int) -> None:
        """Counts a connect. Raises `ProtocolError` (`rate_limited`) when there are too many, or too many failed."""
        wait_ms = self._connects.take(peer.address or "", now_ms)
        if wait_ms:
            raise ProtocolError(
                ErrorCode.RATE_LIMITED, "Too many connects from this address.", retry_after_ms=wait_ms
            )
        self.check(peer, now_ms)

    def check(self, peer: Peer, now_ms: int) -> None:
        """Raises `ProtocolError` (`rate_limited`) while too many credentials from there were wrong."""
        wait_ms = self._failures.peek(peer.address or "", now_ms)
        if wait_ms:
            raise ProtocolError(
                ErrorCode.RATE_LIMITED, "Too many failed connects from this address.", retry_after_ms=wait_ms
            )

    def refused(self, peer: Peer, error: ProtocolError, now_ms: int) -> None:
        """A credential or a first frame was refused."""
        if error.code in _COUNTED:
            self._failures.take(peer.address or "", now_ms)
        if error.code in _ABOUT_CREDENTIALS:
            self._count_refused(peer, error.code)
        _log.info("connect refused: %s %s from %s", peer.correlation_id, error.code.value, peer.address)

    def _count_refused(self, peer: Peer, code: ErrorCode) -> None:
        key = (peer.address or "", code)
        count = self._refused.pop(key, 0) + 1
        if count < self._refused_per_note:
            self._refused[key] = count
            if len(self._refused) > _ADDRESSES_MAX:
                self._refused.popitem(last=False)
        elif self.on_refused is not None:
            self.on_refused(peer, code, count)

    def sweep(self, now_ms: int) -> None:
        """Forgets addresses that have been quiet."""
        self._connects.forget(now_ms)
        self._failures.forget(now_ms)

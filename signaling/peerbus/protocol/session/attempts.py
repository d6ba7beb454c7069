"""
When a client tries to connect again, how long an attempt may take, and when it gives up.

Owns these times and how many attempts have failed in a row. Never decides whether to try at all (that is `client`). All
times are in milliseconds. See PROTOCOL.md, section 7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from peerbus.protocol.messages import Error
from peerbus.protocol.session.backoff import reconnect_delay_ms
from peerbus.protocol.session.settings import ClientSettings


class Attempts:
    """Those of one session; `jitter` gives numbers in [0, 1). Each time has a meaning only while it is waited for."""

    def __init__(self, settings: ClientSettings, jitter: Callable[[], float]) -> None:
        self._settings: Final = settings
        self._jitter: Final = jitter
        self._failed = 0
        self._stable_at = 0
        self.retry_at = 0
        """When to open the next one."""
        self.ends_at = 0
        """When the present one has taken too long."""
        self.give_up_at: int | None = None
        """When it is enough; None: never, or not any more."""

    def begin(self, now: int) -> None:
        """The client wants to connect, for the first time."""
        if self._settings.give_up_after_ms is not None:
            self.give_up_at = now + self._settings.give_up_after_ms

    def opened(self, now: int) -> None:
        """An attempt begins."""
        self.ends_at = now + self._settings.attempt_timeout_ms

    def joined(self, now: int) -> None:
        """It has succeeded."""
        self.give_up_at = None
        self._stable_at = now + self._settings.stable_after_ms

    def lost(self, error: Error, now: int, *, was_open: bool) -> int:
        """It has not, or what came of it has ended; how long to wait. A session that lasted counts as a fresh start."""
        if was_open and now >= self._stable_at:
            self._failed = 0
        delay = self.delay(self._failed, error)
        self._failed += 1
        self.retry_at = now + delay
        return delay

    def delay(self, failed: int, error: Error) -> int:
        """How long to wait after so many failures: as long as the error says, if it does."""
        if isinstance(error.retry_after_ms, int):
            return error.retry_after_ms
        return reconnect_delay_ms(failed, self._jitter())

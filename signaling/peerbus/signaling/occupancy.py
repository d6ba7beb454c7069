"""
How many sessions and channels each project has, and whether there is room for one more.

Owns these counts and the refusals. Never admits anybody.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.signaling.limits import Limits
from peerbus.signaling.quota import Quota


class Occupancy:
    """The counts of one server; each change of them is told by whoever makes it."""

    def __init__(self, limits: Limits) -> None:
        self._limits: Final = limits
        self._sessions: Final[Counter[str]] = Counter()
        self._channels: Final[Counter[str]] = Counter()

    @property
    def is_empty(self) -> bool:
        """Whether nobody is here."""
        return not self._sessions and not self._channels

    def check_channels(self, here: int, project: str, quota: Quota) -> None:
        """Raises `ProtocolError` where there may be no more: `overloaded`, `quota_exceeded`. `here`: in all."""
        if here >= self._limits.channels:
            raise ProtocolError(ErrorCode.OVERLOADED, "The server has as many channels as it may have.")
        if quota.channels is not None and self._channels[project] >= quota.channels:
            raise ProtocolError(ErrorCode.QUOTA_EXCEEDED, "The project has as many channels as it may have.")

    def check_sessions(self, here: int, project: str, quota: Quota) -> None:
        """Raises `ProtocolError` where there may be no more: `quota_exceeded`, `overloaded`. `here`: in all."""
        if quota.sessions is not None and self._sessions[project] >= quota.sessions:
            raise ProtocolError(ErrorCode.QUOTA_EXCEEDED, "The project has as many sessions as it may have.")
        if here >= self._limits.sessions:
            raise ProtocolError(ErrorCode.OVERLOADED, "The server has as many sessions as it may have.")

    def session_begun(self, project: str) -> None:
        """One more."""
        self._sessions[project] += 1

    def session_ended(self, project: str) -> None:
        """One less."""
        _take(self._sessions, project)

    def channel_opened(self, project: str) -> None:
        """One more."""
        self._channels[project] += 1

    def channel_closed(self, project: str) -> None:
        """One less."""
        _take(self._channels, project)


def _take(counts: Counter[str], project: str) -> None:
    # A project of which nothing is left is not remembered either.
    if counts[project] > 1:
        counts[project] -= 1
    else:
        del counts[project]

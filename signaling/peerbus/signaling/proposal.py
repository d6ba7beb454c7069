"""
One mode that was proposed to a group, until it holds or is rolled back.

Owns who has answered and how long is waited. Never decides what becomes of it (that is `group`). Times are monotonic
milliseconds. See PROTOCOL.md, section 16.
"""

from __future__ import annotations

from typing import Final

from peerbus.protocol.groups import PROPOSAL_MS, Mode

AUTO: Final = "auto"
"""Who proposes where the server chooses."""


class Proposal:
    """Every member answers it; a newcomer gets as long as the others had, but nobody makes it last for ever."""

    __slots__ = ("_latest_ms", "answered", "by", "deadline_ms", "host", "mode", "reason", "term")

    def __init__(self, mode: Mode, term: int, by: str, reason: str, host: str | None, now_ms: int) -> None:
        self.mode: Final[Mode] = mode
        self.term: Final = term
        self.by: Final = by
        self.reason: Final = reason
        self.host: Final = host
        """Who is to be host, in that mode."""
        self.answered: Final[set[str]] = set()
        """The identities that are ready, or whose objection does not count any more."""
        self.deadline_ms = now_ms + PROPOSAL_MS
        self._latest_ms: Final = now_ms + 2 * PROPOSAL_MS

    @property
    def is_auto(self) -> bool:
        """Whether it is the server's own."""
        return self.by == AUTO

    def entered(self, identity: str, now_ms: int) -> None:
        """A newcomer has to be ready, too."""
        self.answered.discard(identity)
        self.deadline_ms = min(now_ms + PROPOSAL_MS, self._latest_ms)

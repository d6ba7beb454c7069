"""
The call of one channel, as far as the server knows it: whose session of an identity is in it.

Owns that, and whether an identity is out of the call when a session ends. Never speaks to anybody (that is `calls`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from peerbus.protocol.errors import ErrorCode
from peerbus.signaling.member import Member

_ENDS_THE_IDENTITY: Final = frozenset({ErrorCode.KICKED, ErrorCode.EXPIRED, ErrorCode.REVOKED})
"""Where it is not known which session of an identity is in a call, these end it; another offers anew."""


class Call:
    """Begins when the channel is placed on a worker, and ends with that."""

    __slots__ = ("_lineages", "placed_at_ms", "roster_at_ms")

    def __init__(self, now_ms: int) -> None:
        self._lineages: Final[dict[str, bytes]] = {}
        self.placed_at_ms = now_ms
        self.roster_at_ms: int | None = None
        """When its worker is to be told who is still in the channel; after an announcement."""

    def offered(self, member: Member) -> None:
        """Of several sessions that bear a claimed name the one that offered last is in the call."""
        self._lineages[member.identity] = member.lineage

    def is_for(self, member: Member) -> bool:
        """Whether what the call says to, or hears of, an identity is this session's business."""
        # Where nobody has offered since the server began, it may be any of them.
        return self._lineages.get(member.identity, member.lineage) == member.lineage

    def left(self, member: Member, code: ErrorCode) -> bool:
        """A session has ended; whether its identity is out of the call by that."""
        if not self.is_for(member):
            return False
        was_known = self._lineages.pop(member.identity, None) is not None
        return was_known or code in _ENDS_THE_IDENTITY or member.name not in member.channel.by_name

    def forget_replaced(self, present: Mapping[bytes, Member]) -> list[str]:
        """The identities whose session in the call was replaced: on another device, or by one of another identity."""
        gone = [
            identity
            for identity, lineage in self._lineages.items()
            if lineage not in present or present[lineage].identity != identity
        ]
        for identity in gone:
            del self._lineages[identity]
        return gone

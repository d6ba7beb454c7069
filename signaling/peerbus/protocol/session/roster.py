"""
Who is in the channel, as this client knows it.

Owns the member list and the differences between two of them. Never asks for it. See PROTOCOL.md, section 5.
"""

from __future__ import annotations

import msgspec

from peerbus.protocol.messages import Departure, Member, Presence


class Roster:
    """The members by session id; the client itself is among them if the server lists it."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}

    @property
    def members(self) -> list[Member]:
        """A copy, by join order."""
        return sorted(self._members.values(), key=lambda member: (member.order, member.session_id))

    def apply(self, presence: Presence) -> None:
        """What the server pushed."""
        for member in (*presence.joined, *presence.updated):
            self._members[member.session_id] = member
        for departure in presence.left:
            self._members.pop(departure.session_id, None)

    def replace(self, members: list[Member], own_sessions: set[str]) -> Presence:
        """
        Takes a full list in place of the old one; gives what changed, without the client's own sessions.

        Who is gone left at a moment nobody saw, so the reason is `lost`.
        """
        old = self._members
        self._members = {member.session_id: member for member in members}
        others = [member for member in members if member.session_id not in own_sessions]
        return Presence(
            joined=[member for member in others if member.session_id not in old],
            updated=[m for m in others if m.session_id in old and m != old[m.session_id]],
            left=[
                Departure(session_id=member.session_id, name=member.name, reason="lost")
                for member in old.values()
                if member.session_id not in self._members and member.session_id not in own_sessions
            ],
        )


def is_empty(presence: Presence) -> bool:
    """Whether nothing changed."""
    return presence == msgspec.structs.replace(presence, joined=[], updated=[], left=[])

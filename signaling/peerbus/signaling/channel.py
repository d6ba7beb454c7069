"""
One channel while somebody is in it, and for a while after.

Owns its members by name, session and lineage, the join order, who was kicked, and the presence changes not told
yet. Never touches the log or a connection.
"""

from __future__ import annotations

from typing import Final

from peerbus.protocol.messages import ChannelInfo, Departure, Presence
from peerbus.protocol.messages import Member as MemberInfo
from peerbus.signaling.log.interface import ChannelKey, ChannelState
from peerbus.signaling.member import DepartureReason, Member
from peerbus.signaling.quota import Quota
from peerbus.signaling.rate import SharedRate

_ANNOUNCED_ORDER_MAX: Final = 1 << 31
"""Beyond it an announced join order is not believed: the numbers that follow it must fit a browser's."""


class Channel:
    """The live state of a channel; what outlives it stands in the log."""

    __slots__ = (
        "_joined",
        "_last_order",
        "_left",
        "_updated",
        "by_lineage",
        "by_name",
        "changes_under_way",
        "claims",
        "epoch",
        "has_password",
        "head",
        "is_locked",
        "key",
        "kicked",
        "members",
        "mode",
        "name",
        "project",
        "quota",
        "rate",
        "resting_since_ms",
        "tail",
    )

    def __init__(
        self,
        key: ChannelKey,
        state: ChannelState,
        project: str,
        quota: Quota,
        *,
        has_password: bool,
        rate: SharedRate,
    ) -> None:
        self.key: Final = key
        self.project: Final = project
        self.quota: Final = quota
        self.name: Final = state.name
        self.mode: Final = state.mode
        self.has_password: Final = has_password
        self.rate: Final = rate
        """What all its members together may send."""
        self.epoch: Final = state.epoch
        self.head = state.head
        self.tail = state.tail
        self.is_locked = state.locked
        self.members: Final[dict[str, Member]] = {}
        self.by_name: Final[dict[str, list[Member]]] = {}
        """The sessions that bear a name, the oldest first: one, unless the name is claimed."""
        self.claims = state.claims
        """The identities that are claimed here, whether they are here or not."""
        self.by_lineage: Final[dict[bytes, Member]] = {}
        self.kicked: Final[set[str]] = set()
        self.changes_under_way = 0
        """Appends and locks that the log has not answered yet: `head` and `is_locked` may be behind it."""
        self.resting_since_ms: int | None = None
        """Since when nobody has been here and no change has been under way."""
        self._last_order = 0
        self._joined: dict[str, MemberInfo] = {}
        self._updated: dict[str, MemberInfo] = {}
        self._left: list[Departure] = []

    def note_claims(self, claims: frozenset[str]) -> None:
        """Identities that the log knows to be claimed."""
        if not claims <= self.claims:
            self.claims |= claims

    def trim_below(self) -> int | None:
        """The offset below which the project's quota wants messages gone; None while there is room."""
        kept = self.quota.messages_per_channel
        if kept is None or self.head - self.tail + 1 <= kept + kept // 8:
            return None
        return self.head - kept + 1

    @property
    def info(self) -> ChannelInfo:
        """What the members know about the channel."""
        return ChannelInfo(
            id=self.key.channel_id,
            name=self.name,
            mode="sealed" if self.mode == "sealed" else "open",
            scope=self.key.scope,
            has_password=self.has_password,
            is_locked=self.is_locked,
        )

    def next_order(self, announced: int) -> int:
        """The join order of a newcomer: the one it announces (0: none) if that is free, or the next."""
        if 0 < announced <= _ANNOUNCED_ORDER_MAX and all(
            member.order != announced for member in self.members.values()
        ):
            self._last_order = max(self._last_order, announced)
            return announced
        self._last_order += 1
        return self._last_order

    def add(self, member: Member) -> None:
        """A new member; told to the others by the next `presence_to_tell`."""
        self.members[member.session.session_id] = member
        self.by_name.setdefault(member.name, []).append(member)
        self.by_lineage[member.lineage] = member
        self._joined[member.session.session_id] = member.info

    def remove(self, member: Member, reason: DepartureReason) -> None:
        """The member is gone."""
        session_id = member.session.session_id
        del self.members[session_id]
        bearers = self.by_name[member.name]
        bearers.remove(member)
        if not bearers:
            del self.by_name[member.name]
        del self.by_lineage[member.lineage]
        self._updated.pop(session_id, None)
        # Told even where the join was not told yet: the newcomers of the same moment know it from their snapshot.
        self._joined.pop(session_id, None)
        self._left.append(Departure(session_id=session_id, name=member.name, reason=reason))

    def changed(self, member: Member) -> None:
        """Attributes or state of a member are other than before."""
        session_id = member.session.session_id
        if session_id in self._joined:
            self._joined[session_id] = member.info
        else:
            self._updated[session_id] = member.info

    def presence_to_tell(self) -> Presence | None:
        """What changed since the last call, as one frame."""
        if not (self._joined or self._updated or self._left):
            return None
        presence = Presence(
            joined=list(self._joined.values()), updated=list(self._updated.values()), left=self._left
        )
        self._joined = {}
        self._updated = {}
        self._left = []
        return presence

    def snapshot(self) -> list[MemberInfo]:
        """Everyone who is here, by join order."""
        return [member.info for member in sorted(self.members.values(), key=lambda member: member.order)]

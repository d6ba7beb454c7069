"""
A member of a group of peers, as the server knows it.

Owns what the member said of itself and what became of its connection. Never decides anything. Times are monotonic
milliseconds. See PROTOCOL.md, section 16.
"""

from __future__ import annotations

from typing import Final

from peerbus.protocol.groups import GroupMember, Mode

ALL_MODES: Final[tuple[Mode, ...]] = ("mesh", "host", "relay", "datachannel", "sfu")


class Participant:
    """One identity, from entering the group to leaving it."""

    __slots__ = (
        "has_media",
        "identity",
        "is_away",
        "is_cut_off",
        "is_silent",
        "modes",
        "name",
        "order",
        "unreachable",
    )

    def __init__(self, identity: str, order: int) -> None:
        self.identity: Final = identity
        self.order: Final = order
        self.name = ""
        self.modes: frozenset[Mode] = frozenset()
        self.has_media = False
        self.is_away = False
        """Its connection is lost; the session may still come back."""
        self.is_silent = False
        """It let a host's lease lapse, and has not been heard of since."""
        self.is_cut_off = False
        """The host says that it does not answer: nothing can be replicated to it, and others wait for that."""
        self.unreachable: Final[dict[str, int]] = {}
        """The members to whom it can't make a link, each until when that is believed."""

    @property
    def info(self) -> GroupMember:
        """The member as the others see it."""
        modes = [mode for mode in ALL_MODES if mode in self.modes]
        return GroupMember(
            identity=self.identity, name=self.name, order=self.order, modes=modes, has_media=self.has_media
        )

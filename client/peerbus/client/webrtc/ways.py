"""
A way: how one mode carries frames between this member and the others.

Owns the interface that all of them have, so that one can take the place of another while messages are under way. A way
never looks into a frame, never repeats one, and may lose what it took when one of its paths is replaced: whoever sends
(`peer_port`) notices by the path's name, and sends again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc.peer_delivery import Outgoing
from peerbus.protocol.groups import GroupMember, Mode


class Rooms(Struct, frozen=True, kw_only=True):
    """How many bytes may go onto a path now; None: nothing at all."""

    reliable: int | None = None
    lossy: int | None = None


NO_ROOM = Rooms()


class WayEvents(Struct, frozen=True, kw_only=True):
    """What a way tells."""

    on_frame: Callable[[str, bytes], None]
    """A frame of this identity came."""
    on_change: Callable[[], None]
    """A peer is reached now or not any more, or there is room again."""
    on_lost: Callable[[Sequence[str]], None]
    """What these peers sent by this way may be lost."""
    on_error: Callable[[PeerbusError], None]


class Way(Protocol):
    """See the module."""

    @property
    def mode(self) -> Mode:
        """The mode that it is of."""

    @property
    def failure(self) -> PeerbusError | None:
        """Why it can't work here, where it can't."""

    def follow(self, members: Mapping[str, GroupMember], order: int) -> None:
        """These are to be reached; `order` is the own place among them."""

    def path_of(self, peer: str) -> str | None:
        """
        The name of the path to a peer; None while there is none.

        Peers who share one are sent one frame together. A path that was replaced has another name.
        """

    def can_carry(self, peer: str) -> bool:
        """Whether the peer is worth waiting for; if not, another way may carry what is for it meanwhile."""

    def rooms(self, path: str) -> Rooms:
        """How much may go there."""

    def send(self, path: str, frames: Sequence[Outgoing]) -> None:
        """Takes frames, for which there was room."""

    async def round_trip_ms(self, peer: str) -> float | None:
        """Asks a peer once on the link to it; None without one, or without an answer in 0.5 s."""

    def retire(self) -> None:
        """Another way takes its place: what there is still takes frames in, and nothing is made anew."""

    def revive(self) -> None:
        """It is wanted again after all; `follow` comes next."""

    async def close(self) -> None:
        """Nothing of it is left."""

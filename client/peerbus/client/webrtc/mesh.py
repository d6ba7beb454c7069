"""
The negotiation of one link between two peers (PROTOCOL.md, section 16).

Owns who offers, which link and which description count, when a link is replaced or waited for, and when the other side
counts as unreachable. Never touches a connection, never sends: it says what is to be done, in order. Ids and time are
passed in.

The member of lower order always offers, so that no two offers can cross (RFC 3264); candidates trickle (RFC 8838). A
link that breaks is replaced by another: aiortc can't restart ICE.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from msgspec import UNSET, Struct

from peerbus.protocol.groups import (
    LINK_WITHIN_MS,
    PeerAnswer,
    PeerCandidate,
    PeerClose,
    PeerOffer,
    PeerSignal,
    PeerWanted,
)
from peerbus.protocol.signals import MediaKind, OfferedTrack

UNSURE_MS: Final = 1_500
"""A path that is away for shorter than this comes back by itself often enough."""
RESTART_WITHIN_MS: Final = 4_000
"""How long an ICE restart of the other side may take."""
_FIRST_WAIT_MS: Final = 500
_LONGEST_WAIT_MS: Final = 5_000
_UNREACHABLE_AFTER: Final = 2
"""After so many failures in a row the other side counts as unreachable."""
_EARLY_MAX: Final = 64

LinkPath: TypeAlias = Literal["up", "unsure", "down"]
"""What a connection says of its way to the other side."""


class Open(Struct, frozen=True):
    """A new connection takes the place of any other."""

    link: str


class MakeRoom(Struct, frozen=True):
    """The offers of this and of later links have a section to receive each of these."""

    media: list[MediaKind]


class MakeOffer(Struct, frozen=True):
    """An offer is to be made; `described` follows."""


class MakeAnswer(Struct, frozen=True):
    """An offer is to be answered; `described` and `applied` follow."""

    offer: PeerOffer


class Apply(Struct, frozen=True):
    """An answer came; `applied` follows."""

    answer: PeerAnswer


class AddCandidate(Struct, frozen=True):
    """A candidate of the other side."""

    candidate: PeerCandidate


class Shut(Struct, frozen=True):
    """The connection is to be closed."""


class Say(Struct, frozen=True):
    """To the other side."""

    signal: PeerSignal


class Reachable(Struct, frozen=True):
    """The other side can't be reached directly, or can again."""

    is_reachable: bool


Step: TypeAlias = Open | MakeRoom | MakeOffer | MakeAnswer | Apply | AddCandidate | Shut | Say | Reachable
_Phase: TypeAlias = Literal["idle", "connecting", "up", "unsure", "restarting", "waiting", "closed"]


class MeshLink:
    """See the module."""

    def __init__(self, *, is_offerer: bool, new_id: Callable[[], str]) -> None:
        """`is_offerer`: this side has the lower order; `new_id` gives an id that nobody has used."""
        self.link = ""
        """The link that counts; empty if there is none."""
        self.deadline_ms: int | None = None
        """When `time_passed` is to be called."""
        self.is_unreachable = False
        """It was tried often enough."""
        self.is_offerer: Final = is_offerer
        self._new_id: Final = new_id
        self._phase: _Phase = "idle"
        self._failures = 0
        self._number = 0
        self._is_offered = False
        self._is_wanted = False
        self._has_description = False
        self._early: list[PeerCandidate] = []
        self._media: list[MediaKind] = []

    @property
    def is_up(self) -> bool:
        """Whether the link stands."""
        return self._phase in ("up", "unsure")

    @property
    def has_failed(self) -> bool:
        """Whether the last attempt came to nothing."""
        return self._failures > 0

    def begin(self, now_ms: int) -> list[Step]:
        """The two are in a mesh from now on."""
        if self._phase != "idle":
            return []
        if self.is_offerer:
            return self._open(now_ms)
        self._to("connecting", now_ms + LINK_WITHIN_MS)
        return []

    def want(self, media: list[MediaKind]) -> list[Step]:
        """What is sent on the link is other than before; `media` is all that is to be sent."""
        self._media = media
        if self.link == "" or self._phase == "closed":
            return []
        if not self.is_offerer:
            return [Say(PeerWanted(link=self.link, media=self._media))]
        self._is_wanted = True
        return self._next()

    def signalled(self, signal: PeerSignal, now_ms: int) -> list[Step]:
        """The other side says something."""
        if self._phase in ("closed", "idle"):
            return []
        if isinstance(signal, PeerOffer):
            return [] if self.is_offerer else self._offered(signal, now_ms)
        if isinstance(signal, PeerAnswer):
            return self._answered(signal)
        if isinstance(signal, PeerWanted):
            return self._other_wants(signal, now_ms) if self.is_offerer else []
        if signal.link != self.link:
            return []
        if isinstance(signal, PeerClose):
            return self._lost(now_ms)
        if self._has_description:
            return [AddCandidate(signal)]
        if len(self._early) < _EARLY_MAX:
            self._early.append(signal)
        return []

    def described(self, link: str, sdp: str, tracks: list[OfferedTrack]) -> list[Step]:
        """The description that was asked for is the local one now."""
        if link != self.link:
            return []
        if self.is_offerer:
            return [Say(PeerOffer(link=link, number=self._number, sdp=sdp, tracks=tracks))]
        return [Say(PeerAnswer(link=link, number=self._number, sdp=sdp, tracks=tracks))]

    def applied(self, link: str) -> list[Step]:
        """The description of the other side was taken."""
        if link != self.link:
            return []
        self._has_description = True
        early, self._early = self._early, []
        return [*(AddCandidate(candidate) for candidate in early), *self._next()]

    def path_is(self, link: str, path: LinkPath, now_ms: int) -> list[Step]:
        """The connection says how its path is."""
        if link != self.link or self._phase in ("closed", "waiting"):
            return []
        if path == "up":
            self._to("up")
            self._failures = 0
            was_unreachable, self.is_unreachable = self.is_unreachable, False
            return [Reachable(is_reachable=True)] if was_unreachable else []
        if path == "unsure":
            if self._phase == "up":
                self._to("unsure", now_ms + UNSURE_MS)
            return []
        return [] if self._phase == "restarting" else self._failed(now_ms)

    def broke(self, link: str, now_ms: int) -> list[Step]:
        """The connection could not do what was asked for, or ended."""
        if link != self.link or self._phase in ("closed", "waiting"):
            return []
        return self._failed(now_ms)

    def time_passed(self, now_ms: int) -> list[Step]:
        """The deadline may have come."""
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return []
        self.deadline_ms = None
        return self._again(now_ms) if self._phase == "waiting" else self._failed(now_ms)

    def close(self, reason: str) -> list[Step]:
        """The two are in no mesh any more."""
        if self._phase == "closed":
            return []
        link, self.link = self.link, ""
        self._to("closed")
        return [Say(PeerClose(link=link, reason=reason)), Shut()] if link else []

    # --- descriptions -------------------------------------------------------------------------------------------

    def _offered(self, offer: PeerOffer, now_ms: int) -> list[Step]:
        steps: list[Step] = []
        if offer.link != self.link:
            self._renew(offer.link)
            self._to("connecting", now_ms + LINK_WITHIN_MS)
            steps.append(Open(offer.link))
        elif offer.number <= self._number:
            return []
        self._number = offer.number
        if offer.is_restart:
            self._to("restarting", now_ms + RESTART_WITHIN_MS)
        return [*steps, MakeAnswer(offer)]

    def _answered(self, answer: PeerAnswer) -> list[Step]:
        if not self._is_offered or answer.link != self.link or answer.number != self._number:
            return []
        self._is_offered = False
        return [Apply(answer)]

    def _next(self) -> list[Step]:
        if not self.is_offerer or self._is_offered or not self._is_wanted:
            return []
        self._is_offered = True
        self._is_wanted = False
        self._number += 1
        return [MakeOffer()]

    def _other_wants(self, signal: PeerWanted, now_ms: int) -> list[Step]:
        room: list[Step] = [MakeRoom(signal.media)]
        if signal.link is UNSET:
            # Both found it broken: one new link will do.
            return room if self._phase == "connecting" else [*room, *self._open(now_ms)]
        if signal.link != self.link:
            return room
        self._is_wanted = True
        return [*room, *self._next()]

    # --- links --------------------------------------------------------------------------------------------------

    def _open(self, now_ms: int) -> list[Step]:
        self._renew(self._new_id())
        self._to("connecting", now_ms + LINK_WITHIN_MS)
        self._is_wanted = True
        return [Open(self.link), *self._next()]

    def _renew(self, link: str) -> None:
        self.link = link
        self._number = 0
        self._is_offered = self._is_wanted = self._has_description = False
        self._early = []

    def _lost(self, now_ms: int) -> list[Step]:
        """The other side closed it."""
        self._to("waiting", now_ms + _FIRST_WAIT_MS)
        self.link = ""
        return [Shut()]

    def _failed(self, now_ms: int) -> list[Step]:
        was_up = self._failures == 0 and self._phase != "connecting"
        if not was_up:
            self._failures += 1
        steps: list[Step] = [Shut()]
        if self.link and not self.is_offerer:
            # Who offered would wait for it in vain, and answer no wish for another meanwhile.
            steps.append(Say(PeerClose(link=self.link, reason="failed")))
        self.link = ""
        if self._failures >= _UNREACHABLE_AFTER and not self.is_unreachable:
            self.is_unreachable = True
            steps.append(Reachable(is_reachable=False))
        if self._failures <= 1:
            return [*steps, *self._again(now_ms)]
        wait_ms = min(_LONGEST_WAIT_MS, _FIRST_WAIT_MS << min(self._failures - 2, 8))
        self._to("waiting", now_ms + wait_ms)
        return steps

    def _again(self, now_ms: int) -> list[Step]:
        if self.is_offerer:
            return self._open(now_ms)
        self._to("connecting", now_ms + LINK_WITHIN_MS)
        return [Say(PeerWanted(media=self._media))]

    def _to(self, phase: _Phase, deadline_ms: int | None = None) -> None:
        self._phase = phase
        self.deadline_ms = deadline_ms

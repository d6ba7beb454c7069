"""
What has been offered and answered, what each slot carries, and what a client has to do about the SFU's signals.

Owns the counting of offers, the terms and versions below which signals are refused, and the way from slot bindings to
tracks. Never makes or applies a description (`peer`) and never sends anything. The client always offers, the SFU
always answers (RFC 3264, RFC 8829); see `peerbus.protocol.signals` for the contents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from msgspec import Struct, UnsetType

from peerbus.client.webrtc.description import sections_of
from peerbus.protocol import signals
from peerbus.protocol.errors import ERRORS, ErrorCode
from peerbus.protocol.signals import MediaKind, OfferedTrack, Publication

FIRST_SLOTS: Final[dict[MediaKind, int]] = {"video": 4, "audio": 2}
MOST_SLOTS: Final[dict[MediaKind, int]] = {"video": 32, "audio": 16}


# --- what comes of a signal ---------------------------------------------------------------------------------------


class Answered(Struct, frozen=True):
    """The answer to the newest offer."""

    sdp: str


class Refused(Struct, frozen=True, kw_only=True):
    """A signal could not be followed; `is_offer`: it was the newest offer, so no answer to it comes."""

    code: str
    message: str
    details: dict[str, object]
    is_offer: bool
    is_first: bool
    """The refused offer would have opened the connection."""


class TrackStarted(Struct, frozen=True):
    """A publication is received now, on the slot `mid`."""

    publication: Publication
    mid: str


class TrackMoved(Struct, frozen=True):
    """A publication that was received already comes on another slot (of another connection, perhaps)."""

    publication: str
    mid: str


class TrackEnded(Struct, frozen=True):
    """A publication is not received any more."""

    publication: str


class PublicationChanged(Struct, frozen=True):
    """Something about a publication that is received changed, such as `is_muted`."""

    publication: Publication


class CallersChanged(Struct, frozen=True):
    """Somebody came, went, or publishes other things than before."""


class SpeakersChanged(Struct, frozen=True):
    """Who speaks now, the loudest first."""

    speakers: list[signals.Speaker]


class SlotsWanted(Struct, frozen=True):
    """There should be as many slots as this, so that everything finds one."""

    counts: dict[MediaKind, int]


class Replace(Struct, frozen=True):
    """The connection is of no use any more: a new one, under another id, has to take its place."""

    reason: str


class Finished(Struct, frozen=True):
    """The SFU closed the connection, and a new one would be refused as well."""

    code: str
    message: str


Event: TypeAlias = (
    Answered
    | Refused
    | TrackStarted
    | TrackMoved
    | TrackEnded
    | PublicationChanged
    | CallersChanged
    | SpeakersChanged
    | SlotsWanted
    | Replace
    | Finished
)


class Negotiation:
    """
    One client's view of one call, across all its connections.

    A publication that is received keeps its track when the connection is replaced, if the new one carries it at once.
    """

    def __init__(self) -> None:
        self.connection = ""
        """The id of the connection that counts; empty before the first."""
        self.number = 0
        """The number of the newest offer of this connection."""
        self.callers: dict[str, signals.Caller] = {}
        """Everyone in the call, by identity."""
        self.publications: dict[str, Publication] = {}
        """Everything published in the call, by its full id."""
        self._term = 0
        self._publications_version = 0
        self._slots_version = 0
        self._is_awaiting_answer = False
        self._bindings: dict[str, str] | None = None
        """Publications by mid; None until this connection heard of them."""
        self._wanting = 0
        self._slots: dict[MediaKind, int] = {"video": 0, "audio": 0}
        self._received: dict[str, str | None] = {}
        """The slot of each publication that is received; None while a new connection has not said."""

    def begin(self, connection: str) -> None:
        """A new connection takes the place of the one before."""
        self.connection = connection
        self.number = 0
        self._publications_version = 0
        self._slots_version = 0
        self._is_awaiting_answer = False
        self._bindings = None
        self._wanting = 0
        self._received = dict.fromkeys(self._received)

    def offer(self, sdp: str, tracks: Mapping[str, OfferedTrack]) -> signals.Offer:
        """
        The signal for the next offer.

        `tracks` says by mid what is sent; sending sections that are not in it are left out. Receiving sections are
        slots, in the order in which they stand.
        """
        self.number += 1
        self._is_awaiting_answer = True
        sections = sections_of(sdp)
        slots = [section for section in sections if section.direction == "recvonly"]
        for kind in self._slots:
            self._slots[kind] = sum(1 for slot in slots if slot.kind == kind)
        return signals.Offer(
            connection=self.connection,
            number=self.number,
            sdp=sdp,
            tracks=[tracks[section.mid] for section in sections if section.mid in tracks],
            slots=[slot.mid for slot in slots],
        )

    def receive(self, signal: signals.SfuSignal, own_identity: str) -> list[Event]:
        """What follows from a signal of the SFU; nothing from one of another connection, an older term or version."""
        if isinstance(signal, signals.Answer):
            return self._answered(signal, own_identity)
        if isinstance(signal, signals.Refused):
            return self._refused(signal)
        if isinstance(signal, signals.Publications):
            return self._published(signal, own_identity)
        if isinstance(signal, signals.Slots):
            return self._bound(signal, own_identity)
        if isinstance(signal, signals.Speakers):
            return [SpeakersChanged(signal.speakers)]
        if isinstance(signal, signals.Restart):
            return [Replace(signal.reason)] if self.connection and self._takes_term(signal.term) else []
        return self._ended(signal)

    def finish(self) -> list[Event]:
        """The call is over for this client: nothing is received any more."""
        self.connection = ""
        self.callers, self.publications, self._bindings = {}, {}, None
        ended: list[Event] = [TrackEnded(publication) for publication in self._received]
        self._received = {}
        return ended

    # --- one signal each ----------------------------------------------------------------------------------------

    def _answered(self, answer: signals.Answer, own_identity: str) -> list[Event]:
        if answer.connection != self.connection or answer.number != self.number:
            return []
        if not self._is_awaiting_answer or not self._takes_term(answer.term):
            return []
        self._is_awaiting_answer = False
        return [Answered(answer.sdp), *self._slots_wanted(own_identity)]

    def _refused(self, refusal: signals.Refused) -> list[Event]:
        if refusal.connection != self.connection:
            return []
        is_offer = refusal.number == self.number and self._is_awaiting_answer
        if not isinstance(refusal.number, UnsetType) and not is_offer:
            return []
        if is_offer:
            self._is_awaiting_answer = False
        return [
            Refused(
                code=refusal.code,
                message=refusal.message,
                details=dict(refusal.details),
                is_offer=is_offer,
                is_first=is_offer and refusal.number == 1,
            )
        ]

    def _published(self, signal: signals.Publications, own_identity: str) -> list[Event]:
        is_newer = signal.term > self._term or signal.version > self._publications_version
        if not self._takes_term(signal.term) or not is_newer:
            return []
        self._publications_version = signal.version
        before = self.publications
        self.publications = {}
        self.callers = {caller.identity: caller for caller in signal.callers}
        for entry in signal.publications:
            # Frames are sealed under the publisher's name and the full id, and so are opened whoever the SFU says they
            # come from: what does not bear the names that it would be shown under is left out.
            if not entry.publication.startswith(f"{entry.participant}/"):
                continue
            caller = signals.Caller(identity=entry.participant, name=entry.name)
            if self.callers.setdefault(entry.participant, caller).name == entry.name:
                self.publications[entry.publication] = entry
        changed: list[Event] = [
            PublicationChanged(entry)
            for name, entry in self.publications.items()
            if name in self._received and before.get(name) != entry
        ]
        return [CallersChanged(), *changed, *self._reconcile(), *self._slots_wanted(own_identity)]

    def _bound(self, signal: signals.Slots, own_identity: str) -> list[Event]:
        if signal.connection != self.connection or signal.version <= self._slots_version:
            return []
        self._slots_version = signal.version
        self._bindings = {
            binding.mid: binding.publication
            for binding in signal.bindings
            if not isinstance(binding.publication, UnsetType)
        }
        self._wanting = signal.wanting
        return [*self._reconcile(), *self._slots_wanted(own_identity)]

    def _ended(self, signal: signals.Ended) -> list[Event]:
        if signal.connection != self.connection:
            return []
        if is_final(signal.code):
            return [Finished(signal.code, signal.message)]
        return [Replace(f"{signal.code}: {signal.message}")]

    # --- what follows -------------------------------------------------------------------------------------------

    def _takes_term(self, term: int) -> bool:
        """Whether a signal of this term counts; a higher one makes all lower ones old."""
        if term > self._term:
            self._term = term
            self._publications_version = 0
        return term == self._term

    def _reconcile(self) -> list[Event]:
        """The way from what is received to what the slots carry now. A track ends before another takes its slot."""
        if self._bindings is None:
            return []
        wanted = {name: mid for mid, name in self._bindings.items() if name in self.publications}
        ended = [name for name in self._received if name not in wanted]
        events: list[Event] = [TrackEnded(name) for name in ended]
        for name in ended:
            del self._received[name]
        for name, mid in wanted.items():
            if name not in self._received:
                events.append(TrackStarted(self.publications[name], mid))
            elif self._received[name] != mid:
                events.append(TrackMoved(name, mid))
            self._received[name] = mid
        return events

    def _slots_wanted(self, own_identity: str) -> list[Event]:
        """More slots of the kinds that have too few: twice as many, until there are enough, or no more are allowed."""
        if self._wanting == 0 or self._is_awaiting_answer:
            return []
        counts: dict[MediaKind, int] = {}
        for kind, count in self._slots.items():
            others = sum(
                1
                for entry in self.publications.values()
                if entry.media == kind and entry.participant != own_identity
            )
            grown = max(count, 1)
            while grown < min(others, MOST_SLOTS[kind]):
                grown = min(grown * 2, MOST_SLOTS[kind])
            counts[kind] = max(count, grown) if others > count else count
        return [SlotsWanted(counts)] if counts != self._slots else []


def is_final(code: str) -> bool:
    """Whether a new connection would end in the same way; codes that are not known here may pass."""
    try:
        return not ERRORS[ErrorCode(code)].is_retryable
    except ValueError:
        return False

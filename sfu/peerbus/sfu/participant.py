"""
One participant of a room: what its offers agreed on, and what it publishes and receives by them.

Owns the state between offer and offer: which m-line is which publication, which is a slot and on which SSRCs, and the
data that waits for it. What an offer may ask for is checked here; nothing changes if it is refused. Never decides what
a slot carries (`router`) and never tells anybody anything (`room`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from msgspec import UNSET, Struct

from peerbus.protocol import signals
from peerbus.protocol.grants import Operation
from peerbus.protocol.signals import MediaKind, Offer, OfferedTrack, Source
from peerbus.sfu.connection import PeerConnection
from peerbus.sfu.data_queue import DataQueue
from peerbus.sfu.dtls import DataChannel
from peerbus.sfu.engine import LegId, LegSpec, StreamCodec, StreamId, StreamSpec
from peerbus.sfu.negotiation import AgreedSection, SlotSources, agree, sealable
from peerbus.sfu.sdp import Description

TRACKS_MAX: Final = 16
SLOTS_MAX: Final = 48
_PUBLICATION_CHARS_MAX: Final = 64


class Refusal(Exception):
    """An offer cannot be followed. `code` is of `signals.Refused`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code: Final = code
        self.message: Final = message


class Published(Struct):
    """A publication of this participant."""

    id: str
    """`<identity>/<the client's own id>`."""
    mid: str
    media: MediaKind
    source: Source
    is_muted: bool
    is_sealed: bool = False
    stream: StreamId | None = None


class Slot(Struct):
    """A receiving m-line."""

    mid: str
    media: MediaKind
    number: int
    sources: SlotSources
    leg: LegId | None = None


class Plan(Struct, frozen=True):
    """What an offer comes to, before any of it is done."""

    agreed: list[AgreedSection]
    tracks: dict[str, OfferedTrack]
    """By mid."""
    slots: list[str]


class Participant:
    """See the module. `new_ssrc` draws an SSRC that is not in use."""

    def __init__(self, who: signals.Participant, new_ssrc: Callable[[], int]) -> None:
        self.who = who
        self.connection_id = ""
        self.number = 0
        self.connection: PeerConnection | None = None
        self.is_connected = False
        self.published: dict[str, Published] = {}
        """By the client's own id."""
        self.slots: dict[str, Slot] = {}
        self.retired: list[LegId] = []
        """Legs of slots that a later offer did not name any more."""
        self.slots_version = 0
        self.wanting_told = 0
        self.agreed: dict[str, AgreedSection] = {}
        self.channels: dict[str, DataChannel] = {}
        self.data: Final = DataQueue()
        self._new_ssrc = new_ssrc

    @property
    def identity(self) -> str:
        """Who it is, as in presence."""
        return self.who.identity

    def may(self, operation: Operation) -> bool:
        """Whether its grant allows this."""
        return operation in self.who.operations

    def has_expired(self, wall_ms: int) -> bool:
        """Whether its credential has ended."""
        return self.who.expires_ms is not UNSET and wall_ms >= self.who.expires_ms

    # --- offers -----------------------------------------------------------------------------------------------

    def plan(self, offer: Offer, description: Description, policy: Mapping[str, tuple[str, ...]]) -> Plan:
        """What an offer comes to. Raises `Refusal`."""
        sections = {section.mid: section for section in description.sections}
        sealed = {track.mid for track in offer.tracks if track.is_sealed}
        agreed = [
            agree(section, sealable(policy) if section.mid in sealed else policy)
            for section in description.sections
        ]
        by_mid = {one.section.mid: one for one in agreed}
        if len(offer.tracks) > TRACKS_MAX or len(offer.slots) > SLOTS_MAX:
            raise Refusal(
                "too_many_tracks",
                f"At most {TRACKS_MAX} tracks and {SLOTS_MAX} slots have room in a connection.",
            )
        tracks: dict[str, OfferedTrack] = {}
        names: set[str] = set()
        for track in offer.tracks:
            section = sections.get(track.mid)
            if section is None or section.kind == "application" or track.mid in tracks:
                raise Refusal("bad_offer", f"The track {track.publication!r} names no m-line of its own.")
            if not 1 <= len(track.publication) <= _PUBLICATION_CHARS_MAX or track.publication in names:
                raise Refusal(
                    "bad_offer", "A track needs an id of 1 to 64 characters that no other track has."
                )
            if "/" in track.publication:
                # Identities may have one: without this, somebody else's publication could get the same name.
                raise Refusal("bad_offer", f"The id {track.publication!r} of a track has a slash.")
            if section.direction not in ("sendonly", "sendrecv"):
                raise Refusal("bad_offer", f"The m-line of the track {track.publication!r} does not send.")
            operation = operation_of(track.source, section.kind)
            if not self.may(operation):
                raise Refusal("forbidden", f"The key of {self.who.name} does not allow {operation}.")
            if by_mid[track.mid].is_rejected:
                code = "e2ee_codec" if track.is_sealed else "codec_not_supported"
                raise Refusal(code, f"{track.publication!r}: {by_mid[track.mid].reason}.")
            names.add(track.publication)
            tracks[track.mid] = track
        for mid in offer.slots:
            section = sections.get(mid)
            if section is None or section.kind == "application" or section.direction != "recvonly":
                raise Refusal("bad_offer", f"The slot {mid!r} is no m-line that only receives.")
        if len(set(offer.slots)) != len(offer.slots):
            raise Refusal("bad_offer", "A slot is named twice.")
        usable = [mid for mid in offer.slots if not by_mid[mid].is_rejected]
        return Plan(agreed, tracks, usable)

    def forbidden(self) -> list[Published]:
        """Its publications that its grant does not allow any more."""
        return [one for one in self.published.values() if not self.may(operation_of(one.source, one.media))]

    def follow(self, plan: Plan) -> list[Published]:
        """
        Takes a plan as the state. Returns the publications that are gone by it, streams still named.

        Slots keep their SSRCs for as long as the connection lives; what is new has no stream or leg yet.
        """
        self.agreed = {one.section.mid: one for one in plan.agreed}
        gone = [
            one
            for one in self.published.values()
            if one.mid not in plan.tracks or f"{self.identity}/{plan.tracks[one.mid].publication}" != one.id
        ]
        for one in gone:
            del self.published[one.id.removeprefix(f"{self.identity}/")]
        for mid, track in plan.tracks.items():
            known = self.published.get(track.publication)
            if known is None:
                kind: MediaKind = "audio" if self.agreed[mid].section.kind == "audio" else "video"
                self.published[track.publication] = Published(
                    f"{self.identity}/{track.publication}",
                    mid,
                    kind,
                    track.source,
                    track.is_muted,
                    track.is_sealed,
                )
            else:
                known.is_muted = track.is_muted
                known.source = track.source
                known.is_sealed = track.is_sealed
        numbers: dict[str, int] = {"audio": 0, "video": 0}
        slots: dict[str, Slot] = {}
        for mid in plan.slots:
            media: MediaKind = "audio" if self.agreed[mid].section.kind == "audio" else "video"
            slots[mid] = self.slots.get(mid) or self._new_slot(mid, media, numbers[media])
            numbers[media] += 1
        self.retired += [
            slot.leg for mid, slot in self.slots.items() if mid not in slots and slot.leg is not None
        ]
        self.slots = slots
        return gone

    def _new_slot(self, mid: str, media: MediaKind, number: int) -> Slot:
        has_repair = any(taken.repair_payload_type is not None for taken in self.agreed[mid].codecs)
        sources = SlotSources(self._new_ssrc(), self._new_ssrc() if has_repair else None, number)
        return Slot(mid, media, number, sources)

    # --- what the engine needs to know ------------------------------------------------------------------------

    def stream_spec(self, published: Published) -> StreamSpec:
        """The m-line of a publication."""
        agreed = self.agreed[published.mid]
        return StreamSpec(
            mid=published.mid,
            is_video=published.media == "video",
            codecs=_codecs(agreed),
            ssrcs=agreed.section.ssrcs[:2],
            mid_extension=_extension(agreed, "mid"),
            level_extension=_extension(agreed, "audio_level"),
        )

    def leg_spec(self, slot: Slot) -> LegSpec:
        """The m-line of a slot."""
        agreed = self.agreed[slot.mid]
        return LegSpec(
            mid=slot.mid,
            is_video=slot.media == "video",
            codecs=_codecs(agreed),
            primary_ssrc=slot.sources.primary,
            repair_ssrc=slot.sources.repair,
            canonical_name=slot.sources.canonical_name,
            mid_extension=_extension(agreed, "mid"),
        )

    def media_slots(self) -> list[tuple[str, MediaKind]]:
        """Its slots for the router; none if its grant lets it receive nothing."""
        if not self.may(Operation.SUBSCRIBE):
            return []
        return [(slot.mid, slot.media) for slot in self.slots.values()]

    # --- data -------------------------------------------------------------------------------------------------

    def send_data(self, now_ms: int) -> None:
        """Hands to SCTP what there is room for."""
        if self.connection is None or self.data.is_empty:
            return
        for is_reliable, message in self.data.take(self.connection.data_in_flight_bytes, now_ms):
            channel = self.channels.get("reliable" if is_reliable else "lossy")
            if channel is not None:
                channel.send(message)


def operation_of(source: Source, kind: str) -> Operation:
    """What a grant must allow for a track to be published; `kind` is audio or video."""
    if source in ("screen", "screen_audio"):
        return Operation.PUBLISH_SCREEN
    return Operation.PUBLISH_AUDIO if kind == "audio" else Operation.PUBLISH_VIDEO


def _codecs(agreed: AgreedSection) -> tuple[StreamCodec, ...]:
    return tuple(
        StreamCodec(
            payload_type=taken.codec.payload_type,
            name=taken.codec.name,
            clock_rate_hz=taken.codec.clock_rate_hz,
            repair_payload_type=taken.repair_payload_type,
        )
        for taken in agreed.codecs
    )


def _extension(agreed: AgreedSection, wanted: str) -> int | None:
    return next((number for number, name in agreed.extensions if name == wanted), None)


def publications_of(participants: Iterable[Participant]) -> list[signals.Publication]:
    """Everything that is published by connected participants, as everybody sees it."""
    return [
        signals.Publication(
            publication=one.id,
            participant=participant.identity,
            name=participant.who.name,
            media=one.media,
            source=one.source,
            is_muted=one.is_muted,
            is_sealed=one.is_sealed,
        )
        for participant in participants
        if participant.is_connected
        for one in participant.published.values()
    ]

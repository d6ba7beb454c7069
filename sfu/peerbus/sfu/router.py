"""
Who gets what: publications on one side, receive slots on the other.

Owns the binding of publications to slots. A slot keeps what it carries as long as that is there; what is free is
filled with what is new, the oldest publication first; nobody gets what they publish themselves. Sound and picture of
one participant go into slots of one number where that can be, since these are played in step. Never touches a packet,
a description or a clock.
"""

from __future__ import annotations

from msgspec import Struct

from peerbus.protocol.signals import MediaKind


class Offered(Struct, frozen=True):
    """A publication as far as binding looks at it."""

    publication: str
    participant: str
    media: MediaKind


class SlotKey(Struct, frozen=True, order=True):
    """One slot of one participant."""

    participant: str
    mid: str


class Rebinding(Struct, frozen=True):
    """A slot carries something else from now on; None is nothing."""

    slot: SlotKey
    publication: str | None


class _Slot:
    __slots__ = ("key", "media", "number", "publication")

    def __init__(self, key: SlotKey, media: MediaKind, number: int) -> None:
        self.key = key
        self.media = media
        self.number = number
        self.publication: str | None = None


class Router:
    """Publications and slots of one room. Changes take effect with `settle`."""

    def __init__(self) -> None:
        self._publications: dict[str, Offered] = {}
        self._slots: dict[str, list[_Slot]] = {}
        self._refused: set[tuple[SlotKey, str]] = set()

    def publish(self, offered: Offered) -> None:
        """A publication is there; one of the same name is replaced."""
        self._publications[offered.publication] = offered

    def unpublish(self, publication: str) -> None:
        """A publication is gone."""
        self._publications.pop(publication, None)
        self._refused = {pair for pair in self._refused if pair[1] != publication}

    def set_slots(self, participant: str, slots: list[tuple[str, MediaKind]]) -> None:
        """All slots of a participant, in their order; those that it had keep what they carry."""
        former = {slot.key.mid: slot for slot in self._slots.get(participant, [])}
        numbers: dict[MediaKind, int] = {"audio": 0, "video": 0}
        kept: list[_Slot] = []
        for mid, media in slots:
            slot = former.get(mid)
            if slot is None or slot.media != media:
                slot = _Slot(SlotKey(participant, mid), media, numbers[media])
            slot.number = numbers[media]
            numbers[media] += 1
            kept.append(slot)
        self._slots[participant] = kept

    def leave(self, participant: str) -> None:
        """A participant has no slots any more; what it published is to be unpublished apart."""
        self._slots.pop(participant, None)
        self._refused = {pair for pair in self._refused if pair[0].participant != participant}

    def refuse(self, slot: SlotKey, publication: str) -> None:
        """The slot cannot carry the publication: it is not tried again."""
        self._refused.add((slot, publication))
        for one in self._slots.get(slot.participant, []):
            if one.key == slot and one.publication == publication:
                one.publication = None

    def settle(self) -> list[Rebinding]:
        """Fills what is free, empties what carries nothing any more; what changed by that."""
        changed: list[Rebinding] = []
        for participant, slots in self._slots.items():
            before = [slot.publication for slot in slots]
            self._settle_one(participant, slots)
            changed += [
                Rebinding(slot.key, slot.publication)
                for slot, old in zip(slots, before, strict=True)
                if slot.publication != old
            ]
        return changed

    def _settle_one(self, participant: str, slots: list[_Slot]) -> None:
        for slot in slots:
            if slot.publication is not None and slot.publication not in self._publications:
                slot.publication = None
        carried = {slot.publication for slot in slots}
        for offered in self._publications.values():
            if offered.participant == participant or offered.publication in carried:
                continue
            best = self._best(slots, offered)
            if best is not None:
                best.publication = offered.publication

    def _best(self, slots: list[_Slot], offered: Offered) -> _Slot | None:
        free = [
            slot
            for slot in slots
            if slot.publication is None
            and slot.media == offered.media
            and (slot.key, offered.publication) not in self._refused
        ]
        beside = self._numbers_of(slots, offered.participant)
        return min(free, key=lambda slot: (slot.number not in beside, slot.number), default=None)

    def _numbers_of(self, slots: list[_Slot], participant: str) -> set[int]:
        return {
            slot.number
            for slot in slots
            if slot.publication is not None
            and self._publications[slot.publication].participant == participant
        }

    def bindings(self, participant: str) -> list[tuple[str, str | None]]:
        """What each slot of a participant carries, in their order."""
        return [(slot.key.mid, slot.publication) for slot in self._slots.get(participant, [])]

    def wanting(self, participant: str) -> int:
        """How many publications a participant does not get for want of a slot."""
        slots = self._slots.get(participant, [])
        carried = {slot.publication for slot in slots}
        return sum(
            offered.participant != participant
            and offered.publication not in carried
            and not any(
                pair[1] == offered.publication and pair[0].participant == participant
                for pair in self._refused
            )
            for offered in self._publications.values()
        )

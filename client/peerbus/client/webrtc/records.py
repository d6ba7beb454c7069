"""
What a call hands out: who is in it, what they publish, who speaks, the state.

Owns their shapes, which are those of the browser SDK as well (camelCase there). Never sends anything; the wire's own
shapes are in `peerbus.protocol.signals`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from peerbus.protocol import signals
from peerbus.protocol.signals import MediaKind, Source

CallStateName: TypeAlias = Literal["idle", "connecting", "connected", "reconnecting", "closed"]


class CallState(Struct, frozen=True, kw_only=True):
    """Where the call stands, for people too: `why` is a sentence, `code` an error code; both may be empty."""

    name: CallStateName
    code: str = ""
    why: str = ""
    retry_in_ms: int = 0
    """For `reconnecting` and `connecting`: when the next attempt begins, from this event; 0 while one runs."""


class RemotePublication(Struct, frozen=True, kw_only=True):
    """A track of somebody else, as it is announced; whether it is also received, the event `track` tells."""

    id: str
    """Unique in the call: `<identity>/<the publisher's own id>`."""
    identity: str
    """Who sends it, as `Member.identity`."""
    name: str
    """Their name."""
    media: MediaKind
    source: Source
    is_muted: bool
    """They send nothing on it for now."""
    is_sealed: bool = False
    """They say that it is end-to-end encrypted. `RemoteTrack.encryption` tells what came of it."""


class Peer(Struct, frozen=True, kw_only=True):
    """Somebody else in the call, with or without publications."""

    identity: str
    name: str
    publications: tuple[RemotePublication, ...] = ()

    def __str__(self) -> str:
        return self.name


class ActiveSpeaker(Struct, frozen=True, kw_only=True):
    """One who speaks now."""

    identity: str
    name: str
    level: float
    """From 0 (silence) to 1 (full scale)."""


def publication_of(entry: signals.Publication) -> RemotePublication:
    """A publication as the wire has it, for users."""
    return RemotePublication(
        id=entry.publication,
        identity=entry.participant,
        name=entry.name,
        media=entry.media,
        source=entry.source,
        is_muted=entry.is_muted,
        is_sealed=entry.is_sealed,
    )

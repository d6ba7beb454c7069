"""
What is received: tracks, and who they come from.

Owns the tracks by publication and the slots they are on. Never decides what a slot carries (`negotiation`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from peerbus.client.webrtc.encryption import CallEncryption
from peerbus.client.webrtc.negotiation import Negotiation, TrackEnded, TrackMoved, TrackStarted
from peerbus.client.webrtc.peer import SfuPeer, SlotCounts
from peerbus.client.webrtc.records import ActiveSpeaker, Peer, RemotePublication, publication_of
from peerbus.client.webrtc.remote_track import Decoding, RemoteTrack
from peerbus.protocol import signals


class Reception:
    """See the module. Events go to `emit`: `track`, `track_ended` and `encryption_state`."""

    def __init__(self, emit: Callable[..., Any], encryption: CallEncryption) -> None:
        self.tracks: Final[dict[str, RemoteTrack]] = {}
        """By the full id of the publication."""
        self.slots: Final[dict[str, tuple[str, SlotCounts]]] = {}
        """The mid of each that is on a slot now, and the slot's counts when it took it."""
        self._sfu: Final[set[str]] = set()
        """The publications that come by the SFU."""
        self._direct: Final[dict[str, Decoding]] = {}
        """Those that come by a connection to their sender."""
        self._peer: SfuPeer | None = None
        self._emit: Final = emit
        self._encryption: Final = encryption

    def follow(self, event: TrackStarted | TrackMoved | TrackEnded, peer: SfuPeer | None) -> None:
        """What a slot carries changed."""
        if isinstance(event, TrackEnded):
            self._sfu.discard(event.publication)
            self.slots.pop(event.publication, None)
            if event.publication in self._direct:
                self.direct_again(event.publication)
            else:
                self._end(event.publication)
        elif isinstance(event, TrackMoved):
            self._attach(event.publication, event.mid, peer)
        else:
            publication = publication_of(event.publication)
            self._sfu.add(publication.id)
            is_new = self._track_of(publication)
            self._attach(publication.id, event.mid, peer)
            if is_new:
                self._emit("track", self.tracks[publication.id])

    def direct(self, publication: RemotePublication, decoder: Decoding) -> None:
        """A track comes by a connection to its sender, or goes on there; it is the same one that came by the SFU."""
        is_new = self._track_of(publication)
        before = self._direct.get(publication.id)
        self._direct[publication.id] = decoder
        if before is not decoder:
            self.tracks[publication.id].attach(decoder, is_direct=True)
        if is_new:
            self._emit("track", self.tracks[publication.id])

    def direct_again(self, publication: str) -> None:
        """A track that came by the SFU meanwhile comes by the connection to its sender again."""
        track, decoder = self.tracks.get(publication), self._direct.get(publication)
        if track is not None and decoder is not None and not track.is_direct:
            track.attach(decoder, is_direct=True)

    def direct_ended(self, publication: str, decoder: Decoding) -> None:
        """A track does not come so any more."""
        if self._direct.get(publication) is not decoder:
            return
        del self._direct[publication]
        if publication not in self._sfu:
            self._end(publication)
        elif publication in self.slots:
            mid, _ = self.slots[publication]
            self._attach(publication, mid, self._peer)

    def _track_of(self, publication: RemotePublication) -> bool:
        """Whether the track of a publication is a new one."""
        track = self.tracks.get(publication.id)
        if track is not None:
            track.update(publication)
            return False
        self.tracks[publication.id] = RemoteTrack(
            publication, self._encryption, lambda changed: self._emit("encryption_state", changed)
        )
        return True

    def _end(self, publication: str) -> None:
        track = self.tracks.pop(publication, None)
        if track is not None:
            track.end()
            self._emit("track_ended", track)

    def update(self, entry: signals.Publication) -> None:
        """Something about a publication changed."""
        track = self.tracks.get(entry.publication)
        if track is not None:
            track.update(publication_of(entry))

    def detach(self) -> None:
        """The connection is gone; tracks wait for the next one."""
        self.slots.clear()
        self._peer = None
        for publication, track in self.tracks.items():
            if publication not in self._direct:
                track.attach(None)

    def peers(self, negotiation: Negotiation, own_identity: str) -> list[Peer]:
        """Everybody else in the call."""
        return [self.peer(negotiation, who) for who in negotiation.callers if who != own_identity]

    def peer(self, negotiation: Negotiation, identity: str) -> Peer:
        """One of them; with an empty name if it is not in the call (any more)."""
        caller = negotiation.callers.get(identity)
        return Peer(
            identity=identity,
            name="" if caller is None else caller.name,
            publications=tuple(
                publication_of(entry)
                for entry in negotiation.publications.values()
                if entry.participant == identity
            ),
        )

    def speakers(self, negotiation: Negotiation, speakers: list[signals.Speaker]) -> list[ActiveSpeaker]:
        """Who speaks, with names."""
        return [
            ActiveSpeaker(
                identity=speaker.participant,
                name=self.peer(negotiation, speaker.participant).name,
                level=speaker.level,
            )
            for speaker in speakers
        ]

    def _attach(self, publication: str, mid: str, peer: SfuPeer | None) -> None:
        decoder = None if peer is None else peer.decoder(mid)
        self.slots.pop(publication, None)
        if peer is not None and decoder is not None:
            self.slots[publication] = (mid, peer.slot_counts(mid))
            self._peer = peer
        if decoder is not None or publication not in self._direct:
            self.tracks[publication].attach(decoder)

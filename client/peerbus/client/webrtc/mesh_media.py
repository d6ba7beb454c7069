"""
The tracks of mode `mesh`: what one publishes, for all links, and what comes by each.

Owns the shared lines, and which received track comes by which link. Never negotiates (`mesh_way`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from peerbus.client.webrtc.call_parts import CallParts
from peerbus.client.webrtc.outgoing import SharedLine
from peerbus.client.webrtc.peer_link import PeerLink
from peerbus.client.webrtc.publication import Publication
from peerbus.client.webrtc.records import RemotePublication
from peerbus.client.webrtc.remote_track import Decoding
from peerbus.protocol.groups import GroupMember
from peerbus.protocol.signals import MediaKind, OfferedTrack


class MeshMedia:
    """See the module."""

    def __init__(self, parts: CallParts, *, is_on: bool = True) -> None:
        self._is_on: Final = is_on
        self.lines: Final[dict[Publication, SharedLine]] = {}
        self._parts: Final = parts
        self._received: Final[dict[PeerLink, dict[str, Decoding]]] = {}
        self.look()

    @property
    def kinds(self) -> list[MediaKind]:
        """Those of all publications."""
        return [line.kind for line in self.lines.values()]

    def look(self) -> None:
        """The publications may be others than before."""
        publications = self._parts.publishing.publications if self._is_on else []
        for publication in list(self.lines):
            if publication not in publications:
                publication.feed.unshare(self.lines.pop(publication))
        for publication in publications:
            if publication not in self.lines:
                line = self.lines[publication] = SharedLine(publication.media)
                publication.feed.share(line)
                publication.taken()

    def said(self, member: GroupMember, link: PeerLink, tracks: Sequence[OfferedTrack]) -> None:
        """A member told what it sends by its link."""
        if not self._is_on:
            return
        before = self._received.get(link, {})
        now: dict[str, Decoding] = {}
        for track in tracks:
            decoder = link.decoder(track.mid)
            if decoder is None:
                continue
            publication = RemotePublication(
                id=f"{member.identity}/{track.publication}",
                identity=member.identity,
                name=member.name,
                media=decoder.kind,
                source=track.source,
                is_muted=track.is_muted,
            )
            now[publication.id] = decoder
            self._parts.reception.direct(publication, decoder)
        self._received[link] = now
        for name, former in before.items():
            if name not in now:
                self._parts.reception.direct_ended(name, former)

    def again(self) -> None:
        """The links count again, whose tracks came another way meanwhile."""
        for received in self._received.values():
            for name in received:
                self._parts.reception.direct_again(name)

    def ended(self, link: PeerLink) -> None:
        """A link is gone, and what came by it."""
        for name, former in self._received.pop(link, {}).items():
            self._parts.reception.direct_ended(name, former)

    def close(self) -> None:
        """Nothing is sent any more."""
        for publication, line in self.lines.items():
            publication.feed.unshare(line)
        self.lines.clear()

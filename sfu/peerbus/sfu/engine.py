"""
What the SFU asks of whatever moves its packets.

Owns the vocabulary between deciding (`room`) and moving: a *peer* is one connection with its keys and its path, a
*stream* is what a peer publishes on one m-line, a *leg* is one slot on which a peer receives. Everything between the
socket and these words is the engine's. Never knows a room, a name or a grant.
"""

from __future__ import annotations

from typing import NewType, Protocol

from msgspec import Struct

from peerbus.sfu.srtp import SrtpKeys
from peerbus.sfu.udp import Address

PeerId = NewType("PeerId", int)
StreamId = NewType("StreamId", int)
LegId = NewType("LegId", int)


class StreamCodec(Struct, frozen=True, kw_only=True):
    """A payload type that a publisher may use in a stream."""

    payload_type: int
    name: str
    """In lower case."""
    clock_rate_hz: int
    repair_payload_type: int | None = None
    """Of its retransmissions (RFC 4588)."""


class StreamSpec(Struct, frozen=True, kw_only=True):
    """One m-line that a peer sends on."""

    mid: str
    is_video: bool
    codecs: tuple[StreamCodec, ...]
    ssrcs: tuple[int, ...] = ()
    """What the offer declares: the primary, then its retransmissions; empty if it declares nothing."""
    mid_extension: int | None = None
    level_extension: int | None = None
    """The ids of these header extensions in the publisher's offer."""


class LegSpec(Struct, frozen=True, kw_only=True):
    """One slot: an m-line that a peer receives on."""

    mid: str
    is_video: bool
    codecs: tuple[StreamCodec, ...]
    """As the subscriber numbers them."""
    primary_ssrc: int
    repair_ssrc: int | None
    canonical_name: str
    mid_extension: int | None = None


class EngineCounts(Struct, kw_only=True):
    """Over all peers, since the start."""

    received: int = 0
    forwarded: int = 0
    refused: int = 0
    """Packets that were not authentic, malformed, or of no known stream."""
    resent: int = 0
    asked: int = 0
    """Packets that publishers were asked to send again."""
    keyframe_requests: int = 0
    unsent: int = 0
    """Packets that libsrtp would not protect: too large, or too old for their source."""


class PacketEngine(Protocol):
    """Moves packets. Ids are the engine's; an unknown one raises `KeyError`."""

    counts: EngineCounts

    def add_peer(self, keys: SrtpKeys, path: Address) -> PeerId:
        """A connection whose handshake is done."""

    def move_peer(self, peer: PeerId, path: Address) -> None:
        """What is for this peer goes there from now on."""

    def remove_peer(self, peer: PeerId) -> None:
        """Forgets a peer with its streams and legs."""

    def add_stream(self, peer: PeerId, spec: StreamSpec) -> StreamId:
        """A peer is going to send on an m-line."""

    def remove_stream(self, stream: StreamId) -> None:
        """Legs that carry it carry nothing."""

    def add_leg(self, peer: PeerId, spec: LegSpec) -> LegId:
        """A slot that carries nothing yet."""

    def remove_leg(self, leg: LegId) -> None:
        """A slot is gone."""

    def bind(self, leg: LegId, stream: StreamId | None, now_ms: int) -> bool:
        """
        The leg carries this stream from now on, or nothing.

        False if the subscriber cannot take any codec of the stream: then it carries nothing.
        """

    def receive(self, peer: PeerId, data: bytes, now_ms: int) -> bool:
        """A datagram of SRTP or SRTCP. False if it was refused: not authentic, or not to be understood."""

    def sender_of(self, data: bytes) -> PeerId | None:
        """
        Whose datagram of SRTP or SRTCP this is, found without its address: by a source that a peer has used before.

        Only if it is authentic and was not received before, and it counts as received then.
        """

    def tick(self, now_ms: int) -> None:
        """To be called every 20 ms or so: reports, requests, everything that waits for time."""

    def levels(self) -> dict[StreamId, int]:
        """The loudest level of each audio stream since the last call, in -dBov: 0 is the loudest, 127 silence."""

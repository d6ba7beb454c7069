"""
The last packets of a stream, to be sent again to whoever lost one.

Owns a ring of packets by extended sequence number, and where the last keyframe began. One for each publication: what
a subscriber missed is found by the number it had at the publisher. See RFC 4585 (section 6.2.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from peerbus.sfu.rtp.packet import RtpPacket

HISTORY_PACKETS: Final = 1024
_MASK: Final = HISTORY_PACKETS - 1


class History:
    """Packets by number; the oldest are forgotten."""

    __slots__ = ("_newest", "_packets", "keyframe_at_ms", "keyframe_start")

    def __init__(self) -> None:
        self._packets: list[tuple[int, RtpPacket] | None] = [None] * HISTORY_PACKETS
        self._newest = -1
        self.keyframe_start: int | None = None
        """The number of the packet that began the last keyframe."""
        self.keyframe_at_ms = 0

    def add(self, sequence: int, packet: RtpPacket) -> None:
        """Keeps a packet; one that is older than the ring is long is left out."""
        if sequence > self._newest:
            self._newest = sequence
        elif sequence <= self._newest - HISTORY_PACKETS:
            return
        self._packets[sequence & _MASK] = (sequence, packet)

    def add_keyframe_start(self, sequence: int, now_ms: int) -> None:
        """
        A keyframe begins with this packet, which was added before.

        Parameter sets and slices of one picture each look like a beginning (H.264): the first of them counts.
        """
        if self.keyframe_start is not None:
            known, packet = self.get(self.keyframe_start), self.get(sequence)
            if known is not None and packet is not None and known.timestamp == packet.timestamp:
                self.keyframe_start = min(sequence, self.keyframe_start)
                return
            if sequence < self.keyframe_start:
                return
        self.keyframe_start = sequence
        self.keyframe_at_ms = now_ms

    def get(self, sequence: int) -> RtpPacket | None:
        """The packet of this number, if it is still here."""
        entry = self._packets[sequence & _MASK]
        return entry[1] if entry is not None and entry[0] == sequence else None

    def since_keyframe(self) -> Iterator[tuple[int, RtpPacket]]:
        """All packets from the last keyframe on; none if its beginning is forgotten."""
        start = self.keyframe_start
        if start is None or self.get(start) is None:
            return
        for sequence in range(start, self._newest + 1):
            packet = self.get(sequence)
            if packet is not None:
                yield sequence, packet

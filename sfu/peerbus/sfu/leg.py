"""
What the packet engine knows of a leg: what a peer receives on one slot.

Owns how the stream it carries is renumbered for its subscriber, and the packets that only this subscriber gets: reports
and retransmissions. Never protects or sends them. See RFC 3550, RFC 4585 and RFC 4588.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from peerbus.sfu.engine import LegId, LegSpec, StreamCodec
from peerbus.sfu.rtp.packet import RtpPacket, extension_block, header
from peerbus.sfu.rtp.rewriter import Rewriter
from peerbus.sfu.rtp.rtcp import SenderReport, source_description, write_rtcp
from peerbus.sfu.sfu_time import ntp_time

if TYPE_CHECKING:
    from peerbus.sfu.engine_peer import Peer
    from peerbus.sfu.stream import Stream

RESENT_PER_TICK: Final = 64
"""So many of the packets that a subscriber says it lost are looked up for it."""
_RESENT_REMEMBERED: Final = 1_024


class Leg:
    """What a peer receives on one slot."""

    __slots__ = (
        "bytes",
        "codec",
        "codecs",
        "extensions",
        "first_byte",
        "id",
        "packets",
        "payload_type",
        "peer",
        "repair_sequence",
        "resend_budget",
        "resent_at",
        "rewriter",
        "spec",
        "ssrc",
        "stream",
        "waits_for_keyframe",
    )

    def __init__(self, number: LegId, peer: Peer, spec: LegSpec) -> None:
        self.id = number
        self.peer = peer
        self.spec = spec
        self.ssrc = spec.primary_ssrc
        self.codecs = {(codec.name, codec.clock_rate_hz): codec for codec in spec.codecs}
        self.extensions = (
            b"" if spec.mid_extension is None else extension_block({spec.mid_extension: spec.mid.encode()})
        )
        self.first_byte = 0x90 if self.extensions else 0x80
        self.rewriter = Rewriter(random.getrandbits(15), random.getrandbits(32))
        self.stream: Stream | None = None
        self.codec: StreamCodec | None = None
        self.payload_type = 0
        self.waits_for_keyframe = False
        self.repair_sequence = random.getrandbits(15)
        self.packets = 0
        self.bytes = 0
        self.resend_budget = RESENT_PER_TICK
        self.resent_at: dict[int, int] = {}

    def begin(self) -> None:
        """What comes next is new to it: pictures from a keyframe on."""
        self.codec = None
        self.waits_for_keyframe = self.spec.is_video
        self.resent_at.clear()

    def finish(self, stream: Stream) -> None:
        """What it has carried is over; its own numbers will go on."""
        self.rewriter.finish(stream.newest, stream.newest_timestamp, stream.newest_at_ms)

    def take_codec(self, codec: StreamCodec) -> bool:
        """The stream comes in this codec from now on; False if the subscriber has none like it."""
        taken = self.codecs.get((codec.name, codec.clock_rate_hz))
        if taken is None:
            return False
        self.codec = taken
        self.payload_type = taken.payload_type
        return True

    def takes(self, stream: Stream) -> bool:
        """Whether there is a codec that both have."""
        return any((codec.name, codec.clock_rate_hz) in self.codecs for codec in stream.spec.codecs)

    def tick(self) -> None:
        """Some time has passed: as much as before may be looked up for its subscriber."""
        if self.resend_budget != RESENT_PER_TICK:
            self.resend_budget = RESENT_PER_TICK
            if len(self.resent_at) > _RESENT_REMEMBERED:
                self.resent_at.clear()

    def clock_report(self, now_ms: int) -> bytes | None:
        """A sender report, for every second: browsers report sound every 5 s only, and two are needed."""
        stream = self.stream
        if stream is None or stream.clock is None or not self.rewriter.is_based:
            return None
        moment, timestamp = stream.clock
        now = ntp_time(now_ms)
        elapsed = (now - moment) * stream.clock_rate_hz >> 32
        report = SenderReport(
            self.ssrc,
            now,
            self.rewriter.timestamp(timestamp + elapsed),
            self.packets & 0xFFFFFFFF,
            self.bytes & 0xFFFFFFFF,
        )
        return write_rtcp([report]) + source_description(self.ssrc, self.spec.canonical_name)

    def repair(self, codec: StreamCodec, sequence: int, packet: RtpPacket) -> bytes:
        """A packet of its stream once more, under the number it had here: as a retransmission where there are any."""
        timestamp = self.rewriter.timestamp(packet.timestamp)
        payload = packet.data[packet.payload_start : packet.payload_end]
        spec, marked, extensions = self.spec, packet.is_marked, self.extensions
        if spec.repair_ssrc is None or codec.repair_payload_type is None:
            return (
                header(codec.payload_type, marked, sequence, timestamp, spec.primary_ssrc, extensions)
                + payload
            )
        number = self.repair_sequence = (self.repair_sequence + 1) & 0xFFFF
        head = header(codec.repair_payload_type, marked, number, timestamp, spec.repair_ssrc, extensions)
        return head + sequence.to_bytes(2, "big") + payload

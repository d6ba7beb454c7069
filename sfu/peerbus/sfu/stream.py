"""
What the packet engine knows of a stream: what a peer sends on one m-line.

Owns the source it comes from now, and what forwarding and repairing it takes. Never sends anything. See RFC 3550.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from peerbus.sfu.engine import StreamCodec, StreamId, StreamSpec
from peerbus.sfu.rtp.history import History
from peerbus.sfu.rtp.keyframe_requests import KeyframeRequests
from peerbus.sfu.rtp.loss import LossTracker
from peerbus.sfu.rtp.reception import Reception
from peerbus.sfu.rtp.rtcp import SenderReport
from peerbus.sfu.rtp.sequence import SequenceExtender

if TYPE_CHECKING:
    from peerbus.sfu.engine_peer import Peer
    from peerbus.sfu.leg import Leg


class Stream:
    """What a peer sends on one m-line."""

    def __init__(self, number: StreamId, peer: Peer, spec: StreamSpec) -> None:
        self.id = number
        self.peer = peer
        self.spec = spec
        self.codecs = {codec.payload_type: codec for codec in spec.codecs}
        self.repairs = {
            codec.repair_payload_type: codec for codec in spec.codecs if codec.repair_payload_type is not None
        }
        self.ssrc: int | None = None
        self.legs: list[Leg] = []
        self.history = History() if spec.is_video else None
        self.loss = LossTracker() if spec.is_video else None
        self.extender = SequenceExtender()
        self.keyframes = KeyframeRequests()
        self.reception: Reception | None = None
        self.clock_rate_hz = 0
        self.codec_name = ""
        self.is_keyframe_start: Callable[[memoryview], bool] | None = None
        self.loudest: int | None = None
        self.newest = -1
        """The newest packet that was forwarded: extended number, timestamp, and when."""
        self.newest_timestamp = 0
        self.newest_at_ms = 0
        self.clock: tuple[int, int] | None = None
        """A moment in the SFU's NTP time, and the RTP timestamp that belongs to it."""

    def begin(self, ssrc: int, codec: StreamCodec) -> None:
        """The first packet of a source: what was known of an earlier one no longer holds."""
        for leg in self.legs:
            leg.finish(self)
            leg.begin()
        self.ssrc = ssrc
        self.newest = -1
        self.clock = None
        self.extender = SequenceExtender()
        self.clock_rate_hz = codec.clock_rate_hz
        self.reception = Reception(codec.clock_rate_hz)
        if self.spec.is_video:
            self.history = History()
            self.loss = LossTracker()
            if self.legs:
                # It begins with a keyframe, unless just that was lost.
                self.keyframes.want()

    def read_clock(self, report: SenderReport, now_ms: int) -> None:
        """
        What time a publisher's timestamps mean, in the SFU's own time.

        One offset for all that a publisher sends keeps its sound and picture together. In one time for all publishers
        a slot's clock does not jump when it carries another one: receivers take many reports to get over that.
        """
        assert self.reception is not None
        self.reception.sender_report(report.ntp_time, now_ms)
        self.clock = (report.ntp_time + self.peer.clock_offset(report.ntp_time, now_ms), report.rtp_timestamp)

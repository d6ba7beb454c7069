"""
What the packet engine knows of a peer: one connection with its keys and its path.

Owns its SRTP sessions, what it sends and receives, and the reports it gets as a sender. Never sends anything.
See RFC 3711 and RFC 3550.
"""

from __future__ import annotations

import random
from typing import Final

from peerbus.sfu.engine import PeerId
from peerbus.sfu.leg import Leg
from peerbus.sfu.rtp.rtcp import ReceiverReport, Remb, Rtcp, write_rtcp
from peerbus.sfu.sfu_time import ntp_time
from peerbus.sfu.srtp import SrtpKeys
from peerbus.sfu.srtp_session import SrtpSession
from peerbus.sfu.stream import Stream
from peerbus.sfu.udp import Address

VIDEO_BITRATE_BPS: Final = 2_500_000
"""What a publisher is told it may send for each video stream, until an estimate of the subscribers' paths exists."""
RTCP_BYTES_PER_TICK: Final = 4_096
"""So much of one peer's RTCP is looked at: far more than is ever needed, far less than would keep the worker busy."""


class Peer:
    """One connection: its keys, its path, and what it sends and receives."""

    def __init__(self, number: PeerId, keys: SrtpKeys, path: Address) -> None:
        self.id = number
        self.path = path
        self.inbound = SrtpSession(keys.profile, keys.receive, is_inbound=True)
        self.outbound = SrtpSession(keys.profile, keys.send, is_inbound=False)
        self.streams: dict[str, Stream] = {}
        self.by_ssrc: dict[int, Stream] = {}
        self.seen: set[int] = set()
        self.legs_by_ssrc: dict[int, Leg] = {}
        self.ssrc = random.getrandbits(32)
        self.rtcp_budget = RTCP_BYTES_PER_TICK
        self._clock_offset: int | None = None

    def clock_offset(self, its_time: int, now_ms: int) -> int:
        """From its NTP time to the SFU's, by its first sender report."""
        if self._clock_offset is None:
            self._clock_offset = ntp_time(now_ms) - its_time
        return self._clock_offset

    def reception_report(self, now_ms: int) -> bytes | None:
        """What came of its streams, and how much it may send; None before anything came."""
        blocks = []
        videos: list[int] = []
        for stream in self.streams.values():
            if stream.ssrc is None or stream.reception is None:
                continue
            block = stream.reception.report(stream.ssrc, now_ms)
            if block is not None:
                blocks.append(block)
            if stream.spec.is_video:
                videos.append(stream.ssrc)
        if not blocks:
            return None
        packets: list[Rtcp] = [ReceiverReport(self.ssrc, tuple(blocks[:31]))]
        if videos:
            packets.append(Remb(self.ssrc, VIDEO_BITRATE_BPS * len(videos), tuple(videos)))
        return write_rtcp(packets)

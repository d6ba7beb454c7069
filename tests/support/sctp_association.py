"""
The SFU's side of an SCTP association without sockets, and a peer that writes its packets by hand.

Owns the association and the attack on it. See `sctp_packets` for what is written.
"""

from __future__ import annotations

import random
from typing import Final

from aiortc import RTCDataChannel, RTCDataChannelParameters
from aiortc.rtcsctptransport import RTCSctpCapabilities, RTCSctpTransport, SackChunk, parse_packet

from peerbus.sfu import dtls
from peerbus.sfu.negotiation import SCTP_PORT
from tests.support.sctp_packets import Wire, hostile, over, packet, pump
from tests.support.work import at_most

LINES_MAX: Final = 150_000
"""So many lines of Python may one hostile packet cost."""


class Association:
    """The SFU's side of an association that is established, and the peer's way to write packets by hand."""

    def __init__(self) -> None:
        self.wire = Wire("server")
        self.sctp = dtls._Sctp(over(self.wire))
        self.ended: list[str] = []
        self.messages: list[tuple[str, bytes | str]] = []
        self.sctp.refuse = self.ended.append
        self.sctp.on("datachannel", self._opened)

    def _opened(self, channel: RTCDataChannel) -> None:
        channel.on("message", lambda message: self.messages.append((channel.label, message)))

    async def establish(self) -> None:
        wire = Wire("client")
        self.peer = RTCSctpTransport(over(wire))
        await self.peer.start(None, SCTP_PORT)
        await self.sctp.start(RTCSctpCapabilities(maxMessageSize=65_536), SCTP_PORT)
        RTCDataChannel(self.peer, RTCDataChannelParameters(label="reliable", id=0))
        await pump(self.peer, wire, self.sctp, self.wire)
        assert self.sctp.state == "connected"

    @property
    def tag(self) -> int:
        return int(self.sctp._local_verification_tag)

    @property
    def received(self) -> int:
        newest = self.sctp._last_received_tsn
        assert newest is not None
        return int(newest)

    async def feed(self, *chunks: bytes) -> None:
        await self.sctp._handle_data(packet(*chunks, tag=self.tag))

    def sacks(self) -> list[SackChunk]:
        """What it acknowledged since the last call."""
        sent, self.wire.sent = self.wire.sent, []
        return [one for data in sent for one in parse_packet(data)[3] if isinstance(one, SackChunk)]

    async def close(self) -> None:
        await self.peer.stop()
        await self.sctp.stop()


async def attack(chance: random.Random, count: int) -> int:
    """So many hostile packets, none of which may raise or take long; how many of them were refused."""
    one = Association()
    await one.establish()
    for _ in range(count):
        data = hostile(chance, tag=one.tag, received=one.received, sent=int(one.sctp._local_tsn))
        with at_most(LINES_MAX):
            await one.sctp._handle_data(data)
    await one.close()
    return one.sctp.refused

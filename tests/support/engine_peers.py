"""
Peers of a packet engine without sockets: pylibsrtp at their end, RTP written by hand, emulated time.

Owns what comes out for each peer. The sessions are pylibsrtp's own, so that they are witnesses of the engine's.
"""

from __future__ import annotations

import random
from typing import Final

import pylibsrtp

from peerbus.sfu.engine import LegId, LegSpec, PeerId, StreamCodec, StreamId, StreamSpec
from peerbus.sfu.python_engine import PythonEngine
from peerbus.sfu.rtp.packet import RtpPacket, extension_block, header, parse_rtp
from peerbus.sfu.rtp.rtcp import Rtcp, parse_rtcp, write_rtcp
from peerbus.sfu.srtp import Profile, SrtpKeys
from peerbus.sfu.udp import Address

VP8: Final = StreamCodec(payload_type=96, name="vp8", clock_rate_hz=90_000, repair_payload_type=97)
OPUS: Final = StreamCodec(payload_type=111, name="opus", clock_rate_hz=48_000)
KEYFRAME: Final = b"\x10\x00"
DELTA: Final = b"\x10\x01"

_LIBSRTP: Final = {
    Profile.AES128_CM_SHA1_80: pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    Profile.AEAD_AES_128_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    Profile.AEAD_AES_256_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}


def _session(profile: Profile, key: bytes, kind: int) -> pylibsrtp.Session:
    policy = pylibsrtp.Policy(key=key, ssrc_type=kind, srtp_profile=_LIBSRTP[profile])
    policy.window_size = 1_024
    policy.allow_repeat_tx = True
    return pylibsrtp.Session(policy)


class EnginePeer:
    """One peer: what it sends goes into the engine, what the engine sends it stands in `packets` and `reports`."""

    def __init__(self, world: EngineWorld, name: str, profile: Profile) -> None:
        size = profile.key_bytes + profile.salt_bytes
        up, down = world.chance.randbytes(size), world.chance.randbytes(size)
        self.world = world
        self.address: Address = (name, 1)
        self.id: PeerId = world.engine.add_peer(SrtpKeys(profile, up, down), self.address)
        self.keys = SrtpKeys(profile, up, down)
        self.outbound = _session(profile, up, pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        self.inbound = _session(profile, down, pylibsrtp.Policy.SSRC_ANY_INBOUND)
        self.packets: list[RtpPacket] = []
        self.reports: list[Rtcp] = []

    def take(self, data: bytes) -> None:
        """A datagram of the engine. Raises `pylibsrtp.Error` if it is not authentic or came before."""
        if 192 <= data[1] <= 223:
            self.reports += parse_rtcp(self.inbound.unprotect_rtcp(data))
        else:
            self.packets.append(parse_rtp(self.inbound.unprotect(data)))

    def send(
        self,
        sequence: int,
        payload: bytes = DELTA,
        *,
        ssrc: int = 1_000,
        payload_type: int = 96,
        timestamp: int | None = None,
        is_marked: bool = False,
        extensions: dict[int, bytes] | None = None,
    ) -> bool:
        """One RTP packet; whether the engine took it."""
        stamp = 3_000 * sequence if timestamp is None else timestamp
        block = extension_block(extensions or {})
        head = header(payload_type, is_marked, sequence & 0xFFFF, stamp & 0xFFFFFFFF, ssrc, block)
        return self.send_raw(self.outbound.protect(head + payload))

    def send_repair(
        self, sequence: int, original: int, payload: bytes, *, timestamp: int | None = None
    ) -> bool:
        """A retransmission (RFC 4588) on the next source."""
        stamp = 3_000 * original if timestamp is None else timestamp
        head = header(97, False, sequence, stamp, 1_001)
        return self.send_raw(self.outbound.protect(head + (original & 0xFFFF).to_bytes(2, "big") + payload))

    def send_rtcp(self, *packets: Rtcp) -> bool:
        """One compound packet; whether the engine took it."""
        return self.send_rtcp_bytes(write_rtcp(list(packets)))

    def send_rtcp_bytes(self, data: bytes) -> bool:
        """The same with bytes of any kind."""
        return self.send_raw(self.outbound.protect_rtcp(data))

    def send_raw(self, data: bytes) -> bool:
        """A datagram as it is."""
        return self.world.engine.receive(self.id, data, self.world.now_ms)

    def publish(
        self,
        mid: str = "0",
        *,
        codecs: tuple[StreamCodec, ...] = (VP8,),
        ssrcs: tuple[int, ...] = (1_000, 1_001),
        mid_extension: int | None = None,
        level_extension: int | None = None,
    ) -> StreamId:
        """A stream; of pictures if its first codec is not Opus."""
        spec = StreamSpec(
            mid=mid,
            is_video=codecs[0].name != "opus",
            codecs=codecs,
            ssrcs=ssrcs,
            mid_extension=mid_extension,
            level_extension=level_extension,
        )
        return self.world.engine.add_stream(self.id, spec)

    def slot(
        self,
        mid: str = "9",
        *,
        codecs: tuple[StreamCodec, ...] = (VP8,),
        primary: int = 5_000,
        repair: int | None = 5_001,
        mid_extension: int | None = 4,
    ) -> LegId:
        """A leg; of pictures if its first codec is not Opus."""
        spec = LegSpec(
            mid=mid,
            is_video=codecs[0].name != "opus",
            codecs=codecs,
            primary_ssrc=primary,
            repair_ssrc=repair,
            canonical_name="peerbus-0",
            mid_extension=mid_extension,
        )
        return self.world.engine.add_leg(self.id, spec)

    def heard(self, kind: type[Rtcp]) -> list[Rtcp]:
        """Its reports of one kind, and forgets all."""
        found = [one for one in self.reports if isinstance(one, kind)]
        self.reports.clear()
        return found

    def taken(self) -> list[RtpPacket]:
        """Its packets since the last call."""
        found, self.packets = self.packets, []
        return found


class EngineWorld:
    """An engine, its peers, and the time."""

    def __init__(self) -> None:
        self.chance = random.Random(11)
        self.now_ms = 1_000
        self.engine = PythonEngine(self._deliver)
        self._peers: dict[Address, EnginePeer] = {}
        self.undelivered: list[tuple[bytes, Address]] = []
        self.keeps_undelivered = False

    def peer(self, name: str, profile: Profile = Profile.AEAD_AES_128_GCM) -> EnginePeer:
        """A new peer, whose address is its name."""
        one = EnginePeer(self, name, profile)
        self._peers[one.address] = one
        return one

    def bind(self, leg: LegId, stream: StreamId | None) -> bool:
        """The leg carries the stream from now on."""
        return self.engine.bind(leg, stream, self.now_ms)

    def pass_time(self, milliseconds: int) -> None:
        """Time passes in ticks of 20 ms."""
        for _ in range(0, milliseconds, 20):
            self.now_ms += 20
            self.engine.tick(self.now_ms)

    def _deliver(self, data: bytes, address: Address) -> None:
        if self.keeps_undelivered:
            self.undelivered.append((data, address))
        else:
            self._peers[address].take(data)

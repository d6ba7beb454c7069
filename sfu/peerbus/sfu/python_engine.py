"""
The packet engine in Python: unprotect once, rewrite a few header bytes for each subscriber, protect, send.

Owns the SRTP sessions, and for each stream and leg what is needed to forward, repair and report. No task, no queue, no
clock: packets go out from within `receive`. A packet that is not authentic or not understood is counted and costs its
sender only. See RFC 3711, RFC 3550, RFC 4585 and RFC 4588.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import struct
from collections.abc import Callable
from typing import Final

from peerbus.sfu.engine import (
    EngineCounts,
    LegId,
    LegSpec,
    LegStats,
    PeerId,
    StreamCodec,
    StreamId,
    StreamSpec,
    StreamStats,
)
from peerbus.sfu.rtp.codecs import KEYFRAME_TESTS
from peerbus.sfu.rtp.history import History
from peerbus.sfu.rtp.keyframe_requests import INTERVAL_MS, KeyframeRequests
from peerbus.sfu.rtp.loss import LossTracker
from peerbus.sfu.rtp.packet import RtpError, RtpPacket, extension_block, header, parse_rtp
from peerbus.sfu.rtp.reception import Reception
from peerbus.sfu.rtp.rewriter import Rewriter
from peerbus.sfu.rtp.rtcp import (
    FullIntraRequest,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    Rtcp,
    RtcpError,
    SenderReport,
    parse_rtcp,
    source_description,
    write_rtcp,
)
from peerbus.sfu.rtp.sequence import SequenceExtender
from peerbus.sfu.srtp import SrtpKeys
from peerbus.sfu.srtp_session import SrtpError, SrtpSession
from peerbus.sfu.udp import Address

REPORT_MS: Final = 1_000
VIDEO_BITRATE_BPS: Final = 2_500_000
"""What a publisher is told it may send for each video stream, until an estimate of the subscribers' paths exists."""
_SSRCS_MAX: Final = 256
"""Of one peer in its whole life: publishing anew takes new ones."""
_NTP_START_S: Final = 3_900_000_000
"""What the monotonic clock's 0 is called in sender reports; they only ever compare times with each other."""
_RESENT_PER_TICK: Final = 64
"""So many of the packets that a subscriber says it lost are looked up for it."""
_RESEND_AGAIN_MS: Final = 20
_RTCP_BYTES_PER_TICK: Final = 4_096
"""So much of one peer's RTCP is looked at: far more than is ever needed, far less than would keep the worker busy."""

_pack_header: Final = struct.Struct("!BBHII").pack


class _Stream:
    """What a peer sends on one m-line."""

    def __init__(self, number: StreamId, peer: _Peer, spec: StreamSpec) -> None:
        self.id = number
        self.peer = peer
        self.spec = spec
        self.codecs = {codec.payload_type: codec for codec in spec.codecs}
        self.repairs = {
            codec.repair_payload_type: codec for codec in spec.codecs if codec.repair_payload_type is not None
        }
        self.ssrc: int | None = None
        self.legs: list[_Leg] = []
        self.history = History() if spec.is_video else None
        self.loss = LossTracker() if spec.is_video else None
        self.extender = SequenceExtender()
        self.keyframes = KeyframeRequests()
        self.keyframe_requests = 0
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


class _Leg:
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
        "resent",
        "resent_at",
        "rewriter",
        "spec",
        "ssrc",
        "stream",
        "waits_for_keyframe",
    )

    def __init__(self, number: LegId, peer: _Peer, spec: LegSpec) -> None:
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
        self.stream: _Stream | None = None
        self.codec: StreamCodec | None = None
        self.payload_type = 0
        self.waits_for_keyframe = False
        self.repair_sequence = random.getrandbits(15)
        self.packets = 0
        self.bytes = 0
        self.resent = 0
        self.resend_budget = _RESENT_PER_TICK
        self.resent_at: dict[int, int] = {}

    def begin(self) -> None:
        """What comes next is new to it: pictures from a keyframe on."""
        self.codec = None
        self.waits_for_keyframe = self.spec.is_video
        self.resent_at.clear()

    def finish(self, stream: _Stream) -> None:
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

    def takes(self, stream: _Stream) -> bool:
        """Whether there is a codec that both have."""
        return any((codec.name, codec.clock_rate_hz) in self.codecs for codec in stream.spec.codecs)


class _Peer:
    """One connection: its keys, its path, and what it sends and receives."""

    def __init__(self, number: PeerId, keys: SrtpKeys, path: Address) -> None:
        self.id = number
        self.path = path
        self.inbound = SrtpSession(keys.profile, keys.receive, is_inbound=True)
        self.outbound = SrtpSession(keys.profile, keys.send, is_inbound=False)
        self.streams: dict[str, _Stream] = {}
        self.by_ssrc: dict[int, _Stream] = {}
        self.seen: set[int] = set()
        self.legs_by_ssrc: dict[int, _Leg] = {}
        self.ssrc = random.getrandbits(32)
        self.rtcp_budget = _RTCP_BYTES_PER_TICK
        self.clock_offset: int | None = None
        """From its NTP time to the SFU's, by its first sender report."""


class PythonEngine:
    """See `PacketEngine`. `send` takes a finished datagram and where it goes."""

    def __init__(self, send: Callable[[bytes, Address], None]) -> None:
        self.counts = EngineCounts()
        self._send = send
        self._numbers = itertools.count(1)
        self._peers: dict[PeerId, _Peer] = {}
        self._streams: dict[StreamId, _Stream] = {}
        self._legs: dict[LegId, _Leg] = {}
        self._report_due_ms = 0

    # --- who and what there is --------------------------------------------------------------------------------

    def add_peer(self, keys: SrtpKeys, path: Address) -> PeerId:
        """See `PacketEngine`."""
        peer = _Peer(PeerId(next(self._numbers)), keys, path)
        self._peers[peer.id] = peer
        return peer.id

    def move_peer(self, peer: PeerId, path: Address) -> None:
        """See `PacketEngine`."""
        self._peers[peer].path = path

    def remove_peer(self, peer: PeerId) -> None:
        """See `PacketEngine`."""
        gone = self._peers[peer]
        for stream in list(gone.streams.values()):
            self.remove_stream(stream.id)
        for leg in [leg for leg in self._legs.values() if leg.peer is gone]:
            self.remove_leg(leg.id)
        del self._peers[peer]

    def add_stream(self, peer: PeerId, spec: StreamSpec) -> StreamId:
        """See `PacketEngine`."""
        owner = self._peers[peer]
        stream = _Stream(StreamId(next(self._numbers)), owner, spec)
        self._streams[stream.id] = stream
        owner.streams[spec.mid] = stream
        for ssrc in spec.ssrcs[:2]:
            owner.by_ssrc[ssrc] = stream
        return stream.id

    def remove_stream(self, stream: StreamId) -> None:
        """See `PacketEngine`."""
        gone = self._streams.pop(stream)
        for leg in list(gone.legs):
            self._unbind(leg)
        owner = gone.peer
        if owner.streams.get(gone.spec.mid) is gone:
            del owner.streams[gone.spec.mid]
        for ssrc in [ssrc for ssrc, of in owner.by_ssrc.items() if of is gone]:
            del owner.by_ssrc[ssrc]

    def add_leg(self, peer: PeerId, spec: LegSpec) -> LegId:
        """See `PacketEngine`."""
        owner = self._peers[peer]
        leg = _Leg(LegId(next(self._numbers)), owner, spec)
        self._legs[leg.id] = leg
        owner.legs_by_ssrc[spec.primary_ssrc] = leg
        return leg.id

    def remove_leg(self, leg: LegId) -> None:
        """See `PacketEngine`."""
        gone = self._legs.pop(leg)
        self._unbind(gone)
        by_ssrc = gone.peer.legs_by_ssrc
        if by_ssrc.get(gone.ssrc) is gone:
            del by_ssrc[gone.ssrc]

    def bind(self, leg: LegId, stream: StreamId | None, now_ms: int) -> bool:
        """See `PacketEngine`."""
        one = self._legs[leg]
        self._unbind(one)
        if stream is None:
            return True
        source = self._streams[stream]
        if not one.takes(source):
            return False
        one.stream = source
        one.begin()
        source.legs.append(one)
        if one.waits_for_keyframe and not self._replay_keyframe(source, one, now_ms):
            source.keyframes.want()
            self._ask_for_keyframe(source, now_ms)
        return True

    def _unbind(self, leg: _Leg) -> None:
        if leg.stream is not None:
            leg.finish(leg.stream)
            leg.stream.legs.remove(leg)
            leg.stream = None
            leg.codec = None

    # --- packets ----------------------------------------------------------------------------------------------

    def receive(self, peer: PeerId, data: bytes, now_ms: int) -> bool:
        """See `PacketEngine`."""
        sender = self._peers[peer]
        self.counts.received += 1
        if len(data) < 12:
            return self._refuse()
        is_feedback = 192 <= data[1] <= 223
        ssrc = int.from_bytes(data[4:8] if is_feedback else data[8:12], "big")
        if ssrc not in sender.seen and len(sender.seen) >= _SSRCS_MAX:
            # libsrtp keeps a state for each source; a peer may not make it keep them without end.
            return self._refuse()
        try:
            if is_feedback:
                feedback = sender.inbound.unprotect_rtcp(data)
                sender.seen.add(ssrc)
                if sender.rtcp_budget <= 0:
                    return self._refuse()
                sender.rtcp_budget -= len(feedback)
                self._receive_rtcp(sender, feedback, now_ms)
                return True
            packet = parse_rtp(sender.inbound.unprotect(data))
            sender.seen.add(ssrc)
        except (SrtpError, RtpError, RtcpError):
            return self._refuse()
        stream = sender.by_ssrc.get(ssrc) or self._latch(sender, packet)
        if stream is None:
            return self._refuse()
        if packet.payload_type in stream.repairs:
            self._repaired(stream, packet, now_ms)
        elif packet.payload_type in stream.codecs:
            self._forward(stream, packet, now_ms)
        else:
            return self._refuse()
        return True

    def sender_of(self, data: bytes) -> PeerId | None:
        """See `PacketEngine`."""
        if len(data) < 12:
            return None
        is_feedback = 192 <= data[1] <= 223
        ssrc = int.from_bytes(data[4:8] if is_feedback else data[8:12], "big")
        for peer in self._peers.values():
            if ssrc in peer.seen:
                with contextlib.suppress(SrtpError):
                    unprotect = peer.inbound.unprotect_rtcp if is_feedback else peer.inbound.unprotect
                    unprotect(data)
                    return peer.id
        return None

    def _refuse(self) -> bool:
        self.counts.refused += 1
        return False

    def _latch(self, sender: _Peer, packet: RtpPacket) -> _Stream | None:
        """Whose packet it is when the offer did not name its source: by MID, else by a payload type of one stream."""
        candidates: list[_Stream] = []
        for stream in sender.streams.values():
            number = stream.spec.mid_extension
            value = None if number is None else packet.extensions.get(number)
            if value is not None and value == stream.spec.mid.encode():
                candidates = [stream]
                break
            if value is None and (
                packet.payload_type in stream.codecs or packet.payload_type in stream.repairs
            ):
                candidates.append(stream)
        if len(candidates) != 1:
            return None
        stream = candidates[0]
        sender.by_ssrc[packet.ssrc] = stream
        return stream

    def _repaired(self, stream: _Stream, packet: RtpPacket, now_ms: int) -> None:
        """A retransmission: the original packet, whose number stands in front of its payload."""
        if packet.payload_end - packet.payload_start < 3 or stream.ssrc is None:
            # Padding by which a publisher probes its path.
            return
        start = packet.payload_start
        (original,) = struct.unpack_from("!H", packet.data, start)
        codec = stream.repairs[packet.payload_type]
        self._forward(
            stream,
            packet._replace(
                payload_type=codec.payload_type,
                sequence=original,
                ssrc=stream.ssrc,
                payload_start=start + 2,
            ),
            now_ms,
            is_repair=True,
        )

    def _forward(self, stream: _Stream, packet: RtpPacket, now_ms: int, *, is_repair: bool = False) -> None:
        if packet.ssrc != stream.ssrc:
            stream.begin(packet.ssrc, stream.codecs[packet.payload_type])
        codec = stream.codecs[packet.payload_type]
        if codec.name != stream.codec_name:
            stream.codec_name = codec.name
            stream.is_keyframe_start = KEYFRAME_TESTS.get(codec.name) if stream.spec.is_video else None
        sequence = stream.extender.extend(packet.sequence)
        reception = stream.reception
        assert reception is not None
        history = stream.history
        starts_keyframe = False
        if history is not None:
            assert stream.loss is not None
            if not stream.loss.receive(sequence, now_ms):
                return
            history.add(sequence, packet)
            if stream.is_keyframe_start is None or stream.is_keyframe_start(packet.payload):
                starts_keyframe = True
                history.add_keyframe_start(sequence, now_ms)
                stream.keyframes.arrived()
        elif stream.spec.level_extension is not None:
            level = packet.extensions.get(stream.spec.level_extension)
            if level:
                loudness = level[0] & 0x7F
                if stream.loudest is None or loudness < stream.loudest:
                    stream.loudest = loudness
        if not is_repair:
            # What had to be sent again was lost, and was late: so it stands in the report.
            reception.receive(sequence, packet.timestamp, len(packet.data), now_ms)
        if sequence > stream.newest:
            stream.newest = sequence
            stream.newest_timestamp = packet.timestamp
            stream.newest_at_ms = now_ms
        if starts_keyframe:
            for leg in stream.legs:
                leg.waits_for_keyframe = False
        self._send_to(stream.legs, codec, sequence, packet, now_ms)

    def _send_to(
        self, legs: list[_Leg], codec: StreamCodec, sequence: int, packet: RtpPacket, now_ms: int
    ) -> None:
        """The hot path: everything here is done for every packet and every subscriber."""
        timestamp = packet.timestamp
        mark = 0x80 if packet.is_marked else 0
        payload = packet.data[packet.payload_start : packet.payload_end]
        size = len(payload)
        sent = 0
        for leg in legs:
            if leg.waits_for_keyframe:
                continue
            taken = leg.codec
            if (taken is None or taken.name != codec.name) and not leg.take_codec(codec):
                continue
            rewriter = leg.rewriter
            if not rewriter.is_based:
                rewriter.base(sequence, timestamp, codec.clock_rate_hz, now_ms)
            elif sequence < rewriter.first:
                continue
            peer = leg.peer
            head = _pack_header(
                leg.first_byte,
                mark | leg.payload_type,
                (sequence + rewriter.sequence_delta) & 0xFFFF,
                (timestamp + rewriter.timestamp_delta) & 0xFFFFFFFF,
                leg.ssrc,
            )
            try:
                data = peer.outbound.protect(head + leg.extensions + payload)
            except SrtpError:
                self.counts.unsent += 1
                continue
            leg.packets += 1
            leg.bytes += size
            sent += 1
            self._send(data, peer.path)
        self.counts.forwarded += sent

    def _replay_keyframe(self, stream: _Stream, leg: _Leg, now_ms: int) -> bool:
        """A keyframe so young that another would not be made: its packets, and those since, are sent again."""
        history = stream.history
        if history is None or now_ms - history.keyframe_at_ms >= INTERVAL_MS:
            return False
        codec = next((codec for codec in stream.spec.codecs if codec.name == stream.codec_name), None)
        if codec is None:
            return False
        for sequence, packet in history.since_keyframe():
            leg.waits_for_keyframe = False
            self._send_to([leg], codec, sequence, packet, now_ms)
        return not leg.waits_for_keyframe

    # --- feedback ---------------------------------------------------------------------------------------------

    def _receive_rtcp(self, sender: _Peer, data: bytes, now_ms: int) -> None:
        for packet in parse_rtcp(data):
            if isinstance(packet, SenderReport):
                stream = sender.by_ssrc.get(packet.ssrc)
                if stream is not None and packet.ssrc == stream.ssrc:
                    self._read_clock(stream, packet, now_ms)
            elif isinstance(packet, Nack):
                leg = sender.legs_by_ssrc.get(packet.media_ssrc)
                if leg is not None:
                    self._resend(leg, packet.sequences, now_ms)
            elif isinstance(packet, PictureLoss):
                self._keyframe_wanted(sender, packet.media_ssrc, now_ms)
            elif isinstance(packet, FullIntraRequest):
                for ssrc in packet.media_ssrcs:
                    self._keyframe_wanted(sender, ssrc, now_ms)

    def _read_clock(self, stream: _Stream, report: SenderReport, now_ms: int) -> None:
        """
        What time a publisher's timestamps mean, in the SFU's own time.

        One offset for all that a publisher sends keeps its sound and picture together. In one time for all publishers
        a slot's clock does not jump when it carries another one: receivers take many reports to get over that.
        """
        assert stream.reception is not None
        stream.reception.sender_report(report.ntp_time, now_ms)
        peer = stream.peer
        if peer.clock_offset is None:
            peer.clock_offset = _ntp_time(now_ms) - report.ntp_time
        stream.clock = (report.ntp_time + peer.clock_offset, report.rtp_timestamp)

    def _report_clock(self, leg: _Leg, now_ms: int) -> None:
        """A sender report for a subscriber, every second: browsers report sound every 5 s only, and two are needed."""
        stream = leg.stream
        if stream is None or stream.clock is None or not leg.rewriter.is_based:
            return
        moment, timestamp = stream.clock
        now = _ntp_time(now_ms)
        elapsed = (now - moment) * stream.clock_rate_hz >> 32
        report = SenderReport(
            leg.ssrc,
            now,
            leg.rewriter.timestamp(timestamp + elapsed),
            leg.packets & 0xFFFFFFFF,
            leg.bytes & 0xFFFFFFFF,
        )
        self._send_rtcp(
            leg.peer, write_rtcp([report]) + source_description(leg.ssrc, leg.spec.canonical_name)
        )

    def _resend(self, leg: _Leg, sequences: tuple[int, ...], now_ms: int) -> None:
        stream, codec = leg.stream, leg.codec
        if stream is None or codec is None or stream.history is None:
            return
        for sequence in sequences:
            if leg.resend_budget <= 0:
                return
            leg.resend_budget -= 1
            original = leg.rewriter.incoming(sequence, stream.newest)
            packet = None if original is None else stream.history.get(original)
            if packet is None or original is None:
                continue
            if now_ms - leg.resent_at.get(original, -_RESEND_AGAIN_MS) < _RESEND_AGAIN_MS:
                continue
            leg.resent_at[original] = now_ms
            leg.resent += 1
            self.counts.resent += 1
            self._resend_one(leg, codec, sequence, packet)

    def _resend_one(self, leg: _Leg, codec: StreamCodec, sequence: int, packet: RtpPacket) -> None:
        timestamp = leg.rewriter.timestamp(packet.timestamp)
        payload = packet.data[packet.payload_start : packet.payload_end]
        spec = leg.spec
        if spec.repair_ssrc is not None and codec.repair_payload_type is not None:
            leg.repair_sequence = (leg.repair_sequence + 1) & 0xFFFF
            head = header(
                codec.repair_payload_type,
                packet.is_marked,
                leg.repair_sequence,
                timestamp,
                spec.repair_ssrc,
                leg.extensions,
            )
            data = head + sequence.to_bytes(2, "big") + payload
        else:
            head = header(
                codec.payload_type, packet.is_marked, sequence, timestamp, spec.primary_ssrc, leg.extensions
            )
            data = head + payload
        try:
            self._send(leg.peer.outbound.protect(data), leg.peer.path)
        except SrtpError:
            self.counts.unsent += 1

    def _keyframe_wanted(self, subscriber: _Peer, ssrc: int, now_ms: int) -> None:
        leg = subscriber.legs_by_ssrc.get(ssrc)
        if leg is not None and leg.stream is not None and leg.spec.is_video:
            leg.stream.keyframes.want()
            self._ask_for_keyframe(leg.stream, now_ms)

    def _ask_for_keyframe(self, stream: _Stream, now_ms: int) -> None:
        if stream.ssrc is None:
            # Nothing has come yet; an encoder begins with a keyframe. The declared source is asked all the same.
            if not stream.spec.ssrcs:
                return
            ssrc = stream.spec.ssrcs[0]
        else:
            ssrc = stream.ssrc
        if stream.keyframes.due(now_ms):
            stream.keyframe_requests += 1
            self.counts.keyframe_requests += 1
            self._send_rtcp(stream.peer, write_rtcp([PictureLoss(stream.peer.ssrc, ssrc)]))

    def _send_rtcp(self, peer: _Peer, data: bytes) -> None:
        try:
            self._send(peer.outbound.protect_rtcp(data), peer.path)
        except SrtpError:
            self.counts.unsent += 1

    # --- time -------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """See `PacketEngine`."""
        for stream in self._streams.values():
            if stream.loss is not None:
                if not stream.loss.is_complete:
                    self._ask_again(stream, stream.loss.due(now_ms))
                if stream.legs:
                    self._ask_for_keyframe(stream, now_ms)
        for leg in self._legs.values():
            if leg.resend_budget != _RESENT_PER_TICK:
                leg.resend_budget = _RESENT_PER_TICK
                if len(leg.resent_at) > 1_024:
                    leg.resent_at.clear()
        for peer in self._peers.values():
            peer.rtcp_budget = _RTCP_BYTES_PER_TICK
        if now_ms >= self._report_due_ms:
            self._report_due_ms = now_ms + REPORT_MS
            for peer in self._peers.values():
                self._report(peer, now_ms)
            for leg in self._legs.values():
                self._report_clock(leg, now_ms)

    def _ask_again(self, stream: _Stream, sequences: list[int]) -> None:
        if sequences and stream.ssrc is not None:
            self.counts.asked += len(sequences)
            numbers = tuple(sequence & 0xFFFF for sequence in sequences)
            self._send_rtcp(stream.peer, write_rtcp([Nack(stream.peer.ssrc, stream.ssrc, numbers)]))

    def _report(self, peer: _Peer, now_ms: int) -> None:
        blocks = []
        videos: list[int] = []
        for stream in peer.streams.values():
            if stream.ssrc is None or stream.reception is None:
                continue
            block = stream.reception.report(stream.ssrc, now_ms)
            if block is not None:
                blocks.append(block)
            if stream.spec.is_video:
                videos.append(stream.ssrc)
        if not blocks:
            return
        packets: list[Rtcp] = [ReceiverReport(peer.ssrc, tuple(blocks[:31]))]
        if videos:
            packets.append(Remb(peer.ssrc, VIDEO_BITRATE_BPS * len(videos), tuple(videos)))
        self._send_rtcp(peer, write_rtcp(packets))

    def levels(self) -> dict[StreamId, int]:
        """See `PacketEngine`."""
        found: dict[StreamId, int] = {}
        for stream in self._streams.values():
            if stream.loudest is not None:
                found[stream.id] = stream.loudest
                stream.loudest = None
        return found

    def stream_stats(self, stream: StreamId) -> StreamStats:
        """See `PacketEngine`."""
        one = self._streams[stream]
        reception = one.reception
        return StreamStats(
            packets=0 if reception is None else reception.packets,
            bytes=0 if reception is None else reception.bytes,
            lost=0 if reception is None else reception.lost,
            jitter=0 if reception is None else reception.jitter,
            keyframe_requests=one.keyframe_requests,
        )

    def leg_stats(self, leg: LegId) -> LegStats:
        """See `PacketEngine`."""
        one = self._legs[leg]
        return LegStats(packets=one.packets, bytes=one.bytes, resent=one.resent)


def _ntp_time(now_ms: int) -> int:
    """64 bits: seconds and their fraction."""
    return (_NTP_START_S << 32) + (now_ms << 32) // 1_000

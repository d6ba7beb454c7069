"""
The packet engine in Python: unprotect once, rewrite a few header bytes for each subscriber, protect, send.

Owns the order of things: what is done with a packet, for which `stream`, `leg` and `engine_peer`. No task, no queue, no
clock: packets go out from within `receive`. A packet that is not authentic or not understood is counted and costs its
sender only. See RFC 3711, RFC 3550, RFC 4585 and RFC 4588.
"""

from __future__ import annotations

import contextlib
import itertools
import struct
from collections.abc import Callable
from typing import Final

from peerbus.sfu.engine import (
    EngineCounts,
    LegId,
    LegSpec,
    PeerId,
    StreamCodec,
    StreamId,
    StreamSpec,
)
from peerbus.sfu.engine_peer import RTCP_BYTES_PER_TICK, Peer
from peerbus.sfu.leg import Leg
from peerbus.sfu.rtp.codecs import KEYFRAME_TESTS
from peerbus.sfu.rtp.keyframe_requests import INTERVAL_MS
from peerbus.sfu.rtp.packet import RtpError, RtpPacket, parse_rtp
from peerbus.sfu.rtp.rtcp import (
    FullIntraRequest,
    Nack,
    PictureLoss,
    RtcpError,
    SenderReport,
    parse_rtcp,
    write_rtcp,
)
from peerbus.sfu.srtp import SrtpKeys
from peerbus.sfu.srtp_session import SrtpError
from peerbus.sfu.stream import Stream
from peerbus.sfu.udp import Address

REPORT_MS: Final = 1_000
_SSRCS_MAX: Final = 256
"""Of one peer in its whole life: publishing anew takes new ones."""
_RESEND_AGAIN_MS: Final = 20

_pack_header: Final = struct.Struct("!BBHII").pack


class PythonEngine:
    """See `PacketEngine`. `send` takes a finished datagram and where it goes."""

    def __init__(self, send: Callable[[bytes, Address], None]) -> None:
        self.counts = EngineCounts()
        self._send = send
        self._numbers = itertools.count(1)
        self._peers: dict[PeerId, Peer] = {}
        self._streams: dict[StreamId, Stream] = {}
        self._legs: dict[LegId, Leg] = {}
        self._report_due_ms = 0

    # --- who and what there is --------------------------------------------------------------------------------

    def add_peer(self, keys: SrtpKeys, path: Address) -> PeerId:
        """See `PacketEngine`."""
        peer = Peer(PeerId(next(self._numbers)), keys, path)
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
        stream = Stream(StreamId(next(self._numbers)), owner, spec)
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
        leg = Leg(LegId(next(self._numbers)), owner, spec)
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

    def _unbind(self, leg: Leg) -> None:
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

    def _latch(self, sender: Peer, packet: RtpPacket) -> Stream | None:
        """Whose packet it is when the offer did not name its source: by MID, else by a payload type of one stream."""
        candidates: list[Stream] = []
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

    def _repaired(self, stream: Stream, packet: RtpPacket, now_ms: int) -> None:
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

    def _forward(self, stream: Stream, packet: RtpPacket, now_ms: int, *, is_repair: bool = False) -> None:
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
        self, legs: list[Leg], codec: StreamCodec, sequence: int, packet: RtpPacket, now_ms: int
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

    def _replay_keyframe(self, stream: Stream, leg: Leg, now_ms: int) -> bool:
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

    def _receive_rtcp(self, sender: Peer, data: bytes, now_ms: int) -> None:
        for packet in parse_rtcp(data):
            if isinstance(packet, SenderReport):
                stream = sender.by_ssrc.get(packet.ssrc)
                if stream is not None and packet.ssrc == stream.ssrc:
                    stream.read_clock(packet, now_ms)
            elif isinstance(packet, Nack):
                leg = sender.legs_by_ssrc.get(packet.media_ssrc)
                if leg is not None:
                    self._resend(leg, packet.sequences, now_ms)
            elif isinstance(packet, PictureLoss):
                self._keyframe_wanted(sender, packet.media_ssrc, now_ms)
            elif isinstance(packet, FullIntraRequest):
                for ssrc in packet.media_ssrcs:
                    self._keyframe_wanted(sender, ssrc, now_ms)

    def _resend(self, leg: Leg, sequences: tuple[int, ...], now_ms: int) -> None:
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
            self.counts.resent += 1
            try:
                self._send(leg.peer.outbound.protect(leg.repair(codec, sequence, packet)), leg.peer.path)
            except SrtpError:
                self.counts.unsent += 1

    def _keyframe_wanted(self, subscriber: Peer, ssrc: int, now_ms: int) -> None:
        leg = subscriber.legs_by_ssrc.get(ssrc)
        if leg is not None and leg.stream is not None and leg.spec.is_video:
            leg.stream.keyframes.want()
            self._ask_for_keyframe(leg.stream, now_ms)

    def _ask_for_keyframe(self, stream: Stream, now_ms: int) -> None:
        if stream.ssrc is None:
            # Nothing has come yet; an encoder begins with a keyframe. The declared source is asked all the same.
            if not stream.spec.ssrcs:
                return
            ssrc = stream.spec.ssrcs[0]
        else:
            ssrc = stream.ssrc
        if stream.keyframes.due(now_ms):
            self.counts.keyframe_requests += 1
            self._send_rtcp(stream.peer, write_rtcp([PictureLoss(stream.peer.ssrc, ssrc)]))

    def _send_rtcp(self, peer: Peer, data: bytes) -> None:
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
            leg.tick()
        for peer in self._peers.values():
            peer.rtcp_budget = RTCP_BYTES_PER_TICK
        if now_ms >= self._report_due_ms:
            self._report_due_ms = now_ms + REPORT_MS
            for peer in self._peers.values():
                report = peer.reception_report(now_ms)
                if report is not None:
                    self._send_rtcp(peer, report)
            for leg in self._legs.values():
                report = leg.clock_report(now_ms)
                if report is not None:
                    self._send_rtcp(leg.peer, report)

    def _ask_again(self, stream: Stream, sequences: list[int]) -> None:
        if sequences and stream.ssrc is not None:
            self.counts.asked += len(sequences)
            numbers = tuple(sequence & 0xFFFF for sequence in sequences)
            self._send_rtcp(stream.peer, write_rtcp([Nack(stream.peer.ssrc, stream.ssrc, numbers)]))

    def levels(self) -> dict[StreamId, int]:
        """See `PacketEngine`."""
        found: dict[StreamId, int] = {}
        for stream in self._streams.values():
            if stream.loudest is not None:
                found[stream.id] = stream.loudest
                stream.loudest = None
        return found

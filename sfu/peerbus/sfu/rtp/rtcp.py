"""
RTCP as far as an SFU reads and writes it.

Owns the compound packet: sender and receiver reports, BYE, and the feedback messages NACK, PLI, FIR and REMB. What
it does not know it skips. Never decides when something is sent. See RFC 3550 (section 6), RFC 4585, RFC 5104.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, TypeAlias

SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
SOURCE_DESCRIPTION: Final = 202
BYE: Final = 203
TRANSPORT_FEEDBACK: Final = 205
PAYLOAD_FEEDBACK: Final = 206

_NACK_FORMAT: Final = 1
_PLI_FORMAT: Final = 1
_FIR_FORMAT: Final = 4
_APPLICATION_FORMAT: Final = 15
_REMB_MANTISSA_BITS: Final = 18
_REPORT_BLOCK: Final = struct.Struct("!IIIIII")
_NACK_ENTRIES_MAX: Final = 256


class RtcpError(ValueError):
    """The bytes are not a compound RTCP packet; the text says why."""


class ReportBlock(NamedTuple):
    """How one receiver sees one source."""

    ssrc: int
    fraction_lost: int
    """In 1/256, since the last report."""
    cumulative_lost: int
    highest_sequence: int
    """Extended by the number of wraps."""
    jitter: int
    """In ticks of the media clock."""
    last_report: int
    """The middle 32 bits of the NTP time of the last sender report; 0 for none."""
    delay_since_last_report: int
    """In 1/65536 s."""


class SenderReport(NamedTuple):
    """What a sender says of its clock and its counts."""

    ssrc: int
    ntp_time: int
    """64 bits: seconds since 1900 and their fraction."""
    rtp_timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


class ReceiverReport(NamedTuple):
    """What a receiver says of what it gets."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


class Bye(NamedTuple):
    """Sources that end."""

    ssrcs: tuple[int, ...]


class Nack(NamedTuple):
    """Packets of `media_ssrc` that are missing, by sequence number."""

    sender_ssrc: int
    media_ssrc: int
    sequences: tuple[int, ...]


class PictureLoss(NamedTuple):
    """A keyframe is wanted."""

    sender_ssrc: int
    media_ssrc: int


class FullIntraRequest(NamedTuple):
    """A keyframe is wanted of each of these sources."""

    sender_ssrc: int
    media_ssrcs: tuple[int, ...]


class Remb(NamedTuple):
    """How much a sender may send in all for these sources (draft-alvestrand-rmcat-remb)."""

    sender_ssrc: int
    bitrate_bps: int
    media_ssrcs: tuple[int, ...]


Rtcp: TypeAlias = SenderReport | ReceiverReport | Bye | Nack | PictureLoss | FullIntraRequest | Remb


def parse_rtcp(data: bytes) -> list[Rtcp]:
    """The known packets of a compound packet, in order. Raises `RtcpError`."""
    packets: list[Rtcp] = []
    position = 0
    while position < len(data):
        if len(data) - position < 4:
            raise RtcpError("truncated header")
        first, kind, words = struct.unpack_from("!BBH", data, position)
        if first >> 6 != 2:
            raise RtcpError("not version 2")
        end = position + 4 + 4 * words
        if end > len(data):
            raise RtcpError("truncated packet")
        body_end = end
        if first & 0x20:
            padding = data[end - 1]
            if padding == 0 or position + 4 + padding > end:
                raise RtcpError("impossible padding")
            body_end -= padding
        packet = _parse_one(first & 0x1F, kind, data[position + 4 : body_end])
        if packet is not None:
            packets.append(packet)
        position = end
    return packets


def write_rtcp(packets: list[Rtcp]) -> bytes:
    """A compound packet."""
    return b"".join(_write_one(packet) for packet in packets)


def source_description(ssrc: int, name: str) -> bytes:
    """An SDES packet with the canonical name of one source."""
    text = name.encode()[:255]
    items = struct.pack("!IBB", ssrc, 1, len(text)) + text + b"\0"
    items += b"\0" * (-len(items) % 4)
    return _packet(1, SOURCE_DESCRIPTION, items)


def _parse_one(count: int, kind: int, body: bytes) -> Rtcp | None:
    if kind == SENDER_REPORT:
        if len(body) < 24:
            raise RtcpError("truncated sender report")
        ssrc, ntp_time, rtp_timestamp, sent, octets = struct.unpack_from("!IQIII", body)
        return SenderReport(ssrc, ntp_time, rtp_timestamp, sent, octets, _blocks(body, 24, count))
    if kind == RECEIVER_REPORT:
        if len(body) < 4:
            raise RtcpError("truncated receiver report")
        return ReceiverReport(struct.unpack_from("!I", body)[0], _blocks(body, 4, count))
    if kind == BYE:
        if len(body) < 4 * count:
            raise RtcpError("truncated bye")
        return Bye(struct.unpack_from(f"!{count}I", body))
    if kind == TRANSPORT_FEEDBACK and count == _NACK_FORMAT:
        return _parse_nack(body)
    if kind == PAYLOAD_FEEDBACK and count == _PLI_FORMAT:
        if len(body) < 8:
            raise RtcpError("truncated feedback")
        return PictureLoss(*struct.unpack_from("!II", body))
    if kind == PAYLOAD_FEEDBACK and count == _FIR_FORMAT:
        if len(body) < 8 or (len(body) - 8) % 8:
            raise RtcpError("truncated feedback")
        entries = range(8, len(body), 8)
        return FullIntraRequest(
            struct.unpack_from("!I", body)[0],
            tuple(struct.unpack_from("!I", body, position)[0] for position in entries),
        )
    if kind == PAYLOAD_FEEDBACK and count == _APPLICATION_FORMAT:
        return _parse_remb(body)
    return None


def _parse_nack(body: bytes) -> Nack:
    if len(body) < 12 or len(body) % 4:
        raise RtcpError("truncated feedback")
    if (len(body) - 8) // 4 > _NACK_ENTRIES_MAX:
        raise RtcpError("too many lost packets named")
    sender_ssrc, media_ssrc = struct.unpack_from("!II", body)
    sequences: list[int] = []
    for position in range(8, len(body), 4):
        first, mask = struct.unpack_from("!HH", body, position)
        sequences.append(first)
        sequences += [(first + bit + 1) & 0xFFFF for bit in range(16) if mask >> bit & 1]
    return Nack(sender_ssrc, media_ssrc, tuple(sequences))


def _blocks(body: bytes, start: int, count: int) -> tuple[ReportBlock, ...]:
    if len(body) < start + count * _REPORT_BLOCK.size:
        raise RtcpError("truncated report block")
    blocks: list[ReportBlock] = []
    for index in range(count):
        ssrc, lost, highest, jitter, last, delay = _REPORT_BLOCK.unpack_from(
            body, start + index * _REPORT_BLOCK.size
        )
        cumulative = lost & 0xFFFFFF
        if cumulative & 0x800000:
            cumulative -= 1 << 24
        blocks.append(ReportBlock(ssrc, lost >> 24, cumulative, highest, jitter, last, delay))
    return tuple(blocks)


def _write_one(packet: Rtcp) -> bytes:
    if isinstance(packet, SenderReport):
        head = struct.pack(
            "!IQIII", packet.ssrc, packet.ntp_time, packet.rtp_timestamp, packet.packets, packet.octets
        )
        return _packet(len(packet.blocks), SENDER_REPORT, head + _write_blocks(packet.blocks))
    if isinstance(packet, ReceiverReport):
        head = struct.pack("!I", packet.ssrc)
        return _packet(len(packet.blocks), RECEIVER_REPORT, head + _write_blocks(packet.blocks))
    if isinstance(packet, Bye):
        return _packet(len(packet.ssrcs), BYE, struct.pack(f"!{len(packet.ssrcs)}I", *packet.ssrcs))
    if isinstance(packet, Nack):
        head = struct.pack("!II", packet.sender_ssrc, packet.media_ssrc)
        return _packet(_NACK_FORMAT, TRANSPORT_FEEDBACK, head + _nack_entries(packet.sequences))
    if isinstance(packet, PictureLoss):
        body = struct.pack("!II", packet.sender_ssrc, packet.media_ssrc)
        return _packet(_PLI_FORMAT, PAYLOAD_FEEDBACK, body)
    if isinstance(packet, Remb):
        return _packet(_APPLICATION_FORMAT, PAYLOAD_FEEDBACK, _write_remb(packet))
    body = struct.pack("!II", packet.sender_ssrc, 0)
    body += b"".join(struct.pack("!IBxxx", ssrc, 0) for ssrc in packet.media_ssrcs)
    return _packet(_FIR_FORMAT, PAYLOAD_FEEDBACK, body)


def _write_remb(packet: Remb) -> bytes:
    exponent = max(0, packet.bitrate_bps.bit_length() - _REMB_MANTISSA_BITS)
    mantissa = packet.bitrate_bps >> exponent
    sources = packet.media_ssrcs[:255]
    head = struct.pack(
        "!II4sI", packet.sender_ssrc, 0, b"REMB", len(sources) << 24 | exponent << 18 | mantissa
    )
    return head + struct.pack(f"!{len(sources)}I", *sources)


def _parse_remb(body: bytes) -> Remb | None:
    if len(body) < 16 or body[8:12] != b"REMB":
        return None
    sender_ssrc, _, _, word = struct.unpack_from("!II4sI", body)
    count = word >> 24
    if len(body) < 16 + 4 * count:
        raise RtcpError("truncated feedback")
    bitrate_bps = (word & 0x3FFFF) << (word >> 18 & 0x3F)
    return Remb(sender_ssrc, bitrate_bps, struct.unpack_from(f"!{count}I", body, 16))


def _nack_entries(sequences: tuple[int, ...]) -> bytes:
    if not sequences:
        return b""
    # Ordered around the first one, so that a run across the wrap stays together.
    first = sequences[0]
    distances = sorted({((number - first + 0x8000) & 0xFFFF) - 0x8000 for number in sequences})
    entries: list[tuple[int, int]] = []
    for distance in distances:
        if entries and distance - entries[-1][0] <= 16:
            start, mask = entries[-1]
            entries[-1] = (start, mask | 1 << (distance - start - 1))
        else:
            entries.append((distance, 0))
    return b"".join(
        struct.pack("!HH", (first + start) & 0xFFFF, mask) for start, mask in entries[:_NACK_ENTRIES_MAX]
    )


def _write_blocks(blocks: tuple[ReportBlock, ...]) -> bytes:
    return b"".join(
        _REPORT_BLOCK.pack(
            block.ssrc,
            block.fraction_lost << 24 | block.cumulative_lost & 0xFFFFFF,
            block.highest_sequence & 0xFFFFFFFF,
            block.jitter,
            block.last_report,
            block.delay_since_last_report,
        )
        for block in blocks
    )


def _packet(count: int, kind: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body

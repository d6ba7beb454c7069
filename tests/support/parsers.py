"""
The SFU's parsers of what strangers send, each with samples, and with what must hold of any input.

Owns the table that the property tests and the long runs share. Never draws anything.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from aiortc.rtcsctptransport import RECONFIG_PARAM_TYPES, ReconfigChunk, parse_packet

from peerbus.protocol.errors import ProtocolError
from peerbus.sfu.data_message import read_data
from peerbus.sfu.ice_lite import IceCredentials, IceLite, receiver_of
from peerbus.sfu.rtp.codecs import KEYFRAME_TESTS
from peerbus.sfu.rtp.packet import RtpError, extension_block, header, parse_rtp
from peerbus.sfu.rtp.rtcp import (
    Bye,
    FullIntraRequest,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    ReportBlock,
    Rtcp,
    RtcpError,
    SenderReport,
    parse_rtcp,
    source_description,
    write_rtcp,
)
from peerbus.sfu.sctp_guard import SctpError, check_sctp
from peerbus.sfu.sdp import SdpError, read_offer
from peerbus.sfu.stun import (
    BINDING_REQUEST,
    BINDING_SUCCESS,
    ICE_CONTROLLED,
    ICE_CONTROLLING,
    PRIORITY,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    StunError,
    has_integrity,
    parse_stun,
    write_stun,
    xor_address,
)
from tests.support.mutations import mutated, mutated_text
from tests.support.offers import OFFERS, offer
from tests.support.sctp_packets import captured, hostile, with_checksum
from tests.support.work import at_most

_PASSWORD: Final = "p" * 22
_LINES_MAX: Final = 40_000
"""For one packet of SCTP: about 4,000 gaps, or 700 parameters, and room beside."""


class Parser(NamedTuple):
    """`accept` says whether an input was read; anything but the parser's own refusal comes out of it as it is."""

    samples: Callable[[], Sequence[bytes]]
    accept: Callable[[bytes], bool]
    draw: Callable[[random.Random], bytes] | None = None
    """Draws an input that is no damaged sample, where there is a way."""


def damaged(parser: Parser, chance: random.Random) -> bytes:
    """An input for a parser: mostly a damaged sample."""
    if parser.draw is not None and chance.random() < 0.3:
        return parser.draw(chance)
    samples = parser.samples()
    return mutated(chance.choice(samples), chance, samples)


# --- STUN ---------------------------------------------------------------------------------------------------------


@functools.cache
def stun_samples() -> Sequence[bytes]:
    name, role = (USERNAME, b"here:there"), (ICE_CONTROLLING, bytes(8))
    mapped = (XOR_MAPPED_ADDRESS, xor_address("2001:db8::1", 9, bytes(12)))
    secret = _PASSWORD.encode()
    return [
        write_stun(
            BINDING_REQUEST, bytes(12), [name, role, (USE_CANDIDATE, b""), (PRIORITY, bytes(4))], secret
        ),
        write_stun(BINDING_REQUEST, bytes(12), [name, (ICE_CONTROLLED, bytes(8))], secret),
        write_stun(BINDING_SUCCESS, bytes(12), [mapped], secret),
        write_stun(BINDING_REQUEST, bytes(12), [(USERNAME, b"here:" + b"x" * 508)], None),
    ]


def accept_stun(data: bytes) -> bool:
    """Read, its integrity looked at, and given to a connection."""
    try:
        message = parse_stun(data)
    except StunError:
        return False
    assert len(message.transaction) == 12
    assert all(len(value) <= len(data) for value in message.attributes.values())
    receiver_of(message)
    ice = IceLite(IceCredentials("here", _PASSWORD), IceCredentials("there", _PASSWORD))
    check = ice.receive(data, message, ("192.0.2.1", 9), 0)
    # Nothing is answered that is not signed.
    assert check is None or has_integrity(data, message, _PASSWORD.encode())
    assert check is None or parse_stun(check.response).transaction == message.transaction
    return True


def _draw_stun(chance: random.Random) -> bytes:
    """Right lengths and a right fingerprint around attributes of any kind, signed or not."""
    names = (USERNAME, ICE_CONTROLLING, ICE_CONTROLLED, USE_CANDIDATE, 0x0008, 0x0009, 0x0020, 0x8028, 0x7FFF)
    values = (b"", b"here:there", b"here", b":", b"\xff\xfe:", bytes(4), bytes(20), chance.randbytes(7))
    attributes = [
        (chance.choice(names), chance.choice(values)) for _ in range(chance.choice((0, 1, 2, 3, 31, 32, 33)))
    ]
    kind = chance.choice((BINDING_REQUEST, BINDING_REQUEST, BINDING_SUCCESS, 0x0011, 0x0003))
    password = _PASSWORD.encode() if chance.random() < 0.5 else None
    data = write_stun(kind, chance.randbytes(12), attributes, password)
    return data if chance.random() < 0.8 else mutated(data, chance)


# --- RTP ----------------------------------------------------------------------------------------------------------


@functools.cache
def rtp_samples() -> Sequence[bytes]:
    short, long = {4: b"0", 1: b"\x85", 3: bytes(3)}, {4: b"0" * 20, 200: b""}
    vp8, h264 = bytes.fromhex("90f0852107200001"), bytes.fromhex("78000567420003658800")
    return [
        header(96, True, 65_535, 1, 7, extension_block(short)) + vp8,
        header(102, False, 0, 2**32 - 1, 7, extension_block(long)) + h264,
        b"\xa3" + header(111, False, 9, 9, 7)[1:] + bytes(12) + b"sound" + b"\0\0\0\4",
        header(97, False, 9, 9, 8) + b"\0\1" + vp8,
    ]


def accept_rtp(data: bytes) -> bool:
    """Read, looked at as a keyframe of each codec, and its extensions written again."""
    try:
        packet = parse_rtp(data)
    except RtpError:
        return False
    assert 12 <= packet.payload_start <= packet.payload_end <= len(data)
    assert packet.is_padding is (len(packet.payload) == 0)
    for is_keyframe_start in KEYFRAME_TESTS.values():
        is_keyframe_start(packet.payload)
    block = extension_block(packet.extensions)
    again = parse_rtp(header(packet.payload_type, packet.is_marked, packet.sequence, 0, packet.ssrc, block))
    assert again.extensions == packet.extensions
    return True


# --- RTCP ---------------------------------------------------------------------------------------------------------


@functools.cache
def rtcp_samples() -> Sequence[bytes]:
    block = ReportBlock(1, 255, -5, 2**32 - 1, 9, 9, 9)
    return [
        write_rtcp([SenderReport(1, 2**64 - 1, 2, 3, 4, (block,))]) + source_description(1, "name"),
        write_rtcp([ReceiverReport(1, (block, block)), Nack(1, 2, (65_535, 0, 5, 900)), PictureLoss(1, 2)]),
        write_rtcp([FullIntraRequest(1, (2, 3)), Remb(1, 10**6, (5, 6)), Bye((1, 2))]),
        bytes.fromhex("8fcd00050000000100000002000a0003000000000123456780000000"),
    ]


def _comparable(packets: list[Rtcp]) -> list[object]:
    return [
        (one.sender_ssrc, one.media_ssrc, frozenset(one.sequences)) if isinstance(one, Nack) else one
        for one in packets
    ]


def accept_rtcp(data: bytes) -> bool:
    """Read; what is written of it again means the same."""
    try:
        packets = parse_rtcp(data)
    except RtcpError:
        return False
    assert _comparable(parse_rtcp(write_rtcp(packets))) == _comparable(packets)
    return True


# --- SCTP ---------------------------------------------------------------------------------------------------------


@functools.cache
def sctp_samples() -> Sequence[bytes]:
    return asyncio.run(captured())


def accept_sctp(data: bytes) -> bool:
    """What the guard lets through is parsed by aiortc without an error, and with little work."""
    try:
        check_sctp(data)
    except SctpError:
        return False
    with at_most(_LINES_MAX):
        _, _, _, chunks = parse_packet(with_checksum(data))
        for one in chunks:
            if isinstance(one, ReconfigChunk):
                for name, value in one.params:
                    if name in RECONFIG_PARAM_TYPES:
                        RECONFIG_PARAM_TYPES[name].parse(value)
    return True


def _draw_sctp(chance: random.Random) -> bytes:
    data = hostile(chance, tag=1, received=chance.getrandbits(32), sent=chance.getrandbits(32))
    return mutated(data, chance) if chance.random() < 0.5 else data


# --- SDP and data messages ----------------------------------------------------------------------------------------


@functools.cache
def sdp_samples() -> Sequence[bytes]:
    return [offer(name).encode() for name in OFFERS]


def accept_sdp(data: bytes) -> bool:
    """Read whole, or refused with a short sentence."""
    problem = ""
    try:
        assert read_offer(data.decode("utf-8", "replace")).sections
    except SdpError as error:
        problem = str(error)
    assert len(problem) < 600
    return not problem


def _draw_sdp(chance: random.Random) -> bytes:
    return mutated_text(offer(chance.choice(OFFERS)), chance).encode("utf-8", "replace")


@functools.cache
def data_samples() -> Sequence[bytes]:
    return [
        b"\x92\xc0\xa5hello",
        b"\x92\x92\xa3ann\xa3ben\x82\xa1a\x92\x01\xcb?\xf0\0\0\0\0\0\0\xa1b\xc4\x02xy",
    ]


def accept_data(data: bytes) -> bool:
    """Read, with the payload as it came, or a bad request."""
    try:
        _, payload = read_data(data)
    except ProtocolError:
        return False
    assert data.endswith(bytes(payload))
    return True


PARSERS: Final = {
    "stun": Parser(stun_samples, accept_stun, _draw_stun),
    "rtp": Parser(rtp_samples, accept_rtp),
    "rtcp": Parser(rtcp_samples, accept_rtcp),
    "sctp": Parser(sctp_samples, accept_sctp, _draw_sctp),
    "sdp": Parser(sdp_samples, accept_sdp, _draw_sdp),
    "data": Parser(data_samples, accept_data),
}

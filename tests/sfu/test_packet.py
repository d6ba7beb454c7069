"""RTP headers: what is read, what is refused, what is written."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.rtp.packet import RtpError, RtpPacket, extension_block, header, parse_rtp
from tests.support.parsers import PARSERS, damaged
from tests.support.vectors import load_vectors

ONE_BYTE = {1: b"\x85", 3: b"abc"}
VALUES = st.dictionaries(st.integers(1, 14), st.binary(min_size=1, max_size=16), max_size=6)
LONG_VALUES = st.dictionaries(st.integers(1, 255), st.binary(max_size=40), max_size=4)


def test_a_packet_comes_apart_as_rfc_3550_says() -> None:
    data = bytes.fromhex("80e0 1234 00000010 deadbeef".replace(" ", "")) + b"payload"
    packet = parse_rtp(data)
    assert (packet.payload_type, packet.is_marked) == (96, True)
    assert (packet.sequence, packet.timestamp, packet.ssrc) == (0x1234, 16, 0xDEADBEEF)
    assert bytes(packet.payload) == b"payload"


def test_contributing_sources_and_padding_are_not_payload() -> None:
    data = bytes.fromhex("a260 0001 00000000 00000001".replace(" ", "")) + bytes(8) + b"xy" + b"\0\0\0\4"
    packet = parse_rtp(data)
    assert bytes(packet.payload) == b"xy"


def test_a_packet_of_padding_alone_says_so() -> None:
    assert parse_rtp(header(96, False, 1, 2, 3).replace(b"\x80", b"\xa0", 1) + b"\0\0\0\4").is_padding


@given(extensions=VALUES | LONG_VALUES, payload=st.binary(max_size=50), sequence=st.integers(0, 65_535))
def test_what_is_written_is_read_again(extensions: dict[int, bytes], payload: bytes, sequence: int) -> None:
    data = header(111, True, sequence, 0xFFFFFFFF, 7, extension_block(extensions)) + payload
    packet = parse_rtp(data)
    assert packet.extensions == extensions
    assert bytes(packet.payload) == payload
    assert (packet.sequence, packet.timestamp, packet.ssrc, packet.is_marked) == (
        sequence,
        0xFFFFFFFF,
        7,
        True,
    )


def test_the_short_form_is_used_where_it_can_be() -> None:
    assert extension_block(ONE_BYTE)[:2] == b"\xbe\xde"
    assert extension_block({15: b"x"})[:2] == b"\x10\x00"
    assert extension_block({1: b""})[:2] == b"\x10\x00"


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("10850000 2200ff10", {1: b"\x85", 2: b"\x00\xff\x10"}),
        ("1085f011 22334455", {1: b"\x85"}),
        ("10850511 22334455", {1: b"\x85"}),
        ("0f851085 22334455", {}),
    ],
    ids=["padding", "15", "0 with a length", "0 with a length at once"],
)
def test_behind_a_reserved_id_nothing_counts(block: str, expected: dict[int, bytes]) -> None:
    """RFC 8285, section 4.2."""
    packet = parse_rtp(bytes.fromhex("90600001 00000000 00000001 bede0002" + block) + b"payload")
    assert packet.extensions == expected
    assert bytes(packet.payload) == b"payload"


def test_extensions_of_an_unknown_profile_are_skipped() -> None:
    packet = parse_rtp(bytes.fromhex("90600001 00000000 00000001 12340001 ffffffff") + b"x")
    assert packet.extensions == {}
    assert bytes(packet.payload) == b"x"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80",
        bytes(11),
        bytes(12),
        b"\x8f" + bytes(11),
        b"\x90" + bytes(11),
        b"\x90" + bytes(11) + b"\xbe\xde\x00\x02\x00\x00\x00\x00",
        b"\x90" + bytes(11) + b"\xbe\xde\x00\x01\x1fabc",
        b"\x90" + bytes(11) + b"\x10\x00\x00\x01\x01\x09ab",
        b"\xa0" + bytes(11) + b"\x00",
        b"\xa0" + bytes(11) + b"\xff",
    ],
    ids=[
        "empty", "one byte", "short", "version 0", "no sources", "no extension header", "short extensions",
        "long one-byte value", "long two-byte value", "padding 0", "padding beyond the start",
    ],
)  # fmt: skip
def test_what_is_not_a_packet_is_refused(data: bytes) -> None:
    with pytest.raises(RtpError):
        parse_rtp(data)


@given(data=st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        packet = parse_rtp(b"\x90" + data)
    except RtpError:
        return
    assert isinstance(packet, RtpPacket)
    assert 12 <= packet.payload_start <= packet.payload_end <= len(packet.data)


@given(seed=st.integers(0, 2**32))
def test_damaged_packets_raise_nothing_else(seed: int) -> None:
    parser = PARSERS["rtp"]
    parser.accept(damaged(parser, random.Random(seed)))


def test_samples_are_read() -> None:
    assert all(PARSERS["rtp"].accept(data) for data in PARSERS["rtp"].samples())


@pytest.mark.parametrize("text", load_vectors("packets/crashes")["rtp"])
def test_what_once_went_wrong(text: str) -> None:
    PARSERS["rtp"].accept(bytes.fromhex(text))

"""RTCP: known packets both ways, bad ones refused."""

import random

import pytest
from aiortc.rtp import pack_remb_fci, unpack_remb_fci
from hypothesis import given
from hypothesis import strategies as st

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
from tests.support.parsers import PARSERS, damaged
from tests.support.vectors import load_vectors

SSRC = st.integers(0, 2**32 - 1)
BLOCK = st.builds(
    ReportBlock,
    ssrc=SSRC,
    fraction_lost=st.integers(0, 255),
    cumulative_lost=st.integers(-(2**23), 2**23 - 1),
    highest_sequence=SSRC,
    jitter=SSRC,
    last_report=SSRC,
    delay_since_last_report=SSRC,
)
BLOCKS = st.lists(BLOCK, max_size=3).map(tuple)
PACKETS: st.SearchStrategy[Rtcp] = st.one_of(
    st.builds(
        SenderReport,
        ssrc=SSRC,
        ntp_time=st.integers(0, 2**64 - 1),
        rtp_timestamp=SSRC,
        packets=SSRC,
        octets=SSRC,
        blocks=BLOCKS,
    ),
    st.builds(ReceiverReport, ssrc=SSRC, blocks=BLOCKS),
    st.builds(Bye, ssrcs=st.lists(SSRC, max_size=4).map(tuple)),
    st.builds(PictureLoss, sender_ssrc=SSRC, media_ssrc=SSRC),
    st.builds(FullIntraRequest, sender_ssrc=SSRC, media_ssrcs=st.lists(SSRC, max_size=3).map(tuple)),
)


def nack(sender_ssrc: int, media_ssrc: int, sequences: list[int]) -> bytes:
    return write_rtcp([Nack(sender_ssrc, media_ssrc, tuple(sequences))])


@given(packets=st.lists(PACKETS, max_size=4))
def test_what_is_written_is_read_again(packets: list[Rtcp]) -> None:
    assert parse_rtcp(write_rtcp(packets)) == packets


@given(
    first=st.integers(0, 0xFFFF),
    steps=st.lists(st.integers(0, 400), min_size=1, max_size=60, unique=True),
)
def test_a_nack_names_exactly_the_lost_packets(first: int, steps: list[int]) -> None:
    lost = [(first + step) & 0xFFFF for step in steps]
    (packet,) = parse_rtcp(nack(1, 2, lost))
    assert isinstance(packet, Nack)
    assert set(packet.sequences) == set(lost)
    assert len(packet.sequences) == len(lost)


def test_a_run_across_the_wrap_is_one_entry() -> None:
    data = nack(1, 2, [65_534, 65_535, 0, 1])
    assert len(data) == 16
    (packet,) = parse_rtcp(data)
    assert isinstance(packet, Nack)
    assert packet.sequences == (65_534, 65_535, 0, 1)


def test_unknown_packets_are_skipped() -> None:
    unknown = bytes.fromhex("80cc0001deadbeef")
    data = unknown + source_description(7, "name") + write_rtcp([PictureLoss(1, 2)])
    assert parse_rtcp(data) == [PictureLoss(1, 2)]


@pytest.mark.parametrize(
    "text",
    [
        "80", "80c8", "00c80000", "80c80006", "80c80000", "81c80006" + "00" * 24, "80c90000", "82cb000100000001",
        "81cd000100000001", "81ce000100000001", "84ce000300000001000000020000", "a0c9000100000000", "a0c90001000000ff",
    ],
)  # fmt: skip
def test_what_is_not_rtcp_is_refused(text: str) -> None:
    with pytest.raises(RtcpError):
        parse_rtcp(bytes.fromhex(text))


@given(data=st.binary(max_size=120))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        parse_rtcp(b"\x81" + data)
    except RtcpError:
        return


@given(bitrate_bps=st.integers(0, 2**40), ssrcs=st.lists(SSRC, max_size=20))
def test_remb_keeps_18_bits_of_the_rate_and_never_promises_more(bitrate_bps: int, ssrcs: list[int]) -> None:
    (packet,) = parse_rtcp(write_rtcp([Remb(9, bitrate_bps, tuple(ssrcs))]))
    assert isinstance(packet, Remb)
    assert (packet.sender_ssrc, packet.media_ssrcs) == (9, tuple(ssrcs))
    assert packet.bitrate_bps <= bitrate_bps
    assert bitrate_bps - packet.bitrate_bps <= bitrate_bps >> 17


@given(bitrate_bps=st.integers(0, 2**40), ssrcs=st.lists(SSRC, max_size=20))
def test_another_implementation_reads_the_same_remb(bitrate_bps: int, ssrcs: list[int]) -> None:
    data = write_rtcp([Remb(9, bitrate_bps, tuple(ssrcs))])
    (packet,) = parse_rtcp(data)
    assert isinstance(packet, Remb)
    assert unpack_remb_fci(data[12:]) == (packet.bitrate_bps, list(ssrcs))
    assert parse_rtcp(data[:12] + pack_remb_fci(packet.bitrate_bps, list(ssrcs))) == [packet]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8fce0005000000010000000052454d58010000ff00000001", []),
        ("8fce00020000000100000000", []),
        ("8fce0004000000010000000052454d42fc0000ff", None),
        ("8fce0005000000010000000052454d4202fc000100000001", None),
        ("8fce0005000000010000000052454d4201ffffff00000001", [Remb(1, 0x3FFFF << 63, (1,))]),
    ],
    ids=["another application", "no identifier", "no length", "more sources than there are", "the largest"],
)
def test_what_looks_like_remb(text: str, expected: list[Rtcp] | None) -> None:
    if expected is None:
        with pytest.raises(RtcpError):
            parse_rtcp(bytes.fromhex(text))
    else:
        assert parse_rtcp(bytes.fromhex(text)) == expected


def test_a_nack_that_names_too_many_packets_is_refused() -> None:
    entries = bytes(4 * 257)
    head = bytes.fromhex("81cd") + (2 + 257).to_bytes(2, "big") + bytes(8)
    with pytest.raises(RtcpError):
        parse_rtcp(head + entries)
    (packet,) = parse_rtcp(bytes.fromhex("81cd") + (2 + 256).to_bytes(2, "big") + bytes(8) + entries[:1024])
    assert isinstance(packet, Nack)
    assert len(packet.sequences) == 256


def test_more_lost_packets_than_fit_are_cut_off() -> None:
    (packet,) = parse_rtcp(nack(1, 2, list(range(0, 20_000, 40))))
    assert isinstance(packet, Nack)
    assert packet.sequences == tuple(range(0, 256 * 40, 40))


def test_padding_at_the_end_of_a_packet_is_no_part_of_it() -> None:
    assert parse_rtcp(bytes.fromhex("a1ce0003000000010000000200000004")) == [PictureLoss(1, 2)]
    with pytest.raises(RtcpError):
        parse_rtcp(bytes.fromhex("a1ce00020000000100000008"))


@given(seed=st.integers(0, 2**32))
def test_damaged_packets_raise_nothing_else(seed: int) -> None:
    parser = PARSERS["rtcp"]
    parser.accept(damaged(parser, random.Random(seed)))


def test_samples_are_read() -> None:
    assert all(PARSERS["rtcp"].accept(data) for data in PARSERS["rtcp"].samples())


@pytest.mark.parametrize("text", load_vectors("packets/crashes")["rtcp"])
def test_what_once_went_wrong(text: str) -> None:
    PARSERS["rtcp"].accept(bytes.fromhex(text))

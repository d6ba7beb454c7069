"""The guard before SCTP: whatever aiortc sends passes, what is impossible does not, and what passes is parsed soon."""

from __future__ import annotations

import asyncio
import random

import pytest
from aiortc.rtcsctptransport import RECONFIG_PARAM_TYPES, ReconfigChunk, parse_packet
from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.sctp_guard import GAPS_MAX, STREAMS_MAX, SctpError, check_sctp
from tests.support.mutations import mutated
from tests.support.sctp_packets import (
    FORWARD_TSN,
    IMPOSSIBLE,
    INIT,
    SACK,
    captured,
    chunk,
    data_chunk,
    hostile,
    packet,
    parameter,
    with_checksum,
)
from tests.support.vectors import load_vectors
from tests.support.work import at_most

REAL = asyncio.run(captured())
LINES_MAX = 40_000
"""For one packet of 1,500 bytes: about 4,000 gaps, or 700 parameters, and room beside."""


def parsed_if_passed(data: bytes) -> None:
    try:
        check_sctp(data)
    except SctpError:
        return
    with at_most(LINES_MAX):
        _, _, _, chunks = parse_packet(with_checksum(data))
        for one in chunks:
            if isinstance(one, ReconfigChunk):
                for name, value in one.params:
                    if name in RECONFIG_PARAM_TYPES:
                        RECONFIG_PARAM_TYPES[name].parse(value)


def test_the_life_of_a_real_association_has_all_kinds_of_packets() -> None:
    assert {data[12] for data in REAL} >= {0, 1, 2, 3, 6, 10, 11, 130}
    assert len(REAL) > 100


def test_every_packet_of_a_real_association_passes() -> None:
    for data in REAL:
        check_sctp(data)


@pytest.mark.parametrize("data", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_is_impossible_is_refused(data: bytes) -> None:
    with pytest.raises(SctpError):
        check_sctp(data)


@pytest.mark.parametrize("data", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_it_is_refused_behind_a_good_chunk_as_well(data: bytes) -> None:
    good = data_chunk(1)
    with pytest.raises(SctpError):
        check_sctp(packet(good)[:12] + good + (data[12:] or b"\0"))


def test_what_is_just_possible_passes() -> None:
    check_sctp(packet(data_chunk(1, STREAMS_MAX - 1)))
    head = bytes(8) + (1).to_bytes(2, "big") + bytes(2)
    check_sctp(packet(chunk(SACK, head + (1).to_bytes(2, "big") + GAPS_MAX.to_bytes(2, "big"))))
    with pytest.raises(SctpError):
        check_sctp(packet(chunk(SACK, head + (0).to_bytes(2, "big") + GAPS_MAX.to_bytes(2, "big"))))
    check_sctp(packet(chunk(INIT, bytes(16) + parameter(0x8008, b"\xc0") + parameter(0xC000))))
    check_sctp(packet(chunk(FORWARD_TSN, bytes(4)), data_chunk(1), chunk(SACK, bytes(12)), data_chunk(2)))
    check_sctp(packet(chunk(99, b"unknown"), data_chunk(3)))


@pytest.mark.parametrize("padding", [0, 1, 2, 3])
def test_the_padding_of_the_last_chunk_may_be_missing(padding: int) -> None:
    data = packet(data_chunk(1, payload=b"x"))
    check_sctp(data[: len(data) - padding])


@given(seed=st.integers(0, 2**32))
def test_a_damaged_packet_is_refused_or_parsed_soon(seed: int) -> None:
    chance = random.Random(seed)
    parsed_if_passed(mutated(chance.choice(REAL), chance, REAL))


@given(seed=st.integers(0, 2**32))
def test_a_hostile_packet_is_refused_or_parsed_soon(seed: int) -> None:
    chance = random.Random(seed)
    data = hostile(chance, tag=1, received=chance.getrandbits(32), sent=chance.getrandbits(32))
    parsed_if_passed(data)
    parsed_if_passed(mutated(data, chance))


@given(data=st.binary(max_size=200), count=st.integers(1, 3))
def test_any_bytes_are_refused_or_parsed_soon(data: bytes, count: int) -> None:
    parsed_if_passed(bytes(12) + data * count)


@pytest.mark.parametrize("text", load_vectors("sctp/crashes"))
def test_what_once_went_wrong(text: str) -> None:
    parsed_if_passed(bytes.fromhex(text))

"""The guard before SCTP: whatever aiortc sends passes, what is impossible does not, and what passes is parsed soon."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.sctp_guard import GAPS_MAX, STREAMS_MAX, SctpError, check_sctp
from tests.support.parsers import PARSERS, accept_sctp, damaged, sctp_samples
from tests.support.sctp_packets import (
    FORWARD_TSN,
    IMPOSSIBLE,
    INIT,
    SACK,
    chunk,
    data_chunk,
    packet,
    parameter,
)
from tests.support.vectors import load_vectors

REAL = sctp_samples()


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
def test_damaged_and_hostile_packets_are_refused_or_parsed_soon(seed: int) -> None:
    accept_sctp(damaged(PARSERS["sctp"], random.Random(seed)))


@given(data=st.binary(max_size=200), count=st.integers(1, 3))
def test_any_bytes_are_refused_or_parsed_soon(data: bytes, count: int) -> None:
    accept_sctp(bytes(12) + data * count)


@pytest.mark.parametrize("text", load_vectors("packets/crashes")["sctp"])
def test_what_once_went_wrong(text: str) -> None:
    accept_sctp(bytes.fromhex(text))

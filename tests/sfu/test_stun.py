"""STUN: the test vectors of RFC 5769, aioice as the other implementation, and bad bytes."""

import random

import aioice.stun
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.sfu.stun import (
    BINDING_REQUEST,
    BINDING_SUCCESS,
    MESSAGE_INTEGRITY,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    StunError,
    has_integrity,
    parse_stun,
    write_stun,
    xor_address,
)
from tests.support.parsers import PARSERS, damaged
from tests.support.vectors import load_vectors

PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
SAMPLE_REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36"
    "00060009" "6576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)  # fmt: skip
TRANSACTION = bytes(range(12))


def test_the_sample_request_of_rfc_5769_is_read_and_its_integrity_holds() -> None:
    message = parse_stun(SAMPLE_REQUEST)
    assert message.kind == BINDING_REQUEST
    assert message.attributes[USERNAME] == b"evtj:h6vY"
    assert has_integrity(SAMPLE_REQUEST, message, PASSWORD)
    assert not has_integrity(SAMPLE_REQUEST, message, PASSWORD + b"x")


@pytest.mark.parametrize("position", range(0, len(SAMPLE_REQUEST) - 8, 3))
def test_a_flipped_bit_is_noticed(position: int) -> None:
    data = bytearray(SAMPLE_REQUEST)
    data[position] ^= 0x01
    try:
        message = parse_stun(bytes(data))
    except StunError:
        return
    pytest.fail(f"read as {message}")


def test_what_is_written_satisfies_another_implementation() -> None:
    address = xor_address("192.0.2.1", 32_853, TRANSACTION)
    data = write_stun(BINDING_SUCCESS, TRANSACTION, [(XOR_MAPPED_ADDRESS, address)], PASSWORD)
    message = aioice.stun.parse_message(data)
    assert message.check_message_integrity(PASSWORD)
    assert message.attributes["XOR-MAPPED-ADDRESS"] == ("192.0.2.1", 32_853)


def test_ipv6_addresses_are_masked_with_the_transaction() -> None:
    data = write_stun(
        BINDING_SUCCESS,
        TRANSACTION,
        [(XOR_MAPPED_ADDRESS, xor_address("2001:db8::1", 1, TRANSACTION))],
        PASSWORD,
    )
    message = aioice.stun.parse_message(data)
    assert message.check_message_integrity(PASSWORD)
    assert message.attributes["XOR-MAPPED-ADDRESS"] == ("2001:db8::1", 1)


def test_attributes_behind_the_integrity_do_not_count() -> None:
    signed = write_stun(BINDING_REQUEST, TRANSACTION, [], PASSWORD)
    assert USERNAME not in parse_stun(signed).attributes
    assert MESSAGE_INTEGRITY in parse_stun(signed).attributes


@given(data=st.binary(max_size=100))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    framed = b"\0\1" + len(data).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + TRANSACTION + data
    for candidate in (data, framed):
        try:
            parse_stun(candidate)
        except StunError:
            continue


@given(seed=st.integers(0, 2**32))
def test_damaged_packets_raise_nothing_else(seed: int) -> None:
    parser = PARSERS["stun"]
    parser.accept(damaged(parser, random.Random(seed)))


def test_samples_are_read() -> None:
    assert all(PARSERS["stun"].accept(data) for data in PARSERS["stun"].samples())


@pytest.mark.parametrize("text", load_vectors("packets/crashes")["stun"])
def test_what_once_went_wrong(text: str) -> None:
    PARSERS["stun"].accept(bytes.fromhex(text))

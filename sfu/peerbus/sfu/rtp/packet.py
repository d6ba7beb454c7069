"""
An RTP packet as bytes: where its parts are, and new headers for a subscriber.

Owns parsing the header once and writing another one in front of the same payload. Never keeps a packet and never
touches the payload. See RFC 3550, section 5.1, and RFC 8285 (header extensions).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

HEADER_BYTES: Final = 12
_ONE_BYTE_PROFILE: Final = 0xBEDE
_TWO_BYTE_PROFILE: Final = 0x1000
_TWO_BYTE_MASK: Final = 0xFFF0


class RtpError(ValueError):
    """The bytes are not an RTP packet; the text says why."""


class RtpPacket(NamedTuple):
    """A parsed packet; `data` holds all of it, offsets point into it."""

    data: bytes
    payload_type: int
    is_marked: bool
    sequence: int
    timestamp: int
    ssrc: int
    extensions: dict[int, bytes]
    """Header extensions by their local id."""
    payload_start: int
    payload_end: int
    """Behind the payload; padding follows up to the end of `data`."""

    @property
    def payload(self) -> memoryview:
        """The payload without its padding."""
        return memoryview(self.data)[self.payload_start : self.payload_end]

    @property
    def is_padding(self) -> bool:
        """Whether there is nothing but padding in it."""
        return self.payload_start == self.payload_end


def parse_rtp(data: bytes) -> RtpPacket:
    """Takes a packet apart. Raises `RtpError` for anything that is not one, truncated extensions included."""
    if len(data) < HEADER_BYTES:
        raise RtpError("shorter than a header")
    first, second, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", data)
    if first >> 6 != 2:
        raise RtpError("not version 2")
    start = HEADER_BYTES + 4 * (first & 0x0F)
    extensions: dict[int, bytes] = {}
    if first & 0x10:
        if len(data) < start + 4:
            raise RtpError("truncated extension header")
        profile, words = struct.unpack_from("!HH", data, start)
        block_start = start + 4
        start = block_start + 4 * words
        if len(data) < start:
            raise RtpError("truncated extensions")
        if profile == _ONE_BYTE_PROFILE:
            extensions = _one_byte_extensions(data, block_start, start)
        elif profile & _TWO_BYTE_MASK == _TWO_BYTE_PROFILE:
            extensions = _two_byte_extensions(data, block_start, start)
    if len(data) < start:
        raise RtpError("truncated contributing sources")
    end = len(data)
    if first & 0x20:
        padding = data[-1]
        if padding == 0 or start + padding > end:
            raise RtpError("impossible padding")
        end -= padding
    return RtpPacket(
        data, second & 0x7F, bool(second & 0x80), sequence, timestamp, ssrc, extensions, start, end
    )


def extension_block(extensions: dict[int, bytes]) -> bytes:
    """
    The extension part of a header, with its own header; empty for none.

    One-byte form where all ids are at most 14 and all values have 1 to 16 bytes, else the two-byte form.
    """
    if not extensions:
        return b""
    is_one_byte = all(1 <= number <= 14 and 1 <= len(value) <= 16 for number, value in extensions.items())
    parts: list[bytes] = []
    for number, value in extensions.items():
        if is_one_byte:
            parts.append(bytes((number << 4 | len(value) - 1,)) + value)
        else:
            parts.append(bytes((number, len(value))) + value)
    block = b"".join(parts)
    block += b"\0" * (-len(block) % 4)
    profile = _ONE_BYTE_PROFILE if is_one_byte else _TWO_BYTE_PROFILE
    return struct.pack("!HH", profile, len(block) // 4) + block


def header(
    payload_type: int, is_marked: bool, sequence: int, timestamp: int, ssrc: int, extensions: bytes = b""
) -> bytes:
    """A whole header without contributing sources or padding; `extensions` comes from `extension_block`."""
    return (
        struct.pack(
            "!BBHII",
            0x90 if extensions else 0x80,
            (0x80 if is_marked else 0) | payload_type,
            sequence,
            timestamp,
            ssrc,
        )
        + extensions
    )


def _one_byte_extensions(data: bytes, position: int, end: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while position < end:
        head = data[position]
        number = head >> 4
        if head == 0:
            position += 1
            continue
        if number in (0, 15):
            # Reserved: everything behind it is to be ignored (section 4.2).
            break
        length = (head & 0x0F) + 1
        position += 1
        if position + length > end:
            raise RtpError("truncated extension")
        found[number] = data[position : position + length]
        position += length
    return found


def _two_byte_extensions(data: bytes, position: int, end: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while position < end:
        number = data[position]
        position += 1
        if number == 0:
            continue
        if position >= end:
            raise RtpError("truncated extension")
        length = data[position]
        position += 1
        if position + length > end:
            raise RtpError("truncated extension")
        found[number] = data[position : position + length]
        position += length
    return found

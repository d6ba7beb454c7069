"""
What an SCTP packet must look like before anything else parses it.

Owns the bounds: lengths of chunks and of their parameters, stream numbers, the work that one acknowledgement may ask
for. Never changes a packet and keeps nothing. A packet that is refused costs its sender a retransmission and nobody
else anything. See RFC 9260 (section 3), RFC 3758 and RFC 6525.
"""

from __future__ import annotations

import struct
from typing import Final

STREAMS_MAX: Final = 1024
"""Data channels use stream numbers below this."""
GAPS_MAX: Final = 4_096
"""So many packets may all gap blocks of one acknowledgement span together."""

_COMMON_HEADER_BYTES: Final = 12
_DATA: Final = 0
_INIT: Final = 1
_INIT_ACK: Final = 2
_SACK: Final = 3
_SHUTDOWN: Final = 7
_RECONFIG: Final = 130
_FORWARD_TSN: Final = 192
_WITH_PARAMETERS: Final = {4: 0, 5: 0, 6: 0, 9: 0, _INIT: 16, _INIT_ACK: 16, _RECONFIG: 0}
"""Chunks whose body ends in parameters, and where these begin."""
_RESET_STREAMS: Final = 13
_RECONFIG_FIXED: Final = {_RESET_STREAMS: 12, 16: 8, 17: 8}
"""Parameters of RECONFIG that are followed, and the bytes they have at least behind their header."""


class SctpError(ValueError):
    """The packet is refused; the text says why."""


def check_sctp(data: bytes) -> None:
    """Raises `SctpError` unless every length in the packet is possible and no chunk asks for boundless work."""
    if len(data) < _COMMON_HEADER_BYTES + 4:
        raise SctpError("shorter than a chunk")
    position = _COMMON_HEADER_BYTES
    kinds: set[int] = set()
    count = 0
    while position < len(data):
        if position + 4 > len(data):
            raise SctpError("truncated chunk")
        kind, _, length = struct.unpack_from("!BBH", data, position)
        if length < 4 or position + length > len(data):
            raise SctpError("impossible chunk length")
        _check_chunk(kind, data, position + 4, position + length)
        if kind in kinds and kind != _DATA:
            # Nobody needs two in a packet, and each may ask for an answer or for a walk over all that is under way.
            raise SctpError("a control chunk twice")
        kinds.add(kind)
        count += 1
        position += length + (-length % 4)
    if _INIT in kinds and count > 1:
        raise SctpError("INIT is not alone")


def _check_chunk(kind: int, data: bytes, start: int, end: int) -> None:
    size = end - start
    if kind == _DATA:
        if size < 13:
            raise SctpError("DATA without data")
        if struct.unpack_from("!H", data, start + 4)[0] >= STREAMS_MAX:
            raise SctpError("impossible stream")
    elif kind == _SACK:
        _check_sack(data, start, size)
    elif kind == _FORWARD_TSN:
        if size < 4 or size % 4:
            raise SctpError("impossible FORWARD TSN")
        streams = struct.unpack_from(f"!{(size - 4) // 2}H", data, start + 4)[::2]
        if any(stream >= STREAMS_MAX for stream in streams):
            raise SctpError("impossible stream")
    elif kind == _SHUTDOWN:
        if size != 4:
            raise SctpError("impossible SHUTDOWN")
    elif kind in _WITH_PARAMETERS:
        fixed = _WITH_PARAMETERS[kind]
        if size < fixed:
            raise SctpError("truncated chunk")
        _check_parameters(kind, data, start + fixed, end)


def _check_sack(data: bytes, start: int, size: int) -> None:
    if size < 12:
        raise SctpError("truncated SACK")
    gaps, duplicates = struct.unpack_from("!HH", data, start + 8)
    if size < 12 + 4 * (gaps + duplicates):
        raise SctpError("truncated SACK")
    spanned = 0
    for index in range(gaps):
        first, last = struct.unpack_from("!HH", data, start + 12 + 4 * index)
        if last < first:
            raise SctpError("impossible gap")
        spanned += last - first + 1
    if spanned > GAPS_MAX:
        raise SctpError("gaps span too much")


def _check_parameters(kind: int, data: bytes, start: int, end: int) -> None:
    position = start
    while position < end:
        if position + 4 > end:
            raise SctpError("truncated parameter")
        name, length = struct.unpack_from("!HH", data, position)
        if length < 4 or position + length > end:
            raise SctpError("impossible parameter length")
        if kind == _RECONFIG and length - 4 < _RECONFIG_FIXED.get(name, 0):
            raise SctpError("truncated parameter")
        if kind == _RECONFIG and name == _RESET_STREAMS and length % 2:
            raise SctpError("half a stream number")
        position += length + (-length % 4)

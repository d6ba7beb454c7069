"""
STUN messages as ICE uses them, read and written with bounds.

Owns the bytes: header, attributes, MESSAGE-INTEGRITY and FINGERPRINT. Never decides whom to answer (`ice_lite`).
See RFC 8489.
"""

from __future__ import annotations

import hmac
import ipaddress
import struct
import zlib
from hashlib import sha1
from typing import Final, NamedTuple

BINDING_REQUEST: Final = 0x0001
BINDING_INDICATION: Final = 0x0011
BINDING_SUCCESS: Final = 0x0101
BINDING_ERROR: Final = 0x0111

USERNAME: Final = 0x0006
MESSAGE_INTEGRITY: Final = 0x0008
ERROR_CODE: Final = 0x0009
XOR_MAPPED_ADDRESS: Final = 0x0020
PRIORITY: Final = 0x0024
USE_CANDIDATE: Final = 0x0025
FINGERPRINT: Final = 0x8028
ICE_CONTROLLED: Final = 0x8029
ICE_CONTROLLING: Final = 0x802A

_COOKIE: Final = 0x2112A442
_COOKIE_BYTES: Final = _COOKIE.to_bytes(4, "big")
_HEADER_BYTES: Final = 20
_INTEGRITY_BYTES: Final = 20
_FINGERPRINT_XOR: Final = 0x5354554E
_ATTRIBUTES_MAX: Final = 32


class StunError(ValueError):
    """The bytes are not a STUN message; the text says why."""


class StunMessage(NamedTuple):
    """A message; attributes by type, the first of each kind."""

    kind: int
    transaction: bytes
    """12 bytes."""
    attributes: dict[int, bytes]
    integrity_at: int
    """Where the MESSAGE-INTEGRITY attribute begins in the bytes; 0 if there is none."""


def is_stun(data: bytes) -> bool:
    """Whether a datagram looks like STUN (RFC 7983: first byte 0 to 3, and the magic cookie)."""
    return len(data) >= _HEADER_BYTES and data[0] < 4 and data[4:8] == _COOKIE_BYTES


def parse_stun(data: bytes) -> StunMessage:
    """Takes a message apart, checking lengths and a FINGERPRINT if there is one. Raises `StunError`."""
    if not is_stun(data):
        raise StunError("not a STUN message")
    kind, length = struct.unpack_from("!HH", data)
    if length % 4 or length + _HEADER_BYTES != len(data):
        raise StunError("wrong message length")
    attributes: dict[int, bytes] = {}
    integrity_at = 0
    position = _HEADER_BYTES
    count = 0
    while position < len(data):
        if position + 4 > len(data):
            raise StunError("truncated attribute")
        name, size = struct.unpack_from("!HH", data, position)
        end = position + 4 + size
        if end > len(data):
            raise StunError("truncated attribute")
        count += 1
        if count > _ATTRIBUTES_MAX:
            raise StunError("too many attributes")
        value = data[position + 4 : end]
        if name == FINGERPRINT:
            if size != 4 or end != len(data):
                raise StunError("misplaced fingerprint")
            if int.from_bytes(value, "big") != _fingerprint(data[:position], length):
                raise StunError("wrong fingerprint")
        elif not integrity_at:
            # What stands behind MESSAGE-INTEGRITY is not protected by it and does not count.
            if name == MESSAGE_INTEGRITY:
                if size != _INTEGRITY_BYTES:
                    raise StunError("wrong integrity length")
                integrity_at = position
            attributes.setdefault(name, value)
        position = end + (-size % 4)
    return StunMessage(kind, data[8:20], attributes, integrity_at)


def has_integrity(data: bytes, message: StunMessage, password: bytes) -> bool:
    """Whether the message carries a MESSAGE-INTEGRITY made with this password."""
    if not message.integrity_at:
        return False
    wanted = _integrity(data[: message.integrity_at], password)
    return hmac.compare_digest(wanted, message.attributes[MESSAGE_INTEGRITY])


def write_stun(
    kind: int, transaction: bytes, attributes: list[tuple[int, bytes]], password: bytes | None
) -> bytes:
    """A message, signed with the password if there is one, and with a FINGERPRINT."""
    body = b"".join(_attribute(name, value) for name, value in attributes)
    head = struct.pack("!HHI", kind, len(body), _COOKIE) + transaction
    data = head + body
    if password is not None:
        data += _attribute(MESSAGE_INTEGRITY, _integrity(data, password))
    length = len(data) - _HEADER_BYTES + 8
    value = _fingerprint(data, length).to_bytes(4, "big")
    data = _with_length(data, length)
    return data + _attribute(FINGERPRINT, value)


def xor_address(host: str, port: int, transaction: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS."""
    packed = ipaddress.ip_address(host.partition("%")[0]).packed
    mask = (_COOKIE_BYTES + transaction)[: len(packed)]
    family = 1 if len(packed) == 4 else 2
    masked = bytes(a ^ b for a, b in zip(packed, mask, strict=True))
    return struct.pack("!BBH", 0, family, port ^ (_COOKIE >> 16)) + masked


def error_code(code: int, reason: str) -> bytes:
    """The value of ERROR-CODE."""
    return struct.pack("!HBB", 0, code // 100, code % 100) + reason.encode()


def _attribute(name: int, value: bytes) -> bytes:
    return struct.pack("!HH", name, len(value)) + value + b"\0" * (-len(value) % 4)


def _integrity(before: bytes, password: bytes) -> bytes:
    length = len(before) - _HEADER_BYTES + 4 + _INTEGRITY_BYTES
    return hmac.digest(password, _with_length(before, length), sha1)


def _fingerprint(before: bytes, length: int) -> int:
    return (zlib.crc32(_with_length(before, length)) & 0xFFFFFFFF) ^ _FINGERPRINT_XOR


def _with_length(data: bytes, length: int) -> bytes:
    return data[:2] + struct.pack("!H", length) + data[4:]

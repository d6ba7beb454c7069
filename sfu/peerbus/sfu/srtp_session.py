"""
SRTP sessions over libsrtp.

Owns the second private seam of the SFU, pinned in pyproject.toml and watched by a canary test: pylibsrtp's own
`protect` takes three times as long as the cipher, most of it in making small objects, so the library below it is called
here with buffers that are made once. See RFC 3711 and RFC 7714.
"""

from __future__ import annotations

from typing import Final

import pylibsrtp
from pylibsrtp._binding import ffi, lib

from peerbus.sfu.srtp import Profile

_REPLAY_WINDOW: Final = 1_024
_PACKET_BYTES_MAX: Final = 2_048
_TRAILER_BYTES: Final = 256
_PROFILES: Final = {
    Profile.AES128_CM_SHA1_80: pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    Profile.AEAD_AES_128_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    Profile.AEAD_AES_256_GCM: pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}

# One packet is worked on at a time; every session uses these.
_packet = ffi.new(f"unsigned char[{_PACKET_BYTES_MAX + _TRAILER_BYTES}]")
_bytes = ffi.buffer(_packet)
_size = ffi.new("int *")
_memmove = ffi.memmove
_protect = lib.srtp_protect
_protect_rtcp = lib.srtp_protect_rtcp
_unprotect = lib.srtp_unprotect
_unprotect_rtcp = lib.srtp_unprotect_rtcp


class SrtpError(ValueError):
    """The packet is not authentic, was received before, or is too large; the text has libsrtp's number for it."""


class SrtpSession:
    """All sources of one direction of one connection."""

    __slots__ = ("_context", "_session")

    def __init__(self, profile: Profile, key: bytes, *, is_inbound: bool) -> None:
        policy = pylibsrtp.Policy(
            key=key,
            ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND if is_inbound else pylibsrtp.Policy.SSRC_ANY_OUTBOUND,
            srtp_profile=_PROFILES[profile],
        )
        policy.window_size = _REPLAY_WINDOW
        # A packet that is sent again on its own source has its old number.
        policy.allow_repeat_tx = True
        self._session = pylibsrtp.Session(policy)
        self._context = self._session._srtp[0]

    def protect(self, data: bytes) -> bytes:
        """RTP to SRTP. Raises `SrtpError`."""
        size = len(data)
        if size > _PACKET_BYTES_MAX:
            raise SrtpError("too large")
        _memmove(_packet, data, size)
        _size[0] = size
        if _protect(self._context, _packet, _size):
            raise SrtpError("cannot be protected")
        return _bytes[0 : _size[0]]  # type: ignore[no-any-return]

    def unprotect(self, data: bytes) -> bytes:
        """SRTP to RTP. Raises `SrtpError`."""
        return self._transform(_unprotect, data)

    def protect_rtcp(self, data: bytes) -> bytes:
        """RTCP to SRTCP. Raises `SrtpError`."""
        return self._transform(_protect_rtcp, data)

    def unprotect_rtcp(self, data: bytes) -> bytes:
        """SRTCP to RTCP. Raises `SrtpError`."""
        return self._transform(_unprotect_rtcp, data)

    def _transform(self, function: object, data: bytes) -> bytes:
        size = len(data)
        if size > _PACKET_BYTES_MAX:
            raise SrtpError("too large")
        _memmove(_packet, data, size)
        _size[0] = size
        status = function(self._context, _packet, _size)  # type: ignore[operator]
        if status:
            raise SrtpError(f"refused by libsrtp: {status}")
        return _bytes[0 : _size[0]]  # type: ignore[no-any-return]

"""
The keys of SRTP: profiles, and how the handshake's material is cut into them.

Owns no cipher; `python_engine` gives the keys to libsrtp. See RFC 5764 (section 4.2) and RFC 7714.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Profile(enum.Enum):
    """A protection profile: name, bytes of a key and of a salt."""

    AES128_CM_SHA1_80 = ("AES128_CM_SHA1_80", 16, 14)
    AEAD_AES_128_GCM = ("AEAD_AES_128_GCM", 16, 12)
    AEAD_AES_256_GCM = ("AEAD_AES_256_GCM", 32, 12)

    @property
    def key_bytes(self) -> int:
        """The length of a master key."""
        return self.value[1]

    @property
    def salt_bytes(self) -> int:
        """The length of a master salt."""
        return self.value[2]


class SrtpKeys(NamedTuple):
    """Master keys with their salts behind them, for each direction as the SFU sees it."""

    profile: Profile
    receive: bytes
    send: bytes

    @classmethod
    def of_server(cls, profile: Profile, material: bytes) -> SrtpKeys:
        """From the exported keying material, for the DTLS server."""
        key, salt = profile.key_bytes, profile.salt_bytes
        client_key, server_key = material[:key], material[key : 2 * key]
        client_salt = material[2 * key : 2 * key + salt]
        server_salt = material[2 * key + salt : 2 * (key + salt)]
        return cls(profile, client_key + client_salt, server_key + server_salt)

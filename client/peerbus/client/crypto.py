"""
Keys from a channel's password, and the secret of a lineage.

Owns the derivation (Argon2id, RFC 9106; HKDF-SHA256, RFC 5869), whose exact form the golden vectors fix, and
a small cache of its results. Never sends anything, never takes parameters from a server (they are fixed here,
so that a server cannot lower them), and never keeps a password.

    name, password   in NFC and UTF-8
    salt           = SHA-256("peerbus/kdf/1" ‖ u32be(length of name) ‖ name), the first 16 bytes
    root           = Argon2id version 1.3 (password, salt, 64 MiB, 3 passes, 1 lane), 32 bytes
    each key       = HKDF-SHA256(root, no salt, info = "peerbus/1/" + the name of its field), 32 bytes

The same name and password give the same keys in every project and on every server. Whoever sees the join
token, and the server does, can test guesses of the password offline: passwords must not be guessable.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import threading
import unicodedata
from collections import OrderedDict
from typing import Final
from weakref import WeakSet

from argon2.low_level import ARGON2_VERSION, Type, hash_secret_raw
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from peerbus.client.sealing import CRYPTO_SESSION_BYTES, Sealer, SealingKeys
from peerbus.protocol.channel import LINEAGE_SECRET_BYTES, check_channel_name
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.secrets import SecretBytes

KDF_MEMORY_KIB: Final = 64 * 1024
KDF_PASSES: Final = 3
KDF_LANES: Final = 1
KEY_BYTES: Final = 32
PASSWORD_MAX_CHARS: Final = 1024
CACHE_ENTRIES: Final = 16

_SALT_LABEL: Final = b"peerbus/kdf/1"
_SALT_BYTES: Final = 16
_KEY_LABEL: Final = b"peerbus/1/"


class ChannelKeys(Struct, frozen=True):
    """The keys of one (name, password); 32 bytes each, for one purpose each."""

    join: SecretBytes
    """The join token: the only one that leaves the client."""
    message: SecretBytes
    storage: SecretBytes
    media: SecretBytes
    signal: SecretBytes


async def derive_keys(channel: str, password: str) -> ChannelKeys:
    """
    The keys of a channel with a password, without holding up the event loop.

    The first call for a pair takes tens to hundreds of milliseconds in a thread and 64 MiB; one derivation
    runs at a time. Later calls are answered from the cache. Raises `ProtocolError`: `name_invalid`, or
    `bad_request` for an empty password (no password means no keys) or one over 1024 characters.
    """
    salt, password_bytes = _inputs(channel, password)
    known = _cache.get(salt, password_bytes)
    if known is not None:
        return known
    return await asyncio.to_thread(_cache.derive, salt, password_bytes)


def derive_keys_blocking(channel: str, password: str) -> ChannelKeys:
    """As `derive_keys`, in the calling thread."""
    return _cache.derive(*_inputs(channel, password))


def new_sealer(keys: SealingKeys) -> Sealer:
    """Seals for one connection object, in a crypto-session of its own. A fork of this process begins another one."""
    sealer = Sealer(keys, lambda: secrets.token_bytes(CRYPTO_SESSION_BYTES))
    _sealers.add(sealer)
    return sealer


def new_lineage_secret() -> SecretBytes:
    """A fresh 128-bit secret: made once for a connection object, and sent in every connect of it."""
    return SecretBytes(secrets.token_bytes(LINEAGE_SECRET_BYTES))


class _KeyCache:
    """The latest results, found by a digest of salt and password that means nothing in another process."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._pepper = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, ChannelKeys] = OrderedDict()
        self._entries_lock = threading.Lock()
        # One derivation at a time: two callers with one pair share it, and many pairs don't take 64 MiB each.
        self._derivation_lock = threading.Lock()

    def get(self, salt: bytes, password: bytes) -> ChannelKeys | None:
        """The keys if they are known; never waits for a derivation."""
        digest = self._digest(salt, password)
        with self._entries_lock:
            keys = self._entries.get(digest)
            if keys is not None:
                self._entries.move_to_end(digest)
            return keys

    def derive(self, salt: bytes, password: bytes) -> ChannelKeys:
        """The keys, derived if they are not known; the oldest entry makes room."""
        with self._derivation_lock:
            keys = self.get(salt, password)
            if keys is None:
                keys = _expand(_stretch(salt, password))
                with self._entries_lock:
                    self._entries[self._digest(salt, password)] = keys
                    if len(self._entries) > self._max_entries:
                        self._entries.popitem(last=False)
            return keys

    def _digest(self, salt: bytes, password: bytes) -> bytes:
        return hashlib.blake2b(salt + password, key=self._pepper).digest()


def _inputs(channel: str, password: str) -> tuple[bytes, bytes]:
    """Salt and password bytes: what the derivation starts from."""
    name = check_channel_name(channel).encode()
    if not 1 <= len(password) <= PASSWORD_MAX_CHARS:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, f"A channel password has 1 to {PASSWORD_MAX_CHARS} characters."
        )
    try:
        password_bytes = unicodedata.normalize("NFC", password).encode()
    except UnicodeEncodeError:
        raise ProtocolError(ErrorCode.BAD_REQUEST, "The channel password is not Unicode text.") from None
    salt = hashlib.sha256(_SALT_LABEL + len(name).to_bytes(4, "big") + name).digest()[:_SALT_BYTES]
    return salt, password_bytes


def _stretch(salt: bytes, password: bytes) -> bytes:
    return hash_secret_raw(
        password,
        salt,
        time_cost=KDF_PASSES,
        memory_cost=KDF_MEMORY_KIB,
        parallelism=KDF_LANES,
        hash_len=KEY_BYTES,
        type=Type.ID,
        version=ARGON2_VERSION,
    )


def _expand(root: bytes) -> ChannelKeys:
    return ChannelKeys(
        *(
            SecretBytes(HKDF(SHA256(), KEY_BYTES, salt=None, info=_KEY_LABEL + label.encode()).derive(root))
            for label in ChannelKeys.__struct_fields__
        )
    )


def _forked() -> None:
    for sealer in list(_sealers):
        sealer.begin_anew()


_cache: Final = _KeyCache(CACHE_ENTRIES)
_sealers: Final[WeakSet[Sealer]] = WeakSet()
os.register_at_fork(after_in_child=_forked)

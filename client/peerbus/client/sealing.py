"""
The bytes of a sealed channel: keys, envelopes, what an envelope is bound to, retry tags, the safety number.

Owns every formula of PROTOCOL.md, section 13, and the counters of what this side has sealed. Never draws a random
number (crypto-sessions are given in), never decides whether what was opened is new (`seal_window`), and never sees
a frame (`sealed_channel`). AES-256-GCM (NIST SP 800-38D), HKDF-SHA256 (RFC 5869), HMAC-SHA256 (RFC 2104).
`tests/vectors/sealing/` has all of it by example.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import Filter, GlobFilter
from peerbus.protocol.secrets import SecretBytes

CRYPTO_SESSION_BYTES: Final = 16
KEY_ID_BYTES: Final = 4
TAG_BYTES: Final = 16
RETRY_TAG_BYTES: Final = 16
COUNTER_END: Final = 1 << 30
"""A crypto-session seals so many messages of one class; then another one begins."""
MAX_RECIPIENTS: Final = 255
OVERHEAD_BYTES: Final = 1 + KEY_ID_BYTES + CRYPTO_SESSION_BYTES + 8 + 1 + TAG_BYTES
"""What sealing adds to a message that names no recipients' crypto-sessions."""

_VERSION: Final = 1
_SESSION_AT: Final = 1 + KEY_ID_BYTES
_COUNTER_AT: Final = _SESSION_AT + CRYPTO_SESSION_BYTES
_COUNT_AT: Final = _COUNTER_AT + 8
_RECIPIENTS_AT: Final = _COUNT_AT + 1
_KEYS_KEPT: Final = 1_024
_SAFETY_DIGITS: Final = 30
_SAFETY_GROUP: Final = 5


class SealClass(IntEnum):
    """The classes of a crypto-session; each has a key and a counter of its own."""

    DURABLE = 0
    LIVE = 1
    LOSSY = 2
    ATTRIBUTES = 3


class Context(Struct, frozen=True, kw_only=True):
    """What stands in the clear around an envelope, and is authenticated with it. Texts in any normal form."""

    sender: str
    type: str = ""
    custom_event_type: str | None = None
    to: Sequence[str] | None = None
    filter: Filter | None = None
    reply_to: str | None = None
    idempotency_key: str | None = None


class Header(NamedTuple):
    """The clear part of an envelope."""

    crypto_session: bytes
    counter: int
    recipients: tuple[bytes, ...]
    """The crypto-sessions that a live message to names is for; empty in all others."""
    size_bytes: int


class SealingKeys:
    """All that comes from the message key of one channel. Prints nothing of it."""

    def __init__(self, message_key: SecretBytes, channel_id: bytes) -> None:
        self._message_key: Final = message_key
        self._channel_id: Final = channel_id
        self._retry_key: Final = self._expand(b"peerbus/retry/1")
        self._ciphers: OrderedDict[tuple[bytes, SealClass], AESGCM] = OrderedDict()
        self.key_id: Final = self._expand(b"peerbus/key-id/1")[:KEY_ID_BYTES]

    @property
    def safety_number(self) -> str:
        """Thirty digits in six groups: the same for all who have the same channel and password."""
        number = int.from_bytes(self._expand(b"peerbus/safety/1" + self._channel_id)[:16], "big")
        digits = f"{number % 10**_SAFETY_DIGITS:0{_SAFETY_DIGITS}}"
        return " ".join(digits[at : at + _SAFETY_GROUP] for at in range(0, _SAFETY_DIGITS, _SAFETY_GROUP))

    def retry_tag(self, idempotency_key: str, plaintext: bytes) -> bytes:
        """By what the server recognises a message that is sent again."""
        tag = hmac.digest(self._retry_key, _sized(_text(idempotency_key)) + plaintext, "sha256")
        return tag[:RETRY_TAG_BYTES]

    def encrypt(
        self,
        seal_class: SealClass,
        crypto_session: bytes,
        counter: int,
        plaintext: bytes,
        context: Context,
        recipients: Sequence[bytes] = (),
    ) -> bytes:
        """
        The envelope. Whoever calls this sees to it that no counter is used twice: that is `Sealer`.

        Raises `ProtocolError`: `too_large` for over 255 recipients, `bad_request` for text that has no UTF-8 form.
        """
        if len(recipients) > MAX_RECIPIENTS:
            raise ProtocolError(
                ErrorCode.TOO_LARGE, f"A sealed live message names at most {MAX_RECIPIENTS} sessions."
            )
        clear = b"".join(
            (
                bytes((_VERSION,)),
                self.key_id,
                crypto_session,
                counter.to_bytes(8, "big"),
                bytes((len(recipients),)),
                *recipients,
            )
        )
        try:
            bound = self._bound(seal_class, clear, context)
        except UnicodeEncodeError:
            raise ProtocolError(
                ErrorCode.BAD_REQUEST, "A text of the message has half a character in it."
            ) from None
        return clear + self._cipher(crypto_session, seal_class).encrypt(_nonce(counter), plaintext, bound)

    def decrypt(self, seal_class: SealClass, envelope: bytes, context: Context) -> tuple[Header, bytes]:
        """
        The header and what is inside.

        Raises `ProtocolError`: `not_supported` for a later form of envelope, `wrong_key`, `tampered`.
        """
        header = self._header(envelope)
        if header.recipients and (seal_class is not SealClass.LIVE or context.to is None):
            raise ProtocolError(ErrorCode.TAMPERED)
        clear, inside = envelope[: header.size_bytes], envelope[header.size_bytes :]
        try:
            bound = self._bound(seal_class, clear, context)
            cipher = self._cipher(header.crypto_session, seal_class)
            return header, cipher.decrypt(_nonce(header.counter), inside, bound)
        except (InvalidTag, UnicodeEncodeError):
            raise ProtocolError(ErrorCode.TAMPERED) from None

    def _header(self, envelope: bytes) -> Header:
        if not envelope:
            raise ProtocolError(ErrorCode.TAMPERED)
        if envelope[0] != _VERSION:
            raise ProtocolError(
                ErrorCode.NOT_SUPPORTED, "A sealed message has a form that this version cannot open."
            )
        if len(envelope) < OVERHEAD_BYTES:
            raise ProtocolError(ErrorCode.TAMPERED)
        if envelope[1:_SESSION_AT] != self.key_id:
            raise ProtocolError(ErrorCode.WRONG_KEY)
        end = _RECIPIENTS_AT + envelope[_COUNT_AT] * CRYPTO_SESSION_BYTES
        if len(envelope) < end + TAG_BYTES:
            raise ProtocolError(ErrorCode.TAMPERED)
        return Header(
            envelope[_SESSION_AT:_COUNTER_AT],
            int.from_bytes(envelope[_COUNTER_AT:_COUNT_AT], "big"),
            tuple(
                envelope[at : at + CRYPTO_SESSION_BYTES]
                for at in range(_RECIPIENTS_AT, end, CRYPTO_SESSION_BYTES)
            ),
            end,
        )

    def _bound(self, seal_class: SealClass, clear: bytes, context: Context) -> bytes:
        return associated_data(self._channel_id, seal_class, clear, context)

    def _cipher(self, crypto_session: bytes, seal_class: SealClass) -> AESGCM:
        place = (crypto_session, seal_class)
        cipher = self._ciphers.get(place)
        if cipher is None:
            key = self._expand(b"peerbus/seal/1" + crypto_session + bytes((seal_class,)))
            cipher = self._ciphers[place] = AESGCM(key)
            if len(self._ciphers) > _KEYS_KEPT:
                self._ciphers.popitem(last=False)
        else:
            self._ciphers.move_to_end(place)
        return cipher

    def _expand(self, info: bytes) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=info).derive(self._message_key.reveal())


class Sealer:
    """
    Seals for one connection object, and counts.

    `new_session` gives 16 random bytes: once for the crypto-session that is announced, and again when a counter has
    reached its end.
    """

    def __init__(self, keys: SealingKeys, new_session: Callable[[], bytes]) -> None:
        self._keys: Final = keys
        self._new_session: Final = new_session
        self.announced: Final = new_session()
        """The crypto-session that others know from presence."""
        self._current = self.announced
        self._counters: Final = dict.fromkeys(SealClass, 0)

    def seal(
        self, seal_class: SealClass, plaintext: bytes, context: Context, recipients: Sequence[bytes] = ()
    ) -> bytes:
        """
        The envelope of a message, or of attributes. Each call takes a counter, also one that fails.

        Raises `ProtocolError` as `SealingKeys.encrypt`; `quota_exceeded` when 2^30 attributes were sealed, which are
        bound to the announced crypto-session.
        """
        if self._counters[seal_class] >= COUNTER_END:
            if seal_class is SealClass.ATTRIBUTES:
                raise ProtocolError(ErrorCode.QUOTA_EXCEEDED, "Connect anew to change attributes any more.")
            self._begin_session()
        counter = self._counters[seal_class]
        self._counters[seal_class] = counter + 1
        crypto_session = self.announced if seal_class is SealClass.ATTRIBUTES else self._current
        return self._keys.encrypt(seal_class, crypto_session, counter, plaintext, context, recipients)

    def begin_anew(self) -> None:
        """Forsakes the crypto-sessions so far: a copy of this object may exist, and count on in them."""
        self._begin_session()
        self._counters[SealClass.ATTRIBUTES] = COUNTER_END

    def _begin_session(self) -> None:
        self._current = self._new_session()
        for seal_class in (SealClass.DURABLE, SealClass.LIVE, SealClass.LOSSY):
            self._counters[seal_class] = 0


def associated_data(channel_id: bytes, seal_class: SealClass, header: bytes, context: Context) -> bytes:
    """What is authenticated with an envelope: where, in which class, by and for whom it was sealed."""
    return b"".join(
        (
            b"peerbus/aad/1",
            channel_id,
            bytes((seal_class,)),
            header,
            _sized(_text(context.sender)),
            _sized(_text(context.type)),
            _optional(context.custom_event_type),
            _recipients(context),
            _optional(context.reply_to),
            _optional(context.idempotency_key),
        )
    )


def _recipients(context: Context) -> bytes:
    if context.to is not None:
        names = b"".join(_sized(_text(name)) for name in context.to)
        return b"\x01" + len(context.to).to_bytes(4, "big") + names
    if isinstance(context.filter, GlobFilter):
        return b"\x03" + _sized(_text(context.filter.glob))
    if context.filter is not None:
        return b"\x02" + _sized(_text(context.filter))
    return b"\x00"


def _optional(text: str | None) -> bytes:
    return b"\x00" if text is None else b"\x01" + _sized(_text(text))


def _text(text: str) -> bytes:
    return text.encode() if text.isascii() else unicodedata.normalize("NFC", text).encode()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "big")

"""
Values that must never be printed: `Secret` for text, `SecretBytes` for binary.

Owns how a secret is shown (as `***`), compared (in constant time, and only with its own kind) and carried by
msgspec. Never makes a secret, stores one, or derives anything from one.

Declare fields of frames with the type itself, and give the three hooks to every encoder, decoder and schema:

    class Connect(Struct):
        api_key: Secret
        join_token: SecretBytes | None = None

    decoder = msgspec.json.Decoder(Connect, dec_hook=dec_hook)
    encoder = msgspec.json.Encoder(enc_hook=enc_hook)
    msgspec.json.schema_components([Connect], schema_hook=schema_hook)

An optional secret has the default `None`: the exporter of schemas cannot write down an instance.

On the wire a `Secret` is a string and a `SecretBytes` is what `bytes` is: base64 with padding (RFC 4648,
section 4) in JSON, binary in MessagePack. Both are wrappers and deliberately not subclasses of `str` and
`bytes`, whose contents `"".join`, `+`, `json.dumps` and loggers would bring to light; the only way in is
`reveal()`. Without the hooks msgspec refuses to encode them, so a secret cannot slip into a log line as JSON.
msgspec calls the hooks for these fields only: a frame without secrets costs nothing more, a `connect` frame
about a third of a microsecond for each.
"""

from __future__ import annotations

import binascii
import hmac
from typing import Any, Final, NoReturn, TypeVar

MAX_SECRET_CHARS: Final = 8192
"""The longest secret that is taken from the wire; a token with a generous grant has about 1,500."""

_HIDDEN: Final = "***"

_Text = TypeVar("_Text", str, bytes)


class _Hidden:
    """
    What both kinds share: nothing leaks by printing, formatting or pickling.

    They are not hashable either (each defines `__eq__` alone): a look-up by hash is not constant in time.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return _HIDDEN

    def __str__(self) -> str:
        return _HIDDEN

    def __format__(self, format_spec: str) -> str:
        return _HIDDEN

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is not pickled")

    def __copy__(self) -> _Hidden:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Hidden:
        return self


class Secret(_Hidden):
    """
    A secret text: an API key, a token. Prints as `***`; immutable; false when empty.

    `==` is true only for another `Secret` with the same text, and takes the same time wherever they differ.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself, for the one place that needs it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        # A lone surrogate can come out of JSON; it must compare, not raise.
        return hmac.compare_digest(
            self._value.encode("utf-8", "surrogatepass"), other._value.encode("utf-8", "surrogatepass")
        )


class SecretBytes(_Hidden):
    """
    A binary secret: a derived key, a lineage secret. Prints as `***`; immutable; false when empty.

    `==` is true only for another `SecretBytes` with the same bytes, in constant time.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes = b"") -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves, for the one place that needs them."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretBytes):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)


def enc_hook(value: Any) -> Any:
    """What msgspec encodes in place of a secret: the `str` or `bytes` inside."""
    if isinstance(value, Secret | SecretBytes):
        return value.reveal()
    raise NotImplementedError(f"cannot encode {type(value).__name__}")


def dec_hook(expected: type, value: Any) -> Any:
    """
    A secret from what msgspec decoded; refuses other types, bad base64 and more than `MAX_SECRET_CHARS`.

    msgspec turns what is raised into a `ValidationError` that names the field. It never quotes the value.
    """
    if expected is Secret:
        return Secret(_checked(value, str))
    if expected is SecretBytes:
        if isinstance(value, str):
            return SecretBytes(_from_base64(_checked(value, str)))
        return SecretBytes(_checked(value, bytes))
    raise NotImplementedError(f"cannot decode {expected.__name__}")


def schema_hook(type_: type) -> dict[str, Any]:
    """The JSON Schema of the two types."""
    if type_ is Secret:
        return {"type": "string", "format": "password", "maxLength": MAX_SECRET_CHARS}
    if type_ is SecretBytes:
        return {"type": "string", "contentEncoding": "base64", "maxLength": MAX_SECRET_CHARS}
    raise NotImplementedError(f"no schema for {type_.__name__}")


def _checked(value: Any, kind: type[_Text]) -> _Text:
    if not isinstance(value, kind):
        raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
    if len(value) > MAX_SECRET_CHARS:
        raise ValueError(f"Expected at most {MAX_SECRET_CHARS} characters")
    return value


def _from_base64(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ValueError("Invalid base64 encoded string") from None

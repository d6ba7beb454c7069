"""
The two forms of a credential: the developer key `pb_<key_id>_<secret>`, and the claims of a token.

Owns how both are written and read, for those who sign and for those who verify. Never signs or verifies,
knows no master key and no clock.

A **developer key** has a `key_id` of 12 characters (a-z, 2-7: 60 random bits) and a `secret` of 43 (32 bytes
in base64url without padding).

A **token** is a JSON Web Token (RFC 7519) signed with HS256 (RFC 7518, section 3.2). The HMAC key is the text
of the secret, its 43 characters as ASCII, so that every JWT library takes it as it stands. The header's `kid`
is the key id. Claims: `aud` (always "peerbus"), `exp` and `grant` (see `grants`) are required; `nbf`, `jti`,
`project` (must be the key's own) and `issued_by` are optional; others are ignored. A token allows what both its
own grant and the grant of the key allow.

A token with a `jti` has an **id**, `<key id>:<jti>`, by which it can be revoked; one whose grant has `uses` must have
it, since they are counted by it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.secrets import Secret

KEY_ID_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
KEY_ID_CHARS: Final = 12
ALGORITHM: Final = "HS256"
AUDIENCE: Final = "peerbus"
ISSUERS_MAX: Final = 4

_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_DEVELOPER_KEY: Final = re.compile(r"pb_([a-z2-7]{12})_([A-Za-z0-9_-]{43})")

_NumericDate = Annotated[float, Meta(ge=0, le=2**40)]
_TokenName = Annotated[str, Meta(min_length=1, max_length=128)]
_TOKEN_ID: Final = re.compile(r"[a-z2-7]{12}:.{1,128}", re.DOTALL)


class DeveloperKey(Struct, frozen=True):
    """A developer key, taken apart."""

    key_id: str
    secret: Secret

    def to_text(self) -> str:
        """The key as its owner keeps it: `pb_<key_id>_<secret>`."""
        return f"pb_{self.key_id}_{self.secret.reveal()}"


class TokenClaims(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The claims of a token that mean something here, but for the audience, which is always the same."""

    exp: _NumericDate
    """Seconds since 1970 from which on the token is worth nothing."""
    grant: dict[str, Any]
    """A grant in its JSON form."""
    nbf: _NumericDate | None = None
    """Seconds since 1970 before which the token is worth nothing yet."""
    project: str | None = None
    jti: _TokenName | None = None
    """Names the token among those of its key, where it has to be told from others."""
    issued_by: Annotated[tuple[_TokenName, ...], Meta(max_length=ISSUERS_MAX)] = ()
    """The `jti` of the token that asked for this one, and of the one that asked for that: it ends with each."""


def parse_developer_key(text: str) -> DeveloperKey | None:
    """The parts of a developer key, or None if the text has not that form."""
    match = _DEVELOPER_KEY.fullmatch(text)
    return None if match is None else DeveloperKey(match[1], Secret(match[2]))


def token_id(key_id: str, name: str) -> str:
    """The id of a token: the key that signed it, and its `jti`."""
    return f"{key_id}:{name}"


def is_token_id(text: str) -> bool:
    """Whether the text has the form of a token's id."""
    return _TOKEN_ID.fullmatch(text) is not None


def claims_to_json(claims: TokenClaims) -> dict[str, Any]:
    """The claims as the payload of a token, audience included."""
    return {"aud": AUDIENCE, **msgspec.to_builtins(claims)}


def claims_from_json(payload: object) -> TokenClaims:
    """
    The claims of a payload whose signature and audience were found good.

    Raises `ProtocolError` (`unauthorized`) where a claim is missing or malformed.
    """
    try:
        claims = msgspec.convert(payload, TokenClaims)
    except msgspec.ValidationError as error:
        raise ProtocolError(ErrorCode.UNAUTHORIZED, f"Malformed token: {error}") from None
    if any(_LONE_SURROGATE.search(name) for name in (claims.jti or "", *claims.issued_by)):
        raise ProtocolError(ErrorCode.UNAUTHORIZED, "Malformed token: a name in it is no Unicode text.")
    return claims

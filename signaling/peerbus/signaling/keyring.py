"""
Who a credential belongs to and what it may do: the keys in memory, without disk or clock.

Owns the secrets of developer keys (computed from the master key when asked for, never kept), the verification
of both kinds of credential, and the signing of tokens. Never stores anything and makes no random numbers:
which keys there are comes from outside (see `keys`).

    secret = base64url without padding of HMAC-SHA256(master key, "dev/1" ‖ project ‖ key_id)

As a key id always has 12 characters, no two pairs of project and id are the same text.

An unknown key and a wrong secret take the same path: the same computation, the same comparison in constant
time, the same answer. Only who has proved to know the secret hears of revocation, expiry or a bad claim.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Any, Final

import jwt
import msgspec
from msgspec import Struct

from peerbus.protocol.credentials import (
    ALGORITHM,
    AUDIENCE,
    KEY_ID_ALPHABET,
    KEY_ID_CHARS,
    DeveloperKey,
    TokenClaims,
    claims_from_json,
    claims_to_json,
    parse_developer_key,
    token_id,
)
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Grant, grant_from_json, narrow
from peerbus.protocol.secrets import MAX_SECRET_CHARS, Secret
from peerbus.signaling.credential_ids import CredentialIds

DEMO_PROJECT: Final = "demo"
SERVICE_PROJECT: Final = "peerbus"
"""The project of the server's own services."""
NOT_BEFORE_LEEWAY_MS: Final = 60_000
"""How far the clock of whoever signs a token may run ahead; an expiry gets no leeway."""

_SECRET_LABEL: Final = b"dev/1"


class CredentialKind(StrEnum):
    """What was presented."""

    DEVELOPER_KEY = "developer_key"
    TOKEN = "token"  # noqa: S105  a kind, not a token


class KeyRecord(Struct, frozen=True, kw_only=True):
    """A developer key as it is stored: everything but the secret."""

    key_id: str
    project: str
    grant: Grant
    label: str = ""
    created_ms: int = 0
    revoked_ms: int | None = None


class UseLimit(Struct, frozen=True):
    """A credential that only so many lineages may use."""

    credential_id: str
    most: int
    expires_ms: int | None
    """When nobody can use it any more, and nothing has to be remembered of it."""


class Principal(Struct, frozen=True, kw_only=True):
    """Whoever presented a good credential."""

    project: str
    key_id: str
    """The developer key itself, or the one that signed the token."""
    kind: CredentialKind
    grant: Grant
    """What the credential allows, its expiry included; for a token, narrowed by its key's grant."""
    token_id: str | None = None
    """The `jti` of a token that has one."""
    issued_by: tuple[str, ...] = ()
    use_limits: tuple[UseLimit, ...] = ()
    """What is to be counted before a session begins: uses of the token, of the key that signed it, or of both."""

    @property
    def ids(self) -> CredentialIds:
        """By which names this credential is known."""
        tokens = [
            token_id(self.key_id, name) for name in (self.token_id, *self.issued_by) if name is not None
        ]
        own = self.key_id if self.token_id is None else tokens[0]
        return CredentialIds(own, self.key_id, frozenset((self.key_id, *tokens)))

    @property
    def expires_ms(self) -> int | None:
        """Milliseconds since 1970 from which on the credential is worth nothing."""
        return self.grant.expires_ms


# Stands in for an unknown key, so that nothing is skipped; its secret is computed, and then is never right.
_NOBODY: Final = KeyRecord(key_id=KEY_ID_ALPHABET[0] * KEY_ID_CHARS, project="default", grant=Grant())


class Keyring:
    """The keys of one server, and the verification of credentials against them."""

    def __init__(self, master_key: bytes) -> None:
        self._master_key = master_key
        self._records: dict[str, KeyRecord] = {}
        self._revoked: set[str] = set()
        """The ids of tokens that were revoked one by one."""
        self.is_demo_open = False
        """Whether keys of the demo project are honoured."""

    def replace(
        self, records: Iterable[KeyRecord], revoked_tokens: Collection[str] = frozenset()
    ) -> frozenset[str]:
        """
        Puts these keys and revoked tokens in the place of all former ones.

        Returns the ids of keys and tokens that are good no longer.
        """
        former, formerly_revoked = self._records, self._revoked
        self._records = {record.key_id: record for record in records}
        self._revoked = set(revoked_tokens)
        good = {record.key_id for record in self._records.values() if record.revoked_ms is None}
        ended = frozenset(
            record.key_id
            for record in former.values()
            if record.revoked_ms is None and record.key_id not in good
        )
        return ended | (self._revoked - formerly_revoked)

    def is_revoked(self, id_of_token: str) -> bool:
        """Whether a token was revoked by itself."""
        return id_of_token in self._revoked

    def revoke_token(self, id_of_token: str) -> None:
        """A token, and what was issued by it, is good no longer."""
        self._revoked.add(id_of_token)

    def forget_tokens(self, ids: Collection[str]) -> None:
        """Revoked tokens that have ended by themselves since."""
        self._revoked.difference_update(ids)

    def developer_key(self, record: KeyRecord) -> DeveloperKey:
        """The key with its secret, which is computed anew each time."""
        text = _SECRET_LABEL + record.project.encode() + record.key_id.encode()
        digest = hmac.digest(self._master_key, text, hashlib.sha256)
        return DeveloperKey(record.key_id, Secret(base64.urlsafe_b64encode(digest).rstrip(b"=").decode()))

    def sign(self, record: KeyRecord, claims: TokenClaims) -> Secret:
        """A token with these claims, signed with the secret of the key."""
        return signed(self.developer_key(record), claims)

    def verify(self, credential: Secret, now_ms: int) -> Principal:
        """
        Whose credential this is, and what it allows at this moment.

        Raises `ProtocolError`: `unauthorized` (unknown, wrong or malformed), `revoked`, `expired`,
        `forbidden` (the demo project is closed), `bad_request` (a token with a malformed grant, or with a number
        of uses and no id). It counts no uses: that is done where somebody begins to use it.
        """
        text = credential.reveal()
        if text.startswith("pb_") or len(text) > MAX_SECRET_CHARS:
            principal = self._verify_developer_key(text)
        else:
            principal = self._verify_token(text, now_ms)
        if principal.expires_ms is not None and now_ms >= principal.expires_ms:
            raise ProtocolError(ErrorCode.EXPIRED)
        return principal

    def recheck(self, principal: Principal, now_ms: int) -> None:
        """
        Whether a credential that was verified a moment ago is still good.

        Raises `ProtocolError`: `revoked`, `expired`, `forbidden`.
        """
        record = self._records.get(principal.key_id)
        if record is None or not self._revoked.isdisjoint(principal.ids.all):
            raise ProtocolError(ErrorCode.REVOKED)
        self._check_usable(record)
        if principal.expires_ms is not None and now_ms >= principal.expires_ms:
            raise ProtocolError(ErrorCode.EXPIRED)

    def _verify_developer_key(self, text: str) -> Principal:
        key = parse_developer_key(text) or DeveloperKey("", Secret(text))
        record = self._records.get(key.key_id, _NOBODY)
        is_right = self.developer_key(record).secret == key.secret
        if not is_right or record is _NOBODY:
            raise ProtocolError(ErrorCode.UNAUTHORIZED)
        self._check_usable(record)
        return Principal(
            project=record.project,
            key_id=record.key_id,
            kind=CredentialKind.DEVELOPER_KEY,
            grant=record.grant,
            use_limits=_limits_of_key(record),
        )

    def _verify_token(self, text: str, now_ms: int) -> Principal:
        record, payload = self._verify_signature(text)
        self._check_usable(record)
        claims = claims_from_json(payload)
        if claims.project is not None and claims.project != record.project:
            raise ProtocolError(ErrorCode.UNAUTHORIZED, "The token names another project than its key's.")
        if claims.nbf is not None and now_ms + NOT_BEFORE_LEEWAY_MS < claims.nbf * 1000:
            raise ProtocolError(ErrorCode.UNAUTHORIZED, "The token is not valid yet.")
        own_grant = grant_from_json(claims.grant)
        grant = narrow(record.grant, own_grant)
        expires_ms = int(claims.exp * 1000)
        if grant.expires_ms is None or expires_ms < grant.expires_ms:
            grant = msgspec.structs.replace(grant, expires_ms=expires_ms)
        limits = _limits_of_key(record)
        if own_grant.uses is not None:
            if claims.jti is None:
                raise ProtocolError(
                    ErrorCode.BAD_REQUEST, "A token for a number of uses needs an id (jti) to count them by."
                )
            own_id = token_id(record.key_id, claims.jti)
            limits = (*limits, UseLimit(own_id, own_grant.uses, grant.expires_ms))
        principal = Principal(
            project=record.project,
            key_id=record.key_id,
            kind=CredentialKind.TOKEN,
            grant=grant,
            token_id=claims.jti,
            issued_by=claims.issued_by,
            use_limits=limits,
        )
        if not self._revoked.isdisjoint(principal.ids.all):
            raise ProtocolError(ErrorCode.REVOKED)
        return principal

    def _verify_signature(self, text: str) -> tuple[KeyRecord, dict[str, Any]]:
        """The key that signed a token, and its payload; times are left to the caller, who has the clock."""
        try:
            key_id = jwt.get_unverified_header(text).get("kid", "")
            record = self._records.get(key_id, _NOBODY)
            payload: dict[str, Any] = jwt.decode(
                text,
                self.developer_key(record).secret.reveal(),
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                options={
                    "require": ["exp", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    # These mean nothing here, or are checked with the other claims.
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except (jwt.MissingRequiredClaimError, jwt.InvalidAudienceError) as error:
            raise ProtocolError(ErrorCode.UNAUTHORIZED, f"Malformed token: {error}") from None
        except (jwt.PyJWTError, UnicodeError, RecursionError):
            # The last: a header of nothing but nested brackets.
            raise ProtocolError(ErrorCode.UNAUTHORIZED) from None
        if record is _NOBODY:
            raise ProtocolError(ErrorCode.UNAUTHORIZED)
        return record, payload

    def _check_usable(self, record: KeyRecord) -> None:
        if record.revoked_ms is not None:
            raise ProtocolError(ErrorCode.REVOKED)
        if record.project == DEMO_PROJECT and not self.is_demo_open:
            raise ProtocolError(ErrorCode.FORBIDDEN, "The demo project is closed on this server.")


def signed(key: DeveloperKey, claims: TokenClaims) -> Secret:
    """A token with these claims, signed with a developer key."""
    return Secret(
        jwt.encode(
            claims_to_json(claims), key.secret.reveal(), algorithm=ALGORITHM, headers={"kid": key.key_id}
        )
    )


def _limits_of_key(record: KeyRecord) -> tuple[UseLimit, ...]:
    if record.grant.uses is None:
        return ()
    return (UseLimit(record.key_id, record.grant.uses, record.grant.expires_ms),)

"""
Temporary keys: who may give them out, and what is left of a grant.

Owns the rules and the claims of a token that one credential issues in its own name. Never signs it (`keyring`), stores
it or counts anything.

Whoever has a developer key may issue tokens of it: it could sign them by itself. A token issues others if its grant
allows `admin`, it can be revoked (it has a `jti`), and it is not for a number of uses, which would multiply by it.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from peerbus.protocol.credentials import ISSUERS_MAX, TokenClaims
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Grant, Operation, grant_to_json, narrow
from peerbus.protocol.secrets import Secret
from peerbus.signaling.keyring import CredentialKind, Principal


class IssuedKey(Struct, frozen=True):
    """A temporary key: a token, its id (which is no secret), and what it allows, its expiry included."""

    credential: Secret
    token_id: str
    grant: Grant

    @property
    def expires_ms(self) -> int:
        """Milliseconds since 1970."""
        assert self.grant.expires_ms is not None
        return self.grant.expires_ms


def issued_grant(issuer: Principal, wanted: Grant, ttl_ms: int, now_ms: int) -> Grant:
    """
    What both the issuer's grant and `wanted` allow, for `ttl_ms` from `now_ms` on.

    Raises `ProtocolError`: `forbidden` (the issuer may not, or nothing would be left), `bad_request`.
    """
    _check_issuer(issuer)
    grant = narrow(issuer.grant, wanted)
    missing = [name for name in ("channels", "agents", "operations") if not getattr(grant, name)]
    if missing:
        raise ProtocolError(
            ErrorCode.FORBIDDEN,
            f"Nothing would be left of the grant: it and that of the key have no {' and no '.join(missing)} in common.",
        )
    ends_ms = now_ms + ttl_ms
    if grant.expires_ms is not None:
        ends_ms = min(ends_ms, grant.expires_ms)
    return msgspec.structs.replace(grant, expires_ms=ends_ms)


def issued_claims(grant: Grant, project: str | None, jti: str, issued_by: tuple[str, ...]) -> TokenClaims:
    """The claims of a token with this grant, which has an expiry."""
    assert grant.expires_ms is not None
    seconds, milliseconds = divmod(grant.expires_ms, 1000)
    return TokenClaims(
        exp=grant.expires_ms / 1000 if milliseconds else seconds,
        grant=grant_to_json(msgspec.structs.replace(grant, expires_ms=None)),
        project=project,
        jti=jti,
        issued_by=issued_by,
    )


def _check_issuer(issuer: Principal) -> None:
    if issuer.kind is CredentialKind.DEVELOPER_KEY:
        return
    if Operation.ADMIN not in issuer.grant.operations:
        raise ProtocolError(ErrorCode.FORBIDDEN, "A token issues others only if its grant allows admin.")
    if issuer.token_id is None:
        raise ProtocolError(ErrorCode.FORBIDDEN, "A token without an id (jti) issues no others.")
    if issuer.grant.uses is not None:
        raise ProtocolError(ErrorCode.FORBIDDEN, "A token for a number of uses issues no others.")
    if len(issuer.issued_by) >= ISSUERS_MAX:
        raise ProtocolError(ErrorCode.FORBIDDEN, "The token was itself issued by too many others in turn.")

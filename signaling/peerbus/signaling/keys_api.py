"""
Keys over HTTP: temporary ones are issued, tokens and keys revoked.

Owns the form of these requests and who may make them. Never signs or stores anything (`keys`). The credential stands in
`Authorization: Bearer …`; it is verified on the same path as that of a connect, and a wrong one counts against the
address it came from. See PROTOCOL.md, section 9.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct

from peerbus.protocol.credentials import is_token_id
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Operation, check_bearer, grant_from_json, grant_to_json
from peerbus.protocol.secrets import Secret, dec_hook
from peerbus.signaling.clock import monotonic_ms, wall_ms
from peerbus.signaling.issuing import IssuedKey
from peerbus.signaling.keyring import CredentialKind, Principal
from peerbus.signaling.keys import KeyStoreError
from peerbus.signaling.member import Peer
from peerbus.signaling.server import Server

_log: Final = logging.getLogger("peerbus.signaling")

DEFAULT_TTL_MS: Final = 3_600_000
_TTL_MIN_MS: Final = 1_000


class TemporaryKeyRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/keys/temporary`."""

    grant: dict[str, Any]
    """What the key is to allow, as in a token: a missing section allows nothing."""
    ttl_ms: int = DEFAULT_TTL_MS


class RevokeRequest(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/keys/revoke`: one of the first three."""

    token: Secret | None = None
    """A token itself."""
    token_id: str | None = None
    key_id: str | None = None
    expires_ms: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None = None
    """With `token_id`: when the token ends by itself, if that is known."""


_Form = TypeVar("_Form", TemporaryKeyRequest, RevokeRequest)


class _Caller(NamedTuple):
    """Who asks, and from where."""

    principal: Principal
    peer: Peer

    @property
    def address(self) -> str:
        return self.peer.address or ""


class KeysApi:
    """
    The requests about keys of one server.

    Each takes the `Authorization` header and the body, and answers with a JSON object.
    """

    def __init__(self, server: Server) -> None:
        self._server: Final = server

    def issue(self, authorization: str, peer: Peer, body: bytes) -> dict[str, Any]:
        """Gives out a temporary key. Raises `ProtocolError`."""
        caller = self._caller(authorization, peer)
        wanted = _decoded(body, TemporaryKeyRequest)
        ttl_max_ms = self._server.limits.temporary_key_ttl_ms
        if not _TTL_MIN_MS <= wanted.ttl_ms <= ttl_max_ms:
            raise ProtocolError(
                ErrorCode.BAD_REQUEST, f"`ttl_ms` is a number from {_TTL_MIN_MS} to {ttl_max_ms}."
            )
        now_ms = wall_ms()
        grant = grant_from_json(wanted.grant)
        issued = self._server.keys.issue_token(
            caller.principal, grant, wanted.ttl_ms, now_ms, address=caller.address
        )
        return _as_json(issued, caller.principal, now_ms)

    def revoke(self, authorization: str, peer: Peer, body: bytes) -> dict[str, Any]:
        """Ends a token or a key, and their sessions. Raises `ProtocolError`."""
        caller = self._caller(authorization, peer)
        target = _decoded(body, RevokeRequest)
        try:
            revoked = self._revoke(caller, target)
        except KeyStoreError as error:
            _log.error("nothing was revoked: %s", error)
            raise ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, "It could not be revoked.") from None
        self._server.reception.refresh_keys()
        return {"revoked": revoked}

    def _revoke(self, caller: _Caller, target: RevokeRequest) -> str:
        keys, now_ms = self._server.keys, wall_ms()
        by, address = caller.principal.ids.own, caller.address
        given = [one for one in (target.token, target.token_id, target.key_id) if one is not None]
        if len(given) != 1:
            raise ProtocolError(ErrorCode.BAD_REQUEST, "Name one of `token`, `token_id` and `key_id`.")
        if target.key_id is not None:
            record = keys.record(target.key_id)
            if record is None or record.project != caller.principal.project:
                raise _unknown()
            # A token without an id is known by that of its key; it is not the key for that.
            is_key = caller.principal.kind is CredentialKind.DEVELOPER_KEY
            if not is_key or caller.principal.key_id != record.key_id:
                _check_admin(caller.principal)
            keys.revoke_key(record.key_id, now_ms=now_ms, by=by, address=address)
            return record.key_id
        token_id, expires_ms = target.token_id or "", target.expires_ms
        if target.token is not None:
            token_id, expires_ms = self._named(target.token)
        record = keys.record(token_id.partition(":")[0]) if is_token_id(token_id) else None
        if record is None or record.project != caller.principal.project:
            raise _unknown()
        if not _is_own(caller.principal, token_id):
            _check_admin(caller.principal)
        if expires_ms is None or expires_ms > now_ms:
            keys.revoke_token(token_id, now_ms=now_ms, expires_ms=expires_ms, by=by, address=address)
        return token_id

    def _named(self, token: Secret) -> tuple[str, int | None]:
        """The id of a token, and when it ends."""
        try:
            principal = self._server.reception.verify(token)
        except ProtocolError as error:
            if error.code in (ErrorCode.EXPIRED, ErrorCode.REVOKED):
                raise ProtocolError(ErrorCode.BAD_REQUEST, "The token has ended already.") from None
            raise _unknown() from None
        if principal.token_id is None:
            raise ProtocolError(
                ErrorCode.BAD_REQUEST, "The token has no id (jti); it ends with the key that signed it."
            )
        return principal.ids.own, principal.expires_ms

    def _caller(self, authorization: str, peer: Peer) -> _Caller:
        scheme, _, text = authorization.partition(" ")
        try:
            principal = self._server.reception.verify(
                Secret(text.strip() if scheme.lower() == "bearer" else "")
            )
            check_bearer(principal.grant, now_ms=wall_ms(), address=peer.address, origin=peer.origin)
        except ProtocolError as error:
            self._server.gate.refused(peer, error, monotonic_ms())
            raise
        return _Caller(principal, peer)


def _is_own(principal: Principal, token_id: str) -> bool:
    """Whether it is the caller itself, or signed with the developer key that the caller has."""
    if principal.kind is CredentialKind.DEVELOPER_KEY:
        return token_id.startswith(f"{principal.key_id}:")
    return token_id == principal.ids.own


def _check_admin(principal: Principal) -> None:
    if Operation.ADMIN not in principal.grant.operations:
        raise ProtocolError(ErrorCode.FORBIDDEN, "The grant does not allow to manage keys (admin).")


def _unknown() -> ProtocolError:
    return ProtocolError(ErrorCode.NOT_FOUND, "There is no such token or key in this project.")


def _decoded(body: bytes, form: type[_Form]) -> _Form:
    try:
        return msgspec.json.decode(body, type=form, dec_hook=dec_hook)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(ErrorCode.BAD_REQUEST, f"The body is not as it has to be: {error}") from None


def _as_json(issued: IssuedKey, issuer: Principal, now_ms: int) -> dict[str, Any]:
    return {
        "api_key": issued.credential.reveal(),
        "token_id": issued.token_id,
        "expires_ms": issued.expires_ms,
        "expires_in_ms": issued.expires_ms - now_ms,
        "project": issuer.project,
        "grant": grant_to_json(issued.grant),
    }

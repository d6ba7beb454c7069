"""
Tokens that a developer's own server signs for its participants.

Owns the spelling of a token (who, which rooms, which role) and its signature. Never talks to a server: the
key's secret signs, and whoever verifies needs nothing else. The form of a token is described in
`peerbus.protocol.credentials`, what it can allow in `peerbus.protocol.grants`.

    token = ParticipantToken(name="alice", project_id="default", api_key_id="abcdefghijkl")
    token.add_room_grant(room_name="lobby", role="user")
    jwt = token.to_jwt(secret="…")
"""

from __future__ import annotations

import secrets
import time
from typing import Final, Literal, TypeAlias

import jwt

from peerbus.protocol.channel import check_agent_name, check_channel_name, check_project_id
from peerbus.protocol.credentials import ALGORITHM, TokenClaims, claims_to_json, parse_developer_key, token_id
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import ALL_OPERATIONS, MODERATION, Grant, Operation, grant_to_json
from peerbus.protocol.patterns import EVERY

Role: TypeAlias = Literal["user", "agent", "tool"]

DEFAULT_TTL_S: Final = 3600

USER_OPERATIONS: Final = ALL_OPERATIONS - MODERATION - {Operation.ADMIN, Operation.RECORD}
"""What a participant does, and nothing that is for those who run the place."""
_JTI_BYTES: Final = 9
_ROLES: Final[dict[Role, frozenset[Operation]]] = {
    "user": USER_OPERATIONS,
    "agent": USER_OPERATIONS | {Operation.RECORD},
    "tool": frozenset(
        {
            Operation.READ,
            Operation.HISTORY,
            Operation.SEND_DURABLE,
            Operation.SEND_LIVE,
            Operation.SEND_LOSSY,
            Operation.DIRECT,
            Operation.PRESENCE,
            Operation.STORAGE_READ,
        }
    ),
}
"""`user`: everything but moderation and recording; `agent`: recording, too; `tool`: messages only."""


class ParticipantToken:
    """
    Who a participant is, and what it may do. Without a room it may do nothing.

    The participant bears `name`, and claims it: nobody else can bear it in those rooms, and what is sent to it while it
    is away waits for it. `sessions` is on how many devices at once; the oldest session ends when there is one more.
    Raises `ProtocolError` (`name_invalid`) for a bad name or project.
    """

    def __init__(self, *, name: str, project_id: str, api_key_id: str, sessions: int = 1) -> None:
        self._name = check_agent_name(name)
        self._project = check_project_id(project_id)
        self._key_id = api_key_id
        self._sessions = sessions
        self._jti = secrets.token_urlsafe(_JTI_BYTES)
        self._rooms: list[str] = []
        self._role: Role | None = None

    def add_room_grant(self, *, room_name: str, role: Role = "user") -> None:
        """
        Opens a room, by its exact name.

        Raises `ProtocolError`: `name_invalid`, or `bad_request` for an unknown role, or for another role than
        in the rooms before: a token has one role.
        """
        if role not in _ROLES:
            raise ProtocolError(ErrorCode.BAD_REQUEST, f"There is no role {role!r}: {', '.join(_ROLES)}.")
        if self._role not in (None, role):
            raise ProtocolError(ErrorCode.BAD_REQUEST, "A token has one role, in all its rooms.")
        self._rooms.append(check_channel_name(room_name))
        self._role = role

    @property
    def token_id(self) -> str:
        """Its id, which is no secret: by this it can be revoked, and the audit log knows it by it."""
        return token_id(self._key_id, self._jti)

    def to_jwt(self, *, secret: str, ttl_s: int = DEFAULT_TTL_S, uses: int | None = None) -> str:
        """
        The signed token, good for `ttl_s` seconds from now; `secret` is the key `pb_…`, or its last part.

        With `uses` only so many clients can use it; each may reconnect. Raises `ProtocolError` (`bad_request`) if
        the secret is neither, or belongs to another key than `api_key_id`, and for `uses` below 1.
        """
        key = parse_developer_key(secret) or parse_developer_key(f"pb_{self._key_id}_{secret}")
        if key is None or key.key_id != self._key_id:
            raise ProtocolError(ErrorCode.BAD_REQUEST, "The secret is not that of the key api_key_id.")
        now_s = int(time.time())
        claims = TokenClaims(
            exp=now_s + ttl_s, project=self._project, grant=grant_to_json(self._grant(uses)), jti=self._jti
        )
        return jwt.encode(
            {**claims_to_json(claims), "sub": self._name, "iat": now_s},
            key.secret.reveal(),
            algorithm=ALGORITHM,
            headers={"kid": self._key_id},
        )

    def _grant(self, uses: int | None) -> Grant:
        if self._role is None:
            return Grant(uses=uses)
        return Grant(
            uses=uses,
            channels=tuple(dict.fromkeys(self._rooms)),
            agents=(self._name,),
            claim=self._name,
            sessions=None if self._sessions == 1 else self._sessions,
            operations=_ROLES[self._role],
            types=EVERY,
            storage=EVERY,
        )

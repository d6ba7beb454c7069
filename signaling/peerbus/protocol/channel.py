"""
What channels, members and tenants are called: names, modes, channel ids, lineages, identities, scopes.

Owns the rules for names and the bytes that are hashed. Never opens anything by a name (names are opaque keys,
never paths), never stores a secret, and never decides who may use a name (that is `grants`).

All strings are hashed and counted in their NFC form (Unicode Standard Annex 15), so that two keyboards that
spell a name differently meet. Lengths count code points, not bytes and not UTF-16 units.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from enum import StrEnum
from typing import Final

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.patterns import has_wildcard

CHANNEL_NAME_MAX_CHARS: Final = 128
AGENT_NAME_MAX_CHARS: Final = 64
PROJECT_ID_MAX_CHARS: Final = 63
JOIN_TOKEN_BYTES: Final = 32
LINEAGE_SECRET_BYTES: Final = 16

SERVICE_PREFIX: Final = "peerbus:"
"""Names of agents and channels that begin with it, or seem to, belong to the server's own services."""
SESSION_PREFIX: Final = "peerbus:session/"
"""Begins the address of one session, where a name could stand; no service is called so."""
PUBLIC_SCOPE: Final = "public"
"""The scope that all projects share."""

_CHANNEL_ID_LABEL: Final = b"peerbus/channel/1"
# Truncated from 32: the secret itself has 128 bits, so a longer text would say no more.
_IDENTITY_HASH_BYTES: Final = 16
# Control characters (C0, DEL, C1), line and paragraph separators, the characters that reorder a line of text
# (they let a name show up as another), lone surrogates, and the byte order mark.
_FORBIDDEN: Final = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
# Marks and format characters (general categories of Unicode, chapter 4.5), which one may overlook.
_UNSEEN: Final = frozenset({"Mn", "Mc", "Me", "Cf"})
# Letters and colons that look like those of the prefix (a part of Unicode Technical Standard 39, confusables), as
# they are after compatibility decomposition and in lower case.
_LOOKS_LIKE: Final = {
    char: latin
    for latin, others in {
        "p": "\u0440\u03c1\u2ca3\u1d18",
        "e": "\u0435\u04bd\u212e\u0454\u1d07",
        "r": "\u0433\u1d26\u0280\u2c85\uab81",
        "b": "\u044c\u0432\u03b2\u0299\uab9f",
        "u": "\u03c5\u057d\u1d1c\u028b",
        "s": "\u0455\ua731\u01bd\uabaa",
        ":": "\ua789\u2236\u02d0\u05c3\u0589\u16ec\u0703\u0704\u02f8\ua4fd",
    }.items()
    for char in others
}
_PROJECT_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Mode(StrEnum):
    """Whether contents are readable by the server (`open`) or only by the members (`sealed`)."""

    OPEN = "open"
    SEALED = "sealed"


_MODE_BYTE: Final = {Mode.OPEN: b"\x00", Mode.SEALED: b"\x01"}


def check_channel_name(name: str) -> str:
    """
    The NFC form of a channel name.

    Raises `ProtocolError` (`name_invalid`) unless it has 1 to 128 characters, none of them a control
    character or one that reorders text, no white space at either end, and no segment (between "." and "/")
    that is just "*" or ">", which are the wildcards of `patterns`.
    """
    return _check_name(name, "channel", CHANNEL_NAME_MAX_CHARS)


def check_agent_name(name: str, *, service: bool = False) -> str:
    """
    The NFC form of an agent name: the same rules as for channels, at most 64 characters.

    Names that begin with `peerbus:`, or seem to, are refused unless `service` is true; then they have to.
    """
    name = _check_name(name, "agent", AGENT_NAME_MAX_CHARS)
    if not service and is_service_name(name):
        raise _invalid(f"Agent names that begin with {SERVICE_PREFIX!r} are reserved for services.")
    if service and (not name.startswith(SERVICE_PREFIX) or name.startswith(SESSION_PREFIX)):
        raise _invalid(f"The name of a service begins with {SERVICE_PREFIX!r}, and is no session's address.")
    return name


def is_service_name(name: str) -> bool:
    """
    Whether a name of an agent or a channel is one that only the server's own services bear or open.

    Names that look as if they were count, too: what a person can't tell apart must not be somebody else's.
    """
    if name.isascii():
        return name[: len(SERVICE_PREFIX)].lower() == SERVICE_PREFIX
    seen = "".join(
        _LOOKS_LIKE.get(char, char)
        for char in unicodedata.normalize("NFKD", name).lower()
        if unicodedata.category(char) not in _UNSEEN
    )
    return seen.startswith(SERVICE_PREFIX)


def check_project_id(project: str) -> str:
    """The project id unchanged; `name_invalid` unless 1 to 63 of a-z, 0-9 and inner hyphens."""
    if _PROJECT_ID.fullmatch(project) is None:
        raise _invalid(
            f"A project id has 1 to {PROJECT_ID_MAX_CHARS} characters of a-z, 0-9 and hyphens between them."
        )
    return project


def private_scope(project: str) -> str:
    """The scope of one project's own channels: `private:<project>`."""
    return f"private:{check_project_id(project)}"


def channel_id(name: str, mode: Mode, join_token: bytes) -> bytes:
    """
    The 32 bytes that identify a channel within a scope.

    SHA-256("peerbus/channel/1" ‖ mode byte (open 0, sealed 1) ‖ u32be(length of name) ‖ name ‖ join token),
    the name in NFC and UTF-8, its length in bytes; the join token has 32 bytes, or none without a password.
    Raises `ProtocolError`: `name_invalid`, or `bad_request` for a token of another length.
    """
    if len(join_token) not in (0, JOIN_TOKEN_BYTES):
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, f"A join token has {JOIN_TOKEN_BYTES} bytes, or none without a password."
        )
    name_bytes = check_channel_name(name).encode()
    return hashlib.sha256(
        _CHANNEL_ID_LABEL + _MODE_BYTE[mode] + len(name_bytes).to_bytes(4, "big") + name_bytes + join_token
    ).digest()


def check_channel_id(claimed: bytes, computed: bytes) -> None:
    """Raises `ProtocolError` (`channel_mismatch`) if a client expected another channel than it described."""
    if claimed != computed:
        raise ProtocolError(ErrorCode.CHANNEL_MISMATCH)


def lineage(secret: bytes) -> bytes:
    """
    The public 32 bytes of a lineage: SHA-256 of its 16-byte secret.

    Raises `ProtocolError` (`bad_request`) for a secret of another length.
    """
    if len(secret) != LINEAGE_SECRET_BYTES:
        raise ProtocolError(ErrorCode.BAD_REQUEST, f"A lineage secret has {LINEAGE_SECRET_BYTES} bytes.")
    return hashlib.sha256(secret).digest()


def lineage_identity(lineage_hash: bytes) -> str:
    """
    Who a member without a claimed name is: `lineage:` and 22 characters.

    They are the base64url form, without padding, of the first 16 bytes of the lineage.
    """
    return "lineage:" + base64.urlsafe_b64encode(lineage_hash[:_IDENTITY_HASH_BYTES]).rstrip(b"=").decode()


def name_identity(claimed_name: str) -> str:
    """Who the bearer of a claimed name is, on whatever device: `name:` and the name in NFC."""
    return "name:" + check_agent_name(claimed_name, service=is_service_name(claimed_name))


def is_name_identity(identity: str) -> bool:
    """Whether somebody is known by a claimed name."""
    return identity.startswith("name:")


def claimed_name(identity: str) -> str:
    """The name that was claimed; the opposite of `name_identity`."""
    return identity.removeprefix("name:")


def session_address(session_id: str) -> str:
    """What stands in `to` for one session alone, when several bear its name."""
    return SESSION_PREFIX + session_id


def addressed_session(written: str) -> str | None:
    """The id of the session that is meant in `to`, if it is not a name."""
    return written[len(SESSION_PREFIX) :] if written.startswith(SESSION_PREFIX) else None


def _check_name(name: str, kind: str, max_chars: int) -> str:
    # NFC shortens to a quarter at most, so what is far too long is refused without being normalised.
    if len(name) <= 4 * max_chars:
        name = unicodedata.normalize("NFC", name)
    if not 1 <= len(name) <= max_chars:
        raise _invalid(f"The {kind} name has {len(name)} characters; 1 to {max_chars} are allowed.")
    if _FORBIDDEN.search(name) is not None:
        raise _invalid(f"The {kind} name contains a control character or one that reorders text.")
    if name != name.strip():
        raise _invalid(f"The {kind} name begins or ends with white space.")
    if has_wildcard(name):
        raise _invalid(f'A segment of the {kind} name is "*" or ">", which stand for other names in a grant.')
    return name


def _invalid(message: str) -> ProtocolError:
    return ProtocolError(ErrorCode.NAME_INVALID, message)

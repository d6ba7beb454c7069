"""
One entry of the audit log: what there is to be noted, and by which names.

Owns the structure and the summary of a grant. Never writes anything (`audit`).
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from peerbus.protocol.grants import Grant, grant_to_json

_PATTERNS_SHOWN: Final = 4


class AuditAction(StrEnum):
    """What was done."""

    KEY_CREATED = "key_created"
    KEY_REVOKED = "key_revoked"
    TOKEN_ISSUED = "token_issued"  # noqa: S105  an action, not a token
    TOKEN_REVOKED = "token_revoked"  # noqa: S105  as above
    DEMO_KEYS_ISSUED = "demo_keys_issued"
    USE_COUNTED = "use_counted"
    USE_REFUSED = "use_refused"
    CREDENTIALS_REFUSED = "credentials_refused"
    MASTER_KEY_MISMATCH = "master_key_mismatch"
    KICK = "kick"
    LOCK = "lock"
    UNLOCK = "unlock"


class AuditEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. All texts are as they came, but cut at a length; whoever shows them escapes them."""

    time_ms: int
    """Milliseconds since 1970."""
    action: AuditAction
    project: str = ""
    by: str = ""
    """The id of the credential that did it; `operator` for a command on the server's machine."""
    target: str = ""
    """What it was done to: the id of a credential, the name of a member."""
    channel: str = ""
    address: str = ""
    detail: str = ""
    correlation_id: str = ""
    count: int = 1
    """How many of them this one line stands for."""
    left_out: int = 0
    """How many entries of this kind were not written before this one."""


OPERATOR: Final = "operator"


def grant_summary(grant: Grant) -> str:
    """What a grant says, in one line; of long lists the first few."""
    parts = []
    for name, value in grant_to_json(grant).items():
        if isinstance(value, list | tuple):
            shown = [str(one) for one in value[: None if name == "operations" else _PATTERNS_SHOWN]]
            more = len(value) - len(shown)
            value = ",".join(shown) + (f",… {more} more" if more else "")
        parts.append(name if value is True else f"{name}={value}")
    return "; ".join(parts)


def line_of(entry: AuditEntry) -> bytes:
    """The entry as a line of JSON, without what has its default."""
    # In ASCII, with everything else as an escape: nothing in it can move a cursor or turn a text around.
    return json.dumps(msgspec.to_builtins(entry), ensure_ascii=True).encode() + b"\n"

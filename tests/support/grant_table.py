"""
The table of `signaling/GRANTS.md`: what each operation comes to under each restriction of a credential.

Owns the restrictions, and what the model (`peerbus.protocol.grants`) says of each; a test asks a real server the same.
`python -m tests.support.grant_table` writes the file anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.grants import (
    ALL_OPERATIONS,
    Admission,
    Grant,
    Operation,
    admit,
    check_bearer,
    grant_from_json,
    narrow,
)
from peerbus.protocol.patterns import EVERY

FILE: Final = Path(__file__).parents[2] / "signaling" / "GRANTS.md"
ALLOWED: Final = "yes"

CHANNEL: Final = "hall"
AGENT: Final = "alice"
TYPE: Final = "chat-text"

MESSAGING: Final = (
    Operation.READ,
    Operation.HISTORY,
    Operation.SEND_DURABLE,
    Operation.SEND_LIVE,
    Operation.SEND_LOSSY,
    Operation.DIRECT,
    Operation.PRESENCE,
    Operation.KICK,
    Operation.LOCK,
)
"""What is asked of a session, over WebSocket and by long-poll."""
MEDIA: Final = (
    Operation.PUBLISH_AUDIO,
    Operation.PUBLISH_VIDEO,
    Operation.PUBLISH_SCREEN,
    Operation.PUBLISH_DATA,
    Operation.SUBSCRIBE,
)
"""What is asked of a media worker."""
MANAGEMENT: Final = (Operation.ADMIN,)
"""What is asked over HTTP."""

SENDING: Final = frozenset(
    {Operation.SEND_DURABLE, Operation.SEND_LIVE, Operation.SEND_LOSSY, Operation.DIRECT}
)
KEY_GRANT: Final = Grant(
    channels=EVERY,
    agents=EVERY,
    claim=">",
    operations=ALL_OPERATIONS,
    types=EVERY,
    storage=EVERY,
    public=True,
)
"""That of the developer key which signs; it is not the operator's."""


class Restriction(NamedTuple):
    """One row: what is wrong with a credential, or with where it is used."""

    name: str
    grant: Mapping[str, Any] = MappingProxyType({})
    """Sections that the token has other than the base; None leaves one out."""
    connect: Mapping[str, Any] = MappingProxyType({})
    """Fields that `connect` has other than the base."""
    state: str = ""
    """What has become of the credential; its answer does not depend on a grant."""
    is_each: bool = False
    """Whether it is about one operation at a time."""


ONLY: Final = Restriction("only this operation is granted", is_each=True)
ALL_BUT: Final = Restriction("all operations but this one are granted", is_each=True)
RESTRICTIONS: Final = (
    ONLY,
    ALL_BUT,
    Restriction("no section `channels`", {"channels": None}),
    Restriction("another channel", {"channels": ["team/*"]}),
    Restriction("no section `agents`", {"agents": None}),
    Restriction("another name", {"agents": ["bob"]}),
    Restriction("no section `types`", {"types": None}),
    Restriction("another type", {"types": ["game/>"]}),
    Restriction("another address", {"addresses": ["192.0.2.0/24"]}),
    Restriction("another origin", {"origins": ["https://good.example"]}),
    Restriction("the public scope, without `public`", {"public": None}, {"scope": "public"}),
    Restriction("the public scope, not the operator's key", {"public": True}, {"scope": "public"}),
    Restriction("the channel of a service", {}, {"channel": "peerbus:workers"}),
    Restriction("more `members` than that", {"members": 1}, {}, "channel_full"),
    Restriction("`uses` are used up", {"uses": 1}, {}, "used_up"),
    Restriction("expired", {}, {}, "expired"),
    Restriction("the token is revoked", {}, {}, "revoked"),
    Restriction("the key is revoked", {}, {}, "revoked"),
    Restriction("a wrong signature", {}, {}, "unauthorized"),
    Restriction("the key of another project signs", {}, {}, "unauthorized"),
)
_HTTP_NAMES: Final = frozenset(
    {
        "another address",
        "another origin",
        "expired",
        "the token is revoked",
        "the key is revoked",
        "a wrong signature",
        "the key of another project signs",
    }
)
"""What is asked of a request that is not about a channel."""
_MEDIA_NAMES: Final = frozenset({"expired"})
"""What a worker checks by itself; who has no session has no call."""


def restrictions_of(transport: str) -> tuple[Restriction, ...]:
    """The rows that mean something for `session`, `http` or `sfu`."""
    names = {"http": _HTTP_NAMES, "sfu": _MEDIA_NAMES}.get(transport)
    return tuple(one for one in RESTRICTIONS if names is None or one.is_each or one.name in names)


def grant_json(restriction: Restriction, operation: Operation | None) -> dict[str, Any]:
    """The grant of the token, in its JSON form; for a row about one operation at a time that is given."""
    operations: Iterable[Operation] = ALL_OPERATIONS
    if restriction is ONLY and operation is not None:
        # To address somebody is to send, too.
        operations = {operation, Operation.SEND_LIVE} if operation is Operation.DIRECT else {operation}
    elif restriction is ALL_BUT and operation is not None:
        operations = ALL_OPERATIONS - {operation}
    base: dict[str, Any] = {
        "channels": [CHANNEL],
        "agents": [AGENT],
        "types": [TYPE],
        "operations": sorted(operations),
    }
    sections = {**base, **restriction.grant}
    return {name: value for name, value in sections.items() if value is not None}


def expected(restriction: Restriction, operation: Operation, transport: str = "session") -> str:
    """`ALLOWED`, or the code of the refusal, by the model."""
    if restriction.state:
        return restriction.state
    grant = narrow(KEY_GRANT, grant_from_json(grant_json(restriction, operation)))
    try:
        if transport == "http":
            check_bearer(grant, now_ms=0, address="127.0.0.1", origin="https://evil.example")
            return ALLOWED if operation in grant.operations else "forbidden"
        admission = _admission(grant, restriction.connect)
    except ProtocolError as error:
        return error.code.value
    message_type = TYPE if operation in SENDING else None
    sends = operation is not Operation.DIRECT or admission.allows(Operation.SEND_LIVE, message_type=TYPE)
    return ALLOWED if sends and admission.allows(operation, message_type=message_type) else "forbidden"


def _admission(grant: Grant, connect: Mapping[str, Any]) -> Admission:
    return admit(
        grant,
        now_ms=0,
        scope="public" if connect.get("scope") == "public" else "private:default",
        channel=connect.get("channel", CHANNEL),
        agent=AGENT,
        address="127.0.0.1",
        origin="https://evil.example",
    )


def text() -> str:
    """The file."""
    left_out = sorted(ALL_OPERATIONS - set(MESSAGING) - set(MEDIA) - set(MANAGEMENT))
    return f"""# Operations and restrictions

Written by `python -m tests.support.grant_table` from the model, `peerbus.protocol.grants`; a test asks a real server
every cell. *yes* is allowed; anything else is the code of the refusal (PROTOCOL.md, section 11). Where a whole row has
the same code, the session does not begin. A row changes one thing about a token that is otherwise good for the channel
`{CHANNEL}`, the name `{AGENT}` and the type `{TYPE}`, used from 127.0.0.1 by a page of `https://evil.example`.

## Sessions: WebSocket and long-poll alike

{_table("session", MESSAGING)}

## Keys over HTTP

{_table("http", MANAGEMENT)}

## Media: what the worker says

Who has no session is in no call, so every refusal above holds here, too; and a signal is a live, direct message of the
type `signal`. An operation that is not granted is refused for a publication, and for `subscribe` means that nothing is
received.

{_table("sfu", MEDIA)}

{", ".join(f"`{name}`" for name in left_out)} can be granted; nothing that is served yet asks for them.
"""


def _table(transport: str, operations: tuple[Operation, ...]) -> str:
    rows = [["restriction", *(f"`{operation}`" for operation in operations)]]
    for restriction in restrictions_of(transport):
        cells = [expected(restriction, operation, transport) for operation in operations]
        rows.append([restriction.name, *(cell if cell == ALLOWED else f"`{cell}`" for cell in cells)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")

"""
What a credential may do: one structure, whatever carries it (developer key, token, temporary or worker key).

Owns the structure, its JSON form, how one grant narrows another, and the answer to "may it?". Never knows
keys, signatures or clocks (the time is passed in), and never counts: rates, members and uses are stated here,
and counted where the messages, members and uses are.

A grant has two kinds of sections. *Allow-lists* say what is possible, and a missing one allows nothing:
`channels`, `agents`, `claim` (with `sessions`), `operations`, `types`, `storage`, and the flags `public`,
`operator` and `service`.
*Limits* take away from that, and a missing one takes nothing: `rate_per_s`, `members`, `expires_ms`, `uses`,
`addresses`, `origins`. An unknown section is an error, since it may be a limit of a later version.

`patterns` describes the language of `channels`, `agents`, `claim`, `types` and `storage`.
"""

from __future__ import annotations

import functools
import ipaddress
import math
import re
from enum import StrEnum
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from peerbus.protocol.channel import PUBLIC_SCOPE, is_service_name
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.patterns import (
    EVERY,
    PATTERNS_MAX,
    Patterns,
    check_pattern,
    has_wildcard,
    intersect,
    intersect_pair,
    matches,
)


class Operation(StrEnum):
    """One thing a member may do; the names are part of the wire and of every token."""

    READ = "read"
    """Receive messages as they come."""
    HISTORY = "history"
    """Ask for stored messages."""
    SEND_DURABLE = "send_durable"
    SEND_LIVE = "send_live"
    SEND_LOSSY = "send_lossy"
    DIRECT = "direct"
    """Address some members only, by name or by filter."""
    PRESENCE = "presence"
    """See who is here and what changes about them."""
    STORAGE_READ = "storage_read"
    STORAGE_WRITE = "storage_write"
    PUBLISH_AUDIO = "publish_audio"
    PUBLISH_VIDEO = "publish_video"
    PUBLISH_SCREEN = "publish_screen"
    PUBLISH_DATA = "publish_data"
    SUBSCRIBE = "subscribe"
    """Receive what others publish."""
    RECORD = "record"
    KICK = "kick"
    LOCK = "lock"
    ADMIN = "admin"
    """Manage the keys of the project."""


ALL_OPERATIONS: Final = frozenset(Operation)
MODERATION: Final = frozenset({Operation.KICK, Operation.LOCK})
"""What only a grant issued by the server's operator gives in the public scope."""


class Grant(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """
    What its bearer may do. `Grant()` allows nothing.

    Raises `ProtocolError` (`bad_request`) for malformed patterns, networks, origins and limits.
    """

    channels: Patterns = ()
    agents: Patterns = ()
    """The names it may bear."""
    claim: str | None = None
    """The name it claims: nobody else may bear that in the channel. With a wildcard it claims nothing itself,
    and says which names a grant narrowed from this one may claim."""
    sessions: int | None = None
    """How many sessions may bear the claimed name at once; None: one. With a wildcard in `claim` it bounds what a
    grant narrowed from this one may say, and None bounds nothing."""
    operations: frozenset[Operation] = frozenset()
    types: Patterns = ()
    """The message types it may send; what it may read does not depend on them."""
    storage: Patterns = ()
    """The key paths that `storage_read` and `storage_write` reach."""
    public: bool = False
    """Whether it opens the scope that all projects share."""
    operator: bool = False
    """Whether the server's operator issued it; in the public scope only such a grant kicks, locks, claims."""
    service: bool = False
    """Whether its bearer is one of the server's own services, such as a media worker: it has a service's name, and
    opens channels that bear such names. Nobody else does, and it opens no others."""
    rate_per_s: float | None = None
    """Messages a second of one session, all classes together."""
    members: int | None = None
    """It admits nobody to a channel that has so many members."""
    expires_ms: int | None = None
    """Milliseconds since 1970 from which on it allows nothing."""
    uses: int | None = None
    """How many lineages may use it."""
    addresses: tuple[str, ...] | None = None
    """Networks (CIDR, IPv4 or IPv6) that its bearer connects from."""
    origins: tuple[str, ...] | None = None
    """Web origins (`https://example.org`) whose pages may use it. Not asked of a client that sends no origin:
    that is not a browser, and could have sent any."""

    def __post_init__(self) -> None:
        for section in ("channels", "agents", "types", "storage"):
            patterns = tuple(check_pattern(pattern) for pattern in _bounded(getattr(self, section)))
            force_setattr(self, section, patterns)
        if self.claim is not None:
            force_setattr(self, "claim", check_pattern(self.claim))
        for value in (self.rate_per_s, self.members, self.uses, self.sessions):
            if value is not None and not 0 < value < math.inf:
                raise _bad("Rate, members, uses and sessions of a grant are positive.")
        for network in _bounded(self.addresses or ()):
            _network(network)
        for origin in _bounded(self.origins or ()):
            if _ORIGIN.fullmatch(origin) is None:
                raise _bad("An origin is written as scheme://host or scheme://host:port, in lower case.")

    def allows(
        self,
        operation: Operation,
        *,
        channel: str | None = None,
        message_type: str | None = None,
        storage_key: str | None = None,
    ) -> bool:
        """
        Whether it allows an operation; in a channel, on a message type, on a storage key, where one is given.

        Says nothing about time, address and scope: `admit` does, once for a session.
        """
        return (
            operation in self.operations
            and (channel is None or matches(self.channels, channel))
            and (message_type is None or matches(self.types, message_type))
            and (storage_key is None or matches(self.storage, storage_key))
        )

    def claims(self, agent: str) -> bool:
        """Whether its bearer, when named `agent` (in NFC), holds that name against everybody else."""
        return self.claim == agent and not has_wildcard(agent)

    @property
    def sessions_max(self) -> int | None:
        """How many sessions may bear the claimed name at once; None where it claims none by itself."""
        if self.sessions is None and self.claim is not None and not has_wildcard(self.claim):
            return 1
        return self.sessions


class Admission(Struct, frozen=True, kw_only=True):
    """What one session may do in the channel it was admitted to: all that is checked for each message."""

    operations: frozenset[Operation]
    types: Patterns
    is_claimed: bool
    """Whether the session holds its name by a claim; its identity is the name then, else the lineage."""
    sessions: int = 1
    """How many sessions may bear the claimed name at once."""
    rate_per_s: float | None
    members: int | None
    expires_ms: int | None
    is_service: bool = False
    """Whether it is one of the server's own services."""

    def allows(self, operation: Operation, *, message_type: str | None = None) -> bool:
        """Whether the session may do this, and on messages of this type where one is given."""
        return operation in self.operations and (
            message_type is None or self.types == EVERY or matches(self.types, message_type)
        )


def admit(
    grant: Grant,
    *,
    now_ms: int,
    scope: str,
    channel: str,
    agent: str,
    address: str | None = None,
    origin: str | None = None,
) -> Admission:
    """
    Checks a connect against a grant, once; `channel` and `agent` are checked names (NFC).

    `address` is the client's IP address where it is known, `origin` its `Origin` header where it sent one.
    Raises `ProtocolError`: `expired`, or `forbidden` with the reason in words.
    """
    check_bearer(grant, now_ms=now_ms, address=address, origin=origin)
    is_public = scope == PUBLIC_SCOPE
    if is_public and not grant.public:
        raise _forbidden("The key does not open the public scope.")
    if grant.service is not is_service_name(channel):
        raise _forbidden(
            "A service opens only the channels of services."
            if grant.service
            else "The channel belongs to the server's own services."
        )
    if grant.service is not is_service_name(agent):
        raise _forbidden(
            "A service has a service's name."
            if grant.service
            else "The name belongs to the server's own services."
        )
    if not matches(grant.channels, channel):
        raise _forbidden("The key does not open this channel.")
    if not matches(grant.agents, agent):
        raise _forbidden("The key does not allow this agent name.")
    has_authority = grant.operator or not is_public
    return Admission(
        operations=grant.operations if has_authority else grant.operations - MODERATION,
        types=grant.types,
        is_claimed=has_authority and grant.claims(agent),
        sessions=grant.sessions_max or 1,
        rate_per_s=grant.rate_per_s,
        members=grant.members,
        expires_ms=grant.expires_ms,
        is_service=grant.service,
    )


def check_bearer(grant: Grant, *, now_ms: int, address: str | None = None, origin: str | None = None) -> None:
    """
    Whether a grant is worth anything now, and to whoever comes from there; see `admit`, which asks this first.

    Raises `ProtocolError`: `expired`, or `forbidden`.
    """
    if grant.expires_ms is not None and now_ms >= grant.expires_ms:
        raise ProtocolError(ErrorCode.EXPIRED)
    if grant.addresses is not None and not _is_within(address, grant.addresses):
        raise _forbidden("The key is not valid from this network address.")
    if grant.origins is not None and origin is not None and origin not in grant.origins:
        raise _forbidden("The key is not valid on pages of this origin.")


def narrow(parent: Grant, child: Grant) -> Grant:
    """
    What both grants allow, and nothing else: a grant handed on never says more than the one it came from.

    Raises `ProtocolError` (`bad_request`) where a section of the result would be too long.
    """
    # One of a service opens the channels of services, and any other no such: together they open none.
    channels = intersect(parent.channels, child.channels) if parent.service is child.service else ()
    claim = None
    if parent.claim is not None and child.claim is not None:
        claim = intersect_pair(parent.claim, child.claim)
    return Grant(
        channels=channels,
        agents=intersect(parent.agents, child.agents),
        claim=claim,
        sessions=None
        if parent.sessions is None and child.sessions is None
        else _lower(parent.sessions_max, child.sessions_max),
        operations=parent.operations & child.operations,
        types=intersect(parent.types, child.types),
        storage=intersect(parent.storage, child.storage),
        public=parent.public and child.public,
        operator=parent.operator and child.operator,
        service=parent.service and child.service,
        rate_per_s=_lower(parent.rate_per_s, child.rate_per_s),
        members=_lower(parent.members, child.members),
        expires_ms=_lower(parent.expires_ms, child.expires_ms),
        uses=_lower(parent.uses, child.uses),
        addresses=_narrow_addresses(parent.addresses, child.addresses),
        origins=_narrow_origins(parent.origins, child.origins),
    )


def grant_to_json(grant: Grant) -> dict[str, Any]:
    """The grant as a JSON object; sections that have their default are left out, sets are sorted."""
    value: dict[str, Any] = msgspec.to_builtins(grant, order="deterministic")
    return value


def grant_from_json(value: object) -> Grant:
    """
    The grant that a decoded JSON value describes.

    Raises `ProtocolError` (`bad_request`) for anything but a well-formed grant with known sections.
    """
    try:
        return msgspec.convert(value, Grant)
    except msgspec.ValidationError as error:
        raise _bad(f"Not a grant: {error}") from None


_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Number = TypeVar("_Number", int, float)


def _bounded(entries: tuple[str, ...]) -> tuple[str, ...]:
    if len(entries) > PATTERNS_MAX:
        raise _bad(f"A section of a grant has at most {PATTERNS_MAX} entries.")
    return entries


def _lower(parent: _Number | None, child: _Number | None) -> _Number | None:
    if parent is None or child is None:
        return child if parent is None else parent
    return min(parent, child)


def _narrow_addresses(
    parent: tuple[str, ...] | None, child: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    if parent is None or child is None:
        return child if parent is None else parent
    # Two networks are disjoint, or one lies in the other.
    inner = [one for one in parent if any(_lies_in(one, other) for other in child)]
    inner += [one for one in child if any(_lies_in(one, other) for other in parent)]
    return tuple(dict.fromkeys(inner))


def _narrow_origins(parent: tuple[str, ...] | None, child: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if parent is None or child is None:
        return child if parent is None else parent
    return tuple(origin for origin in parent if origin in child)


@functools.lru_cache(maxsize=512)
def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise _bad("A network of a grant is written as 192.0.2.0/24 or 2001:db8::/32.") from None


def _lies_in(inner: str, outer: str) -> bool:
    one, other = _network(inner), _network(outer)
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and one.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and one.subnet_of(other)


def _is_within(address: str | None, networks: tuple[str, ...]) -> bool:
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    # A dual-stack socket shows IPv4 clients as ::ffff:192.0.2.1.
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return any((mapped or ip) in _network(network) for network in networks)


def _bad(message: str) -> ProtocolError:
    return ProtocolError(ErrorCode.BAD_REQUEST, message)


def _forbidden(message: str) -> ProtocolError:
    return ProtocolError(ErrorCode.FORBIDDEN, message)

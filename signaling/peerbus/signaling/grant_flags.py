"""
A grant from the command line.

Owns the flags that say what a key may do, for the commands that make one, and how times are written there. Never makes
a key.
"""

from __future__ import annotations

import argparse
import re
from typing import Final

import msgspec

from peerbus.protocol.grants import Grant, Operation
from peerbus.protocol.patterns import EVERY, has_wildcard

_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])")


class FlagError(Exception):
    """A flag has a value that makes no sense; the text is one line for a person."""


def add_grant_flags(parser: argparse.ArgumentParser, *, allow_default: str) -> None:
    """Adds the flags that keys of all kinds have in common."""
    parser.add_argument(
        "--channel",
        action="append",
        metavar="PATTERN",
        help="a channel it opens, like lobby or team/*; repeatable",
    )
    parser.add_argument(
        "--name", action="append", metavar="PATTERN", help="an agent name it may bear, like bot/*; repeatable"
    )
    parser.add_argument(
        "--allow",
        metavar="OPERATION,…",
        help=f"all it may do, of: {', '.join(sorted(Operation))}; without this, {allow_default}",
    )
    parser.add_argument(
        "--origin", action="append", metavar="ORIGIN", help="a site whose pages may use it; repeatable"
    )


def add_narrow_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of keys that are given to one participant."""
    parser.add_argument("--claim", metavar="NAME", help="the name it claims: nobody else can bear it there")
    parser.add_argument(
        "--sessions", type=int, metavar="N", help="how many sessions may bear the claimed name at once (1)"
    )
    parser.add_argument(
        "--type", action="append", metavar="PATTERN", help="a message type it may send; repeatable"
    )
    parser.add_argument(
        "--storage", action="append", metavar="PATTERN", help="a storage key it reaches; repeatable"
    )
    parser.add_argument("--uses", type=int, metavar="N", help="how many clients may use it")
    parser.add_argument("--rate", type=float, metavar="N", help="messages a second that a session may send")
    parser.add_argument(
        "--members", type=int, metavar="N", help="it admits nobody to a channel that has so many members"
    )
    parser.add_argument(
        "--address", action="append", metavar="NETWORK", help="where it may be used from (CIDR); repeatable"
    )
    parser.add_argument("--public", action="store_true", help="it opens the scope that all projects share")


def grant_of(arguments: argparse.Namespace, whole: Grant) -> Grant:
    """
    What the flags of `add_grant_flags` say; what they do not say is as in `whole`.

    Raises `FlagError`, and `ProtocolError` for malformed patterns.
    """
    return msgspec.structs.replace(
        whole,
        channels=tuple(arguments.channel or EVERY),
        agents=tuple(arguments.name or EVERY),
        operations=whole.operations if arguments.allow is None else _operations(arguments.allow),
        origins=_listed(arguments.origin),
    )


def narrow_grant_of(arguments: argparse.Namespace, whole: Grant) -> Grant:
    """What the flags of both kinds say. Raises as `grant_of` does."""
    if arguments.sessions is not None and arguments.claim is None:
        raise FlagError("--sessions goes with --claim")
    grant = grant_of(arguments, whole)
    return msgspec.structs.replace(
        grant,
        agents=(arguments.claim,) if arguments.claim and not arguments.name else grant.agents,
        claim=arguments.claim,
        sessions=arguments.sessions,
        types=tuple(arguments.type or EVERY),
        storage=tuple(arguments.storage or EVERY),
        uses=arguments.uses,
        rate_per_s=arguments.rate,
        members=arguments.members,
        addresses=_listed(arguments.address),
        public=arguments.public,
    )


def hints(grant: Grant) -> list[str]:
    """A line for each pattern that looks as if it was meant otherwise."""
    return [
        f'Note: "{pattern}" is one name; a "*" stands for a whole segment, as in team/*.'
        for pattern in (*grant.channels, *grant.agents)
        if "*" in pattern and not has_wildcard(pattern)
    ]


def parse_duration_ms(flag: str, text: str) -> int:
    """`90s`, `15m`, `12h`, `7d`. Raises `FlagError`."""
    match = _DURATION.fullmatch(text)
    if match is None or not int(match[1]):
        raise FlagError(f"{flag}: {text!r} is no time like 90s, 15m, 12h or 7d")
    return int(match[1]) * _UNITS_MS[match[2]]


def _operations(text: str) -> frozenset[Operation]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in set(Operation)]
    if unknown:
        raise FlagError(
            f"--allow: there is no operation {unknown[0]!r}; there are {', '.join(sorted(Operation))}"
        )
    return frozenset(Operation(name) for name in names)


def _listed(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)

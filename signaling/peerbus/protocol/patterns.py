"""
The patterns of a grant: which names one stands for, and which names two stand for together.

Owns the language and its matching. Never knows what the names are names of, and is not the language in which
users address each other (that is `addressing`).

A pattern is a name in segments between "." and "/". A segment `*` stands for exactly one segment that is not
empty; a last segment `>` for one or more characters of whatever follows, and so `>` alone for every name.
Separators stand for themselves ("/" is not "."), and so does everything else: `team-*` is the one name
`team-*`. No channel or agent has a name with a segment `*` or `>` (see `channel`), and so every name is also
the pattern of itself and of nothing else.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Final, TypeAlias

from peerbus.protocol.errors import ErrorCode, ProtocolError

PATTERNS_MAX: Final = 32
"""The most patterns of one list; it keeps narrowing and matching cheap, whoever wrote them."""
PATTERN_MAX_CHARS: Final = 256

Patterns: TypeAlias = tuple[str, ...]
EVERY: Final[Patterns] = (">",)
"""The list that stands for every name."""

_SEPARATOR: Final = re.compile(r"([./])")
_EXPRESSIONS: Final = {"*": "[^./]+", ">": ".+"}


def has_wildcard(text: str) -> bool:
    """Whether a segment of it is `*` or `>`."""
    return any(segment in _EXPRESSIONS for segment in _SEPARATOR.split(text))


def check_pattern(pattern: str) -> str:
    """The NFC form of a pattern; raises `ProtocolError` (`bad_request`) if it is malformed or too long."""
    if not 1 <= len(pattern) <= PATTERN_MAX_CHARS:
        raise ProtocolError(ErrorCode.BAD_REQUEST, f"A pattern has 1 to {PATTERN_MAX_CHARS} characters.")
    pattern = unicodedata.normalize("NFC", pattern)
    if ">" in _SEPARATOR.split(pattern)[:-1]:
        raise ProtocolError(ErrorCode.BAD_REQUEST, 'In a pattern ">" stands only at the end.')
    return pattern


@functools.lru_cache(maxsize=4096)
def matches(patterns: Patterns, name: str) -> bool:
    """Whether one of the checked patterns stands for this name (in NFC). What was asked before is remembered."""
    exact, wild = _compiled(patterns)
    return name in exact or (wild is not None and wild.fullmatch(name) is not None)


def intersect(left: Patterns, right: Patterns) -> Patterns:
    """The patterns of the names that both lists of checked patterns stand for."""
    pairs = (intersect_pair(one, other) for one in left for other in right)
    return tuple(dict.fromkeys(pattern for pattern in pairs if pattern is not None))


def intersect_pair(left: str, right: str) -> str | None:
    """The pattern of the names that both stand for: there is always one, or there are no such names."""
    lefts, rights = _SEPARATOR.split(left), _SEPARATOR.split(right)
    tokens: list[str] = []
    for index, (one, other) in enumerate(zip(lefts, rights, strict=False)):
        if ">" in (one, other):
            rest = (rights if one == ">" else lefts)[index:]
            return "".join(tokens + rest) if rest != [""] else None
        if one == other or (other == "*" and one):
            tokens.append(one)
        elif one == "*" and other:
            tokens.append(other)
        else:
            return None
    return "".join(tokens) if len(lefts) == len(rights) else None


@functools.lru_cache(maxsize=512)
def _compiled(patterns: Patterns) -> tuple[frozenset[str], re.Pattern[str] | None]:
    """The names among the patterns, and one expression for the rest, which runs in linear time."""
    wild = [pattern for pattern in patterns if has_wildcard(pattern)]
    if not wild:
        return frozenset(patterns), None
    # Every `[^./]+` ends at a separator, and `.+` stands last: a name can match in one way only.
    expression = "|".join(
        "".join(_EXPRESSIONS.get(token) or re.escape(token) for token in _SEPARATOR.split(pattern))
        for pattern in wild
    )
    return frozenset(patterns).difference(wild), re.compile(expression, re.DOTALL)

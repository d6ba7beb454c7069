r"""
Text that others wrote, made safe for a terminal.

Owns which characters a terminal never gets from a stranger: control characters (they move the cursor, set the
title, answer as if typed), characters that reorder a line, and lone surrogates (which no encoding can write).
They are shown as escapes, `\x1b`, so that nothing is hidden either. Never changes what it can show.
"""

from __future__ import annotations

import re
from typing import Final

MAX_SHOWN_CHARS: Final = 4_000
"""Longer texts are shown in part, with a word on the rest."""

# C0, DEL and C1 controls; line and paragraph separators; bidirectional embeddings, overrides and isolates; byte
# order mark; lone surrogates. Joiners and direction marks stay: scripts and emoji need them.
_UNSAFE: Final = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_LINE_END: Final = re.compile("\r\n|[\r\n\u2028\u2029]")


def one_line(text: str) -> str:
    """`text` as one line, line ends escaped as well: for names and reasons."""
    return _UNSAFE.sub(_escape, _shortened(text))


def lines(text: str) -> list[str]:
    """The lines of `text`, at least one; a tab is four spaces."""
    parts = _LINE_END.split(_shortened(text).rstrip())
    return [_UNSAFE.sub(_escape, part.replace("\t", "    ")) for part in parts]


def _shortened(text: str) -> str:
    if len(text) <= MAX_SHOWN_CHARS:
        return text
    return f"{text[:MAX_SHOWN_CHARS]} … ({len(text) - MAX_SHOWN_CHARS} more characters)"


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")

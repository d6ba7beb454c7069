"""
Who a message is for: everyone, names, or a filter over the names present.

Owns the reading of `to` and `filter`. Never resolves anything later than at send, and never falls open: what
cannot be read is an error, not a broadcast.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final

import re2
from msgspec import UNSET, UnsetType

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import Filter, GlobFilter

MAX_FILTER_CHARS: Final = 256
_MAX_PROGRAM_BYTES: Final = 256 * 1024

NameTest = Callable[[str], bool]


def compile_filter(filter_: Filter) -> NameTest:
    """
    The test that a filter stands for.

    A string is an RE2 expression (linear time, no look-around, no back-references) that must match the whole
    name; `GlobFilter` is a glob. Raises `ProtocolError` (`bad_filter`) with the reason when malformed.
    """
    try:
        return _compile_glob(filter_.glob) if isinstance(filter_, GlobFilter) else _compile_re2(filter_)
    except UnicodeEncodeError:
        raise ProtocolError(ErrorCode.BAD_FILTER, "A filter has half a character in it.") from None


def check_address(to: list[str] | UnsetType, filter_: Filter | UnsetType, *, max_recipients: int) -> None:
    """Raises `ProtocolError` where `to` and `filter` are both there, or `to` is empty or too long."""
    if to is UNSET:
        return
    if filter_ is not UNSET:
        raise ProtocolError(ErrorCode.BAD_REQUEST, "A message has `to` or `filter`, not both.")
    if not to:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, "`to` is empty; leave it out to reach everyone, or name someone."
        )
    if len(to) > max_recipients:
        raise ProtocolError(
            ErrorCode.BAD_REQUEST, f"`to` names {len(to)} recipients; at most {max_recipients} are taken."
        )


def name_of(written: str) -> str:
    """The name that somebody means: names are kept in NFC, and keyboards differ."""
    return written if written.isascii() else unicodedata.normalize("NFC", written)


@functools.lru_cache(maxsize=512)
def _compile_re2(expression: str) -> NameTest:
    if len(expression) > MAX_FILTER_CHARS:
        raise ProtocolError(ErrorCode.BAD_FILTER, f"A filter has at most {MAX_FILTER_CHARS} characters.")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_PROGRAM_BYTES
    try:
        pattern = re2.compile(expression, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "malformed"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ProtocolError(ErrorCode.BAD_FILTER, f"Not an RE2 expression: {text}") from None
    return lambda name: pattern.fullmatch(name) is not None


def _compile_glob(glob: str) -> NameTest:
    if not glob:
        raise ProtocolError(ErrorCode.BAD_FILTER, "An empty glob matches nobody.")
    return _compile_re2("(?s)" + "".join(_glob_parts(glob)))


def _glob_parts(glob: str) -> Iterator[str]:
    position = 0
    while position < len(glob):
        char = glob[position]
        position += 1
        if char == "*":
            yield ".*"
        elif char == "?":
            yield "."
        elif char == "[":
            # A ] straight after [ or [! is a member of the set, as in a shell.
            start = position + 1 if glob[position : position + 1] == "!" else position
            end = glob.find("]", start + 1)
            if end < 0:
                raise ProtocolError(ErrorCode.BAD_FILTER, "The glob has a [ without its ].")
            members = glob[start:end].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            if members.startswith("]"):
                members = "\\" + members
            yield f"[{'^' if start > position else ''}{members}]"
            position = end + 1
        else:
            yield re2.escape(char)

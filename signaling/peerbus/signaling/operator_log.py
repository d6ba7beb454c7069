"""
What the operator reads on standard error: one line a record, and never more of one kind than a person can read.

Owns formats, escaping and the limit on repeated lines, by which no input can fill a disk. Never decides what is worth
a line. See `--log-level` and `--log-format`.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from peerbus.signaling.settings import LogFormat, LogLevel

LINES_PER_WINDOW: Final = 20
WINDOW_S: Final = 10.0
_KINDS_MAX: Final = 500


def set_up_logging(level: LogLevel, form: LogFormat) -> None:
    """Replaces whatever handlers the root logger has."""
    handler = logging.StreamHandler()
    handler.addFilter(FloodFilter())
    if form == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(EscapingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # aiohttp warns of what clients send; here they get an answer, and the log a line where it is worth one.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)


class FloodFilter(logging.Filter):
    """
    Lets through `LINES_PER_WINDOW` records of one kind in `WINDOW_S` seconds, by the records' own times.

    A kind is a logger and a text before its arguments are put in. The first record of a later window says how many
    were left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass."""
        key = (record.name, str(record.msg))
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= _KINDS_MAX:
                self._kinds.clear()
            kind = self._kinds[key] = _Kind(record.created)
        if record.created - kind.began_s >= WINDOW_S or record.created < kind.began_s:
            if kind.left_out:
                record.msg = f"{record.msg} (and {kind.left_out} like it before)"
            kind.began_s = record.created
            kind.passed = kind.left_out = 0
        if kind.passed >= LINES_PER_WINDOW:
            kind.left_out += 1
            return False
        kind.passed += 1
        return True


class _Kind:
    """What happened to one kind in its current window."""

    __slots__ = ("began_s", "left_out", "passed")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.passed = 0
        self.left_out = 0


class EscapingFormatter(logging.Formatter):
    """One line a record, and below it the traceback, if there is one; what others sent is escaped in both."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is the library's
        """The line."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802  as above
        """The traceback; its own lines are kept."""
        return "\n".join(escaped(line) for line in super().formatException(ei).split("\n"))


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, as text."""
        value = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            value["exception"] = self.formatException(record.exc_info)
        # A lone surrogate, of an address that was no UTF-8, has no place in JSON.
        texts = {name: text.encode("utf-8", "backslashreplace").decode() for name, text in value.items()}
        return msgspec.json.encode(texts).decode()


def escaped(text: str) -> str:
    """The text with everything that is not printable written as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)

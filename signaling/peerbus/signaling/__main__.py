"""
`python -m peerbus.signaling serve | keys`: the entry point of the signaling process.

Owns the choice of the command, logging, the event loop and the exit code: 0 after a shutdown that was asked for, 2
with one line when the server cannot start. Started by the supervisor, and usable by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from peerbus.signaling.config import ConfigError, LogFormat, LogLevel, parse_serve

EXIT_USAGE: Final = 2
_USAGE: Final = "usage: python -m peerbus.signaling serve [--help] | keys [--help]"


class _EscapingFormatter(logging.Formatter):
    """One line a record: control characters in what others sent are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        first, *rest = text.split("\n")
        # A traceback of ours keeps its lines; what stands in the first line may come from outside.
        return "\n".join([_escaped(first), *rest]) if record.exc_info else _escaped(text)


class _JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        value = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            value["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(value).decode()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments else ""
    if command == "keys":
        from peerbus.signaling import keys_command

        return keys_command.main(arguments[1:])
    if command != "serve":
        sys.stderr.write(_USAGE + "\n")
        return EXIT_USAGE
    return _serve(arguments[1:])


def _serve(arguments: list[str]) -> int:
    from peerbus.signaling.app import StartError, serve

    try:
        config = parse_serve(arguments, os.environ)
        _set_up_logging(config.log_level, config.log_format)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(config))
    except (ConfigError, StartError) as error:
        sys.stderr.write(f"peerbus: {_escaped(str(error))}\n")
        return EXIT_USAGE
    return 0


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


def _set_up_logging(level: LogLevel, form: LogFormat) -> None:
    handler = logging.StreamHandler()
    if form == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(_EscapingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


if __name__ == "__main__":
    sys.exit(main())

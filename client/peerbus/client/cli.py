"""
The `peerbus` command: what may follow it, and which program that is.

Owns the first word of the command line. Never parses what stands behind it (each program does that itself)
and never imports the server or the SFU: `serve`, `keys`, `audit` and `turn-config` run `python -m peerbus.signaling`,
`sfu` runs `python -m peerbus.sfu`, and `serve` runs both below a supervisor. Imports only what the command needs, so
that all of them start quickly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

USAGE_CODE: Final = 2
"""The exit code for a command line or a setting that makes no sense."""
INTERRUPTED_CODE: Final = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""

HELP: Final = """\
usage: peerbus <command> [options]

  serve            run the server                      peerbus serve --help
  sfu              run a media worker elsewhere        peerbus sfu --help
  keys             create, list and revoke keys        peerbus keys --help
  audit            who did what with keys              peerbus audit --help
  turn-config      write the configuration of coturn   peerbus turn-config --help
  chat <link>      join a channel in the terminal      peerbus chat --help
  doctor           test the connection to a server     peerbus doctor --help
  bot --link <l>   join a call, play and measure       peerbus bot --help
  help [command]   this text, or that of a command
  --version        the version
"""

_DRAIN_VARIABLE: Final = "PEERBUS_DRAIN_MS"
_DEFAULT_DRAIN_MS: Final = 5_000
# What a server needs to end besides draining: the last commit, closing files, Python's own end.
_SHUTDOWN_MS: Final = 10_000


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (default: this process's) and returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        sys.stderr.write(HELP)
        return USAGE_CODE
    name, rest = arguments[0], arguments[1:]
    if name in ("help", "-h", "--help"):
        if not rest:
            sys.stdout.write(HELP)
            return 0
        name, rest = rest[0], ["--help"]
    command = _COMMANDS.get(name)
    if command is None:
        sys.stderr.write(f"peerbus: there is no command {name!r} (see peerbus help)\n")
        return USAGE_CODE
    try:
        return command(rest)
    except KeyboardInterrupt:
        return INTERRUPTED_CODE


def _serve(arguments: list[str]) -> int:
    from peerbus.client.serving import serve

    return serve(arguments, grace_ms=_drain_ms() + _SHUTDOWN_MS)


def _sfu(arguments: list[str]) -> NoReturn:
    command = [sys.executable, "-m", "peerbus.sfu", *arguments]
    os.execv(command[0], command)  # noqa: S606 - our own command line, without a shell


def _keys(arguments: list[str]) -> NoReturn:
    command = [sys.executable, "-m", "peerbus.signaling", "keys", *arguments]
    os.execv(command[0], command)  # noqa: S606 - our own command line, without a shell


def _audit(arguments: list[str]) -> NoReturn:
    command = [sys.executable, "-m", "peerbus.signaling", "audit", *arguments]
    os.execv(command[0], command)  # noqa: S606 - our own command line, without a shell


def _turn_config(arguments: list[str]) -> NoReturn:
    command = [sys.executable, "-m", "peerbus.signaling", "turn-config", *arguments]
    os.execv(command[0], command)  # noqa: S606 - our own command line, without a shell


def _chat(arguments: list[str]) -> int:
    from peerbus.client.chat import main as chat

    return chat(arguments)


def _bot(arguments: list[str]) -> int:
    from peerbus.client.bot import main as bot

    return bot(arguments)


def _doctor(arguments: list[str]) -> int:
    from peerbus.client.doctor.command import main as doctor

    return doctor(arguments)


def _version(_arguments: list[str]) -> int:
    from importlib.metadata import version

    sys.stdout.write(f"peerbus {version('peerbus')}\n")
    return 0


def _drain_ms() -> int:
    """How long the server drains. A value that makes no sense is the server's to refuse."""
    text = os.environ.get(_DRAIN_VARIABLE, "")
    return int(text) if text.isascii() and text.isdecimal() else _DEFAULT_DRAIN_MS


_COMMANDS: Final[dict[str, Callable[[list[str]], int]]] = {
    "serve": _serve,
    "sfu": _sfu,
    "keys": _keys,
    "audit": _audit,
    "turn-config": _turn_config,
    "chat": _chat,
    "bot": _bot,
    "doctor": _doctor,
    "--version": _version,
    "-V": _version,
}


if __name__ == "__main__":
    sys.exit(main())

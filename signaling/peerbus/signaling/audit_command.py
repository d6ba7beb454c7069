"""
`peerbus audit`: the audit log of a data folder, on the terminal.

Owns the flags, the form of the lines and the exit code: 2 and one line on standard error for whatever cannot be done.
Reads files only, so it works while the server runs and when it does not.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn, TextIO

from peerbus.signaling.audit import AUDIT_FILE, AuditLog
from peerbus.signaling.audit_entry import AuditAction, AuditEntry, line_of
from peerbus.signaling.clock import wall_ms
from peerbus.signaling.config import parse_data_dir
from peerbus.signaling.grant_flags import FlagError, parse_duration_ms
from peerbus.signaling.operator_log import escaped
from peerbus.signaling.setting_values import ConfigError

EXIT_OK: Final = 0
EXIT_FAILED: Final = 2
_SHOWN: Final = ("project", "by", "target", "channel", "address", "detail", "correlation_id")


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise FlagError(f"{message} (see {self.prog} --help)")


def main(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] = os.environ,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Does what stands behind `audit` on the command line; returns the exit code."""
    out, err = out or sys.stdout, err or sys.stderr
    try:
        arguments = _parser().parse_args(argv)
        folder = parse_data_dir(arguments.data_dir, env)
        since_ms = 0 if arguments.since is None else _since_ms(arguments.since)
        if not (folder / AUDIT_FILE).exists():
            raise ConfigError(f"there is no audit log in {folder}; is it the server's data folder?")
        entries = AuditLog(folder).entries(
            since_ms=since_ms,
            project=arguments.project,
            action=None if arguments.action is None else AuditAction(arguments.action),
        )
        for entry in entries:
            out.write(line_of(entry).decode() if arguments.json else escaped(_text_of(entry)) + "\n")
    except (ConfigError, FlagError) as error:
        err.write(f"peerbus audit: {escaped(str(error))}\n")
        return EXIT_FAILED
    except OSError as error:
        err.write(f"peerbus audit: the audit log cannot be read: {error.strerror}\n")
        return EXIT_FAILED
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="peerbus audit", description="Who made, gave out, used and revoked keys, and who moderated."
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="the server's data folder (PEERBUS_DATA_DIR, ~/.local/state/peerbus)",
    )
    parser.add_argument(
        "--since", metavar="TIME", help="from then on: 90s, 15m, 12h, 7d ago, or a date like 2027-01-31T12:00"
    )
    parser.add_argument("--project", help="only entries of this project")
    parser.add_argument(
        "--action", choices=[action.value for action in AuditAction], help="only entries of this kind"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def _since_ms(text: str) -> int:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return wall_ms() - parse_duration_ms("--since", text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return int(moment.timestamp() * 1000)


def _text_of(entry: AuditEntry) -> str:
    moment = datetime.datetime.fromtimestamp(entry.time_ms / 1000, datetime.UTC)
    parts = [moment.strftime("%Y-%m-%d %H:%M:%SZ"), entry.action.value]
    parts += [f"{name}={value!r}" for name in _SHOWN if (value := getattr(entry, name))]
    if entry.count > 1:
        parts.append(f"count={entry.count}")
    if entry.left_out:
        parts.append(f"(and {entry.left_out} before that were not written)")
    return " ".join(parts)

"""
`peerbus keys create | list | revoke`: the developer keys of a data folder, from the command line.

Owns the flags, what is printed where, and the exit code. Never talks to a running server: both use the same
file, and the server notices a change within a second or so.

The key itself goes to standard output, once and alone, so that a script can take it; everything said about it
goes to standard error. Exit code 2 and one line on standard error for whatever cannot be done.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, NoReturn, TextIO

import msgspec

from peerbus.protocol.credentials import parse_developer_key
from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.grants import Grant, Operation, grant_to_json
from peerbus.protocol.patterns import EVERY, has_wildcard
from peerbus.signaling.config import ConfigError, parse_data_dir
from peerbus.signaling.keyring import SERVICE_PROJECT, KeyRecord
from peerbus.signaling.keys import (
    DEFAULT_PROJECT,
    FULL_GRANT,
    KEYS_FILE,
    WORKER_GRANT,
    KeyStore,
    KeyStoreError,
)
from peerbus.signaling.master_key import MASTER_KEY_VARIABLE

EXIT_OK: Final = 0
EXIT_FAILED: Final = 2


class _UsageError(Exception):
    """The arguments make no sense; the text is one line for a person."""


class _Output(NamedTuple):
    """Where the results go, and where everything said about them goes."""

    out: TextIO
    err: TextIO


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{message} (see {self.prog} --help)")


def main(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] = os.environ,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Does what stands behind `keys` on the command line; returns the exit code."""
    output = _Output(out or sys.stdout, err or sys.stderr)
    try:
        arguments = _parser().parse_args(argv)
        data_dir = parse_data_dir(arguments.data_dir, env)
        if arguments.run is not _create and not (data_dir / KEYS_FILE).exists():
            raise KeyStoreError(f"there are no keys in {data_dir}; is it the server's data folder?")
        store = KeyStore.open(data_dir, master_key=env.get(MASTER_KEY_VARIABLE))
        try:
            arguments.run(store, arguments, output)
        finally:
            store.close()
    except (KeyStoreError, ConfigError, _UsageError) as error:
        output.err.write(f"peerbus keys: {error}\n")
        return EXIT_FAILED
    except ProtocolError as error:
        output.err.write(f"peerbus keys: {error.message}\n")
        return EXIT_FAILED
    return EXIT_OK


def _parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    common.add_argument(
        "--data-dir",
        metavar="DIR",
        help="the server's data folder (PEERBUS_DATA_DIR, ~/.local/state/peerbus)",
    )
    parser = _Parser(prog="peerbus keys", description="The developer keys of a server.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="create|list|revoke")

    create = commands.add_parser("create", parents=[common], help="make a key and print it, this once")
    create.set_defaults(run=_create)
    create.add_argument("--project", help=f"whose key it is ({DEFAULT_PROJECT})")
    create.add_argument("--label", default="", help="what it is for, to tell it from others")
    create.add_argument(
        "--channel",
        action="append",
        metavar="PATTERN",
        help="a channel it opens, like lobby or team/*; repeatable",
    )
    create.add_argument(
        "--name", action="append", metavar="PATTERN", help="an agent name it may bear, like bot/*; repeatable"
    )
    create.add_argument(
        "--allow",
        metavar="OPERATION,…",
        help=f"all it may do, of: {', '.join(sorted(Operation))}; without this, all",
    )
    create.add_argument(
        "--origin", action="append", metavar="ORIGIN", help="a site whose pages may use it; repeatable"
    )
    create.add_argument(
        "--operator", action="store_true", help="it may kick, lock and claim names in the public scope, too"
    )
    create.add_argument(
        "--worker", action="store_true", help="for a media worker on another machine, and for nothing else"
    )

    listing = commands.add_parser("list", parents=[common], help="show all keys, without their secrets")
    listing.set_defaults(run=_list)
    listing.add_argument("--project", help="only those of this project")
    listing.add_argument("--json", action="store_true", help="as a JSON array, grants included")

    revoke = commands.add_parser(
        "revoke", parents=[common], help="make a key and its tokens worthless for ever"
    )
    revoke.set_defaults(run=_revoke)
    revoke.add_argument("key_id", metavar="KEY_ID", help="the id of the key, or the key itself")
    revoke.add_argument("--project", help="only if it belongs to this project")
    return parser


def _create(store: KeyStore, arguments: argparse.Namespace, output: _Output) -> None:
    grant = _worker_grant(arguments) if arguments.worker else _grant(arguments)
    project = SERVICE_PROJECT if arguments.worker else arguments.project or DEFAULT_PROJECT
    key = store.create_key(project, grant=grant, label=arguments.label, now_ms=_now_ms())
    output.out.write(key.to_text() + "\n")
    output.err.write(f"Key {key.key_id} of project {project}, shown this once: keep it as a password.\n")
    if arguments.worker:
        output.err.write("Give it to `peerbus sfu` in the variable PEERBUS_WORKER_TOKEN.\n")
    for pattern in (*grant.channels, *grant.agents):
        if "*" in pattern and not has_wildcard(pattern):
            output.err.write(
                f'Note: "{pattern}" is one name; a "*" stands for a whole segment, as in team/*.\n'
            )


def _list(store: KeyStore, arguments: argparse.Namespace, output: _Output) -> None:
    records = store.keys(arguments.project)
    if arguments.json:
        output.out.write(json.dumps([_as_json(record) for record in records], indent=2) + "\n")
        return
    if not records:
        output.err.write("There are no keys.\n")
        return
    rows = [("KEY ID", "PROJECT", "MADE", "STATE", "LABEL")]
    rows += [
        (
            record.key_id,
            record.project,
            _day(record.created_ms),
            "good" if record.revoked_ms is None else f"revoked {_day(record.revoked_ms)}",
            record.label,
        )
        for record in records
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        output.out.write("  ".join(cells).rstrip() + "\n")


def _revoke(store: KeyStore, arguments: argparse.Namespace, output: _Output) -> None:
    key = parse_developer_key(arguments.key_id)
    key_id = arguments.key_id if key is None else key.key_id
    record = next((record for record in store.keys(arguments.project) if record.key_id == key_id), None)
    if record is None:
        # Not quoted: it may be a mistyped key with its secret.
        where = f" in project {arguments.project}" if arguments.project else ""
        raise KeyStoreError(f"there is no key with this id{where}; peerbus keys list shows all")
    if record.revoked_ms is not None:
        output.out.write(
            f"Key {key_id} of project {record.project} was revoked on {_day(record.revoked_ms)}.\n"
        )
        return
    store.revoke_key(key_id, now_ms=_now_ms())
    output.out.write(f"Key {key_id} of project {record.project} is revoked now, with all tokens it signed.\n")


def _grant(arguments: argparse.Namespace) -> Grant:
    operations = FULL_GRANT.operations
    if arguments.allow is not None:
        names = [name.strip() for name in arguments.allow.split(",")]
        unknown = [name for name in names if name not in set(Operation)]
        if unknown:
            raise _UsageError(
                f"--allow: there is no operation {unknown[0]!r}; there are {', '.join(sorted(Operation))}"
            )
        operations = frozenset(Operation(name) for name in names)
    return msgspec.structs.replace(
        FULL_GRANT,
        channels=tuple(arguments.channel or EVERY),
        agents=tuple(arguments.name or EVERY),
        operations=operations,
        origins=None if arguments.origin is None else tuple(arguments.origin),
        operator=arguments.operator,
    )


def _worker_grant(arguments: argparse.Namespace) -> Grant:
    others = ("project", "channel", "allow", "origin", "operator")
    if wrong := next((name for name in others if getattr(arguments, name)), None):
        raise _UsageError(f"--worker says all that a worker's key may do; it does not go with --{wrong}")
    return msgspec.structs.replace(WORKER_GRANT, agents=tuple(arguments.name or EVERY))


def _as_json(record: KeyRecord) -> dict[str, object]:
    return {
        "key_id": record.key_id,
        "project": record.project,
        "label": record.label,
        "created_ms": record.created_ms,
        "revoked_ms": record.revoked_ms,
        "grant": grant_to_json(record.grant),
    }


def _day(time_ms: int) -> str:
    return datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).strftime("%Y-%m-%d")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

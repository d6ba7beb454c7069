"""
`peerbus keys create | temporary | list | revoke`: the keys of a data folder, from the command line.

Owns the flags, what is printed where, and the exit code. Never talks to a running server: both use the same
file, and the server notices a change within a second or so.

With `--key pb_…`, or the key in `PEERBUS_API_KEY`, `temporary` needs no data folder: whoever has a key can sign with
it.

The key itself goes to standard output, once and alone, so that a script can take it; everything said about it
goes to standard error. Exit code 2 and one line on standard error for whatever cannot be done.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, NoReturn, TextIO

import msgspec

from peerbus.protocol.credentials import DeveloperKey, is_token_id, parse_developer_key, token_id
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import MODERATION, Grant, Operation, grant_to_json
from peerbus.protocol.patterns import EVERY
from peerbus.protocol.secrets import Secret
from peerbus.signaling.audit_entry import OPERATOR, grant_summary
from peerbus.signaling.clock import wall_ms
from peerbus.signaling.config import parse_data_dir
from peerbus.signaling.grant_flags import (
    FlagError,
    add_grant_flags,
    add_narrow_flags,
    grant_of,
    hints,
    narrow_grant_of,
    parse_duration_ms,
)
from peerbus.signaling.issuing import IssuedKey, issued_claims
from peerbus.signaling.keyring import SERVICE_PROJECT, KeyRecord, signed
from peerbus.signaling.keys import (
    DEFAULT_PROJECT,
    FULL_GRANT,
    KEYS_FILE,
    WORKER_GRANT,
    KeyStore,
    KeyStoreError,
)
from peerbus.signaling.master_key import MASTER_KEY_VARIABLE
from peerbus.signaling.setting_values import ConfigError

EXIT_OK: Final = 0
EXIT_FAILED: Final = 2
API_KEY_VARIABLE: Final = "PEERBUS_API_KEY"
TEMPORARY_GRANT: Final = msgspec.structs.replace(
    FULL_GRANT,
    claim=None,
    operations=FULL_GRANT.operations - MODERATION - {Operation.ADMIN, Operation.RECORD},
    public=False,
)
"""What `temporary` gives where no flag says otherwise; never more than the key that signs it has."""
_JTI_BYTES: Final = 9


class _Output(NamedTuple):
    """Where the results go, and where everything said about them goes."""

    out: TextIO
    err: TextIO


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
    """Does what stands behind `keys` on the command line; returns the exit code."""
    output = _Output(out or sys.stdout, err or sys.stderr)
    try:
        arguments = _parser().parse_args(argv)
        key = _own_key(arguments, env)
        if key is not None:
            _sign_temporary(key, arguments, output)
            return EXIT_OK
        data_dir = parse_data_dir(arguments.data_dir, env)
        if arguments.run is not _create and not (data_dir / KEYS_FILE).exists():
            raise KeyStoreError(f"there are no keys in {data_dir}; is it the server's data folder?")
        store = KeyStore.open(data_dir, master_key=env.get(MASTER_KEY_VARIABLE))
        try:
            arguments.run(store, arguments, output)
        finally:
            store.close()
    except (KeyStoreError, ConfigError, FlagError) as error:
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
    commands = parser.add_subparsers(dest="command", required=True, metavar="create|temporary|list|revoke")

    create = commands.add_parser("create", parents=[common], help="make a key and print it, this once")
    create.set_defaults(run=_create)
    create.add_argument("--project", help=f"whose key it is ({DEFAULT_PROJECT})")
    create.add_argument("--label", default="", help="what it is for, to tell it from others")
    add_grant_flags(create, allow_default="all")
    create.add_argument(
        "--operator", action="store_true", help="it may kick, lock and claim names in the public scope, too"
    )
    create.add_argument(
        "--worker", action="store_true", help="for a media worker on another machine, and for nothing else"
    )

    temporary = commands.add_parser(
        "temporary", parents=[common], help="make a key that ends by itself, for a participant"
    )
    temporary.set_defaults(run=_temporary)
    temporary.add_argument(
        "--key",
        metavar="KEY_ID|KEY",
        help=f"which key signs it ({API_KEY_VARIABLE}, else the oldest good one of the project)",
    )
    temporary.add_argument("--project", help=f"whose key signs it ({DEFAULT_PROJECT})")
    temporary.add_argument(
        "--ttl", default="1h", metavar="TIME", help="how long it is good: 90s, 15m, 1h, 7d (1h)"
    )
    add_grant_flags(temporary, allow_default="all but kick, lock, record and admin")
    add_narrow_flags(temporary)
    temporary.add_argument("--json", action="store_true", help="as a JSON object, with its id and its end")

    listing = commands.add_parser("list", parents=[common], help="show all keys, without their secrets")
    listing.set_defaults(run=_list)
    listing.add_argument("--project", help="only those of this project")
    listing.add_argument("--json", action="store_true", help="as a JSON array, grants included")

    revoke = commands.add_parser(
        "revoke", parents=[common], help="make a key and its tokens, or one token, worthless for ever"
    )
    revoke.set_defaults(run=_revoke)
    revoke.add_argument(
        "key_id", metavar="ID", help="the id of a key or of a token, or the key or token itself"
    )
    revoke.add_argument("--project", help="only if it belongs to this project")
    return parser


def _create(store: KeyStore, arguments: argparse.Namespace, output: _Output) -> None:
    if arguments.worker:
        grant = _worker_grant(arguments)
    else:
        grant = msgspec.structs.replace(grant_of(arguments, FULL_GRANT), operator=arguments.operator)
    project = SERVICE_PROJECT if arguments.worker else arguments.project or DEFAULT_PROJECT
    key = store.create_key(project, grant=grant, label=arguments.label, now_ms=wall_ms())
    output.out.write(key.to_text() + "\n")
    output.err.write(f"Key {key.key_id} of project {project}, shown this once: keep it as a password.\n")
    if arguments.worker:
        output.err.write("Give it to `peerbus sfu` in the variable PEERBUS_WORKER_TOKEN.\n")
    for hint in hints(grant):
        output.err.write(hint + "\n")


def _temporary(store: KeyStore, arguments: argparse.Namespace, output: _Output) -> None:
    project = arguments.project or DEFAULT_PROJECT
    good = [key.key_id for key in store.keys(arguments.project) if key.revoked_ms is None]
    if arguments.key is None:
        good = [key.key_id for key in store.keys(project) if key.revoked_ms is None]
        if not good:
            raise KeyStoreError(
                f"the project {project} has no good key to sign with; peerbus keys create makes one"
            )
    elif arguments.key not in good:
        raise KeyStoreError("there is no good key with this id; peerbus keys list shows all")
    now_ms = wall_ms()
    wanted = narrow_grant_of(arguments, TEMPORARY_GRANT)
    issuer = store.issuer(arguments.key or good[0], now_ms)
    issued = store.issue_token(issuer, wanted, parse_duration_ms("--ttl", arguments.ttl), now_ms, by=OPERATOR)
    _print_issued(issued, arguments, output)


def _own_key(arguments: argparse.Namespace, env: Mapping[str, str]) -> DeveloperKey | None:
    """The key that `temporary` was given whole, so that it can sign by itself."""
    if arguments.run is not _temporary:
        return None
    text = arguments.key or ("" if arguments.project else env.get(API_KEY_VARIABLE, ""))
    return parse_developer_key(text)


def _sign_temporary(key: DeveloperKey, arguments: argparse.Namespace, output: _Output) -> None:
    wanted = narrow_grant_of(arguments, TEMPORARY_GRANT)
    ends_ms = wall_ms() + parse_duration_ms("--ttl", arguments.ttl)
    grant = msgspec.structs.replace(wanted, expires_ms=ends_ms)
    jti = secrets.token_urlsafe(_JTI_BYTES)
    token = signed(key, issued_claims(grant, arguments.project, jti, ()))
    _print_issued(IssuedKey(token, token_id(key.key_id, jti), grant), arguments, output)


def _print_issued(issued: IssuedKey, arguments: argparse.Namespace, output: _Output) -> None:
    if arguments.json:
        value = {
            "api_key": issued.credential.reveal(),
            "token_id": issued.token_id,
            "expires_ms": issued.expires_ms,
            "grant": grant_to_json(issued.grant),
        }
        output.out.write(json.dumps(value) + "\n")
    else:
        output.out.write(issued.credential.reveal() + "\n")
    grant = msgspec.structs.replace(issued.grant, expires_ms=None)
    output.err.write(
        f"Token {issued.token_id}, good until {_second(issued.expires_ms)}: {grant_summary(grant)}\n"
        f"`peerbus keys revoke {issued.token_id}` ends it before.\n"
    )
    for hint in hints(issued.grant):
        output.err.write(hint + "\n")


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
    if is_token_id(arguments.key_id) or arguments.key_id.count(".") == 2:
        _revoke_token(store, arguments, output)
        return
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
    store.revoke_key(key_id, now_ms=wall_ms())
    output.out.write(f"Key {key_id} of project {record.project} is revoked now, with all tokens it signed.\n")


def _revoke_token(store: KeyStore, arguments: argparse.Namespace, output: _Output) -> None:
    now_ms = wall_ms()
    name, expires_ms = arguments.key_id, None
    if not is_token_id(name):
        try:
            principal = store.verify(Secret(name), now_ms)
        except ProtocolError as error:
            if error.code in (ErrorCode.EXPIRED, ErrorCode.REVOKED):
                output.out.write("The token has ended already.\n")
                return
            raise KeyStoreError("this is no token that was signed with a key of this server") from None
        if principal.token_id is None:
            raise KeyStoreError(
                f"the token has no id (jti); it ends with the key {principal.key_id} that signed it"
            )
        name, expires_ms = principal.ids.own, principal.expires_ms
    record = store.record(name.partition(":")[0])
    if record is None or arguments.project not in (None, record.project):
        raise KeyStoreError("there is no key that could have signed this token; peerbus keys list shows all")
    store.revoke_token(name, now_ms=now_ms, expires_ms=expires_ms)
    output.out.write(f"Token {name} of project {record.project} is revoked now, with all that it issued.\n")


def _worker_grant(arguments: argparse.Namespace) -> Grant:
    others = ("project", "channel", "allow", "origin", "operator")
    if wrong := next((name for name in others if getattr(arguments, name)), None):
        raise FlagError(f"--worker says all that a worker's key may do; it does not go with --{wrong}")
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


def _second(time_ms: int) -> str:
    return datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

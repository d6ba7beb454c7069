"""
How a worker is started: options, and what of the environment counts.

Owns reading them and saying what is wrong. The token never stands in argv, where every process of the machine reads it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from msgspec import Struct

TOKEN_VARIABLE: Final = "PEERBUS_WORKER_TOKEN"  # noqa: S105  the name of it
FILE_VARIABLE: Final = "PEERBUS_WORKER_FILE"
SIGNALING_VARIABLE: Final = "PEERBUS_SIGNALING"
HOOK_VARIABLE: Final = "PEERBUS_DATA_HOOK"
DEFAULT_PORT: Final = 7900
DEFAULT_SIGNALING: Final = "http://localhost:8080"


class ConfigError(ValueError):
    """A setting cannot be used; the text is for the operator."""


class Config(Struct, frozen=True, kw_only=True):
    """Everything a worker needs to know."""

    signaling: str
    token: str
    """Empty if both stand in `file`."""
    name: str
    file: Path | None = None
    """Where the server that the supervisor started says how to reach it."""
    host: str = ""
    """The address to bind to; empty for all, IPv4 and IPv6."""
    port: int = DEFAULT_PORT
    advertise: tuple[str, ...] = ()
    data_hook: str = ""
    """`package.module:function`, which checks data messages; empty: nothing does."""
    is_check: bool = False
    """Ends as soon as it is known that all this can be used."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def read_config(argv: Sequence[str], environment: Mapping[str, str]) -> Config:
    """
    The configuration of a worker. Raises `ConfigError`; `--help` exits by `SystemExit`.

    Of the environment count `PEERBUS_WORKER_TOKEN`, `PEERBUS_SIGNALING`, `PEERBUS_DATA_HOOK` and, below a supervisor,
    `PEERBUS_WORKER_FILE`.
    """
    parser = _Parser(
        prog="peerbus sfu",
        description="An SFU worker: forwards media and data of calls. Its key comes from "
        f"`peerbus keys create --worker` in {TOKEN_VARIABLE}.",
    )
    parser.add_argument(
        "--signaling",
        metavar="URL",
        default=environment.get(SIGNALING_VARIABLE, "") or DEFAULT_SIGNALING,
        help="the signaling server (default: %(default)s)",
    )
    parser.add_argument("--name", default="peerbus:sfu-1", help="this worker's name (default: %(default)s)")
    parser.add_argument("--host", default="", metavar="ADDRESS", help="bind to this address only")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="the UDP port, 0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--advertise",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="tell clients this address instead of this machine's own; may be given more than once",
    )
    parser.add_argument(
        "--data-hook",
        metavar="MODULE:FUNCTION",
        default=environment.get(HOOK_VARIABLE, ""),
        help="checks each data message of open channels, and may change or refuse it",
    )
    parser.add_argument("--check", action="store_true", help="only say whether the settings can be used")
    options = parser.parse_args(argv)
    token = environment.get(TOKEN_VARIABLE, "")
    file = environment.get(FILE_VARIABLE, "")
    if not token and not file and not options.check:
        raise ConfigError(
            f"{TOKEN_VARIABLE} is not set; `peerbus keys create --worker` on the server makes a key for it"
        )
    if not 0 <= options.port <= 65_535:
        raise ConfigError(f"--port {options.port}: a port is between 0 and 65535")
    return Config(
        signaling=options.signaling,
        token=token,
        name=options.name,
        file=Path(file) if file and not token else None,
        host=options.host,
        port=options.port,
        advertise=tuple(options.advertise),
        data_hook=options.data_hook,
        is_check=options.check,
    )

"""
`peerbus serve`: the signaling server and the media workers of one machine, and coturn if it is asked for.

Owns which processes there are and what each is told. A worker learns where the server is, and its key, from a file that
the server writes into a folder of this run only (`PEERBUS_WORKER_FILE`): neither ever stands in an argv. Never checks a
setting: those that make no sense are the server's to refuse, and then there is nobody to work for.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from peerbus.client.supervision import RestartPolicy
from peerbus.client.supervisor import ChildSpec, supervise

WORKER_FILE_VARIABLE: Final = "PEERBUS_WORKER_FILE"

_NEW_EPOCH: Final = "--new-epoch"
_NEW_EPOCH_VARIABLE: Final = "PEERBUS_NEW_EPOCH"
_DEFAULT_WORKERS: Final = 1
_DEFAULT_PORT: Final = 7900
_WORKERS_MAX: Final = 64
_TURN_PROGRAM: Final = "turnserver"
_USAGE_CODE: Final = 2


class WorkerSettings(NamedTuple):
    """What `serve` is told of its workers."""

    workers: int
    port: int
    advertise: tuple[str, ...]
    data_hook: str = ""


def serve(arguments: Sequence[str], grace_ms: int) -> int:
    """Runs them all until they are done or a signal ends them; the exit code."""
    if "--help" in arguments or "-h" in arguments:
        return supervise([_signaling(arguments)], grace_ms)
    settings = worker_settings(arguments, os.environ)
    has_turn = wants_turn(arguments, os.environ)
    if has_turn and shutil.which(_TURN_PROGRAM) is None:
        sys.stderr.write(
            f"peerbus: --with-turn needs coturn, and there is no {_TURN_PROGRAM} on this machine "
            "(Debian: apt-get install coturn)\n"
        )
        return _USAGE_CODE
    if has_turn and _last(arguments, "--turn-port") == "0":
        arguments = [*arguments, f"--turn-port={_free_port()}"]
    if settings.data_hook and not _is_usable(settings.data_hook):
        return _USAGE_CODE
    with tempfile.TemporaryDirectory(prefix="peerbus-") as folder:
        os.environ[WORKER_FILE_VARIABLE] = str(Path(folder) / "worker.json")
        turn = [_turn(arguments)] if has_turn else []
        return supervise([_signaling(arguments), *_workers(settings), *turn], grace_ms)


def wants_turn(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether coturn is to run. A value that makes no sense is the server's to refuse."""
    given = [argument for argument in arguments if argument in ("--with-turn", "--no-with-turn")]
    if given:
        return given[-1] == "--with-turn"
    return environment.get("PEERBUS_WITH_TURN", "").strip().lower() in ("1", "true", "yes", "on")


def worker_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> WorkerSettings:
    """Flags before variables before defaults; `--advertise` may be given several times, or have commas in it."""
    count = _last(arguments, "--sfu-workers") or environment.get("PEERBUS_SFU_WORKERS", "")
    port = _last(arguments, "--sfu-port") or environment.get("PEERBUS_SFU_PORT", "")
    advertise = _all(arguments, "--advertise") or [environment.get("PEERBUS_ADVERTISE", "")]
    return WorkerSettings(
        workers=min(_number(count, _DEFAULT_WORKERS), _WORKERS_MAX),
        port=_number(port, _DEFAULT_PORT),
        advertise=tuple(one.strip() for text in advertise for one in text.split(",") if one.strip()),
        data_hook=_last(arguments, "--data-hook") or environment.get("PEERBUS_DATA_HOOK", ""),
    )


def _is_usable(data_hook: str) -> bool:
    """Whether workers can load it; if not, one of them has said why."""
    command = [sys.executable, "-m", "peerbus.sfu", "--check", "--data-hook", data_hook]
    return subprocess.run(command, check=False).returncode == 0  # noqa: S603  the operator's own setting


def _signaling(arguments: Sequence[str]) -> ChildSpec:
    command = [sys.executable, "-m", "peerbus.signaling", "serve"]
    return ChildSpec(
        name="signaling",
        argv=[*command, *arguments],
        # A new epoch is wanted once, not again after a crash.
        restart_argv=[*command, *(argument for argument in arguments if argument != _NEW_EPOCH)],
        first_start_only=frozenset({_NEW_EPOCH_VARIABLE}),
    )


def _turn(arguments: Sequence[str]) -> ChildSpec:
    kept = [argument for argument in arguments if argument != _NEW_EPOCH]
    return ChildSpec(name="turn", argv=[sys.executable, "-m", "peerbus.signaling", "turn-server", *kept])


def _free_port() -> int:
    """One that is free for UDP and TCP."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                datagrams.bind(stream.getsockname())
                return int(stream.getsockname()[1])


def _workers(settings: WorkerSettings) -> list[ChildSpec]:
    advertised = [part for one in settings.advertise for part in ("--advertise", one)]
    hook = ["--data-hook", settings.data_hook] if settings.data_hook else []
    return [
        ChildSpec(
            name=f"sfu-{number + 1}",
            argv=[
                sys.executable,
                "-m",
                "peerbus.sfu",
                "--name",
                f"peerbus:sfu-{number + 1}",
                "--port",
                # 0 lets the system choose, for each of them.
                str(settings.port + number if settings.port else 0),
                *advertised,
                *hook,
            ],
            policy=RestartPolicy(is_essential=False, longest_delay_ms=5_000),
        )
        for number in range(settings.workers)
    ]


def _all(arguments: Sequence[str], flag: str) -> list[str]:
    found = [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{flag}=")]
    return found + [after for one, after in itertools.pairwise(arguments) if one == flag]


def _last(arguments: Sequence[str], flag: str) -> str:
    found = _all(arguments, flag)
    return found[-1] if found else ""


def _number(text: str, default: int) -> int:
    if not text:
        return default
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0

"""
`peerbus turn-config` writes the configuration of coturn; `python -m peerbus.signaling turn-server` becomes coturn.

Owns their flags, the file with the secret in it (readable by its owner only) and the exit code: 2 and one line on
standard error for whatever cannot be done. Never speaks to coturn: the supervisor that starts it ends it, too.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import select
import shutil
import signal
import socket
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Final, NoReturn, TextIO

from peerbus.signaling.config import ServeConfig, parse_serve
from peerbus.signaling.master_key import MASTER_KEY_VARIABLE
from peerbus.signaling.operator_log import escaped
from peerbus.signaling.parent import VARIABLE as PARENT_VARIABLE
from peerbus.signaling.setting_values import ConfigError
from peerbus.signaling.turn_secret import TURN_SECRET_VARIABLE, TurnSecretError, load_turn_secret
from peerbus.signaling.turn_server import configuration

EXIT_OK: Final = 0
EXIT_FAILED: Final = 2
PROGRAM: Final = "turnserver"
_LOG_FILE: Final = "turn.log"
_FOLDER: Final = "turn"
_SET_PARENT_DEATH_SIGNAL: Final = 1
"""`PR_SET_PDEATHSIG` of Linux."""


class _Parser(argparse.ArgumentParser):
    """Complains in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def main(
    argv: Sequence[str],
    *,
    env: MutableMapping[str, str] = os.environ,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Does what stands behind `turn-config` on the command line; returns the exit code."""
    out, err = out or sys.stdout, err or sys.stderr
    try:
        own, rest = _parser().parse_known_args(argv)
        config = parse_serve(rest, env)
        if not config.turn.hosts:
            raise ConfigError(
                "--turn-host is missing: the name or address by which clients reach the TURN server"
            )
        if config.turn.tls_port and config.turn_server.cert is None:
            raise ConfigError("--turn-tls-port needs a certificate: --turn-cert and --turn-key")
        text = _configuration(config, env, log_file=own.log_file, state_dir=own.state_dir)
        if own.output is None:
            out.write(text)
        else:
            _write_privately(Path(own.output), text)
            out.write(
                f"{own.output} is written. It has the secret in it: let coturn's user read it, and nobody else.\n"
            )
    except (ConfigError, TurnSecretError) as error:
        err.write(f"peerbus turn-config: {escaped(str(error))}\n")
        return EXIT_FAILED
    return EXIT_OK


def run_server(argv: Sequence[str], *, env: MutableMapping[str, str] = os.environ) -> int:
    """
    Becomes coturn, as the settings of `serve` say; returns only where that cannot be, with the exit code.

    It ends with the process that started this one (on Linux), also if that is killed.
    """
    try:
        config = parse_serve([*argv, "--with-turn"], env)
        program = shutil.which(PROGRAM)
        if program is None:
            raise ConfigError(f"there is no {PROGRAM} on this machine (Debian: apt-get install coturn)")
        # Of this run, where the supervisor removes it.
        run_dir = config.data_dir if config.worker_file is None else config.worker_file.parent
        path = run_dir / "turnserver.conf"
        _check_port(config)
        _write_privately(path, _of_this_run(config, env))
    except (ConfigError, TurnSecretError) as error:
        sys.stderr.write(f"peerbus: {escaped(str(error))}\n")
        return EXIT_FAILED
    if _end_with_parent(env.get(PARENT_VARIABLE, "")):
        _become(program, path, env)
    return EXIT_FAILED


def _become(program: str, path: Path, env: MutableMapping[str, str]) -> NoReturn:
    # What it has to say is in its log; these would be a banner and complaints about protocols it does without.
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    kept = {name: env[name] for name in ("PATH", "LANG", "TZ") if name in env}
    os.execve(program, [program, "-c", str(path)], kept)  # noqa: S606  our own command line, without a shell


def _of_this_run(config: ServeConfig, env: MutableMapping[str, str]) -> str:
    folder, log = config.data_dir / _FOLDER, config.data_dir / _LOG_FILE
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if log.exists():
            # coturn only ever adds to it.
            log.replace(log.with_suffix(".log.1"))
    except OSError as error:
        raise ConfigError(f"{config.data_dir} cannot be written: {error.strerror}") from None
    return _configuration(config, env, log_file=str(log), state_dir=str(folder))


def _configuration(
    config: ServeConfig, env: MutableMapping[str, str], *, log_file: str, state_dir: str
) -> str:
    secret = load_turn_secret(
        config.data_dir,
        config.turn_secret_file,
        variable=env.get(TURN_SECRET_VARIABLE),
        master_key=env.get(MASTER_KEY_VARIABLE),
    )
    return configuration(config.turn, config.turn_server, secret, log_file=log_file, state_dir=state_dir)


def _check_port(config: ServeConfig) -> None:
    """Refuses a port that is taken: coturn would share it, and get half of the packets."""
    address = next(iter(config.turn_server.listen), "::" if socket.has_dualstack_ipv6() else "0.0.0.0")  # noqa: S104
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in filter(None, (config.turn.port, config.turn.tls_port)):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    # A connection that has just ended holds the port, and is in nobody's way.
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((address, port))
                except OSError as error:
                    raise ConfigError(f"coturn cannot listen on port {port}: {error.strerror}") from None


def _write_privately(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(
            os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def _end_with_parent(pipe: str) -> bool:
    """Asks the system for SIGTERM when the parent ends. False if it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    if not pipe.isdecimal():
        return True
    # Nothing is ever written to it; it can be read when the other end is closed.
    readable, _, _ = select.select([int(pipe)], [], [], 0)
    return not readable


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="peerbus turn-config",
        description="Write the configuration of coturn for this server's clients. Takes every option of "
        "`peerbus serve`, of which those that begin with --turn- count, and needs --turn-host.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="where to write it, readable by its owner only (default: standard output)",
    )
    parser.add_argument(
        "--log-file",
        metavar="FILE",
        default="syslog",
        help="coturn's log: a file, stdout or syslog (default)",
    )
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        default="/var/lib/turn",
        help="where coturn keeps its state (/var/lib/turn)",
    )
    return parser

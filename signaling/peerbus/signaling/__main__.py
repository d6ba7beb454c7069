"""
`python -m peerbus.signaling serve | keys | audit | turn-config | turn-server`: the entry point of all of them.

Owns the choice of the command, logging, the event loop and the exit code: 0 after a shutdown that was asked for, 2
with one line when the server cannot start. Started by the supervisor, and usable by itself.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
from collections.abc import Sequence
from typing import Final

from peerbus.signaling.config import parse_serve
from peerbus.signaling.operator_log import escaped, set_up_logging
from peerbus.signaling.setting_values import ConfigError

EXIT_USAGE: Final = 2
_GC_THRESHOLDS: Final = (20_000, 20, 50)
_FILES_WANTED: Final = 65_536
_USAGE: Final = "usage: python -m peerbus.signaling serve | keys | audit | turn-config [--help]"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = arguments[0] if arguments else ""
    if command == "keys":
        from peerbus.signaling import keys_command

        return keys_command.main(arguments[1:])
    if command == "audit":
        from peerbus.signaling import audit_command

        return audit_command.main(arguments[1:])
    if command in ("turn-config", "turn-server"):
        from peerbus.signaling import turn_command

        return (turn_command.main if command == "turn-config" else turn_command.run_server)(arguments[1:])
    if command != "serve":
        sys.stderr.write(_USAGE + "\n")
        return EXIT_USAGE
    return _serve(arguments[1:])


def _serve(arguments: list[str]) -> int:
    from peerbus.signaling.app import StartError, serve

    try:
        config = parse_serve(arguments, os.environ)
        set_up_logging(config.log_level, config.log_format)
        _raise_file_limit()
        _collect_seldom()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(config))
    except (ConfigError, StartError) as error:
        sys.stderr.write(f"peerbus: {escaped(str(error))}\n")
        return EXIT_USAGE
    return 0


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop


def _collect_seldom() -> None:
    """
    Frames come and go by the thousand and hold no cycles: looking for some all the time costs more than it finds.

    What was imported stays for good, and is not looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _raise_file_limit() -> None:
    """Every connection is an open file; the default of many systems is 1024 of them, with leave to ask for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())

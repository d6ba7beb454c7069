"""
The worker's process: `python -m peerbus.sfu`.

Owns signals, exit codes and the pipe to the supervisor. Exit code 2 means that it could not start as it was told to;
1 that the server turned it away.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Final

import ifaddr

from peerbus.client.errors import PeerbusError
from peerbus.sfu.addresses import AdvertiseError, LocalAddress, advertised, local_candidates, warning
from peerbus.sfu.config import Config, ConfigError, read_config
from peerbus.sfu.control import ControlLine
from peerbus.sfu.data_hook import Hook, HookError, load_hook
from peerbus.sfu.negotiation import Candidate
from peerbus.sfu.worker import Worker

logger = logging.getLogger("peerbus.sfu")

_PARENT_VARIABLE: Final = "PEERBUS_PARENT_FD"
_DRAIN_S: Final = 0.5
_INVITATION_S: Final = 0.05
_USAGE_EXIT: Final = 2
_REFUSED_EXIT: Final = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a worker until a signal ends it; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # What aiortc and its parts tell of single connections is for debugging them.
    for name in ("aiortc", "aioice"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        config = read_config(sys.argv[1:] if argv is None else argv, os.environ)
        hook = load_hook(config.data_hook) if config.data_hook else None
    except (ConfigError, HookError) as error:
        sys.stderr.write(f"peerbus sfu: {error}\n")
        return _USAGE_EXIT
    if config.is_check:
        return 0
    gc.set_threshold(10_000, 50, 50)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_run(config, hook, os.environ))


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


async def _run(config: Config, hook: Hook | None, environment: MutableMapping[str, str]) -> int:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ending.set)
    _end_with_parent(ending, environment)
    line = ControlLine(lambda message: worker.receive(message), lambda: worker.announce())
    try:
        worker = Worker(config.host, config.port, line.send, hook)
        worker.candidates = tuple(_candidates(config, worker))
    except (OSError, AdvertiseError) as error:
        sys.stderr.write(f"peerbus sfu: {error.strerror if isinstance(error, OSError) else error}\n")
        return _USAGE_EXIT
    worker.start()
    where = ", ".join(f"{one.host}:{one.port}" for one in worker.candidates)
    logger.info("%s takes media on UDP port %d (%s)", config.name, worker.port, where)
    if hook is not None:
        logger.info(
            "%s checks the data messages of open channels; those of sealed ones pass", config.data_hook
        )
    refused = asyncio.create_task(_stay_connected(line, config))
    ended = asyncio.create_task(ending.wait())
    await asyncio.wait([refused, ended], return_when=asyncio.FIRST_COMPLETED)
    code = 0
    if refused.done() and not ending.is_set():
        sys.stderr.write(f"peerbus sfu: {refused.result()}\n")
        code = _REFUSED_EXIT
    elif line.is_connected:
        worker.is_draining = True
        line.send(worker.load(worker.now_ms()))
        await asyncio.sleep(_DRAIN_S)
    refused.cancel()
    ended.cancel()
    await worker.close()
    await line.close()
    return code


async def _stay_connected(line: ControlLine, config: Config) -> str:
    """Returns only when the server turns this worker away, with the reason."""
    signaling, token = config.signaling, config.token
    if config.file is not None:
        signaling, token = await _invitation(config.file)
    try:
        await line.connect(signaling, token, config.name)
        error = await line.wait_closed()
    except PeerbusError as refusal:
        error = refusal
    return f"{signaling} does not take this worker: {error.message} ({error.code})"


async def _invitation(path: Path) -> tuple[str, str]:
    """Where the server is, and this worker's key, as soon as it says so."""
    while (told := _read(path)) is None:  # noqa: ASYNC110  a file of another process
        await asyncio.sleep(_INVITATION_S)
    return told["signaling"], told["token"]


def _read(path: Path) -> dict[str, str] | None:
    try:
        told: dict[str, str] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    return told


def _end_with_parent(ending: asyncio.Event, environment: MutableMapping[str, str]) -> None:
    """The supervisor holds the other end of a pipe, on which nothing is ever written; its end is ours."""
    number = environment.pop(_PARENT_VARIABLE, "")
    if not number:
        return
    pipe = int(number)
    os.set_inheritable(pipe, False)
    loop = asyncio.get_running_loop()

    def wait() -> None:
        # In a thread: the event loop would make the pipe non-blocking, for all who share it.
        while os.read(pipe, 1):
            pass
        loop.call_soon_threadsafe(ending.set)

    threading.Thread(target=wait, name="parent-watch", daemon=True).start()


def _candidates(config: Config, worker: Worker) -> list[Candidate]:
    if config.advertise:
        return advertised(config.advertise, worker.port, _resolve)
    if config.host and config.host not in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound to
        addresses = [LocalAddress("", config.host)]
    else:
        addresses = [
            LocalAddress(adapter.name, one.ip if isinstance(one.ip, str) else one.ip[0])
            for adapter in ifaddr.get_adapters()
            for one in adapter.ips
        ]
    found = local_candidates(
        addresses, worker.port, has_ipv4=worker.udp.has_ipv4, has_ipv6=worker.udp.has_ipv6
    )
    text = warning(found, is_container=_is_container())
    if text is not None:
        logger.warning("%s", text)
    return found


def _resolve(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _is_container() -> bool:
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


if __name__ == "__main__":
    sys.exit(main())

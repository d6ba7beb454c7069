"""
One signaling process from its configuration to its end.

Owns putting the parts together, start and shutdown in order, and the lines an operator sees. Never handles a frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from peerbus.protocol.credentials import DeveloperKey
from peerbus.signaling.assets import AssetsMissing, assets_dir
from peerbus.signaling.clock import monotonic_ms, wall_ms
from peerbus.signaling.config import ServeConfig
from peerbus.signaling.http_api import HttpApi
from peerbus.signaling.keys import KeyStore, KeyStoreError
from peerbus.signaling.listener import Listener, ListenError, bind
from peerbus.signaling.log import StoreError
from peerbus.signaling.log.sqlite import SqliteStore
from peerbus.signaling.log.writer import LogWriter, WriterLimits
from peerbus.signaling.master_key import MASTER_KEY_VARIABLE
from peerbus.signaling.pages import Pages
from peerbus.signaling.parent import watch_parent
from peerbus.signaling.server import Server
from peerbus.signaling.setting_values import ConfigError
from peerbus.signaling.terms import Terms, TermsError
from peerbus.signaling.tls import TlsSetup, tls_setup
from peerbus.signaling.turn import IceIssuer, urls_of
from peerbus.signaling.turn_secret import TURN_SECRET_VARIABLE, TurnSecretError, load_turn_secret
from peerbus.signaling.uses import UsesError, UseStore

_log: Final = logging.getLogger("peerbus.signaling")
_EPOCH_BYTES: Final = 9
_FILES_OF_ITS_OWN: Final = 64
_RUN_FOLDER: Final = "peerbus-"
"""How the name of a folder begins that `peerbus serve` has made for one run."""
_SHUTDOWN_S: Final = 0.5


_NOT_STARTED: Final = (
    KeyStoreError,
    StoreError,
    ConfigError,
    ListenError,
    TermsError,
    TurnSecretError,
    UsesError,
)


class StartError(Exception):
    """The server cannot start; the text is one line for a person, the exit code is 2."""


def open_store(config: ServeConfig) -> SqliteStore:
    """The message log in the data folder. Raises `StoreError`."""
    store = SqliteStore(
        config.data_dir,
        lambda: secrets.token_urlsafe(_EPOCH_BYTES),
        messages_max_per_channel=config.limits.messages_per_channel,
        idempotency_retention_ms=config.limits.idempotency_retention_ms,
        mail_limits=config.limits.mail(),
    )
    if store.opening.restored is not None:
        _log.warning(
            "the database seems to have been restored (%s): all channels have new epochs",
            store.opening.restored,
        )
    if config.new_epoch:
        store.new_epochs()
    return store


async def serve(config: ServeConfig, *, on_ready: Callable[[str], None] | None = None) -> None:
    """
    Runs until SIGTERM, SIGINT or the end of the parent process; `on_ready` gets the address.

    Raises `StartError`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(_note_loop_failure)
    watch_parent(lambda: _parent_is_gone(config, loop, stop), grace_s=config.limits.drain_ms / 1000 + 5)
    async with AsyncExitStack() as stack:
        try:
            await _start(config, stack, on_ready)
        except _NOT_STARTED as error:
            raise StartError(str(error)) from None
        await stop.wait()
        _log.info("shutting down")


async def _start(config: ServeConfig, stack: AsyncExitStack, on_ready: Callable[[str], None] | None) -> None:
    """Every part that is started is stopped by the stack, in reverse order."""
    now_ms = wall_ms()
    sockets = bind(config.host, config.port)
    for listener_socket in sockets:
        stack.callback(listener_socket.close)
    master_key = os.environ.pop(MASTER_KEY_VARIABLE, None)
    keys = KeyStore.open(config.data_dir, master_key=master_key)
    stack.callback(keys.close)
    uses = UseStore.open(config.data_dir)
    stack.callback(uses.close)
    store = open_store(config)
    stack.callback(store.close)
    if config.is_demo_on:
        keys.open_demo(now_ms)
    tls = tls_setup(config, datetime.now(UTC))
    limits = config.limits
    log = LogWriter(
        store, limits=WriterLimits(queue=limits.append_queue, queue_bytes=limits.append_queue_bytes)
    )
    stack.push_async_callback(log.close)
    server = Server(
        config.limits,
        log,
        keys,
        uses,
        version=version("peerbus"),
        terms=Terms(config.data_dir),
        ice=_ice(config, master_key),
    )
    app = web.Application(client_max_size=config.limits.frame_bytes)
    listener = Listener(limits, connections=min(limits.connections, _connections_possible()))
    HttpApi(config, server, on_request=listener.request_began, on_response=listener.request_ended).add_to(app)
    _add_pages(app)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.callback(listener.abort)
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None
    server.sweeps.append(listener.sweep)
    ticking = asyncio.create_task(server.run())
    stack.callback(ticking.cancel)
    stack.push_async_callback(server.drain)
    await listener.listen(runner.server, sockets, None if tls is None else tls.context, monotonic_ms)
    stack.callback(listener.close)
    if config.worker_file is not None:
        # Workers of this machine come over a port of their own: whatever the other one is bound to, and without TLS.
        inner = _bind_for_workers(config.worker_file)
        for inner_socket in inner:
            stack.callback(inner_socket.close)
        await listener.listen(runner.server, inner, None, monotonic_ms)
        _invite_workers(config.worker_file, inner[0].getsockname()[1], keys.own_workers_key(now_ms))
    port = sockets[0].getsockname()[1]
    address = f"{'http' if tls is None else 'https'}://{_display_host(config.host)}:{port}"
    # Last, since a key that is made and then not shown is lost.
    first_key = keys.bootstrap(now_ms)
    _announce(config, address, first_key, tls)
    if on_ready is not None:
        on_ready(address)


def _ice(config: ServeConfig, master_key: str | None) -> IceIssuer | None:
    """Who gives clients their STUN and TURN servers; None where there are none. Raises `TurnSecretError`."""
    variable = os.environ.pop(TURN_SECRET_VARIABLE, None)
    if not config.turn.is_on:
        return None
    secret = load_turn_secret(
        config.data_dir, config.turn_secret_file, variable=variable, master_key=master_key
    )
    return IceIssuer(config.turn, secret, config.limits.turn_credential_ttl_ms)


def _bind_for_workers(path: Path) -> list[socket.socket]:
    """The port that workers were told before this process was started again, if it is free."""
    with contextlib.suppress(OSError, ValueError, KeyError, ListenError):
        return bind("127.0.0.1", urlsplit(json.loads(path.read_text("utf-8"))["signaling"]).port or 0)
    return bind("127.0.0.1", 0)


def _invite_workers(path: Path, port: int, key: DeveloperKey) -> None:
    """Tells the supervisor's workers where the server is, and their key; only this user may read it."""
    new = path.with_suffix(".new")
    text = json.dumps({"signaling": f"http://127.0.0.1:{port}", "token": key.to_text()})
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        new.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def _connections_possible() -> int:
    """How many connections the limit on open files leaves room for, beside the files that the server needs itself."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(16, soft - _FILES_OF_ITS_OWN)


def _parent_is_gone(config: ServeConfig, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """From another thread. A supervisor that was killed has left the folder of this run behind, with secrets in it."""
    if config.worker_file is not None and config.worker_file.parent.name.startswith(_RUN_FOLDER):
        shutil.rmtree(config.worker_file.parent, ignore_errors=True)
    loop.call_soon_threadsafe(stop.set)


def _note_loop_failure(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What went wrong outside of all tasks: a line for what others did to a connection, a traceback for a defect."""
    error = context.get("exception")
    if isinstance(error, OSError):
        # Of these ssl.SSLError is one, too.
        _log.info("trouble with the network, %s: %s", type(error).__name__, context.get("message", ""))
    else:
        _log.error("%s", context.get("message", "a callback failed"), exc_info=error)


def _add_pages(app: web.Application) -> None:
    try:
        folder = assets_dir()
    except AssetsMissing as error:
        _log.warning("%s; the server answers without pages and SDK", error)
    else:
        Pages(folder).add_to(app)


def _display_host(host: str) -> str:
    if host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::"):  # noqa: S104  compared, not bound
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _announce(
    config: ServeConfig, address: str, first_key: DeveloperKey | None, tls: TlsSetup | None
) -> None:
    """What the operator reads at the start, on standard output; the key is shown this once."""
    lines = [f"peerbus {version('peerbus')} on {address}", f"  chat           {address}/chat"]
    if config.worker_file is not None and config.sfu_workers:
        lines.append(f"  call           {address}/call")
    lines += [f"  turn           {url}" for url in urls_of(config.turn) if url.startswith("turn")]
    lines.append(f"  data folder    {config.data_dir}")
    if tls is not None and tls.is_self_signed:
        lines.append(f"  certificate    self-signed, SHA-256 {tls.fingerprint}")
    if first_key is not None:
        lines.append(f"  developer key  {first_key.to_text()}")
        lines.append("                 shown this once; `peerbus keys create` makes another")
    if config.is_demo_on:
        lines.append("  demo           on: pages of this server get short-lived keys of the demo project")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    for warning in config.warnings:
        _log.warning("%s", warning)

"""
A real coturn, configured and started as `peerbus serve --with-turn` does it, on free ports of 127.0.0.1.

    with TurnServer(tmp_path) as turn:
        (server,) = turn.ice_servers("turns")
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from peerbus.protocol.messages import IceServer
from peerbus.protocol.secrets import Secret
from peerbus.signaling.tls import HostNames, make_certificate
from peerbus.signaling.turn import IceIssuer, TurnSettings

HOST: Final = "127.0.0.1"
SECRET: Final = "a-secret-for-the-tests-of-turn"
RELAY_PORTS: Final = range(61_100, 61_300)
"""Outside of those that the system gives to whoever asks for any."""
_START_S: Final = 30.0


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key; who is to trust it sets `SSL_CERT_FILE`."""
    names = HostNames(names=frozenset({"localhost"}), addresses=frozenset({IPv4Address(HOST)}))
    key, certificate = make_certificate(names, datetime.now(UTC))
    paths = folder / "turn.crt", folder / "turn.key"
    for path, data in zip(paths, (certificate, key), strict=True):
        path.write_bytes(data)
        path.chmod(0o600)
    return paths


def free_port() -> int:
    """One that is free for UDP and TCP."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind((HOST, 0))
            with contextlib.suppress(OSError):
                datagrams.bind(stream.getsockname())
                return int(stream.getsockname()[1])


class TurnServer:
    """One coturn; on leaving it is gone. `options` are those of `peerbus serve`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port: Final = free_port()
        self.tls_port: Final = free_port()
        self.certificate, self.key = write_certificate(folder)
        self.log: Final = folder / "data" / "turn.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PEERBUS_")}
        self._process = subprocess.Popen(
            [
                *(
                    sys.executable,
                    "-m",
                    "peerbus.signaling",
                    "turn-server",
                    "--data-dir",
                    str(folder / "data"),
                ),
                *("--turn-port", str(self.port), "--turn-tls-port", str(self.tls_port)),
                *("--turn-cert", str(self.certificate), "--turn-key", str(self.key)),
                *("--turn-relay-ports", f"{RELAY_PORTS.start}-{RELAY_PORTS.stop - 1}"),
                *options,
            ],
            env={**environment, "PEERBUS_TURN_SECRET": SECRET},
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        wait_until_it_listens(self.port)
        wait_until_it_listens(self.tls_port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(_START_S)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def ice_servers(
        self,
        *ways: str,
        secret: str = SECRET,
        ttl_ms: int = 3_600_000,
        wall_ms: int | None = None,
        identity: str = "name:ann",
    ) -> list[IceServer]:
        """What a client would be told: `stun`, `udp`, `tcp` and `turns`, or those of them that are named."""
        settings = TurnSettings(hosts=(HOST,), port=self.port, tls_port=self.tls_port)
        issuer = IceIssuer(settings, Secret(secret), ttl_ms)
        now_ms = time.time_ns() // 1_000_000 if wall_ms is None else wall_ms
        servers = issuer.servers("default", identity, now_ms)
        return only(servers, *ways) if ways else servers


def only(servers: list[IceServer], *ways: str) -> list[IceServer]:
    """Those of the addresses that go these ways: `stun`, `udp`, `tcp`, `turns`."""
    return [
        IceServer(urls=urls, username=one.username, credential=one.credential)
        for one in servers
        if (urls := [url for url in one.urls if way_of(url) in ways])
    ]


def way_of(url: str) -> str:
    """How an address is reached."""
    scheme, _, rest = url.partition(":")
    return rest.rpartition("=")[2] if scheme == "turn" else scheme


def wait_until_it_listens(port: int, host: str = HOST) -> None:
    """Waits until somebody takes TCP connections there."""
    ends_at = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            assert time.monotonic() < ends_at, f"nobody listens on port {port}"
            time.sleep(0.05)
        else:
            return

"""
The settings of `serve`: each with its flag, its variable and its line of help.

Owns this table, and the command line that is made of it. Never says what a setting is for (that is `config`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, NoReturn

import msgspec

from peerbus.signaling.limits import Limits
from peerbus.signaling.setting_values import (
    ConfigError,
    read_addresses,
    read_advertised,
    read_choice,
    read_host,
    read_hosts,
    read_networks,
    read_path,
    read_port,
    read_relay_ports,
    read_switch,
    read_text,
    read_urls,
    read_workers,
)
from peerbus.signaling.turn import STUN_PORT

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")
DEFAULT_PORT: Final = 8080
PREFIX: Final = "PEERBUS_"
"""With what the name of every variable begins."""


class Setting(NamedTuple):
    """One flag, and its variable."""

    flag: str
    read: Callable[[str, Any], Any]
    help: str
    metavar: str | None = None

    @property
    def name(self) -> str:
        """The field of `ServeConfig` that it sets, or what stands for one of a structure in it."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def variable(self) -> str:
        """The variable that stands for the flag."""
        return PREFIX + self.name.upper()


SETTINGS: Final = (
    Setting("--host", read_host, "address to listen on (127.0.0.1; 0.0.0.0 or :: for all)", "HOST"),
    Setting("--port", read_port, f"port to listen on ({DEFAULT_PORT}; 0 for any free one)", "PORT"),
    Setting("--data-dir", read_path, "where everything is kept (~/.local/state/peerbus)", "DIR"),
    Setting("--demo", read_switch, "the demo project (on if only this machine can reach the server)"),
    Setting("--tls-cert", read_path, "certificate chain for HTTPS, PEM", "FILE"),
    Setting("--tls-key", read_path, "its private key, PEM", "FILE"),
    Setting(
        "--tls", read_choice("self-signed"), "HTTPS with a certificate of the server's own making", "KIND"
    ),
    Setting(
        "--advertise-hosts",
        read_hosts,
        "names by which browsers reach this server, for demo keys, with commas between them",
        "NAMES",
    ),
    Setting("--sfu-workers", read_workers, "media workers on this machine (1; 0 for none)", "N"),
    Setting("--sfu-port", read_port, "UDP port of the first worker (7900; 0 for any free one)", "PORT"),
    Setting(
        "--advertise",
        read_advertised,
        "where clients send media to, instead of this machine's addresses; several with commas between them",
        "HOST[:PORT]",
    ),
    Setting(
        "--data-hook", read_text, "a function that checks data messages of open channels", "MODULE:FUNCTION"
    ),
    Setting(
        "--turn-host",
        read_hosts,
        "name or address by which clients reach the TURN server; several with commas between them",
        "HOST",
    ),
    Setting(
        "--turn-port",
        read_port,
        f"its port for UDP and TCP ({STUN_PORT}; 0 with --with-turn: a free one)",
        "PORT",
    ),
    Setting("--turn-tls-port", read_port, "its port for TLS, such as 5349 or 443 (0: none)", "PORT"),
    Setting("--turn-urls", read_urls, "other STUN and TURN servers, such as stun:stun.example.org", "URLS"),
    Setting("--turn-realm", read_host, "the realm of its credentials (its host)", "NAME"),
    Setting("--turn-secret-file", read_path, "the secret shared with it (else from the data folder)", "FILE"),
    Setting("--with-turn", read_switch, "run coturn beside the server, which has to be installed"),
    Setting("--turn-cert", read_path, "coturn: certificate chain for TLS (that of --tls-cert)", "FILE"),
    Setting("--turn-key", read_path, "coturn: its private key (that of --tls-key)", "FILE"),
    Setting(
        "--turn-listen", read_addresses, "coturn: addresses of this machine to listen on (all)", "ADDRESSES"
    ),
    Setting(
        "--turn-external-ip",
        read_addresses,
        "coturn: the public address, where the machine itself has another one (1:1 NAT of a cloud)",
        "ADDRESS",
    ),
    Setting(
        "--turn-relay-ports", read_relay_ports, "coturn: UDP ports that it relays from (49152-65535)", "A-B"
    ),
    Setting(
        "--turn-allow-peers",
        read_networks,
        "coturn: networks among the special ones that it may relay to, such as that of the media workers",
        "NETWORKS",
    ),
    Setting(
        "--new-epoch",
        read_switch,
        "after restoring a backup: tell clients that stored messages may be missing",
    ),
    Setting("--log-level", read_choice(*LOG_LEVELS), "debug, info (default), warning or error", "LEVEL"),
    Setting("--log-format", read_choice(*LOG_FORMATS), "text (default) or json", "FORMAT"),
)


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing a usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    """The command line of `serve`."""
    limits = "\n".join(
        f"  {PREFIX + field.name.upper():42} {field.default}" for field in msgspec.structs.fields(Limits)
    )
    made = _Parser(
        prog="peerbus serve",
        description="Run the server. Each option can also be a variable: --data-dir is PEERBUS_DATA_DIR.",
        epilog=f"limits, by variables only:\n{limits}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for setting in SETTINGS:
        if setting.metavar is None:
            made.add_argument(setting.flag, action=argparse.BooleanOptionalAction, help=setting.help)
        else:
            made.add_argument(setting.flag, metavar=setting.metavar, help=setting.help)
    return made

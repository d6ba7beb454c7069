"""
How a server is set up: flags, environment, defaults, and what they come to.

Owns the command line of `python -m peerbus.signaling serve` and the meaning of every setting. Never touches a
disk or a socket: whether a folder can be written or a port is free shows when the server starts.

A setting is looked for in three places, the first that has it counts:

1. its flag, `--data-dir /srv/bus`;
2. its variable, the flag in capitals behind `PEERBUS_`: `PEERBUS_DATA_DIR=/srv/bus`. An empty variable is an
   unset one. Yes-or-no settings take 1, true, yes, on and 0, false, no, off; lists are separated by commas;
3. its default.

The fields of `Limits` have a variable each (`PEERBUS_MEMBERS_PER_CHANNEL=500`) and no flag. A value that
makes no sense is a `ConfigError`, whose text is one line for a person; a program ends with exit code 2 then.
A variable that begins with `PEERBUS_` and means nothing here is a line in `ServeConfig.warnings`, to be
logged.
"""

from __future__ import annotations

import argparse
import difflib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, NoReturn

import msgspec

from peerbus.signaling.limits import Limits
from peerbus.signaling.turn import STUN_PORT, TurnSettings, check_url
from peerbus.signaling.turn_server import RelayPorts, TurnServerSettings

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")
DEFAULT_PORT: Final = 8080

_PREFIX: Final = "PEERBUS_"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
# Set for other programs of this package that run in the same environment.
_READ_ELSEWHERE: Final = frozenset(
    {
        "PEERBUS_MASTER_KEY",
        "PEERBUS_API_KEY",
        "PEERBUS_PARENT_FD",
        "PEERBUS_TURN_SECRET",
        "PEERBUS_WORKER_FILE",
        "PEERBUS_WORKER_TOKEN",
    }
)
WORKER_FILE_VARIABLE: Final = "PEERBUS_WORKER_FILE"


class ConfigError(Exception):
    """A flag or a variable has a value that makes no sense; the text is one line for a person."""


class ServeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `serve` can be told; the defaults are those of a server for oneself."""

    data_dir: Path
    """Where the database, the keys and a self-signed certificate are kept."""
    host: str = "127.0.0.1"
    """The address or name to listen on, without brackets; `0.0.0.0` or `::` means all."""
    port: int = DEFAULT_PORT
    """0 lets the system choose."""
    demo: bool | None = None
    """Whether the demo project exists; None means only if nobody else can reach the server."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls: Literal["self-signed"] | None = None
    new_epoch: bool = False
    """Give all channels a new epoch once: said after a restore that the server could not notice itself."""
    advertise_hosts: tuple[str, ...] = ()
    """Names by which browsers reach the server, besides localhost and addresses; lower case."""
    sfu_workers: int = 1
    """How many media workers `peerbus serve` starts beside the server; the supervisor reads it, too."""
    sfu_port: int = 7900
    """The UDP port of the first worker; the others have the next ones."""
    advertise: tuple[str, ...] = ()
    """`HOST[:PORT]` that clients are told for media, instead of this machine's addresses."""
    turn: TurnSettings = TurnSettings()
    """The STUN and TURN servers that clients are told of."""
    turn_secret_file: Path | None = None
    """Where the secret shared with them stands, if it is not the one of the data folder."""
    with_turn: bool = False
    """Whether `peerbus serve` runs coturn beside the server; the supervisor reads it, too."""
    turn_server: TurnServerSettings = TurnServerSettings()
    """How that is set up, and what `peerbus turn-config` writes."""
    worker_file: Path | None = None
    """Where the server tells the workers of its supervisor how to reach it."""
    log_level: LogLevel = "info"
    log_format: LogFormat = "text"
    limits: Limits = Limits()
    warnings: tuple[str, ...] = ()
    """What looks like a mistake without being one; to be logged at the start."""

    @property
    def is_demo_on(self) -> bool:
        """Whether the demo project exists and its short-lived keys are handed out."""
        return is_loopback(self.host) if self.demo is None else self.demo

    @property
    def is_tls_on(self) -> bool:
        """Whether the server speaks HTTPS."""
        return self.tls is not None or self.tls_cert is not None

    def accepts_host(self, header: str) -> bool:
        """
        Whether a `Host` header (`name`, `name:port`, `[v6]:port`) is one this server goes by.

        Any address is, and localhost, the name it listens on, and the advertised names. Another name may be
        an attacker's that was pointed at this address (DNS rebinding), and would be of the same origin.
        """
        name = _host_without_port(header)
        if name in ("localhost", self.host.lower(), *self.advertise_hosts):
            return True
        return _as_address(name) is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    if host.lower() == "localhost":
        return True
    address = _as_address(host)
    return address is not None and address.is_loopback


def default_data_dir(env: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/peerbus`, else `~/.local/state/peerbus` (XDG Base Directory Specification)."""
    state_home = Path(env.get("XDG_STATE_HOME", ""))
    if not state_home.is_absolute():
        home = env.get("HOME")
        state_home = (Path(home) if home else Path.home()) / ".local" / "state"
    return state_home / "peerbus"


def parse_data_dir(flag: str | None, env: Mapping[str, str]) -> Path:
    """The data folder for commands that need nothing else: `--data-dir`, `PEERBUS_DATA_DIR`, the default."""
    given = flag or env.get("PEERBUS_DATA_DIR")
    return Path(given).expanduser() if given else default_data_dir(env)


def parse_serve(argv: Sequence[str], env: Mapping[str, str]) -> ServeConfig:
    """
    The configuration from what stands behind `serve` on the command line, and the environment.

    Raises `ConfigError`, and `SystemExit(0)` after printing the text of `--help`.
    """
    flags = vars(_parser().parse_args(argv))
    values: dict[str, Any] = {}
    for setting in _SETTINGS:
        if flags[setting.name] is not None:
            values[setting.name] = setting.read(setting.flag, flags[setting.name])
        elif env.get(setting.variable):
            values[setting.name] = setting.read(setting.variable, env[setting.variable])
    values.setdefault("data_dir", default_data_dir(env))
    if env.get(WORKER_FILE_VARIABLE):
        values["worker_file"] = Path(env[WORKER_FILE_VARIABLE])
    turn = {name: values.pop(name) for name in _TURN if name in values}
    turn_server = {name: values.pop(name) for name in _TURN_SERVER if name in values}
    config = ServeConfig(
        **values,
        turn=TurnSettings(**{_TURN[name]: value for name, value in turn.items()}),
        turn_server=TurnServerSettings(**{_TURN_SERVER[name]: value for name, value in turn_server.items()}),
        limits=_limits(env),
        warnings=_warnings(env),
    )
    _check_tls(config)
    return _with_turn(config)


# --- reading one value: `source` is the flag or variable that the message names ---------------------------


def _read_text(source: str, text: str) -> str:
    if not text.strip():
        raise ConfigError(f"{source}: the value is empty")
    return text.strip()


def _read_host(source: str, text: str) -> str:
    host = _read_text(source, text)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if "/" in host or (":" in host and _as_address(host) is None):
        raise ConfigError(
            f"{source}: {host!r} is not a host name or an address (the port has its own setting)"
        )
    return host


def _read_port(source: str, text: str) -> int:
    return _read_number(source, text, 0, 65535)


def _read_number(source: str, text: str, lowest: int, highest: int) -> int:
    # str.isdecimal is true of other scripts' digits too, and int() takes "1_000" and " 1".
    if not (text.isascii() and text.isdecimal()) or not lowest <= int(text[:20]) <= highest:
        raise ConfigError(f"{source}: {text!r} is not a whole number from {lowest} to {highest}")
    return int(text)


def _read_path(source: str, text: str) -> Path:
    path = Path(_read_text(source, text))
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError(f"{source}: {text!r} names a user that does not exist") from None


def _read_switch(source: str, value: bool | str) -> bool:
    if isinstance(value, bool):
        return value
    text = value.strip().lower()
    if text not in _TRUE | _FALSE:
        raise ConfigError(f"{source}: {value!r} is neither yes nor no (1, true, yes, on; 0, false, no, off)")
    return text in _TRUE


def _read_hosts(source: str, text: str) -> tuple[str, ...]:
    return tuple(_read_host(source, host).lower() for host in text.split(","))


def _read_workers(source: str, text: str) -> int:
    return _read_number(source, text, 0, 64)


def _read_advertised(source: str, text: str) -> tuple[str, ...]:
    # What each of them may look like is the worker's to say, which resolves the names.
    return tuple(_read_text(source, one) for one in text.split(","))


def _read_urls(source: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(check_url(one.strip()) for one in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None


def _read_addresses(source: str, text: str) -> tuple[str, ...]:
    for one in (addresses := [one.strip() for one in text.split(",")]):
        if _as_address(one) is None:
            raise ConfigError(f"{source}: {one!r} is not an IP address")
    return tuple(addresses)


def _read_networks(source: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(one.strip())) for one in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None


def _read_relay_ports(source: str, text: str) -> RelayPorts:
    low, _, high = text.strip().partition("-")
    ports = RelayPorts(_read_number(source, low, 1, 65535), _read_number(source, high or low, 1, 65535))
    if ports.first > ports.last:
        raise ConfigError(f"{source}: {text!r} ends before it begins")
    return ports


def _read_choice(*choices: str) -> Callable[[str, str], str]:
    def read(source: str, text: str) -> str:
        choice = text.strip().lower()
        if choice not in choices:
            raise ConfigError(f"{source}: {text!r} is not {' or '.join(choices)}")
        return choice

    return read


# --- the settings -----------------------------------------------------------------------------------------


class _Setting(NamedTuple):
    """One flag, and its variable."""

    flag: str
    read: Callable[[str, Any], Any]
    help: str
    metavar: str | None = None

    @property
    def name(self) -> str:
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def variable(self) -> str:
        return _PREFIX + self.name.upper()


_SETTINGS: Final = (
    _Setting("--host", _read_host, "address to listen on (127.0.0.1; 0.0.0.0 or :: for all)", "HOST"),
    _Setting("--port", _read_port, f"port to listen on ({DEFAULT_PORT}; 0 for any free one)", "PORT"),
    _Setting("--data-dir", _read_path, "where everything is kept (~/.local/state/peerbus)", "DIR"),
    _Setting("--demo", _read_switch, "the demo project (on if only this machine can reach the server)"),
    _Setting("--tls-cert", _read_path, "certificate chain for HTTPS, PEM", "FILE"),
    _Setting("--tls-key", _read_path, "its private key, PEM", "FILE"),
    _Setting(
        "--tls", _read_choice("self-signed"), "HTTPS with a certificate of the server's own making", "KIND"
    ),
    _Setting(
        "--advertise-hosts",
        _read_hosts,
        "names by which browsers reach this server, for demo keys, with commas between them",
        "NAMES",
    ),
    _Setting("--sfu-workers", _read_workers, "media workers on this machine (1; 0 for none)", "N"),
    _Setting("--sfu-port", _read_port, "UDP port of the first worker (7900; 0 for any free one)", "PORT"),
    _Setting(
        "--advertise",
        _read_advertised,
        "where clients send media to, instead of this machine's addresses; several with commas between them",
        "HOST[:PORT]",
    ),
    _Setting(
        "--turn-host",
        _read_hosts,
        "name or address by which clients reach the TURN server; several with commas between them",
        "HOST",
    ),
    _Setting(
        "--turn-port",
        _read_port,
        f"its port for UDP and TCP ({STUN_PORT}; 0 with --with-turn: a free one)",
        "PORT",
    ),
    _Setting("--turn-tls-port", _read_port, "its port for TLS, such as 5349 or 443 (0: none)", "PORT"),
    _Setting("--turn-urls", _read_urls, "other STUN and TURN servers, such as stun:stun.example.org", "URLS"),
    _Setting("--turn-realm", _read_host, "the realm of its credentials (its host)", "NAME"),
    _Setting(
        "--turn-secret-file", _read_path, "the secret shared with it (else from the data folder)", "FILE"
    ),
    _Setting("--with-turn", _read_switch, "run coturn beside the server, which has to be installed"),
    _Setting("--turn-cert", _read_path, "coturn: certificate chain for TLS (that of --tls-cert)", "FILE"),
    _Setting("--turn-key", _read_path, "coturn: its private key (that of --tls-key)", "FILE"),
    _Setting(
        "--turn-listen", _read_addresses, "coturn: addresses of this machine to listen on (all)", "ADDRESSES"
    ),
    _Setting(
        "--turn-external-ip",
        _read_addresses,
        "coturn: the public address, where the machine itself has another one (1:1 NAT of a cloud)",
        "ADDRESS",
    ),
    _Setting(
        "--turn-relay-ports", _read_relay_ports, "coturn: UDP ports that it relays from (49152-65535)", "A-B"
    ),
    _Setting(
        "--turn-allow-peers",
        _read_networks,
        "coturn: networks among the special ones that it may relay to, such as that of the media workers",
        "NETWORKS",
    ),
    _Setting(
        "--new-epoch",
        _read_switch,
        "after restoring a backup: tell clients that stored messages may be missing",
    ),
    _Setting("--log-level", _read_choice(*LOG_LEVELS), "debug, info (default), warning or error", "LEVEL"),
    _Setting("--log-format", _read_choice(*LOG_FORMATS), "text (default) or json", "FORMAT"),
)


_TURN: Final = {
    "turn_host": "hosts",
    "turn_port": "port",
    "turn_tls_port": "tls_port",
    "turn_urls": "urls",
    "turn_realm": "realm",
}
_TURN_SERVER: Final = {
    "turn_cert": "cert",
    "turn_key": "key",
    "turn_listen": "listen",
    "turn_external_ip": "external_ip",
    "turn_relay_ports": "relay_ports",
    "turn_allow_peers": "allow_peers",
}
"""Settings that are a field of another name in a structure of their own."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing a usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    limits = "\n".join(
        f"  {_PREFIX + field.name.upper():42} {field.default}" for field in msgspec.structs.fields(Limits)
    )
    parser = _Parser(
        prog="peerbus serve",
        description="Run the server. Each option can also be a variable: --data-dir is PEERBUS_DATA_DIR.",
        epilog=f"limits, by variables only:\n{limits}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for setting in _SETTINGS:
        if setting.metavar is None:
            parser.add_argument(setting.flag, action=argparse.BooleanOptionalAction, help=setting.help)
        else:
            parser.add_argument(setting.flag, metavar=setting.metavar, help=setting.help)
    return parser


def _limits(env: Mapping[str, str]) -> Limits:
    values = {}
    for field in msgspec.structs.fields(Limits):
        variable = _PREFIX + field.name.upper()
        if env.get(variable):
            values[field.name] = _read_number(variable, env[variable], 1, 2**53 - 1)
    limits = Limits(**values)
    for smaller, larger in _IN_ORDER:
        if getattr(limits, smaller) > getattr(limits, larger):
            raise ConfigError(
                f"{_PREFIX}{smaller.upper()} ({getattr(limits, smaller)}) is larger than "
                f"{_PREFIX}{larger.upper()} ({getattr(limits, larger)})"
            )
    return limits


# Pairs that would contradict each other: the first never exceeds the second.
_IN_ORDER: Final = (
    ("message_bytes", "frame_bytes"),
    ("attributes_bytes", "frame_bytes"),
    ("ping_interval_ms", "silence_timeout_ms"),
)


def _warnings(env: Mapping[str, str]) -> tuple[str, ...]:
    known = {setting.variable for setting in _SETTINGS} | _READ_ELSEWHERE
    known |= {_PREFIX + field.name.upper() for field in msgspec.structs.fields(Limits)}
    found = []
    for variable in sorted(name for name in env if name.startswith(_PREFIX) and name not in known):
        close = difflib.get_close_matches(variable, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        found.append(f"{variable} is not a setting and has no effect{hint}")
    return tuple(found)


def _check_tls(config: ServeConfig) -> None:
    if (config.tls_cert is None) != (config.tls_key is None):
        raise ConfigError("--tls-cert and --tls-key belong together: give both or neither")
    if config.tls is not None and config.tls_cert is not None:
        raise ConfigError("--tls self-signed and --tls-cert exclude each other: give one of them")


def _with_turn(config: ServeConfig) -> ServeConfig:
    """What follows from other settings, where coturn is run beside the server."""
    server = config.turn_server
    if (server.cert is None) != (server.key is None):
        raise ConfigError("--turn-cert and --turn-key belong together: give both or neither")
    if not config.with_turn:
        return config
    turn = config.turn
    if not turn.hosts:
        if not is_loopback(config.host):
            raise ConfigError("--with-turn needs --turn-host: the name or address by which clients reach it")
        turn = msgspec.structs.replace(turn, hosts=("127.0.0.1",))
    if not server.listen and all(is_loopback(host) for host in turn.hosts):
        server = msgspec.structs.replace(server, listen=("127.0.0.1",))
    if server.cert is None and config.tls_cert is not None:
        server = msgspec.structs.replace(server, cert=config.tls_cert, key=config.tls_key)
    if turn.tls_port and server.cert is None:
        raise ConfigError("--turn-tls-port needs a certificate: --turn-cert and --turn-key")
    return msgspec.structs.replace(config, turn=turn, turn_server=server)


def _as_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host_without_port(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()

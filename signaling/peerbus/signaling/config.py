"""
How a server is set up: flags, environment, defaults, and what they come to.

Owns the meaning of every setting of `python -m peerbus.signaling serve`; which there are stands in `settings`. Never
touches a disk or a socket: whether a folder can be written or a port is free shows when the server starts.

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

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from peerbus.signaling.limits import Limits
from peerbus.signaling.setting_values import ConfigError, as_address, is_loopback, read_number
from peerbus.signaling.settings import DEFAULT_PORT, PREFIX, SETTINGS, LogFormat, LogLevel, parser
from peerbus.signaling.turn import TurnSettings
from peerbus.signaling.turn_server import TurnServerSettings

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
    data_hook: str = ""
    """The function that the media workers check data messages with; theirs to load."""
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
        return as_address(name) is not None


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
    flags = vars(parser().parse_args(argv))
    values: dict[str, Any] = {}
    for setting in SETTINGS:
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


def _limits(env: Mapping[str, str]) -> Limits:
    values = {}
    for field in msgspec.structs.fields(Limits):
        variable = PREFIX + field.name.upper()
        if env.get(variable):
            values[field.name] = read_number(variable, env[variable], 1, 2**53 - 1)
    limits = Limits(**values)
    for smaller, larger in _IN_ORDER:
        if getattr(limits, smaller) > getattr(limits, larger):
            raise ConfigError(
                f"{PREFIX}{smaller.upper()} ({getattr(limits, smaller)}) is larger than "
                f"{PREFIX}{larger.upper()} ({getattr(limits, larger)})"
            )
    return limits


# Pairs that would contradict each other: the first never exceeds the second.
_IN_ORDER: Final = (
    ("message_bytes", "frame_bytes"),
    ("attributes_bytes", "frame_bytes"),
    ("ping_interval_ms", "silence_timeout_ms"),
)


def _warnings(env: Mapping[str, str]) -> tuple[str, ...]:
    known = {setting.variable for setting in SETTINGS} | _READ_ELSEWHERE
    known |= {PREFIX + field.name.upper() for field in msgspec.structs.fields(Limits)}
    found = []
    for variable in sorted(name for name in env if name.startswith(PREFIX) and name not in known):
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


def _host_without_port(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()

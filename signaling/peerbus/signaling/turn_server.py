"""
The configuration of coturn, the TURN server that peerbus is used with: every line of it, and why it stands there.

Owns what is written into `turnserver.conf`. Never writes a file or starts a process. The defaults keep what a relay is
misused for out: it relays UDP only, to no address that is special in any way (those of IANA's registries of special
addresses, RFC 6890), for nobody without a credential, and for each of them only so much.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from peerbus.protocol.secrets import Secret
from peerbus.signaling.turn import TurnSettings

DENIED_NETWORKS: Final = (
    # IPv4: this network, private, shared, loopback, link-local (with clouds' metadata), protocol assignments,
    # documentation, 6to4 relays, AMT and AS112, benchmarks, multicast, reserved, broadcast.
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
    *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4"),
    # IPv6: all of ::/8, which is reserved, and has the unspecified address, loopback, and most ranges that have an IPv4
    # address in them, by which those above could be reached (compatible, mapped, translated, NAT64). Not by itself:
    # coturn takes the bounds of the mapped range for all of IPv4. Teredo and 6to4 are others of that kind; discard,
    # protocol assignments, documentation, AS112, segment routing, unique local, link-local, site-local, multicast.
    *("::/8", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    *("5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
)

_CLOSED: Final = (
    "no-cli",
    "no-rfc5780",
    "no-stun-backward-compatibility",
    "response-origin-only-with-rfc5780",
    "no-software-attribute",
    "no-tlsv1",
    "no-tlsv1_1",
    "fingerprint",
)


class RelayPorts(NamedTuple):
    """The UDP ports that are relayed from, both included."""

    first: int
    last: int


class TurnServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What only the TURN server itself has to know."""

    cert: Path | None = None
    key: Path | None = None
    listen: tuple[str, ...] = ()
    """Addresses of the machine; none: all."""
    external_ip: tuple[str, ...] = ()
    """`PUBLIC` in front of a 1:1 NAT."""
    relay_ports: RelayPorts = RelayPorts(49_152, 65_535)
    allow_peers: tuple[str, ...] = ()
    """Networks among the denied ones that may be relayed to."""
    user_quota: int = 20
    """Allocations of one client at a time; each of its ways and networks takes one."""
    total_quota: int = 1_200
    user_bytes_per_s: int = 1_250_000
    """Of one allocation, each way: 10 Mbit/s."""
    total_bytes_per_s: int = 125_000_000


class Section(NamedTuple):
    """Lines that belong together, and what they are for."""

    comment: str
    lines: Sequence[str]


def configuration(
    turn: TurnSettings,
    server: TurnServerSettings,
    secret: Secret,
    *,
    log_file: str = "syslog",
    state_dir: str = "/var/lib/turn",
) -> str:
    """
    The text of `turnserver.conf`. It has the secret in it: only coturn's user may read it.

    `log_file` is a path, `stdout` or `syslog`; `state_dir` is where coturn keeps its (empty) database.
    """
    sections = (
        Section("Where clients reach it.", _listening(turn, server)),
        _tls(turn, server),
        Section(
            "Where it relays from: this range of UDP ports has to be open to the world.", _relaying(server)
        ),
        Section(
            "Who may use it: who has a credential that peerbus made with this secret, and that has not ended.",
            _credentials(turn, secret, state_dir),
        ),
        Section(
            "How much: allocations of one client and of all, bytes a second of one allocation and of all.",
            _quotas(server),
        ),
        Section(
            "What it never relays: TCP (it would reach web servers and databases), multicast, and anything to\n"
            "special addresses, behind which the machines beside this one are.",
            ["no-tcp-relay", "no-multicast-peers", *_denied()],
        ),
        Section(
            "Exceptions, as given: the media workers, and other clients of this relay.",
            _allowed(turn, server),
        ),
        Section("No doors for administration, nothing that amplifies, no old TLS, no version told.", _CLOSED),
        Section(
            "Its log, and the file with its process id.",
            [*_logging(log_file), f"pidfile={state_dir}/peerbus-turn.pid"],
        ),
    )
    head = "# coturn for peerbus, as `peerbus turn-config` writes it. It has a secret in it: only coturn may read it.\n"
    return head + "".join(_text(section) for section in sections if section.lines)


def _text(section: Section) -> str:
    comment = "".join(f"# {line}\n" for line in section.comment.split("\n"))
    return "\n" + comment + "".join(f"{line}\n" for line in section.lines)


def _listening(turn: TurnSettings, server: TurnServerSettings) -> list[str]:
    lines = [f"listening-port={turn.port}"]
    for address in server.listen:
        lines += [f"listening-ip={address}", f"relay-ip={address}"]
    return lines + [f"external-ip={address}" for address in server.external_ip]


def _tls(turn: TurnSettings, server: TurnServerSettings) -> Section:
    if not turn.tls_port or server.cert is None:
        return Section("Not by TLS, since there is no certificate.", ["no-tls", "no-dtls"])
    return Section(
        "TLS, for networks that let nothing else out. coturn reads a new certificate on SIGUSR2.",
        [f"tls-listening-port={turn.tls_port}", f"cert={server.cert}", f"pkey={server.key}", "no-dtls"],
    )


def _credentials(turn: TurnSettings, secret: Secret, state_dir: str) -> list[str]:
    realm = turn.realm or (turn.hosts[0] if turn.hosts else "peerbus")
    return [
        "use-auth-secret",
        f"static-auth-secret={secret.reveal()}",
        f"realm={realm}",
        "stale-nonce=600",
        f"userdb={state_dir}/peerbus-turn.db",
    ]


def _quotas(server: TurnServerSettings) -> list[str]:
    return [
        f"user-quota={server.user_quota}",
        f"total-quota={server.total_quota}",
        f"max-bps={server.user_bytes_per_s}",
        f"bps-capacity={server.total_bytes_per_s}",
    ]


def _relaying(server: TurnServerSettings) -> list[str]:
    return [f"min-port={server.relay_ports.first}", f"max-port={server.relay_ports.last}"]


def _denied() -> list[str]:
    return [f"denied-peer-ip={_range(network)}" for network in DENIED_NETWORKS]


def _allowed(turn: TurnSettings, server: TurnServerSettings) -> list[str]:
    # Two clients of this relay meet at its own address, and so do they and a media worker on the same machine.
    own = [host for host in turn.hosts if _is_special(host)]
    networks = dict.fromkeys([*own, *server.allow_peers])
    lines = [f"allowed-peer-ip={_range(network)}" for network in networks]
    if any(ipaddress.ip_network(network).is_loopback for network in networks):
        lines.append("allow-loopback-peers")
    return lines


def _is_special(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network) for network in DENIED_NETWORKS)


def _range(text: str) -> str:
    network = ipaddress.ip_network(text)
    first, last = network.network_address, network.broadcast_address
    if network.version == 6 and first.is_unspecified:
        # To coturn a range from the unspecified address begins below all of IPv4; itself is never relayed to.
        first += 1
    return str(first) if first == last else f"{first}-{last}"


def _logging(log_file: str) -> list[str]:
    if log_file == "syslog":
        return ["syslog"]
    if log_file == "stdout":
        return ["log-file=stdout"]
    return [f"log-file={log_file}", "simple-log", "no-stdout-log"]

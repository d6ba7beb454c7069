"""The configuration of coturn, and the command that writes it."""

import io
import ipaddress
import stat
from pathlib import Path

import pytest

from peerbus.protocol.secrets import Secret
from peerbus.signaling.turn import TurnSettings
from peerbus.signaling.turn_command import main
from peerbus.signaling.turn_server import DENIED_NETWORKS, RelayPorts, TurnServerSettings, configuration

EXAMPLE = Path(__file__).parents[2] / "turn-config" / "turnserver.conf"
SECRET = "replace-this-by-peerbus-turn-config"
OPTIONS = [
    *("--turn-host", "turn.example.org", "--turn-tls-port", "5349"),
    *("--turn-cert", "/etc/coturn/turn.example.org.crt", "--turn-key", "/etc/coturn/turn.example.org.key"),
]


def run(folder: Path, *options: str, **env: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = main(["--data-dir", str(folder), *options], env={"HOME": str(folder), **env}, out=out, err=err)
    return code, out.getvalue(), err.getvalue()


def lines(turn: TurnSettings, server: TurnServerSettings) -> list[str]:
    return configuration(turn, server, Secret(SECRET)).splitlines()


def test_the_example_is_what_the_command_writes(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, *OPTIONS, PEERBUS_TURN_SECRET=SECRET)
    assert (code, err) == (0, "")
    assert out == EXAMPLE.read_text("utf-8")


def test_every_special_address_is_denied_and_no_other() -> None:
    denied = [ipaddress.ip_network(network) for network in DENIED_NETWORKS]
    special = [
        *(
            "0.0.0.0",
            "10.1.2.3",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "192.168.0.1",
            "255.255.255.255",
        ),
        *(
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "2001:0:a00:1::",
            "fd00::1",
            "fe80::1",
            "ff02::1",
        ),
    ]
    public = ["1.1.1.1", "100.128.0.0", "172.32.0.0", "2606:4700::1111", "2a00::1"]
    for address in special:
        assert any(ipaddress.ip_address(address) in network for network in denied), address
    for address in public:
        assert not any(ipaddress.ip_address(address) in network for network in denied), address
    written = lines(TurnSettings(hosts=("turn.example.org",)), TurnServerSettings())
    assert sum(line.startswith("denied-peer-ip=") for line in written) == len(DENIED_NETWORKS)
    # To coturn these would be all of IPv4, and nothing could be relayed any more.
    assert not [line for line in written if line.startswith(("denied-peer-ip=::-", "denied-peer-ip=::ffff:"))]


def test_without_a_certificate_there_is_no_tls_and_with_one_there_is() -> None:
    turn = TurnSettings(hosts=("turn.example.org",), tls_port=443)
    without = lines(turn, TurnServerSettings())
    assert "no-tls" in without
    assert not [line for line in without if line.startswith("tls-listening-port")]
    with_one = lines(turn, TurnServerSettings(cert=Path("/c"), key=Path("/k")))
    assert {"tls-listening-port=443", "cert=/c", "pkey=/k"} <= set(with_one)
    assert "no-tls" not in with_one


def test_exceptions_are_only_those_that_were_asked_for() -> None:
    def allowed(*hosts: str, peers: tuple[str, ...] = ()) -> list[str]:
        written = lines(TurnSettings(hosts=hosts), TurnServerSettings(allow_peers=peers))
        return [line for line in written if line.startswith("allow")]

    assert allowed("turn.example.org") == allowed("9.9.9.9") == []
    assert allowed("192.168.1.5") == ["allowed-peer-ip=192.168.1.5"]
    assert allowed("turn.example.org", peers=("10.0.0.0/30",)) == ["allowed-peer-ip=10.0.0.0-10.0.0.3"]
    assert allowed("127.0.0.1") == ["allowed-peer-ip=127.0.0.1", "allow-loopback-peers"]


def test_addresses_ports_and_quotas_stand_as_given() -> None:
    server = TurnServerSettings(
        listen=("10.0.0.5",), external_ip=("9.9.9.9",), relay_ports=RelayPorts(50_000, 50_100), user_quota=7
    )
    written = set(lines(TurnSettings(hosts=("t",), port=80, realm="bus.example"), server))
    assert {
        "listening-port=80",
        "listening-ip=10.0.0.5",
        "relay-ip=10.0.0.5",
        "external-ip=9.9.9.9",
    } <= written
    assert {"min-port=50000", "max-port=50100", "user-quota=7", "realm=bus.example"} <= written


def test_a_file_is_readable_by_its_owner_only_and_the_secret_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "turnserver.conf"
    secret = ""
    for _ in range(2):
        code, out, _ = run(tmp_path, "--turn-host", "t", "--output", str(path))
        assert code == 0
        secret = path.read_text().partition("static-auth-secret=")[2].partition("\n")[0]
        assert secret
        assert secret not in out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"static-auth-secret={secret}" in run(tmp_path, "--turn-host", "t")[1]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ([], "--turn-host is missing"),
        (["--turn-host", "t", "--turn-tls-port", "443"], "needs a certificate"),
        (["--turn-host", "t", "--turn-cert", "c"], "belong together"),
        (["--turn-host", "t", "--turn-relay-ports", "9-1"], "ends before it begins"),
        (["--turn-host", "t", "--turn-allow-peers", "10.0.0.1/8"], "host bits"),
        (["--turn-host", "t", "--turn-external-ip", "here"], "not an IP address"),
        (["--turn-host", "t", "--turn-urls", "http://t"], "no address of a STUN or TURN server"),
        (["--turn-host", "t", "--what"], "--what"),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path: Path, options: list[str], what: str) -> None:
    code, out, err = run(tmp_path, *options)
    assert (code, out) == (2, "")
    assert what in err
    assert err.count("\n") == 1

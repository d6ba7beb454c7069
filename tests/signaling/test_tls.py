"""TLS: what a certificate of our own says, when it is made anew, and what is said of bad files."""

import asyncio
import ipaddress
import re
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from peerbus.signaling import tls
from peerbus.signaling.config import ServeConfig
from peerbus.signaling.setting_values import ConfigError
from peerbus.signaling.tls import HostNames, fits, local_host_names, make_certificate, tls_setup

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
LAN = HostNames(
    names=frozenset({"localhost", "box", "box.local"}),
    addresses=frozenset(map(ipaddress.ip_address, ("127.0.0.1", "::1", "192.168.1.20", "2001:db8::20"))),
)


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> list[HostNames]:
    """What the machine is called; a test may put another value in."""
    current = [LAN]
    monkeypatch.setattr(tls, "local_host_names", lambda _config: current[0])
    return current


def self_signed(data_dir: Path) -> ServeConfig:
    return ServeConfig(data_dir=data_dir, tls="self-signed")


def own_files(certificate: Path, key: Path) -> ServeConfig:
    return ServeConfig(data_dir=Path("/nowhere"), tls_cert=certificate, tls_key=key)


def refusal(config: ServeConfig) -> str:
    with pytest.raises(ConfigError) as refused:
        tls_setup(config, NOW)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_no_tls_is_no_context(tmp_path: Path) -> None:
    assert tls_setup(ServeConfig(data_dir=tmp_path), NOW) is None
    assert list(tmp_path.iterdir()) == []


def test_a_certificate_says_what_browsers_ask_for() -> None:
    _key, pem = make_certificate(LAN, NOW)
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == LAN.names
    assert set(names.get_values_for_type(x509.IPAddress)) == LAN.addresses
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= timedelta(days=398)
    assert certificate.not_valid_before_utc < NOW
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]
    certificate.verify_directly_issued_by(certificate)


def test_two_certificates_share_neither_key_nor_serial() -> None:
    first, second = (x509.load_pem_x509_certificate(make_certificate(LAN, NOW)[1]) for _ in range(2))
    assert first.serial_number != second.serial_number
    assert first.public_key() != second.public_key()


def test_it_is_kept_and_its_key_is_private(tmp_path: Path, hosts: list[HostNames]) -> None:
    data_dir = tmp_path / "not" / "there" / "yet"
    first = tls_setup(self_signed(data_dir), NOW)
    assert first is not None
    assert first.is_self_signed
    assert first.is_new
    assert first.certificate == data_dir / "tls" / "cert.pem"
    assert stat.S_IMODE((data_dir / "tls" / "key.pem").stat().st_mode) == 0o600
    assert re.fullmatch(r"([0-9A-F]{2}:){31}[0-9A-F]{2}", first.fingerprint)
    assert sorted(path.name for path in (data_dir / "tls").iterdir()) == ["cert.pem", "key.pem"]
    again = tls_setup(self_signed(data_dir), NOW + timedelta(days=100))
    assert again is not None
    assert not again.is_new
    assert again.fingerprint == first.fingerprint


def test_a_key_that_others_could_read_is_closed_again(tmp_path: Path, hosts: list[HostNames]) -> None:
    tls_setup(self_signed(tmp_path), NOW)
    key = tmp_path / "tls" / "key.pem"
    key.chmod(0o644)
    tls_setup(self_signed(tmp_path), NOW)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def with_hosts(*, names: set[str] | None = None, addresses: set[str] | None = None) -> HostNames:
    return HostNames(
        names=LAN.names | (names or set()),
        addresses=LAN.addresses | set(map(ipaddress.ip_address, addresses or set())),
    )


@pytest.mark.parametrize(
    ("wanted", "later", "is_kept"),
    [
        (LAN, timedelta(), True),
        (LAN, timedelta(days=365), True),
        (LAN, timedelta(days=367), False),
        (LAN, timedelta(days=1000), False),
        (LAN, -timedelta(days=2), False),
        (with_hosts(addresses={"10.0.0.7"}), timedelta(), False),
        (with_hosts(names={"bus.example"}), timedelta(), False),
        (with_hosts(addresses={"2001:db8::21"}), timedelta(), True),
        (HostNames(names=frozenset({"localhost"}), addresses=frozenset()), timedelta(), True),
    ],
)
def test_it_is_made_anew_when_it_ends_or_does_not_cover_the_machine(
    tmp_path: Path, hosts: list[HostNames], wanted: HostNames, later: timedelta, *, is_kept: bool
) -> None:
    first = tls_setup(self_signed(tmp_path), NOW)
    hosts[0] = wanted
    second = tls_setup(self_signed(tmp_path), NOW + later)
    assert first is not None
    assert second is not None
    assert second.is_new is not is_kept
    assert (second.fingerprint == first.fingerprint) is is_kept


@pytest.mark.parametrize("damage", ["cert.pem", "key.pem"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"other", None])
def test_damaged_files_of_its_own_are_replaced(
    tmp_path: Path, hosts: list[HostNames], damage: str, content: bytes | None
) -> None:
    tls_setup(self_signed(tmp_path), NOW)
    path = tmp_path / "tls" / damage
    if content is None:
        path.unlink()
    elif content == b"other":
        path.write_bytes(make_certificate(LAN, NOW)[damage == "cert.pem"])
    else:
        path.write_bytes(content)
    setup = tls_setup(self_signed(tmp_path), NOW)
    assert setup is not None
    assert setup.is_new


def test_a_data_folder_that_is_a_file_is_one_clear_line(tmp_path: Path, hosts: list[HostNames]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert str(blocked) in refusal(self_signed(blocked))


def test_a_certificate_without_names_does_not_fit() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=90))
    assert not fits(builder.sign(key, hashes.SHA256()), LAN, NOW)


def test_the_machine_is_covered_by_name_and_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Box")
    found = local_host_names(
        ServeConfig(data_dir=Path("/d"), host="10.9.8.7", advertise_hosts=("bus.example", "10.9.8.6"))
    )
    assert {"localhost", "box", "box.local", "bus.example"} == found.names
    assert set(map(ipaddress.ip_address, ("127.0.0.1", "::1", "10.9.8.7", "10.9.8.6"))) <= found.addresses


def test_odd_machine_names_and_all_addresses_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Ann's box")
    found = local_host_names(ServeConfig(data_dir=Path("/d"), host="0.0.0.0"))
    assert found.names == {"localhost"}
    assert not any(address.is_unspecified or address.is_link_local for address in found.addresses)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    key_pem, certificate_pem = make_certificate(LAN, NOW)
    certificate, key = tmp_path / "bus.crt", tmp_path / "bus.key"
    certificate.write_bytes(certificate_pem)
    key.write_bytes(key_pem)
    return certificate, key


def test_the_operators_own_files_are_taken_as_they_are(pair: tuple[Path, Path]) -> None:
    setup = tls_setup(own_files(*pair), NOW + timedelta(days=9999))
    assert setup is not None
    assert not setup.is_self_signed
    assert setup.certificate == pair[0]


def test_files_that_are_not_there_are_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    assert refusal(own_files(missing, pair[1])) == (
        f"cannot read the TLS certificate {missing}: No such file or directory"
    )
    assert f"key {missing}" in refusal(own_files(pair[0], missing))
    assert f"certificate {tmp_path}: Is a directory" in refusal(own_files(tmp_path, pair[1]))


def test_a_key_of_another_certificate_is_named(pair: tuple[Path, Path]) -> None:
    pair[1].write_bytes(make_certificate(LAN, NOW)[0])
    assert "does not belong to" in refusal(own_files(*pair))


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_not_pem_is_named(pair: tuple[Path, Path], content: bytes) -> None:
    pair[0].write_bytes(content)
    assert "PEM" in refusal(own_files(*pair))


def test_swapped_files_are_not_taken(pair: tuple[Path, Path]) -> None:
    assert "PEM" in refusal(own_files(pair[1], pair[0]))


def test_an_encrypted_key_is_refused_without_asking_at_the_terminal(pair: tuple[Path, Path]) -> None:
    key = serialization.load_pem_private_key(pair[1].read_bytes(), None)
    pair[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    assert "is encrypted" in refusal(own_files(*pair))


async def test_a_client_that_is_given_the_certificate_trusts_it(tmp_path: Path) -> None:
    setup = tls_setup(self_signed(tmp_path), datetime.now(UTC))
    assert setup is not None

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=setup.context)
    port = server.sockets[0].getsockname()[1]
    trusting = ssl.create_default_context(cafile=str(setup.certificate))
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT  # what newer Pythons do by default
    async with server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        assert await reader.readline() == b"hello\n"
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context())

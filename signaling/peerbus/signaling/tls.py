"""
HTTPS: a TLS context from the operator's certificate, or from one that the server makes for itself.

Owns reading a certificate with its key, and the self-signed certificate in the data folder: what it says,
when it is made anew (ECDSA P-256, X.509 version 3, RFC 5280). Never opens a socket, never talks to a
certificate authority, and never changes files that the operator named.

A self-signed certificate encrypts, but nobody vouches for it: browsers warn once, and programs must be given
the file (`SSL_CERT_FILE=<data folder>/tls/cert.pem`). It stays the same until it nears its end or until the
machine has a name or an address that it does not cover. A new IPv6 address alone is no reason: temporary ones
(RFC 8981) change every day, and browsers would warn every day.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import ifaddr
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from peerbus.signaling.config import ServeConfig
from peerbus.signaling.setting_values import ConfigError

VALIDITY: Final = timedelta(days=397)
"""What browsers accept at most from public authorities; some refuse longer ones from anybody."""
RENEW_BEFORE: Final = timedelta(days=30)
"""A certificate that ends sooner is made anew at the start."""
CLOCK_SKEW: Final = timedelta(days=1)
"""It begins this long ago, for clients whose clock is behind."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})?(\.[a-z0-9_]([a-z0-9_-]{0,62})?)*")


class TlsSetup(msgspec.Struct, frozen=True, kw_only=True):
    """A context to serve with, and what to tell the operator about its certificate."""

    context: ssl.SSLContext
    certificate: Path
    fingerprint: str
    """SHA-256 of the certificate, as browsers show it: 32 pairs of capital hex digits with colons."""
    is_self_signed: bool
    is_new: bool = False
    """A self-signed certificate was made just now, so browsers will warn (again)."""


class HostNames(msgspec.Struct, frozen=True, kw_only=True):
    """Under what a server can be reached: DNS names in lower case, and addresses."""

    names: frozenset[str]
    addresses: frozenset[Address]

    @property
    def lasting(self) -> frozenset[str | Address]:
        """The names and IPv4 addresses: what does not change from day to day."""
        return self.names | {address for address in self.addresses if address.version == 4}


def tls_setup(config: ServeConfig, now: datetime) -> TlsSetup | None:
    """
    The TLS context that `config` asks for; None if it asks for none.

    `now` has a time zone. A self-signed certificate is made and written if there is none that fits. Raises
    `ConfigError` if files cannot be read or written, or are not a certificate and its key.
    """
    if config.tls_cert is not None and config.tls_key is not None:
        return _setup(config.tls_cert, config.tls_key)
    if config.tls is None:
        return None
    folder = config.data_dir / "tls"
    certificate, key = folder / "cert.pem", folder / "key.pem"
    wanted = local_host_names(config)
    is_new = not _is_usable(certificate, key, wanted, now)
    try:
        if is_new:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            key_pem, certificate_pem = make_certificate(wanted, now)
            _write(key, key_pem, 0o600)
            _write(certificate, certificate_pem, 0o644)
        else:
            key.chmod(0o600)
    except OSError as error:
        raise ConfigError(f"cannot keep a certificate in {folder}: {_reason(error)}") from None
    return msgspec.structs.replace(_setup(certificate, key), is_self_signed=True, is_new=is_new)


def local_host_names(config: ServeConfig) -> HostNames:
    """localhost, this machine's name, its `.local` form, the configured names, and all its addresses."""
    machine = socket.gethostname().lower()
    given = {"localhost", machine, config.host.lower(), *config.advertise_hosts}
    if "." not in machine:
        given.add(f"{machine}.local")
    addresses = {address for adapter in ifaddr.get_adapters() for address in _addresses(adapter)}
    addresses |= {ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1")}
    for text in given:
        try:
            addresses.add(ipaddress.ip_address(text))
        except ValueError:
            continue
    return HostNames(
        names=frozenset(name for name in given if _is_dns_name(name)),
        # A link-local address is no address without its interface, and "all addresses" is not one.
        addresses=frozenset(a for a in addresses if not a.is_link_local and not a.is_unspecified),
    )


def make_certificate(hosts: HostNames, now: datetime) -> tuple[bytes, bytes]:
    """A new key and a self-signed certificate for `hosts`, both PEM; valid from a day before `now`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peerbus (self-signed)")])
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now - CLOCK_SKEW + VALIDITY)
    )
    general_names: list[x509.GeneralName] = [x509.DNSName(host) for host in sorted(hosts.names)]
    general_names += [x509.IPAddress(address) for address in sorted(hosts.addresses, key=str)]
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.SubjectAlternativeName(general_names), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage_of_a_server_key(), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (key_id, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), False),
    ]
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    certificate = builder.sign(key, hashes.SHA256())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key_pem, certificate.public_bytes(serialization.Encoding.PEM)


def fits(certificate: x509.Certificate, wanted: HostNames, now: datetime) -> bool:
    """Whether a certificate covers what lasts of `wanted`, is valid at `now` and will be for a while."""
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc - RENEW_BEFORE:
        return False
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    covered = HostNames(
        names=frozenset(names.get_values_for_type(x509.DNSName)),
        addresses=frozenset(
            address
            for address in names.get_values_for_type(x509.IPAddress)
            if isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
        ),
    )
    return wanted.lasting <= covered.lasting


def _usage_of_a_server_key() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _setup(certificate: Path, key: Path) -> TlsSetup:
    for what, path in (("certificate", certificate), ("key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read the TLS {what} {path}: {_reason(error)}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without the callback OpenSSL would ask for the password of an encrypted key at the terminal.
        context.load_cert_chain(certificate, key, password=_refuse_encrypted)
    except _EncryptedKeyError:
        raise ConfigError(f"the TLS key {key} is encrypted: give one without a password") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"the TLS key {key} does not belong to the certificate {certificate}") from None
        raise ConfigError(f"{certificate} and {key} are not a certificate and its key in PEM") from None
    try:
        fingerprint = x509.load_pem_x509_certificate(certificate.read_bytes()).fingerprint(hashes.SHA256())
    except ValueError:
        raise ConfigError(f"{certificate} is not a certificate in PEM") from None
    return TlsSetup(
        context=context,
        certificate=certificate,
        fingerprint=fingerprint.hex(":").upper(),
        is_self_signed=False,
    )


class _EncryptedKeyError(Exception):
    """The key has a password."""


def _refuse_encrypted() -> str:
    raise _EncryptedKeyError


def _is_usable(certificate: Path, key: Path, wanted: HostNames, now: datetime) -> bool:
    """Whether the files kept from an earlier start can be served; damaged ones cannot."""
    try:
        _setup(certificate, key)
        return fits(x509.load_pem_x509_certificate(certificate.read_bytes()), wanted, now)
    except (ConfigError, OSError, ValueError):
        return False


def _write(path: Path, data: bytes, mode: int) -> None:
    """Puts a file in place in one step, never readable by more than `mode` says."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    new.replace(path)


def _addresses(adapter: ifaddr.Adapter) -> list[Address]:
    # ifaddr gives a string for version 4, and (address, flow, scope) for version 6.
    return [ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0]) for ip in adapter.ips]


def _is_dns_name(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return _HOST_NAME.fullmatch(name) is not None
    return False


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__

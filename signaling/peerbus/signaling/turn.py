"""
STUN and TURN servers for clients: which there are, by which ways, and credentials that end.

Owns the form of the addresses (RFC 7064, RFC 7065) and of the credentials, which are those of coturn's
`use-auth-secret`: the user name is `<seconds since 1970 when it ends>:<label>`, the password the base64 of its
HMAC-SHA1 under a secret that this server shares with the TURN server. The label tells clients apart for quotas, and
nobody who they are. Never opens a socket, reads a clock, or speaks to a TURN server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final

import msgspec

from peerbus.protocol.messages import IceServer
from peerbus.protocol.secrets import Secret

STUN_PORT: Final = 3478
_LABEL_CHARS: Final = 16
_ADDRESS: Final = re.compile(
    r"(?P<scheme>stuns?|turns?):(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:(?P<port>[0-9]{1,5}))?"
    r"(\?transport=(?P<transport>udp|tcp))?"
)


class TurnSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which TURN servers there are, and how the one is set up that this project configures."""

    hosts: tuple[str, ...] = ()
    """Names or addresses by which clients reach TURN servers; none: there are none."""
    port: int = STUN_PORT
    """For UDP and TCP alike."""
    tls_port: int = 0
    """0: not by TLS."""
    urls: tuple[str, ...] = ()
    """Addresses as they stand, beside those made from `hosts`: `stun:…`, `turn:…`, `turns:…`."""
    realm: str = ""
    """Empty: the first of `hosts`."""

    @property
    def is_on(self) -> bool:
        """Whether clients get any server."""
        return bool(self.hosts or self.urls)


def check_url(url: str) -> str:
    """The address as it was given. Raises `ValueError` for one that no browser would take."""
    found = _ADDRESS.fullmatch(url)
    if found is None:
        raise ValueError(
            f"{url!r} is no address of a STUN or TURN server, such as turn:turn.example.org:3478"
        )
    if found["scheme"].startswith("stun") and found["transport"] is not None:
        raise ValueError(f"{url!r}: only turn: and turns: have a transport")
    if found["scheme"] == "turns" and found["transport"] == "udp":
        raise ValueError(f"{url!r}: turns: is TLS, which goes over tcp")
    if found["port"] is not None and not 0 < int(found["port"]) < 65536:
        raise ValueError(f"{url!r}: there is no port {found['port']}")
    return url


def urls_of(settings: TurnSettings) -> list[str]:
    """Every way to every server, the quickest first: STUN, then TURN over UDP, TCP and TLS."""
    hosts = [f"[{host}]" if ":" in host else host for host in settings.hosts]
    ways = [
        *(f"stun:{host}:{settings.port}" for host in hosts),
        *(f"turn:{host}:{settings.port}?transport=udp" for host in hosts),
        *(f"turn:{host}:{settings.port}?transport=tcp" for host in hosts),
    ]
    if settings.tls_port:
        ways += [f"turns:{host}:{settings.tls_port}?transport=tcp" for host in hosts]
    return [*ways, *(url for url in settings.urls if url not in ways)]


def secret_from(master_key: bytes) -> Secret:
    """The secret shared with TURN servers where the operator gives none: it follows from the master key."""
    digest = hmac.digest(master_key, b"peerbus/turn-secret/1", hashlib.sha256)
    return Secret(base64.urlsafe_b64encode(digest).decode().rstrip("="))


def credential(secret: Secret, username: str) -> Secret:
    """The password of a user name; coturn computes the same."""
    digest = hmac.digest(secret.reveal().encode(), username.encode(), hashlib.sha1)
    return Secret(base64.b64encode(digest).decode())


class IceIssuer:
    """Gives each client its servers."""

    def __init__(self, settings: TurnSettings, secret: Secret, ttl_ms: int) -> None:
        self.ttl_ms: Final = ttl_ms
        urls = urls_of(settings)
        self._stun: Final = [url for url in urls if url.startswith("stun")]
        self._turn: Final = [url for url in urls if url.startswith("turn")]
        self._secret: Final = secret

    def servers(self, project: str, identity: str, wall_ms: int) -> list[IceServer]:
        """The servers for a client, with a credential that ends `ttl_ms` after `wall_ms` (since 1970)."""
        servers = [IceServer(urls=self._stun)] if self._stun else []
        if self._turn:
            username = f"{(wall_ms + self.ttl_ms) // 1000}:{self._label(project, identity)}"
            secret = credential(self._secret, username)
            servers.append(IceServer(urls=self._turn, username=username, credential=secret))
        return servers

    def _label(self, project: str, identity: str) -> str:
        """The same for the same client, and nothing that could be turned back into who it is."""
        key = self._secret.reveal().encode()
        digest = hmac.digest(key, f"peerbus/turn-label/1\0{project}\0{identity}".encode(), hashlib.sha256)
        # Letters and digits alone: coturn splits at the colon, and logs the rest.
        return base64.b32encode(digest).decode().lower()[:_LABEL_CHARS]

"""
What the connection tester found out, before anybody says what it means.

Owns the shapes; the page /test has the same, and `tests/vectors/doctor` is run by both. None: it was not tried.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

DeviceState: TypeAlias = Literal["ok", "none", "denied", "forbidden", "busy", "failed", "untried"]
"""`denied`: by the person, to this site; `forbidden`: by the system, to this program."""


class Attempt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that was tried once: it took `ms`, or it failed."""

    ms: int | None = None
    error: str = ""
    """The exact words of the failure."""
    code: str = ""
    """An error code of the wire, the number in a STUN error, or one of those in `server_findings`."""

    @property
    def is_ok(self) -> bool:
        """Whether it worked."""
        return self.ms is not None


class ServerAttempt(Attempt, frozen=True, kw_only=True, omit_defaults=True):
    """One address of a STUN or TURN server."""

    url: str


class CallAttempt(Attempt, frozen=True, kw_only=True, omit_defaults=True):
    """Two members of a call through the media worker; `ms` until both were in it."""

    data_ms: int | None = None
    """There and back again, by the data channel."""
    media_ms: int | None = None
    """From publishing to the first picture on the other side."""


class Candidates(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many addresses ICE found, by kind; `ipv6` counts among the others, too."""

    host: int = 0
    mdns: int = 0
    srflx: int = 0
    relay: int = 0
    ipv6: int = 0


class Nat(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One own port as several STUN servers see it."""

    servers: int = 0
    """How many answered."""
    mappings: tuple[str, ...] = ()
    """What they saw, each once: `address:port`."""
    is_direct: bool = False
    """It is an address of this machine."""


class Quality(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Small messages by the unreliable data channel, there and back again."""

    sent: int
    received: int
    rtt_ms: float = 0.0
    jitter_ms: float = 0.0


class Facts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of it."""

    is_secure: bool | None = None
    """Of a page: whether the browser takes it for secure."""
    is_address_secure: bool | None = None
    """Of a program: whether browsers would."""
    server: Attempt | None = None
    """Whether `GET /v1/status` is answered as a peerbus server does."""
    websocket: Attempt | None = None
    longpoll: Attempt | None = None
    servers: tuple[ServerAttempt, ...] | None = None
    candidates: Candidates | None = None
    nat: Nat | None = None
    call: CallAttempt | None = None
    """Without any TURN server."""
    relay_call: CallAttempt | None = None
    """Through TURN servers only."""
    mbit_per_s: float | None = None
    quality: Quality | None = None
    camera: DeviceState | None = None
    microphone: DeviceState | None = None

"""
The ICE side of one connection: who may send to it, and from where.

Owns the credentials, the addresses that have proven themselves, and the answer to each check. A lite agent has public
candidates and is always controlled. It need not send checks, and this one sends a single kind: to an address from which
something authentic came that no check has come from yet, so that a client whose network changed is followed at once,
and not when its own next check is due. Never touches a socket or a clock. See RFC 8445 (section 2.5) and RFC 7675
(consent).
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from peerbus.sfu.stun import (
    BINDING_ERROR,
    BINDING_REQUEST,
    BINDING_SUCCESS,
    ERROR_CODE,
    ICE_CONTROLLED,
    PRIORITY,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    StunMessage,
    error_code,
    has_integrity,
    write_stun,
    xor_address,
)

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""As the socket gives it: host, port and, with IPv6, flow and scope."""

CONSENT_TIMEOUT_MS: Final = 30_000
PATH_SILENCE_MS: Final = 1_000
"""A path over which nothing came for this long gives way to one over which a check comes."""
PROBE_INTERVAL_MS: Final = 200
PROBE_TIMEOUT_MS: Final = 5_000
_PROBE_PRIORITY: Final = (110 << 24 | 65_535 << 8 | 255).to_bytes(4, "big")
"""Of a peer-reflexive candidate (RFC 8445, section 5.1.2)."""
_ADDRESSES_MAX: Final = 8


class IceCredentials(NamedTuple):
    """User fragment and password of one side."""

    fragment: str
    password: str


class _Probe(NamedTuple):
    """A check that was sent."""

    transaction: bytes
    target: Address
    sent_at_ms: int


class Check(NamedTuple):
    """The outcome of a binding request: what to answer, and whether the path for sending has moved."""

    response: bytes
    is_valid: bool
    has_moved: bool = False


def receiver_of(message: StunMessage) -> str | None:
    """The user fragment of ours that a request is meant for: the part of USERNAME before the colon."""
    username = message.attributes.get(USERNAME)
    if username is None or len(username) > 513:
        return None
    try:
        return username.decode("utf-8").partition(":")[0]
    except UnicodeDecodeError:
        return None


class IceLite:
    """
    One connection's ICE state. `path` is the address to send to, once there is one.

    An address is valid from its first correct check until it has sent none for `CONSENT_TIMEOUT_MS`.
    """

    def __init__(self, local: IceCredentials, remote: IceCredentials) -> None:
        self.local: Final = local
        self.remote = remote
        self.path: Address | None = None
        self._valid: dict[Address, int] = {}
        self._former: str | None = None
        self._probe: _Probe | None = None
        self.path_heard_at_ms = 0
        """When something authentic or a check last came over the path; whoever sees other packets sets it."""

    def is_valid(self, address: Address) -> bool:
        """Whether packets from there are the peer's."""
        return address in self._valid

    @property
    def addresses(self) -> list[Address]:
        """All valid addresses."""
        return list(self._valid)

    def restart(self, remote: IceCredentials) -> None:
        """The peer has new credentials; valid addresses stay until they expire, checks under way stay good."""
        if remote != self.remote:
            self._former = self.remote.fragment
        self.remote = remote

    def receive(self, data: bytes, message: StunMessage, source: Address, now_ms: int) -> Check | None:
        """
        A STUN message that names this connection. None means: drop it without a word.

        Only a request with the right integrity makes an address valid. A nomination (USE-CANDIDATE) moves the path
        there; so does any valid check while there is no path, or nothing has come over it for a while.
        """
        if message.kind != BINDING_REQUEST or not has_integrity(data, message, self.local.password.encode()):
            return None
        if message.attributes.get(USERNAME) not in self._usernames():
            return None
        password = self.local.password.encode()
        if ICE_CONTROLLED in message.attributes:
            # Both would be controlled; the peer has to switch (RFC 8445, section 7.3.1.1).
            body = [(ERROR_CODE, error_code(487, "Role Conflict"))]
            return Check(write_stun(BINDING_ERROR, message.transaction, body, password), False)
        self._prove(source, now_ms)
        has_moved = False
        nominates = USE_CANDIDATE in message.attributes
        # Not every client nominates again when its address has changed: Firefox goes on checking from the new one.
        is_silent = now_ms - self.path_heard_at_ms > PATH_SILENCE_MS
        if source != self.path and (self.path is None or nominates or is_silent):
            has_moved = True
            self.path = source
        if source == self.path:
            self.path_heard_at_ms = now_ms
        address = xor_address(source[0], source[1], message.transaction)
        response = write_stun(BINDING_SUCCESS, message.transaction, [(XOR_MAPPED_ADDRESS, address)], password)
        return Check(response, True, has_moved)

    def probe(self, target: Address, transaction: bytes, now_ms: int) -> bytes | None:
        """
        A check for an address that something authentic came from; None if one was sent a moment ago.

        `transaction` is 12 random bytes.
        """
        if self._probe is not None and now_ms - self._probe.sent_at_ms < PROBE_INTERVAL_MS:
            return None
        self._probe = _Probe(transaction, target, now_ms)
        attributes = [
            (USERNAME, f"{self.remote.fragment}:{self.local.fragment}".encode()),
            (PRIORITY, _PROBE_PRIORITY),
            (ICE_CONTROLLED, transaction[:8]),
        ]
        return write_stun(BINDING_REQUEST, transaction, attributes, self.remote.password.encode())

    def awaits(self, transaction: bytes, now_ms: int) -> bool:
        """Whether the answer to this check may still come."""
        probe = self._probe
        return (
            probe is not None
            and probe.transaction == transaction
            and now_ms - probe.sent_at_ms <= PROBE_TIMEOUT_MS
        )

    def answered(self, data: bytes, message: StunMessage, source: Address, now_ms: int) -> bool:
        """Whether this answers the latest check, from where that went, signed by the peer: the path moves there."""
        probe = self._probe
        if (
            probe is None
            or not self.awaits(message.transaction, now_ms)
            or message.kind != BINDING_SUCCESS
            or source != probe.target
            or not has_integrity(data, message, self.remote.password.encode())
        ):
            return False
        self._prove(source, now_ms)
        self.path, self.path_heard_at_ms = source, now_ms
        return True

    def _prove(self, source: Address, now_ms: int) -> None:
        if source not in self._valid and len(self._valid) >= _ADDRESSES_MAX:
            oldest = min((address for address in self._valid if address != self.path), key=self._heard)
            del self._valid[oldest]
        self._valid[source] = now_ms

    def expire(self, now_ms: int) -> bool:
        """Forgets addresses that are silent for too long; False when none is left though there was one."""
        had_any = bool(self._valid)
        oldest_ms = now_ms - CONSENT_TIMEOUT_MS
        self._valid = {address: at for address, at in self._valid.items() if at > oldest_ms}
        if self.path is not None and self.path not in self._valid:
            self.path = max(self._valid, key=self._heard, default=None)
        return bool(self._valid) or not had_any

    def _usernames(self) -> list[bytes]:
        fragments = [self.remote.fragment] + ([] if self._former is None else [self._former])
        return [f"{self.local.fragment}:{fragment}".encode() for fragment in fragments]

    def _heard(self, address: Address) -> int:
        return self._valid[address]

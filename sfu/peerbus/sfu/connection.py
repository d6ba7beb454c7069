"""
One client's peer connection, from its first check to its end.

Owns what belongs to one offer's transport: ICE-lite, the DTLS session, and the engine's peer once there are keys. Lets
nothing but STUN through from an address that has not proven itself. Never knows a room or a description's tracks.
See RFC 8445, RFC 8827 (section 6.5) and RFC 7983.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from aiortc import RTCCertificate

from peerbus.sfu.dtls import DataChannel, DtlsSession
from peerbus.sfu.engine import PacketEngine, PeerId
from peerbus.sfu.ice_lite import Address, IceCredentials, IceLite
from peerbus.sfu.sdp import Description
from peerbus.sfu.srtp import SrtpKeys
from peerbus.sfu.stun import StunMessage

CONNECT_TIMEOUT_MS: Final = 30_000


class Owner(Protocol):
    """Whoever is told what happens to a connection."""

    def connected(self) -> None:
        """The handshake is done; media can flow."""

    def channel_opened(self, channel: DataChannel) -> None:
        """The client has opened a data channel."""

    def progressed(self) -> None:
        """The client may have acknowledged data."""

    def ended(self, code: str, reason: str) -> None:
        """The connection is over; told once, and not after `close`."""


class PeerConnection:
    """One connection. `send` takes a datagram and where it goes."""

    def __init__(
        self,
        local: IceCredentials,
        offer: Description,
        certificate: RTCCertificate,
        engine: PacketEngine,
        send: Callable[[bytes, Address], None],
        owner: Owner,
        now_ms: int,
    ) -> None:
        self.ice: Final = IceLite(local, IceCredentials(offer.fragment, offer.password))
        self.peer: PeerId | None = None
        """The engine's name for it, once there are keys."""
        self.dropped = 0
        """Datagrams from addresses that are not valid, and others that nobody wants."""
        self._engine = engine
        self._send = send
        self._owner = owner
        self._opened_at_ms = now_ms
        self._is_closed = False
        self._has_ended = False
        self._closing: asyncio.Task[None] | None = None
        self._dtls = DtlsSession(
            certificate,
            offer.fingerprints,
            send=self._send_datagram,
            on_keys=self._got_keys,
            on_channel=owner.channel_opened,
            on_progress=owner.progressed,
            on_closed=lambda reason: self._ended("connection_lost", reason),
        )
        self._dtls.start()

    def open_data(self, port: int, max_bytes: int) -> None:
        """Takes data channels; only the first call counts."""
        self._dtls.open_data(port, max_bytes)

    @property
    def bad_data(self) -> int:
        """SCTP packets that were refused."""
        return self._dtls.refused

    @property
    def data_in_flight_bytes(self) -> int:
        """Data that the client has not acknowledged."""
        return self._dtls.backlog_bytes

    def restart(self, offer: Description) -> None:
        """A later offer; new credentials in it are an ICE restart."""
        self.ice.restart(IceCredentials(offer.fragment, offer.password))

    def receive_stun(self, data: bytes, message: StunMessage, source: Address, now_ms: int) -> bool:
        """A check that names this connection; True if `source` is the client's."""
        check = self.ice.receive(data, message, source, now_ms)
        if check is None:
            self.dropped += 1
            return False
        self._send(check.response, source)
        if check.has_moved and self.peer is not None and self.ice.path is not None:
            self._engine.move_peer(self.peer, self.ice.path)
        return check.is_valid

    def probe(self, target: Address, transaction: bytes, now_ms: int) -> bool:
        """Something authentic came from an address that is not valid; True if a check went there."""
        check = self.ice.probe(target, transaction, now_ms)
        if check is None:
            return False
        self._send(check, target)
        return True

    def receive_answer(self, data: bytes, message: StunMessage, source: Address, now_ms: int) -> bool:
        """The answer to a check; True if `source` is the client's, which is found there from now on."""
        if not self.ice.answered(data, message, source, now_ms):
            self.dropped += 1
            return False
        if self.peer is not None:
            self._engine.move_peer(self.peer, source)
        return True

    def receive(self, data: bytes, source: Address, now_ms: int) -> None:
        """Anything but STUN."""
        if source == self.ice.path:
            self.ice.path_heard_at_ms = now_ms
        elif not self.ice.is_valid(source):
            self.dropped += 1
            return
        first = data[0]
        if 128 <= first <= 191:
            if self.peer is None:
                self.dropped += 1
            else:
                self._engine.receive(self.peer, data, now_ms)
        elif 20 <= first <= 63:
            self._dtls.receive(data)
        else:
            self.dropped += 1

    def tick(self, now_ms: int) -> list[Address]:
        """About once a second: the addresses that are no longer valid; ends a connection that has none left."""
        before = self.ice.addresses
        is_alive = self.ice.expire(now_ms)
        if not is_alive:
            self._ended("connection_lost", "The client has been silent for too long.")
        elif self.peer is None and now_ms - self._opened_at_ms > CONNECT_TIMEOUT_MS:
            self._ended("connect_timeout", "The connection was not established in time.")
        elif self.peer is not None and self.ice.path is not None:
            self._engine.move_peer(self.peer, self.ice.path)
        after = set(self.ice.addresses)
        return [address for address in before if address not in after]

    def close(self) -> asyncio.Task[None] | None:
        """Ends it without a word to the owner; the task says goodbye to the client."""
        if not self._is_closed:
            self._is_closed = True
            if self.peer is not None:
                self._engine.remove_peer(self.peer)
                self.peer = None
            self._closing = asyncio.ensure_future(self._dtls.close())
        return self._closing

    def _send_datagram(self, data: bytes) -> None:
        if self.ice.path is not None:
            self._send(data, self.ice.path)

    def _got_keys(self, keys: SrtpKeys) -> None:
        if not self._is_closed and self.ice.path is not None:
            self.peer = self._engine.add_peer(keys, self.ice.path)
            self._owner.connected()

    def _ended(self, code: str, reason: str) -> None:
        if not self._is_closed and not self._has_ended:
            self._has_ended = True
            # The owner takes back what it gave to the engine, and closes this connection; it may have done so.
            self._owner.ended(code, reason)
            self.close()

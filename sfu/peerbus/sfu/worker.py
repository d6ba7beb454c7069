"""
One SFU worker: a UDP port, the connections behind it, and the rooms they belong to.

Owns sockets, clock and tasks; hands each datagram to the connection it is for, each control message to its room, and
time to both. A room lives from its first forwarded signal until it is released or empty. Never decides what happens
in a room. See RFC 7983 for telling protocols apart.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import string
import time
from collections.abc import Callable
from typing import Final

import msgspec

from peerbus.protocol import signals
from peerbus.protocol.signals import (
    Announce,
    Deliver,
    Forward,
    Gone,
    Load,
    Release,
    Renewed,
    Roster,
    ServerToWorker,
    SfuSignal,
    WorkerToServer,
)
from peerbus.sfu.connection import Owner, PeerConnection
from peerbus.sfu.data_hook import Hook
from peerbus.sfu.dtls import fingerprint_of, make_certificate
from peerbus.sfu.engine import PacketEngine
from peerbus.sfu.ice_lite import Address, IceCredentials, receiver_of
from peerbus.sfu.negotiation import Candidate, Transport
from peerbus.sfu.python_engine import PythonEngine
from peerbus.sfu.room import Room
from peerbus.sfu.sdp import Description
from peerbus.sfu.stun import BINDING_SUCCESS, StunError, is_stun, parse_stun
from peerbus.sfu.udp import UdpPort

logger = logging.getLogger(__name__)

_TICK_S: Final = 0.02
_LEVELS_EVERY: Final = 5
_SECOND_EVERY: Final = 50
_EMPTY_ROOM_MS: Final = 30_000
_SEARCHES_PER_S: Final = 100
"""How many packets from nowhere are looked at; a flood of them costs no more."""
_LETTERS: Final = string.ascii_letters + string.digits
_GOODBYES: Final[dict[str, str]] = {
    "kicked": "You were removed from the channel.",
    "expired": "The credential has expired.",
    "revoked": "The credential was revoked.",
}

RoomKey = tuple[str, bytes]


def _key(room: signals.Room) -> RoomKey:
    return room.scope, room.channel_id


class Worker:
    """
    A worker; `send` takes what is for the server, `receive` what comes from there. `hook` checks data, if there is one.

    Opens its port on construction, which raises `OSError` with a text for the operator.
    """

    def __init__(
        self, host: str, port: int, send: Callable[[WorkerToServer], None], hook: Hook | None = None
    ) -> None:
        self._udp = UdpPort(host, port, self._datagram)
        self._tell_server = send
        self._hook: Final = hook
        self.engine: PacketEngine = PythonEngine(self._udp.send)
        self.candidates: tuple[Candidate, ...] = ()
        """What answers name; to be set before the first offer comes."""
        self._certificate = make_certificate()
        self._fingerprint = fingerprint_of(self._certificate)
        self._rooms: dict[RoomKey, Room] = {}
        self._emptied_at_ms: dict[RoomKey, int] = {}
        self._by_fragment: dict[str, PeerConnection] = {}
        self._by_address: dict[Address, PeerConnection] = {}
        # Checks of ours that are under way, by transaction.
        self._probes: dict[bytes, PeerConnection] = {}
        self._searches_left = _SEARCHES_PER_S
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._cpu_s = time.process_time()
        self._cpu_at_ms = self.now_ms()
        self.is_draining = False
        self.stray = 0
        """Datagrams that belong to no connection."""
        self._foreign_of_closed = 0
        self._bad_data_of_closed = 0

    @property
    def port(self) -> int:
        """The UDP port."""
        return self._udp.port

    @property
    def udp(self) -> UdpPort:
        """The socket."""
        return self._udp

    def now_ms(self) -> int:
        """The monotonic time."""
        return time.monotonic_ns() // 1_000_000

    def start(self) -> None:
        """Begins to work, in the running event loop."""
        self._udp.start()
        self._ticking = asyncio.create_task(self._tick(), name="sfu-tick")

    async def close(self) -> None:
        """Ends every connection and gives the port back."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        for room in self._rooms.values():
            room.close()
        self._rooms.clear()
        if self._goodbyes:
            await asyncio.gather(*self._goodbyes, return_exceptions=True)
        self._udp.close()

    # --- the server -------------------------------------------------------------------------------------------

    def announce(self) -> Announce:
        """The rooms it serves."""
        return Announce(rooms=[room.room for room in self._rooms.values()])

    def receive(self, message: ServerToWorker) -> None:
        """A control message. One with an older term than its room has is of a placement that is over."""
        key = _key(message.room)
        room = self._rooms.get(key)
        if room is not None and message.room.term < room.room.term:
            return
        if isinstance(message, Forward):
            if room is None or message.room.term > room.room.term:
                room = self._open_room(message.room)
            self._emptied_at_ms.pop(key, None)
            try:
                room.receive(message.participant, message.signal, self.now_ms())
            except Exception:
                logger.exception("A signal could not be followed")
        elif room is None:
            return
        elif isinstance(message, Gone):
            room.remove(message.identity, message.code, _GOODBYES.get(message.code, "You left the channel."))
        elif isinstance(message, Renewed):
            room.renew(message.participant)
        elif isinstance(message, Roster):
            room.keep_only(message.identities)
        elif isinstance(message, Release):
            room.close()
            del self._rooms[key]

    def _open_room(self, description: signals.Room) -> Room:
        former = self._rooms.pop(_key(description), None)
        if former is not None:
            # The room was elsewhere in between; its clients offer anew.
            former.close()

        def tell(identities: list[str], signal: SfuSignal) -> None:
            self._tell_server(Deliver(room=description, identities=identities, signal=signal))

        room = Room(description, self, tell, self._hook)
        self._rooms[_key(description)] = room
        return room

    # --- connections (what a room needs of its host) ---------------------------------------------------------

    def open_connection(
        self, offer: Description, owner: Owner, now_ms: int
    ) -> tuple[PeerConnection, Transport]:
        """See `room.Host`."""
        credentials = IceCredentials(_random_text(8), _random_text(24))
        connection = PeerConnection(
            credentials, offer, self._certificate, self.engine, self._udp.send, owner, now_ms
        )
        self._by_fragment[credentials.fragment] = connection
        return connection, self.transport_of(connection)

    def transport_of(self, connection: PeerConnection) -> Transport:
        """See `room.Host`."""
        return Transport(
            credentials=connection.ice.local, fingerprint=self._fingerprint, candidates=self.candidates
        )

    def close_connection(self, connection: PeerConnection) -> None:
        """See `room.Host`."""
        goodbye = connection.close()
        if goodbye is not None and goodbye not in self._goodbyes:
            self._goodbyes.add(goodbye)
            goodbye.add_done_callback(self._said_goodbye)
        if self._by_fragment.pop(connection.ice.local.fragment, None) is not None:
            self._foreign_of_closed += connection.dropped
            self._bad_data_of_closed += connection.bad_data
        self._probes = {number: asked for number, asked in self._probes.items() if asked is not connection}
        for address in connection.ice.addresses:
            if self._by_address.get(address) is connection:
                del self._by_address[address]

    def _said_goodbye(self, goodbye: asyncio.Task[None]) -> None:
        self._goodbyes.discard(goodbye)
        if not goodbye.cancelled() and goodbye.exception() is not None:
            logger.warning("A connection could not be closed: %r", goodbye.exception())

    def new_ssrc(self) -> int:
        """See `room.Host`; with 32 random bits two of one connection are never the same in practice."""
        return secrets.randbits(32) or 1

    # --- datagrams --------------------------------------------------------------------------------------------

    def _datagram(self, data: bytes, source: Address) -> None:
        now_ms = time.monotonic_ns() // 1_000_000
        connection = self._by_address.get(source)
        try:
            if data[0] < 4:
                self._stun(data, source, now_ms)
            elif connection is not None:
                connection.receive(data, source, now_ms)
            else:
                self.stray += 1
                self._search(data, source, now_ms)
        except Exception:
            logger.exception("A datagram could not be handled")

    def _search(self, data: bytes, source: Address, now_ms: int) -> None:
        """Perhaps the network of a client has changed: one whose packet this is is asked, there, whether it is so."""
        if not 128 <= data[0] <= 191 or not self._searches_left:
            return
        self._searches_left -= 1
        peer = self.engine.sender_of(data)
        if peer is None:
            return
        connection = next(one for one in self._by_fragment.values() if one.peer == peer)
        transaction = secrets.token_bytes(12)
        if connection.probe(source, transaction, now_ms):
            self._probes[transaction] = connection

    def _stun(self, data: bytes, source: Address, now_ms: int) -> None:
        if not is_stun(data):
            self.stray += 1
            return
        try:
            message = parse_stun(data)
        except StunError:
            self.stray += 1
            return
        if message.kind == BINDING_SUCCESS:
            asked = self._probes.pop(message.transaction, None)
            if asked is None:
                self.stray += 1
            elif asked.receive_answer(data, message, source, now_ms):
                self._by_address[source] = asked
            return
        fragment = receiver_of(message)
        connection = None if fragment is None else self._by_fragment.get(fragment)
        if connection is None:
            self.stray += 1
        elif connection.receive_stun(data, message, source, now_ms):
            self._by_address[source] = connection

    # --- time -------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        for count in itertools.count(1):
            await asyncio.sleep(_TICK_S)
            try:
                now_ms = self.now_ms()
                self.engine.tick(now_ms)
                if count % _LEVELS_EVERY == 0:
                    levels = self.engine.levels()
                    for room in self._rooms.values():
                        room.hear(levels, now_ms)
                if count % _SECOND_EVERY == 0:
                    self._second(now_ms)
            except Exception:
                logger.exception("A tick failed")

    def _second(self, now_ms: int) -> None:
        self._searches_left = _SEARCHES_PER_S
        self._probes = {
            transaction: connection
            for transaction, connection in self._probes.items()
            if connection.ice.awaits(transaction, now_ms)
        }
        wall_ms = time.time_ns() // 1_000_000
        for connection in list(self._by_fragment.values()):
            for address in connection.tick(now_ms):
                if self._by_address.get(address) is connection:
                    del self._by_address[address]
        for key, room in list(self._rooms.items()):
            room.expire(wall_ms)
            if not room.is_empty:
                self._emptied_at_ms.pop(key, None)
            elif now_ms - self._emptied_at_ms.setdefault(key, now_ms) > _EMPTY_ROOM_MS:
                del self._rooms[key], self._emptied_at_ms[key]
        self._tell_server(self.load(now_ms))

    def load(self, now_ms: int) -> Load:
        """What it serves now; saying so renews the leases of its rooms."""
        cpu_s = time.process_time()
        elapsed_s = max(0.001, (now_ms - self._cpu_at_ms) / 1000)
        share = (cpu_s - self._cpu_s) / elapsed_s
        self._cpu_s, self._cpu_at_ms = cpu_s, now_ms
        return Load(
            rooms=[room.room for room in self._rooms.values()],
            participants=sum(room.participants for room in self._rooms.values()),
            cpu_share=round(share, 3),
            is_draining=self.is_draining,
            counts=self.counts(),
        )

    def counts(self) -> dict[str, int]:
        """What happened since the start: the engine's counts, and datagrams that went no further than the port."""
        return {
            **msgspec.structs.asdict(self.engine.counts),
            "stray": self.stray,
            "foreign": self._foreign_of_closed + sum(one.dropped for one in self._by_fragment.values()),
            "bad_data": self._bad_data_of_closed + sum(one.bad_data for one in self._by_fragment.values()),
            "empty": self._udp.empty,
            "not_taken": self._udp.dropped,
        }


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(length))

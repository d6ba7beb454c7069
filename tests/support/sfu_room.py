"""
A worker in this process, and participants made of packets at it.

Owns the worker and one room; what signaling would pass on goes from hand to hand.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from peerbus.protocol.signals import (
    ClientSignal,
    Deliver,
    Forward,
    Offer,
    Participant,
    Room,
    ServerToWorker,
    WorkerToServer,
)
from peerbus.sfu.negotiation import Candidate
from peerbus.sfu.rtp.packet import header
from peerbus.sfu.worker import Worker
from tests.support.raw_peer import VP8, RawPeer

KEYFRAME = b"\x10\x00\x9d\x01\x2a"
DELTA = b"\x10\x01\x00"

_WIRE = msgspec.msgpack.Encoder()


class SfuRoom:
    """`async with SfuRoom() as room`; on leaving, everything is closed and nothing may be left over."""

    def __init__(self, term: int = 1) -> None:
        self.room = Room(scope="test", channel_id=b"room", term=term)
        self.peers: dict[str, RawPeer] = {}
        self.said: list[WorkerToServer] = []
        self.worker = Worker("127.0.0.1", 0, self._said)
        self.worker.candidates = (Candidate("127.0.0.1", self.worker.port),)

    async def __aenter__(self) -> SfuRoom:
        self.worker.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.worker.close()
        for peer in self.peers.values():
            await peer.close()

    def tell(self, message: ServerToWorker) -> None:
        """What signaling says, over the form it has on the wire."""
        self.worker.receive(msgspec.msgpack.decode(_WIRE.encode(message), type=ServerToWorker))

    def _said(self, message: WorkerToServer) -> None:
        message = msgspec.msgpack.decode(_WIRE.encode(message), type=WorkerToServer)
        self.said.append(message)
        if isinstance(message, Deliver):
            for identity in message.identities:
                if identity in self.peers:
                    self.peers[identity].told(message.signal)

    def ask(self, participant: Participant, signal: ClientSignal) -> None:
        """A signal of a participant."""
        self.tell(Forward(room=self.room, participant=participant, signal=signal))

    def peer(self, identity: str, **options: Any) -> RawPeer:
        """A participant that has not offered yet; takes the place of an earlier one of this name."""

        def ask(participant: Participant, offer: Offer) -> None:
            self.ask(participant, offer)

        peer = RawPeer(identity, ask, **options)
        self.peers[identity] = peer
        return peer

    async def join(self, identity: str, **options: Any) -> RawPeer:
        """A participant in the call."""
        peer = self.peer(identity, **options)
        await peer.connect()
        return peer


class Video:
    """A publisher's picture, packet by packet: 30 a second, a keyframe where asked for."""

    def __init__(self, peer: RawPeer, ssrc: int, *, sequence: int = 65_530) -> None:
        self._peer = peer
        self._ssrc = ssrc
        self._numbers = itertools.count(sequence)
        self.sent: list[bytes] = []

    def packet(self, *, is_keyframe: bool = False, payload: bytes = b"") -> bytes:
        """The next packet."""
        number = next(self._numbers)
        body = (KEYFRAME if is_keyframe else DELTA) + number.to_bytes(4, "big") + payload
        data = header(VP8, True, number & 0xFFFF, number * 3000 & 0xFFFFFFFF, self._ssrc) + body
        self.sent.append(data)
        return data

    def send(self, count: int = 1, *, is_keyframe: bool = False) -> None:
        """The next packets; the first of them begins a keyframe if asked for."""
        for index in range(count):
            self._peer.send_rtp(self.packet(is_keyframe=is_keyframe and index == 0))


async def until(condition: Callable[[], object], what: str = "", timeout_s: float = 20.0) -> None:
    """Waits until it holds; what comes over sockets needs a moment, how long is no matter."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110  what is waited for is in another's state
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"did not come true: {what or condition}") from None

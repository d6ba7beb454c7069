"""
A room between a host and an engine that only take notes, and members that read what they are told.

Owns the strictness: an id that the engine does not know, or has forgotten, is a KeyError, as in the real one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final, cast

import msgpack

from peerbus.protocol import signals
from peerbus.protocol.grants import ALL_OPERATIONS
from peerbus.protocol.signals import (
    Answer,
    ClientSignal,
    Ended,
    Offer,
    OfferedTrack,
    Publications,
    Refused,
    SfuSignal,
    Slots,
    Source,
)
from peerbus.sfu.connection import Owner, PeerConnection
from peerbus.sfu.engine import (
    EngineCounts,
    LegId,
    LegSpec,
    PeerId,
    StreamId,
    StreamSpec,
)
from peerbus.sfu.ice_lite import Address, IceCredentials
from peerbus.sfu.negotiation import Candidate, Transport
from peerbus.sfu.room import Room
from peerbus.sfu.sdp import Description, Fingerprint
from peerbus.sfu.srtp import SrtpKeys

FINGERPRINT: Final = Fingerprint("sha-256", ":".join(["AB"] * 32))
ROOM: Final = signals.Room(scope="private:p", channel_id=b"c" * 32, term=7)


def sdp(*sections: tuple[str, str, str], data: bool = True, codecs: dict[str, str] | None = None) -> str:
    """An offer with sections of (mid, kind, direction), and a data section."""
    names = {"audio": "opus/48000/2", "video": "VP8/90000", **(codecs or {})}
    lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=ice-ufrag:abcd", "a=ice-pwd:" + "p" * 22]
    lines += [f"a=fingerprint:sha-256 {FINGERPRINT.value}", "a=setup:actpass"]
    for mid, kind, direction in sections:
        number = 111 if kind == "audio" else 96
        lines += [f"m={kind} 9 UDP/TLS/RTP/SAVPF {number}{' 97' if kind == 'video' else ''}", f"a=mid:{mid}"]
        lines += [f"a={direction}", f"a=rtpmap:{number} {names[kind]}"]
        if kind == "video":
            lines += ["a=rtpmap:97 rtx/90000", "a=fmtp:97 apt=96"]
    if data:
        lines += ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "a=mid:data", "a=sctp-port:5000"]
    return "\r\n".join(lines) + "\r\n"


class NotingEngine:
    """A `PacketEngine` that moves nothing; `unfit` streams cannot be taken by any leg of `unfit_legs`."""

    def __init__(self) -> None:
        self.counts = EngineCounts()
        self._numbers = itertools.count(1)
        self.peers: set[PeerId] = set()
        self.streams: dict[StreamId, tuple[PeerId, StreamSpec]] = {}
        self.legs: dict[LegId, tuple[PeerId, LegSpec]] = {}
        self.bound: dict[LegId, StreamId] = {}
        self.is_fit: Callable[[StreamSpec, LegSpec], bool] = lambda stream, leg: True

    def add_peer(self, keys: SrtpKeys | None, path: Address | None) -> PeerId:
        peer = PeerId(next(self._numbers))
        self.peers.add(peer)
        return peer

    def move_peer(self, peer: PeerId, path: Address) -> None:
        assert peer in self.peers

    def remove_peer(self, peer: PeerId) -> None:
        self.peers.remove(peer)
        for stream in [one for one, (owner, _) in self.streams.items() if owner == peer]:
            self.remove_stream(stream)
        for leg in [one for one, (owner, _) in self.legs.items() if owner == peer]:
            self.remove_leg(leg)

    def add_stream(self, peer: PeerId, spec: StreamSpec) -> StreamId:
        if peer not in self.peers:
            raise KeyError(peer)
        stream = StreamId(next(self._numbers))
        self.streams[stream] = (peer, spec)
        return stream

    def remove_stream(self, stream: StreamId) -> None:
        del self.streams[stream]
        self.bound = {leg: one for leg, one in self.bound.items() if one != stream}

    def add_leg(self, peer: PeerId, spec: LegSpec) -> LegId:
        if peer not in self.peers:
            raise KeyError(peer)
        leg = LegId(next(self._numbers))
        self.legs[leg] = (peer, spec)
        return leg

    def remove_leg(self, leg: LegId) -> None:
        del self.legs[leg]
        self.bound.pop(leg, None)

    def bind(self, leg: LegId, stream: StreamId | None, now_ms: int) -> bool:
        _, spec = self.legs[leg]
        self.bound.pop(leg, None)
        if stream is None:
            return True
        _, source = self.streams[stream]
        if not self.is_fit(source, spec):
            return False
        self.bound[leg] = stream
        return True

    def receive(self, peer: PeerId, data: bytes, now_ms: int) -> bool:
        raise AssertionError("a room receives no packets")

    def tick(self, now_ms: int) -> None:
        raise AssertionError("a room does not tick")

    def levels(self) -> dict[StreamId, int]:
        raise AssertionError("the worker asks for levels")


class NotedConnection:
    """What a room asks of a connection; `finish_handshake` makes it connected."""

    def __init__(self, engine: NotingEngine, owner: Owner, offer: Description) -> None:
        self.engine = engine
        self.owner = owner
        self.offers = [offer]
        self.peer: PeerId | None = None
        self.is_closed = False
        self.data: list[tuple[int, int]] = []
        self.data_in_flight_bytes = 0

    def restart(self, offer: Description) -> None:
        self.offers.append(offer)

    def open_data(self, port: int, max_bytes: int) -> None:
        self.data.append((port, max_bytes))

    def finish_handshake(self) -> None:
        self.peer = self.engine.add_peer(None, None)
        self.owner.connected()

    def close(self) -> None:
        self.is_closed = True
        if self.peer is not None:
            self.engine.remove_peer(self.peer)
            self.peer = None


class NotedChannel:
    """A data channel: what is sent into it stands in `sent`."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.sent: list[Any] = []
        self.receive: Callable[[bytes | str], None] | None = None

    def on_message(self, call: Callable[[bytes | str], None]) -> None:
        assert self.receive is None
        self.receive = call

    def send(self, data: bytes) -> bool:
        self.sent.append(msgpack.unpackb(data))
        return True


class Member:
    """One participant, as a client would see the call."""

    def __init__(self, stage: Stage, name: str, operations: list[str] | None = None) -> None:
        self.stage = stage
        self.who = signals.Participant(
            identity=f"name:{name}",
            session_id=name,
            name=name.title(),
            operations=sorted(ALL_OPERATIONS) if operations is None else operations,
        )
        self.told: list[SfuSignal] = []
        self.connection = f"{name}-1"
        self.number = 0
        self.link: NotedConnection | None = None
        self.channels: dict[str, NotedChannel] = {}
        stage.members[self.who.identity] = self

    @property
    def identity(self) -> str:
        return self.who.identity

    def say(self, signal: ClientSignal) -> None:
        """One signal of it."""
        self.stage.room.receive(self.who, signal, self.stage.clock_ms)

    def offer(
        self,
        tracks: dict[str, tuple[str, Source]] | None = None,
        videos: int = 0,
        audios: int = 0,
        **more: Any,
    ) -> None:
        """Offers tracks (`{own id: (kind, source)}`) and so many slots."""
        sections: list[tuple[str, str, str]] = []
        offered: list[OfferedTrack] = []
        for number, (publication, (kind, source)) in enumerate((tracks or {}).items()):
            sections.append((f"t{number}", kind, "sendonly"))
            offered.append(OfferedTrack(mid=f"t{number}", publication=publication, source=source))
        slots = [(f"v{number}", "video", "recvonly") for number in range(videos)]
        slots += [(f"a{number}", "audio", "recvonly") for number in range(audios)]
        self.number += 1
        self.say(
            Offer(
                connection=self.connection,
                number=self.number,
                sdp=sdp(*sections, *slots, **more),
                tracks=offered,
                slots=[mid for mid, _, _ in slots],
            )
        )
        self.link = self.stage.connections.get(self.identity)

    def connect(self) -> None:
        """Its handshake is done."""
        assert self.link is not None
        self.link.finish_handshake()

    def open_channels(self) -> None:
        """Both data channels are open."""
        assert self.link is not None
        for label in ("reliable", "lossy"):
            self.channels[label] = channel = NotedChannel(label)
            self.link.owner.channel_opened(cast(Any, channel))

    def send(self, to: list[str] | None, payload: Any, label: str = "reliable") -> None:
        """A data message of it."""
        self.send_raw(msgpack.packb([to, payload]), label)

    def send_raw(self, message: bytes | str, label: str = "reliable") -> None:
        receive = self.channels[label].receive
        assert receive is not None
        receive(message)

    def heard(self, kind: type[Any]) -> list[Any]:
        """What it was told, of one kind."""
        return [signal for signal in self.told if isinstance(signal, kind)]

    @property
    def refusals(self) -> list[str]:
        return [one.code for one in self.heard(Refused)]

    @property
    def answers(self) -> list[Answer]:
        return self.heard(Answer)

    @property
    def slots(self) -> dict[str, str]:
        """What its slots carry, as it was told last."""
        told = self.heard(Slots)
        return {one.mid: one.publication for one in told[-1].bindings if one.publication} if told else {}

    @property
    def publications(self) -> list[str]:
        """What is published, as it was told last."""
        return [one.publication for one in self.heard(Publications)[-1].publications]

    @property
    def ended(self) -> list[str]:
        return [one.code for one in self.heard(Ended)]


class Stage:
    """A room, its host, and whoever is in it."""

    def __init__(self) -> None:
        self.engine = NotingEngine()
        self.clock_ms = 1_000
        self.members: dict[str, Member] = {}
        self.connections: dict[str, NotedConnection] = {}
        self._ssrcs = itertools.count(1)
        self.room = Room(ROOM, cast(Any, self), self._tell)

    def _tell(self, identities: list[str], signal: SfuSignal) -> None:
        assert identities, "a room names whom it tells"
        for identity in identities:
            self.members[identity].told.append(signal)

    def member(self, name: str, operations: list[str] | None = None) -> Member:
        """Somebody who is not in the call yet."""
        return Member(self, name, operations)

    def join(
        self, name: str, tracks: dict[str, tuple[str, Source]] | None = None, videos: int = 4, audios: int = 2
    ) -> Member:
        """Somebody who is in the call, with data channels."""
        one = self.member(name)
        one.offer(tracks, videos, audios)
        one.connect()
        one.open_channels()
        return one

    # --- what a room needs of its host ------------------------------------------------------------------------

    def open_connection(
        self, offer: Description, owner: Owner, now_ms: int
    ) -> tuple[PeerConnection, Transport]:
        link = NotedConnection(self.engine, owner, offer)
        self.connections[cast(Any, owner)._participant.identity] = link
        return cast(PeerConnection, link), self.transport_of(cast(PeerConnection, link))

    def transport_of(self, connection: PeerConnection) -> Transport:
        credentials = IceCredentials("ours", "p" * 24)
        return Transport(
            credentials=credentials, fingerprint=FINGERPRINT, candidates=(Candidate("192.0.2.1", 7_900),)
        )

    def close_connection(self, connection: PeerConnection) -> None:
        cast(NotedConnection, connection).close()

    def new_ssrc(self) -> int:
        return next(self._ssrcs)

    def now_ms(self) -> int:
        return self.clock_ms

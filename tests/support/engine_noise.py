"""
Authentic packets of any content, thrown at a packet engine from all sides.

Owns the drawing, and the check that each is taken or counted as refused. See `engine_peers` for the peers.
"""

from __future__ import annotations

import random
from typing import Final

import pylibsrtp

from peerbus.sfu.rtp.packet import header
from peerbus.sfu.rtp.rtcp import (
    Bye,
    FullIntraRequest,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    SenderReport,
    write_rtcp,
)
from peerbus.sfu.srtp import Profile
from tests.support.engine_peers import DELTA, KEYFRAME, OPUS, EnginePeer, EngineWorld
from tests.support.mutations import mutated

RTCP_SEEDS: Final = [
    write_rtcp([SenderReport(1_000, 1, 2, 3, 4), Bye((1_000, 1_001))]),
    write_rtcp([ReceiverReport(1, ()), Nack(1, 5_000, (1, 2, 99)), PictureLoss(1, 5_000)]),
    write_rtcp([FullIntraRequest(1, (5_000, 1_000)), Remb(1, 10**6, (5_000,)), Nack(1, 1_000, (7,))]),
]


def full_world() -> tuple[EngineWorld, list[EnginePeer]]:
    """Three peers, each publishing sound and picture and receiving the others'."""
    world = EngineWorld()
    peers = [world.peer(name, profile) for name, profile in zip(("ann", "ben", "cleo"), Profile, strict=True)]
    streams = {}
    for peer in peers:
        streams[peer] = [
            peer.publish("0", ssrcs=(1_000, 1_001), mid_extension=3),
            peer.publish("1", codecs=(OPUS,), ssrcs=(), mid_extension=3, level_extension=2),
        ]
    for peer in peers:
        others = [one for one in peers if one is not peer]
        for index, other in enumerate(others):
            world.bind(
                peer.slot(f"v{index}", primary=5_000 + 2 * index, repair=5_001 + 2 * index), streams[other][0]
            )
            sound = peer.slot(f"a{index}", codecs=(OPUS,), primary=6_000 + index, repair=None)
            world.bind(sound, streams[other][1])
    return world, peers


def drawn(peer: EnginePeer, chance: random.Random) -> bytes:
    """A datagram of a peer: authentic RTCP or RTP of any content, or junk."""
    kind = chance.random()
    if kind < 0.4:
        return peer.outbound.protect_rtcp(
            b"\x80\xc8" + mutated(chance.choice(RTCP_SEEDS), chance, RTCP_SEEDS)[2:]
        )
    if kind < 0.45:
        return chance.randbytes(chance.randrange(60))
    payload_type = chance.choice((96, 96, 97, 111, 35, 0))
    ssrc = chance.choice((1_000, 1_001, 7, 8, chance.getrandbits(32)))
    head = bytearray(header(payload_type, chance.random() < 0.5, chance.getrandbits(16), 0, ssrc))
    head[0] = 0x80 | chance.choice((0, 0, 0x10, 0x20, 0x0F))
    levels = b"\xbe\xde\0\1\x30\x30\x20\x8f"
    body = chance.choice((b"", KEYFRAME, DELTA, levels + KEYFRAME, chance.randbytes(30)))
    return peer.outbound.protect(bytes(head) + body)


def throw(world: EngineWorld, peers: list[EnginePeer], chance: random.Random, count: int) -> None:
    """Authentic packets of any content from everybody; every one is taken or counted as refused."""
    for _ in range(count):
        peer = chance.choice(peers)
        before = world.engine.counts.refused
        try:
            data = drawn(peer, chance)
        except (pylibsrtp.Error, ValueError):
            # libsrtp itself reads the header of what it is to protect, and does not like all of them.
            continue
        is_taken = peer.send_raw(data)
        assert world.engine.counts.refused == before + (not is_taken)
        if chance.random() < 0.1:
            world.pass_time(20)

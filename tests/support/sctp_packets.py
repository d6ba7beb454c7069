"""
SCTP packets: real ones of an aiortc association, impossible ones, and hostile ones drawn at random.

Owns making them. `captured` runs two associations against each other without sockets.
"""

from __future__ import annotations

import asyncio
import random
import struct
from typing import Any, Final, cast

from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCDtlsTransport, RTCSctpTransport
from google_crc32c import value as crc32c

DATA, INIT, INIT_ACK, SACK, HEARTBEAT, ABORT, SHUTDOWN, ERROR, COOKIE_ECHO, COOKIE_ACK = (
    0,
    1,
    2,
    3,
    4,
    6,
    7,
    9,
    10,
    11,
)
RECONFIG, FORWARD_TSN = 130, 192


def chunk(kind: int, body: bytes = b"", *, flags: int = 0, length: int | None = None) -> bytes:
    """One chunk with its padding; `length` lies about it."""
    size = 4 + len(body) if length is None else length
    return struct.pack("!BBH", kind, flags, size) + body + bytes(-len(body) % 4)


def packet(*chunks: bytes, tag: int = 0) -> bytes:
    """A packet with a right checksum."""
    body = b"".join(chunks)
    head = struct.pack("!HHI", 5_000, 5_000, tag)
    return head + struct.pack("<I", crc32c(head + bytes(4) + body)) + body


def with_checksum(data: bytes) -> bytes:
    """The packet with the checksum that belongs to it, so that a parser looks further."""
    if len(data) < 12:
        return data
    return data[:8] + struct.pack("<I", crc32c(data[:8] + bytes(4) + data[12:])) + data[12:]


def data_chunk(
    tsn: int, stream: int = 0, payload: bytes = b"x", *, flags: int = 3, protocol: int = 53
) -> bytes:
    """A DATA chunk; flags: 1 last fragment, 2 first, 4 unordered."""
    return chunk(DATA, struct.pack("!IHHI", tsn & 0xFFFFFFFF, stream, 0, protocol) + payload, flags=flags)


def parameter(name: int, value: bytes = b"", *, length: int | None = None) -> bytes:
    """A parameter with its padding; `length` lies about it."""
    size = 4 + len(value) if length is None else length
    return struct.pack("!HH", name, size) + value + bytes(-len(value) % 4)


_INIT_BODY: Final = struct.pack("!IIHHI", 1, 131_072, 1_024, 1_024, 1)
_SACK_BODY: Final = struct.pack("!II", 1, 131_072)

IMPOSSIBLE: Final[dict[str, bytes]] = {
    "parameter of length 0": packet(chunk(INIT, _INIT_BODY + parameter(0x8008, length=0))),
    "parameter of length 3": packet(chunk(INIT, _INIT_BODY + parameter(0x8008, length=3))),
    "heartbeat with a parameter of length 0": packet(chunk(HEARTBEAT, parameter(1, length=0))),
    "abort with a parameter of length 1": packet(chunk(ABORT, parameter(12, length=1))),
    "reconfig with a parameter of length 0": packet(chunk(RECONFIG, parameter(13, length=0))),
    "reset request without its numbers": packet(chunk(RECONFIG, parameter(13, bytes(8)))),
    "reset request with half a stream": packet(chunk(RECONFIG, parameter(13, bytes(13)))),
    "reset response cut short": packet(chunk(RECONFIG, parameter(16, bytes(4)))),
    "add streams cut short": packet(chunk(RECONFIG, parameter(17, bytes(4)))),
    "chunk of length 0": packet(chunk(SACK, length=0)),
    "chunk of length 3": packet(chunk(SACK, length=3)),
    "chunk longer than the packet": packet(chunk(DATA, bytes(12), length=4_000)),
    "init cut short": packet(chunk(INIT, bytes(12))),
    "init with company": packet(chunk(INIT, _INIT_BODY), data_chunk(1)),
    "two inits": packet(chunk(INIT, _INIT_BODY), chunk(INIT, _INIT_BODY)),
    "sack cut short": packet(chunk(SACK, _SACK_BODY)),
    "sack with gaps that are not there": packet(chunk(SACK, _SACK_BODY + struct.pack("!HH", 60_000, 0))),
    "sack of half the world": packet(chunk(SACK, _SACK_BODY + struct.pack("!HHHH", 1, 0, 1, 65_535))),
    "sack whose gaps add up": packet(
        chunk(SACK, _SACK_BODY + struct.pack("!HH", 200, 0) + struct.pack("!HH", 1, 1_000) * 200)
    ),
    "sack with a gap that ends before it begins": packet(
        chunk(SACK, _SACK_BODY + struct.pack("!HHHH", 1, 0, 9, 8))
    ),
    "many sacks": packet(*[chunk(SACK, _SACK_BODY + struct.pack("!HHHH", 1, 0, 1, 4_000))] * 40),
    "many heartbeats": packet(*[chunk(HEARTBEAT)] * 200),
    "data without data": packet(chunk(DATA, bytes(12), flags=3)),
    "data cut short": packet(chunk(DATA, bytes(8), flags=3)),
    "data on stream 65535": packet(data_chunk(1, 65_535)),
    "forward tsn cut short": packet(chunk(FORWARD_TSN, bytes(2))),
    "forward tsn with half a stream": packet(chunk(FORWARD_TSN, bytes(6))),
    "forward tsn of stream 65535": packet(chunk(FORWARD_TSN, struct.pack("!IHH", 1, 65_535, 0))),
    "many forward tsns": packet(*[chunk(FORWARD_TSN, bytes(4))] * 100),
    "shutdown cut short": packet(chunk(SHUTDOWN, bytes(2))),
    "nothing but a header": packet(),
    "half a chunk": packet(b"\0\3"),
    "empty": b"",
}
"""None of these may reach a parser."""


def hostile(chance: random.Random, *, tag: int, received: int, sent: int) -> bytes:
    """
    A packet that may well pass a guard, from somebody who knows the association and means harm.

    `tag` is the receiver's, `received` the last number it has of data, `sent` its own last number.
    """
    near = (-3, -1, 0, 1, 1, 1, 1, 2, 3, 40, 1_000, 40_000, 1 << 31)

    def numbers(count: int) -> bytes:
        return b"".join(struct.pack("!H", chance.choice((0, 1, 2, 3, 7, 1_023, 9_999))) for _ in range(count))

    def one() -> bytes:
        tsn = (received + chance.choice(near)) & 0xFFFFFFFF
        kind = chance.choice(
            (DATA, DATA, DATA, DATA, SACK, FORWARD_TSN, RECONFIG, HEARTBEAT, SHUTDOWN, COOKIE_ECHO, 77)
        )
        if kind == DATA:
            stream, protocol = chance.choice((0, 1, 2, 3, 1_023)), chance.choice((50, 50, 51, 53, 56, 57, 0))
            payload = chance.choice((b"\2", b"\3", b"x", b"\xff\xfe", chance.randbytes(40)))
            if chance.random() < 0.5:
                label, more = chance.choice((b"", b"lossy", b"\xff")), chance.choice((0, 0, 1, 9))
                head = struct.pack(
                    "!BBHIHH", 3, chance.choice((0, 1, 0x82, 0xFF)), 0, 9, len(label) + more, more
                )
                payload = head + label
            return data_chunk(tsn, stream, payload, flags=chance.randrange(8), protocol=protocol)
        if kind == SACK:
            gaps = sorted(chance.randrange(1, 4_000) for _ in range(2 * chance.randrange(4)))
            head = struct.pack("!IIHH", (sent + chance.choice(near)) & 0xFFFFFFFF, 99_999, len(gaps) // 2, 0)
            return chunk(SACK, head + b"".join(struct.pack("!H", gap) for gap in gaps))
        if kind == FORWARD_TSN:
            return chunk(FORWARD_TSN, struct.pack("!I", tsn) + numbers(2 * chance.randrange(4)))
        if kind == RECONFIG:
            name, fixed = chance.choice(((13, 12), (16, 8), (17, 8), (15, 4)))
            values = struct.pack("!III", chance.randrange(5), 0, tsn)[:fixed]
            return chunk(
                RECONFIG, parameter(name, values + numbers(chance.randrange(5) if name == 13 else 0))
            )
        return chunk(kind, chance.choice((b"", bytes(4), chance.randbytes(24))))

    if chance.random() < 0.05:
        body = struct.pack(
            "!IIHHI", chance.randrange(9), 0, chance.choice((0, 1, 65_535)), 0, received & 0xFFFFFFFF
        )
        return packet(
            chunk(INIT, body + chance.choice((b"", parameter(0x8008, b"\xc0"), parameter(7, bytes(9)))))
        )
    return packet(*[one() for _ in range(chance.choice((1, 1, 2, 3, 12)))], tag=tag)


class Wire:
    """What aiortc takes for its DTLS transport: whatever is sent stands in `sent`."""

    state = "connected"

    def __init__(self, role: str) -> None:
        self._role = role
        self.sent: list[bytes] = []

    async def _send_data(self, data: bytes) -> None:
        self.sent.append(data)

    def _register_data_receiver(self, receiver: object) -> None:
        pass

    def _unregister_data_receiver(self, receiver: object) -> None:
        pass


def over(wire: Wire) -> RTCDtlsTransport:
    """The wire under the type that aiortc asks for."""
    return cast(RTCDtlsTransport, wire)


async def pump(one: Any, one_wire: Wire, other: Any, other_wire: Wire) -> list[bytes]:
    """Carries packets between two associations until both are quiet; returns all of them."""
    carried: list[bytes] = []
    for _ in range(2_000):
        for wire, receiver in ((one_wire, other), (other_wire, one)):
            packets, wire.sent = wire.sent, []
            carried += packets
            for data in packets:
                await receiver._handle_data(data)
        for _ in range(3):
            await asyncio.sleep(0)
        if not one_wire.sent and not other_wire.sent:
            break
    return carried


async def captured() -> list[bytes]:
    """Every packet of a life: setup, channels of both kinds, messages small and large both ways, reset, end."""
    wires = Wire("client"), Wire("server")
    client, server = RTCSctpTransport(over(wires[0])), RTCSctpTransport(over(wires[1]))
    opened: list[RTCDataChannel] = []
    server.on("datachannel", opened.append)
    await client.start(None, 5_000)
    await server.start(None, 5_000)
    packets = await pump(client, wires[0], server, wires[1])
    channels = [
        RTCDataChannel(client, RTCDataChannelParameters(label="reliable")),
        RTCDataChannel(client, RTCDataChannelParameters(label="lossy", ordered=False, maxRetransmits=0)),
    ]
    packets += await pump(client, wires[0], server, wires[1])
    for channel in [*channels, *opened]:
        for message in ("", "text", b"", b"x", bytes(5_000), bytes(40_000)):
            channel.send(message)
        packets += await pump(client, wires[0], server, wires[1])
    channels[0].close()
    packets += await pump(client, wires[0], server, wires[1])
    await client.stop()
    await server.stop()
    return packets + wires[0].sent + wires[1].sent

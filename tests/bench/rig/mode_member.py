"""
One member of a group, in a process of its own, that sends and times what comes.

Owns the member of `tests.bench.modes`, and one end of the bare data channels that it is compared with. Reads commands
as JSON lines on standard input and answers each with one. Delays are of one machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiortc import RTCDataChannel, RTCPeerConnection, RTCSessionDescription

from peerbus.client import AgentConnection
from peerbus.client.webrtc import WebRTCHelper

RATE_PER_S: Final = 60
PAYLOAD_BYTES: Final = 100
SETTLE_S: Final = 0.5
"""After the last message was sent, what is still on its way may come."""


class Meter:
    """What was sent, what came and how late, and the processor time that it took this process."""

    def __init__(self) -> None:
        self._delays_ms: list[float] = []
        self._number = 0

    def heard(self, data: object) -> None:
        """A message came; one of an earlier run says nothing about this one."""
        if isinstance(data, bytes) and data[8] == self._number:
            self._delays_ms.append((time.monotonic_ns() - int.from_bytes(data[:8], "big")) / 1e6)

    async def run(self, send: Callable[[bytes], object], number: int, seconds: float) -> dict[str, Any]:
        """Sends at the rate for so long; the figures. `number` (up to 255) tells the runs apart."""
        self._delays_ms, self._number = [], number
        cpu_before_s, began_s = time.process_time(), time.monotonic()
        sent = 0
        while sent < RATE_PER_S * seconds:
            send(time.monotonic_ns().to_bytes(8, "big") + bytes((number,)) + bytes(PAYLOAD_BYTES - 9))
            sent += 1
            await asyncio.sleep(max(0, began_s + sent / RATE_PER_S - time.monotonic()))
        share = (time.process_time() - cpu_before_s) / (time.monotonic() - began_s)
        await asyncio.sleep(SETTLE_S)
        return {"sent": sent, "cpu_share": share, "delays_ms": self._delays_ms}


async def commands() -> asyncio.StreamReader:
    """Standard input."""
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


def answer(value: object) -> None:
    """Says something to whoever commands."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def member(api: str, key: str, name: str, count: int) -> None:
    """A member of a group of so many; the first mode is `mesh`."""
    reader, meter = await commands(), Meter()
    async with AgentConnection(api, key) as agent:
        await agent.connect("bench", name)
        async with WebRTCHelper(agent, mode="mesh") as peers:
            peers.on_data_received = lambda data, peer: meter.heard(data)
            while line := await reader.readline():
                kind, value = json.loads(line)
                if kind == "switch":
                    await peers.switch_mode(value)
                    answer(None)
                elif kind == "reach":
                    await until(partial(is_in_mode, peers, value, count - 1))
                    answer(None)
                else:
                    reliable, number, seconds = value
                    answer(await meter.run(partial(peers.broadcast, reliable=reliable), number, seconds))


def is_in_mode(peers: WebRTCHelper, mode: str, count: int) -> bool:
    """Whether the mode holds, so many peers are there, and data flow to all of them."""
    reached = [peers.is_connected_to(peer) for peer in peers.peers]
    return peers.mode == mode and len(reached) == count and all(reached)


async def until(is_so: Callable[[], bool]) -> None:
    """Waits; looks often, since nothing else is measured meanwhile."""
    for _ in range(3_000):
        if is_so():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError("it has not come to that in a minute")


def are_open(channels: list[RTCDataChannel]) -> bool:
    """Whether all of them are."""
    return all(channel.readyState == "open" for channel in channels)


def send_by(channels: list[RTCDataChannel], data: bytes) -> None:
    """Sends by all of them."""
    for channel in channels:
        channel.send(data)


async def bare(role: str, links: int) -> None:
    """One end of so many bare data channels, each on a connection of its own."""
    reader, meter = await commands(), Meter()
    connections = [RTCPeerConnection() for _ in range(links)]
    channels = {}
    for reliable in (True, False):
        options: dict[str, Any] = {} if reliable else {"ordered": False, "maxRetransmits": 0}
        channels[reliable] = [
            connection.createDataChannel("bench", negotiated=True, id=0 if reliable else 1, **options)
            for connection in connections
        ]
        for channel in channels[reliable]:
            channel.on("message", meter.heard)
    if role == "offerer":
        for connection in connections:
            await connection.setLocalDescription(await connection.createOffer())
        answer([connection.localDescription.sdp for connection in connections])
    while line := await reader.readline():
        kind, value = json.loads(line)
        if kind == "described":
            for connection, sdp in zip(connections, value, strict=True):
                how = "answer" if role == "offerer" else "offer"
                await connection.setRemoteDescription(RTCSessionDescription(sdp, how))
                if role != "offerer":
                    await connection.setLocalDescription(await connection.createAnswer())
            answer([connection.localDescription.sdp for connection in connections])
        elif kind == "reach":
            await until(partial(are_open, [*channels[True], *channels[False]]))
            answer(None)
        else:
            reliable, number, seconds = value
            answer(await meter.run(partial(send_by, channels[reliable]), number, seconds))
    for connection in connections:
        await connection.close()


if __name__ == "__main__":
    if sys.argv[1] == "member":
        asyncio.run(member(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])))
    else:
        asyncio.run(bare(sys.argv[1], int(sys.argv[2])))

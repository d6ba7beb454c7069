"""
What forwarding costs the SFU: CPU per forwarded packet, added delay, memory and joining.

Run as a program: `python -m tests.bench.sfu`. One publisher sends 500 packets of 1100 bytes a second to 1, 5, 10 and 20
subscribers; checks, handshakes and SRTP (AES-GCM) are real. The worker is a process of its own, measured from outside.
Beside it, in the same run, the floor: a bare loop that unprotects, rewrites, protects and sends.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Final

import pylibsrtp

from peerbus.protocol.signals import SfuSignal
from peerbus.sfu.rtp.packet import header
from tests.bench.rig.figures import machine, percentile, verdict
from tests.bench.rig.process import cpu_s
from tests.bench.rig.sfu_process import SfuProcess
from tests.support.raw_peer import VP8, RawPeer

RATE_PER_S: Final = 500
PACKET_BYTES: Final = 1100
_RUN_S: Final = 4.0
_SSRC: Final = 1000
_KEY: Final = bytes(range(44))
_KEYFRAME: Final = b"\x10\x00\x9d\x01\x2a"
_DELTA: Final = b"\x00\x01"


def rtp(number: int, sent_at_ns: int, *, is_keyframe: bool) -> bytes:
    """A packet of VP8 with the time it was sent."""
    payload = (_KEYFRAME if is_keyframe else _DELTA) + sent_at_ns.to_bytes(8, "big")
    head = header(VP8, False, number & 0xFFFF, number * 180 & 0xFFFFFFFF, _SSRC)
    return head + payload + bytes(PACKET_BYTES - len(head) - len(payload))


class Call:
    """A publisher and its subscribers at one worker."""

    def __init__(self) -> None:
        self.peers: dict[str, RawPeer] = {}
        self.worker = SfuProcess(self._tell)
        self.number = 0

    def _tell(self, identity: str, signal: SfuSignal) -> None:
        if identity in self.peers:
            self.peers[identity].told(signal)

    async def join(self, identity: str, *, publishes: bool = False) -> RawPeer:
        """One more participant; the publisher sends, the others have a slot for it."""
        peer = RawPeer(
            identity,
            self.worker.ask,
            videos=(_SSRC,) if publishes else (),
            video_slots=0 if publishes else 1,
        )
        self.peers[identity] = peer
        await peer.connect()
        return peer

    async def send(self, publisher: RawPeer, seconds: float, rate_per_s: int = RATE_PER_S) -> int:
        """Sends at an even pace; how many packets."""
        started_s, sent = time.monotonic(), 0
        while (elapsed_s := time.monotonic() - started_s) < seconds:
            while sent < elapsed_s * rate_per_s:
                publisher.send_rtp(rtp(self.number, time.monotonic_ns(), is_keyframe=self.number % 500 == 0))
                self.number += 1
                sent += 1
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        return sent


async def cost_us(call: Call, publisher: RawPeer, subscribers: list[RawPeer]) -> float:
    """CPU µs of the worker for each packet that reached a subscriber."""
    for peer in subscribers:
        peer.keeps_packets = False
    await call.send(publisher, 1.0)
    publisher.check()
    before = sum(peer.datagrams for peer in subscribers)
    cpu_before_s = call.worker.cpu_s()
    await call.send(publisher, _RUN_S)
    arrived = sum(peer.datagrams for peer in subscribers) - before
    for peer in [publisher, *subscribers]:
        peer.check()
    return (call.worker.cpu_s() - cpu_before_s) / max(1, arrived) * 1e6


async def delay_ms(call: Call, publisher: RawPeer, subscriber: RawPeer) -> list[float]:
    """From handing a packet to the system to having it from the system, on one subscriber."""
    subscriber.keeps_packets = False
    delays: list[float] = []
    take = subscriber._received

    def timed(data: bytes) -> None:
        if data[0] >= 128 and not 192 <= data[1] <= 223:
            plain = subscriber.dtls._rx_srtp.unprotect(data)
            now_ns = time.monotonic_ns()
            payload = plain[-(PACKET_BYTES - 12) :]
            start = len(_KEYFRAME) if payload.startswith(_KEYFRAME) else len(_DELTA)
            delays.append((now_ns - int.from_bytes(payload[start : start + 8], "big")) / 1e6)
        else:
            take(data)

    subscriber._received = timed  # type: ignore[method-assign]  # the bench looks at packets where they come in
    await call.send(publisher, _RUN_S)
    subscriber._received = take  # type: ignore[method-assign]
    return delays


def floor_us(subscribers: int) -> float:
    """The bare loop, in a process of its own."""
    with (
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.rig.srtp_floor", str(subscribers)],
            stdout=subprocess.PIPE,
            text=True,
        ) as floor,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        assert floor.stdout is not None
        port = int(floor.stdout.readline())
        policy = pylibsrtp.Policy(
            key=_KEY,
            ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND,
            srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
        )
        session = pylibsrtp.Session(policy)
        cpu_before_s, started_s, sent = cpu_s(floor.pid), time.monotonic(), 0
        while (elapsed_s := time.monotonic() - started_s) < _RUN_S:
            while sent < elapsed_s * RATE_PER_S:
                out.sendto(session.protect(rtp(sent, 0, is_keyframe=False)), ("127.0.0.1", port))
                sent += 1
            time.sleep(0.001)
        time.sleep(0.1)
        used_s = cpu_s(floor.pid) - cpu_before_s
        floor.kill()
    return used_s / (sent * subscribers) * 1e6


async def measure() -> int:
    """Prints the figures; how many bounds that must hold do not."""
    missed = 0
    call = Call()
    async with call.worker:
        await asyncio.sleep(0.5)
        empty_bytes = call.worker.rss_bytes()
        publisher = await call.join("publisher", publishes=True)
        await call.send(publisher, 0.2)
        subscribers: list[RawPeer] = []
        joins_ms: list[float] = []
        last_join_cpu_ms = 0.0
        for wanted in (1, 5, 10, 20):
            while len(subscribers) < wanted:
                started_s, cpu_before_s = time.monotonic(), call.worker.cpu_s()
                subscribers.append(await call.join(f"subscriber-{len(subscribers)}"))
                joins_ms.append((time.monotonic() - started_s) * 1000)
                last_join_cpu_ms = (call.worker.cpu_s() - cpu_before_s) * 1000
            figures = [await cost_us(call, publisher, subscribers) for _ in range(3)]
            floor = floor_us(wanted)
            cost = statistics.median(figures)
            line = f"  {wanted:2} subscribers {cost:6.1f} µs CPU a packet, floor {floor:5.1f}, ratio {cost / floor:.2f}"
            if wanted == 20:
                told = verdict(cost, 30, 18)
                missed += "MISSED" in told
                line += f"   ({told})"
            print(line, flush=True)
        delays = await delay_ms(call, publisher, subscribers[-1])
        print(
            f"  added delay at 20 subscribers, {RATE_PER_S * 20} packets/s out: p50 {percentile(delays, 0.5):.2f} ms, "
            f"p99 {percentile(delays, 0.99):.2f} ms on {len(delays)} packets"
        )
        per_peer_kib = (call.worker.rss_bytes() - empty_bytes) / (1 + len(subscribers)) / 1024
        print(
            f"  a peer: {per_peer_kib:.0f} KiB of memory; joining (checks, DTLS): "
            f"median {statistics.median(joins_ms):.0f} ms, CPU of the worker {last_join_cpu_ms:.0f} ms"
        )
        for peer in call.peers.values():
            await peer.close()
    return missed


def main() -> int:
    """Prints the figures; 1 if a bound that must hold does not."""
    print(f"forwarding, {RATE_PER_S} packets of {PACKET_BYTES} bytes a second, AES-256-GCM")
    print(machine())
    return 1 if asyncio.run(measure()) else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())

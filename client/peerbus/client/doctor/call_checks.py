"""
A real call through the media worker: two members of one channel, both of this program.

Owns what is measured: until both are in, data there and back, the first picture, throughput, loss, delay. Never
decides what the figures mean (`judgement`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple

from peerbus.client.agent import AgentConnection
from peerbus.client.doctor.facts import CallAttempt, Quality
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.client.webrtc import CallState, RemoteTrack, WebRTCHelper
from peerbus.client.webrtc.generated import picture
from peerbus.client.webrtc.ice import IcePolicy
from peerbus.protocol.messages import IceServer

_MEASURE_S: Final = 1.0
_CHUNK: Final = bytes(16_000)
_PINGS: Final = 40
_PING_EVERY_S: Final = 0.025
_LATE_S: Final = 0.3
_AGAIN_S: Final = 0.5


class Figures(NamedTuple):
    """A call, and what was measured in it."""

    call: CallAttempt
    mbit_per_s: float | None = None
    quality: Quality | None = None


class _Pair:
    """Two in a call: the one measures, the other sends back."""

    def __init__(self, near: WebRTCHelper, far: WebRTCHelper) -> None:
        self.near: Final = near
        self._far: Final = far
        self.far_name = ""
        self.far_bytes = 0
        self.pongs: Final[asyncio.Queue[tuple[int, float]]] = asyncio.Queue()
        self.has_picture: Final = asyncio.Event()
        near.on_data_received = self._came_back
        far.on_data_received = self._send_back
        far.on_track = self._shown

    def _came_back(self, data: Any, _peer: Any) -> None:
        if isinstance(data, int):
            self.pongs.put_nowait((data, time.monotonic()))

    async def _send_back(self, data: Any, peer: Any) -> None:
        if isinstance(data, bytes):
            self.far_bytes += len(data)
        else:
            await self._far.send_data(data, peer, lossy=data > 0)

    async def _shown(self, track: RemoteTrack) -> None:
        async for _ in track.pictures():
            self.has_picture.set()
            return


async def try_call(
    agents: Sequence[AgentConnection],
    servers: Sequence[IceServer],
    policy: IcePolicy,
    timeout_s: float,
    *,
    is_measured: bool,
) -> Figures:
    """Brings two agents of one channel into a call; with `is_measured` throughput and loss, too."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        calls = []
        for agent in agents:
            call = WebRTCHelper(
                agent,
                mode="sfu",
                ice_servers=servers,
                ice_transport_policy=policy,
                connect_timeout=timeout_s,
            )
            stack.push_async_callback(_close, call)
            calls.append(call)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(_connected(call) for call in calls))
            connect_ms = _ms_since(began)
            pair = _Pair(*calls)
            async with asyncio.timeout(timeout_s):
                data_ms = await _data_round_trip(pair)
            media_ms = await _first_picture(pair, timeout_s)
        except TimeoutError:
            return Figures(CallAttempt(error=f"Nothing came through within {timeout_s:g} s."))
        except PeerbusError as error:
            return Figures(CallAttempt(error=error.message, code=error.code.value))
        attempt = CallAttempt(ms=connect_ms, data_ms=data_ms, media_ms=media_ms)
        if not is_measured:
            return Figures(attempt)
        mbit_per_s = await _throughput(pair)
        # What is still under way of it would hold up what comes next.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await _data_round_trip(pair, timeout_s)
        return Figures(attempt, mbit_per_s, await _quality(pair))


async def _connected(call: WebRTCHelper) -> None:
    """Waits until a call stands, and not for a worker that may be there some day. Raises `PeerbusError`."""
    refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look(state: CallState) -> None:
        if state.code == ErrorCode.NO_WORKER and not refused.done():
            refused.set_exception(PeerbusError(ErrorCode.NO_WORKER, state.why))

    call.on("state", look)
    joined = call.connect()
    # It fails when the call is closed, and then nobody may be left who waits for it.
    joined.add_done_callback(lambda future: future.cancelled() or future.exception())
    both: list[asyncio.Future[Any]] = [joined, refused]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if refused.done():
        await refused
    refused.cancel()
    await joined


async def _close(call: WebRTCHelper) -> None:
    await call.close()


async def _data_round_trip(pair: _Pair, again_s: float = _AGAIN_S) -> int:
    """Milliseconds. Until the two know of each other the first ones may be for nobody, and are sent again."""
    while True:
        began = time.monotonic()
        pair.near.send_data(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(again_s):
                _, at = await pair.pongs.get()
                return round((at - began) * 1000)


async def _first_picture(pair: _Pair, timeout_s: float) -> int | None:
    began = time.monotonic()
    publication = await pair.near.publish(picture(320, 240))
    try:
        async with asyncio.timeout(timeout_s):
            await pair.has_picture.wait()
    except TimeoutError:
        return None
    finally:
        pair.near.unpublish(publication)
    return _ms_since(began)


async def _throughput(pair: _Pair) -> float:
    began, before = time.monotonic(), pair.far_bytes
    while time.monotonic() - began < _MEASURE_S:
        await pair.near.send_data(_CHUNK)
    seconds = time.monotonic() - began
    return (pair.far_bytes - before) * 8 / seconds / 1e6


async def _quality(pair: _Pair) -> Quality:
    sent: dict[int, float] = {}
    for number in range(1, _PINGS + 1):
        sent[number] = time.monotonic()
        pair.near.send_data(number, lossy=True)
        await asyncio.sleep(_PING_EVERY_S)
    await asyncio.sleep(_LATE_S)
    delays_ms = []
    while not pair.pongs.empty():
        number, at = pair.pongs.get_nowait()
        if number in sent:
            delays_ms.append((at - sent[number]) * 1000)
    if not delays_ms:
        return Quality(sent=_PINGS, received=0)
    changes = [abs(one - other) for one, other in itertools.pairwise(delays_ms)]
    return Quality(
        sent=_PINGS,
        received=len(delays_ms),
        rtt_ms=round(sum(delays_ms) / len(delays_ms), 1),
        jitter_ms=round(sum(changes) / len(changes), 1) if changes else 0.0,
    )


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)

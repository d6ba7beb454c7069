"""
Ways that were given up for another one, and still take in what comes.

Owns them until every peer has said that nothing more comes by them, or `RETIRE_S` have passed. Never chooses a way
(`peer_group`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from peerbus.client.webrtc.peer_port import PeerPort
from peerbus.client.webrtc.ways import Way
from peerbus.protocol.groups import Mode

RETIRE_S: Final = 5.0
_LINGER_S: Final = 1.0


class _Retiring(Struct, eq=False):
    way: Way
    awaited: set[str]
    """Who has not said yet that nothing more comes by it."""


class RetiringWays:
    """See the module. `on_ended` is told that one of them is gone."""

    def __init__(self, port: PeerPort, on_ended: Callable[[], None]) -> None:
        self._port: Final = port
        self._on_ended: Final = on_ended
        self._all: Final[list[_Retiring]] = []
        self._tasks: Final[set[asyncio.Task[Any]]] = set()

    def __iter__(self) -> Iterator[Way]:
        return (retiring.way for retiring in self._all)

    @property
    def awaited(self) -> list[Way]:
        """Those by which somebody may still be reached."""
        return [retiring.way for retiring in self._all if retiring.awaited]

    def retire(self, way: Way, peers: Sequence[str]) -> None:
        """Another way takes its place; these peers are to say that nothing more comes by it."""
        way.retire()
        retiring = _Retiring(way, set(peers))
        self._all.append(retiring)
        loop = asyncio.get_running_loop()
        loop.call_later(RETIRE_S, self._end, retiring)
        # Not before everybody was moved to the new way: the last frame on this one says that it was.
        loop.call_soon(self._flush, retiring)

    def take_back(self, mode: Mode) -> Way | None:
        """The way of this mode, if there is one: two of one mode would take each other's signals for their own."""
        for retiring in self._all:
            if retiring.way.mode == mode:
                self._all.remove(retiring)
                retiring.way.revive()
                return retiring.way
        return None

    def left(self, peer: str) -> None:
        """Nobody waits for this peer any more."""
        for retiring in self._all:
            retiring.awaited.discard(peer)

    def flushed(self, peer: str) -> None:
        """A peer says that nothing more comes by a way that it has given up."""
        for retiring in list(self._all):
            retiring.awaited.discard(peer)
            self._reap(retiring)

    def forget(self) -> list[Way]:
        """All of them, which somebody else ends."""
        ways = list(self)
        self._all.clear()
        return ways

    async def wait(self) -> None:
        """Nothing of those that have ended is left."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _flush(self, retiring: _Retiring) -> None:
        moved = [peer for peer in retiring.awaited if self._port.way_of(peer) is not retiring.way]
        self._port.flush(retiring.way, moved)
        self._reap(retiring)

    def _reap(self, retiring: _Retiring) -> None:
        """Ends a way by which nothing more comes; pictures that come another way now had the time for a keyframe."""
        if not retiring.awaited:
            asyncio.get_running_loop().call_later(_LINGER_S, self._end, retiring)

    def _end(self, retiring: _Retiring) -> None:
        if retiring in self._all:
            self._all.remove(retiring)
            retiring.awaited.clear()
            task = asyncio.create_task(retiring.way.close(), name="peerbus-way-close")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._on_ended()

"""
Which media worker serves which channel.

Owns the workers that can be chosen, what they said of their load, and the channels each one serves. A channel stays
where it is; who gets a new one is the worker with the least to do. Never grants anything (that is `lease`) and never
talks to a worker (that is `calls`).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from peerbus.signaling.log.interface import ChannelKey

_CPU_STEPS: Final = 10
"""Loads that differ by less than a tenth of a core are alike; the number of participants decides then."""


class WorkerLoad(Struct, frozen=True, kw_only=True):
    """What a worker said of itself."""

    participants: int = 0
    cpu_share: float = 0.0
    """Of one core, from 0 to 1."""
    is_draining: bool = False
    """It wants no new channels, and to lose those it has."""
    counts: dict[str, int] = {}
    """What happened since its start, by name."""


class _Worker:
    """One worker, and the channels it serves."""

    __slots__ = ("load", "name", "placed_since", "rooms")

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.load = WorkerLoad()
        self.rooms: Final[set[ChannelKey]] = set()
        self.placed_since = 0
        """How many channels it got since its load was told; their participants are not in it yet."""


class Placement:
    """Workers are named by their identities, which are other ones after they were started again."""

    def __init__(self) -> None:
        self._workers: Final[dict[str, _Worker]] = {}
        self._worker_of: Final[dict[ChannelKey, str]] = {}

    def add(self, worker: str, name: str) -> None:
        """A worker that may be chosen from now on; one that is known already stays as it is."""
        if worker not in self._workers:
            self._workers[worker] = _Worker(name)

    def remove(self, worker: str) -> list[ChannelKey]:
        """The worker is gone; the channels it served."""
        gone = self._workers.pop(worker, None)
        rooms = [] if gone is None else sorted(gone.rooms, key=_order)
        for key in rooms:
            del self._worker_of[key]
        return rooms

    def report(self, worker: str, load: WorkerLoad) -> None:
        """What a worker says of its load."""
        self._workers[worker].load = load
        self._workers[worker].placed_since = 0

    def place(self, key: ChannelKey, worker: str) -> None:
        """The channel is served by this worker, and by no other."""
        self.free(key)
        self._workers[worker].rooms.add(key)
        self._workers[worker].placed_since += 1
        self._worker_of[key] = worker

    def free(self, key: ChannelKey) -> None:
        """The channel is served by nobody."""
        worker = self._worker_of.pop(key, None)
        if worker is not None:
            self._workers[worker].rooms.discard(key)

    def choose(self, reachable: set[str]) -> str | None:
        """The worker for a new channel, among those that can be reached; None if all are gone or drain."""
        candidates = [
            (self._rank(one), worker)
            for worker, one in self._workers.items()
            if worker in reachable and not one.load.is_draining
        ]
        return min(candidates)[1] if candidates else None

    @staticmethod
    def _rank(worker: _Worker) -> tuple[int, int, int, str]:
        load = worker.load
        cpu_step = int(min(1.0, max(0.0, load.cpu_share)) * _CPU_STEPS)
        return cpu_step, load.participants + worker.placed_since, len(worker.rooms), worker.name

    def __contains__(self, worker: str) -> bool:
        return worker in self._workers

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def workers(self) -> list[str]:
        """All of them."""
        return list(self._workers)

    def load_of(self, worker: str) -> WorkerLoad:
        """What a worker said last."""
        return self._workers[worker].load

    def name_of(self, worker: str) -> str:
        """What a worker is called."""
        return self._workers[worker].name

    def worker_of(self, key: ChannelKey) -> str | None:
        """Who serves the channel."""
        return self._worker_of.get(key)

    def rooms_of(self, worker: str) -> list[ChannelKey]:
        """The channels that a worker serves, in a fixed order."""
        return sorted(self._workers[worker].rooms, key=_order)


def _order(key: ChannelKey) -> tuple[str, bytes]:
    return key.scope, key.channel_id

"""Emulated time: what is to happen, and when. Owns the clock of a simulation; nothing in it ever waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Agenda:
    """Events by time, those of one millisecond in the order they were put in."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self._count = 0
        self._events: list[tuple[int, int, Callable[[], object]]] = []

    def after(self, delay_ms: int, action: Callable[[], object]) -> None:
        """Does something in so many milliseconds (0: in this one, after all that is due already)."""
        self._count += 1
        heapq.heappush(self._events, (self.now_ms + max(0, delay_ms), self._count, action))

    def run(self, duration_ms: int) -> None:
        """Lets so much time pass."""
        end_ms = self.now_ms + duration_ms
        while self._events and self._events[0][0] <= end_ms:
            at_ms, _, action = heapq.heappop(self._events)
            self.now_ms = max(self.now_ms, at_ms)
            action()
        self.now_ms = end_ms

"""
Which packets of a publisher are missing, and when to ask for them (again).

Owns the gaps of one incoming stream. Asks once reordering has become unlikely, a few times more, then lets go: what
comes later than that is of no use. See RFC 4585 (section 6.2.1).
"""

from __future__ import annotations

from typing import Final

REORDER_MS: Final = 10
"""So long a gap may close by itself."""
AGAIN_MS: Final = 80
ATTEMPTS_MAX: Final = 6
GAP_MAX: Final = 256
"""A larger jump is a new start (or hopeless): nothing of it is asked for."""


class LossTracker:
    """Gaps by extended sequence number."""

    __slots__ = ("_highest", "_missing")

    def __init__(self) -> None:
        self._highest: int | None = None
        self._missing: dict[int, tuple[int, int]] = {}

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not self._missing

    def receive(self, sequence: int, now_ms: int) -> bool:
        """A packet has come; False if it is one that had come before or was given up."""
        highest = self._highest
        if highest is None or sequence == highest + 1:
            self._highest = sequence
            return True
        if sequence > highest:
            if sequence - highest <= GAP_MAX:
                due_ms = now_ms + REORDER_MS
                for missing in range(highest + 1, sequence):
                    self._missing[missing] = (0, due_ms)
            else:
                self._missing.clear()
            self._highest = sequence
            while len(self._missing) > GAP_MAX:
                del self._missing[next(iter(self._missing))]
            return True
        return self._missing.pop(sequence, None) is not None

    def due(self, now_ms: int) -> list[int]:
        """The numbers to ask for now."""
        asked: list[int] = []
        for sequence, (attempts, due_ms) in list(self._missing.items()):
            if due_ms > now_ms:
                continue
            if attempts >= ATTEMPTS_MAX:
                del self._missing[sequence]
                continue
            self._missing[sequence] = (attempts + 1, now_ms + AGAIN_MS)
            asked.append(sequence)
        return asked

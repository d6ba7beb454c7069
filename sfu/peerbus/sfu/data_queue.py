"""
Data messages that wait for one participant.

Owns two queues: reliable messages in their order, bounded by bytes, and lossy ones, which are dropped rather than kept
beyond 100 ms. What SCTP holds is kept small, since aiortc's cost of a message grows with what it has not yet got
acknowledged. Never parses a message.
"""

from __future__ import annotations

from collections import deque
from typing import Final

RELIABLE_BYTES_MAX: Final = 4 * 1024 * 1024
LOSSY_AGE_MAX_MS: Final = 100
LOSSY_BYTES_MAX: Final = 256 * 1024
IN_FLIGHT_BYTES_MAX: Final = 16 * 1024
"""So much at most is given to SCTP before it is acknowledged (one message is given in any case)."""


class DataQueue:
    """Messages for one participant; `dropped` counts the lossy ones that were not sent."""

    def __init__(self) -> None:
        self._reliable: deque[bytes] = deque()
        self._reliable_bytes = 0
        self._lossy: deque[tuple[int, bytes]] = deque()
        self._lossy_bytes = 0
        self._is_reliables_turn = False
        self.dropped = 0

    def push_reliable(self, message: bytes) -> bool:
        """False if there is no room: the message was not taken."""
        if self._reliable and self._reliable_bytes + len(message) > RELIABLE_BYTES_MAX:
            return False
        self._reliable.append(message)
        self._reliable_bytes += len(message)
        return True

    def push_lossy(self, message: bytes, now_ms: int) -> None:
        """The oldest make room."""
        self._lossy.append((now_ms, message))
        self._lossy_bytes += len(message)
        while len(self._lossy) > 1 and self._lossy_bytes > LOSSY_BYTES_MAX:
            self._drop_oldest()

    def take(self, in_flight_bytes: int, now_ms: int) -> list[tuple[bool, bytes]]:
        """What to send now, in order: whether it is reliable, and the message."""
        while self._lossy and now_ms - self._lossy[0][0] > LOSSY_AGE_MAX_MS:
            self._drop_oldest()
        taken: list[tuple[bool, bytes]] = []
        room = IN_FLIGHT_BYTES_MAX - in_flight_bytes
        # Each in turn: a flood of one kind, which may be another sender's, does not stop the other.
        while room > 0 and (self._lossy or self._reliable):
            is_reliable = bool(self._reliable) and (self._is_reliables_turn or not self._lossy)
            message = self._take_one(is_reliable)
            self._is_reliables_turn = not is_reliable
            taken.append((is_reliable, message))
            room -= len(message)
        return taken

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._reliable and not self._lossy

    def _take_one(self, is_reliable: bool) -> bytes:
        if is_reliable:
            message = self._reliable.popleft()
            self._reliable_bytes -= len(message)
        else:
            _, message = self._lossy.popleft()
            self._lossy_bytes -= len(message)
        return message

    def _drop_oldest(self) -> None:
        _, message = self._lossy.popleft()
        self._lossy_bytes -= len(message)
        self.dropped += 1

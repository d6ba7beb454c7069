"""
When to replace a connection, and how long to wait before the next attempt.

Owns the backoff and the watch for a path that went silent. Never replaces anything; randomness and time are passed in.
"""

from __future__ import annotations

from typing import Final

_FIRST_MS: Final = 250
_MOST_MS: Final = 10_000
SILENCE_MS: Final = 5_000
"""A path that was silent for so long is lost."""


class Backoff:
    """Waits that double, each shortened by chance so that a whole call does not come back at one moment."""

    def __init__(self) -> None:
        self._attempts = 0

    def next_delay_ms(self, chance: float) -> int:
        """How long to wait before the next attempt; `chance` is from 0 to 1. The first wait is 0 to 250 ms."""
        self._attempts += 1
        if self._attempts == 1:
            return int(_FIRST_MS * chance)
        ceiling_ms = min(_FIRST_MS * 2 ** min(self._attempts - 1, 16), _MOST_MS)
        return int(ceiling_ms * (0.5 + chance / 2))

    def reset(self) -> None:
        """A connection stood."""
        self._attempts = 0


class PathWatch:
    """
    Notices a path on which nothing arrives any more.

    ICE consent (RFC 7675) takes up to 30 s to notice. Here a path that was silent for a second is asked, and one that
    neither carried anything nor answered for `silence_ms` is lost. A path from another address is found in this way,
    too, since the SFU learns it from the question.
    """

    def __init__(self, now_ms: int, *, silence_ms: int = SILENCE_MS) -> None:
        self._silence_ms: Final = silence_ms
        self._packets = -1
        self._heard_ms = now_ms

    def look(self, now_ms: int, packets: int) -> bool:
        """Whether the path should be asked; `packets` is how many arrived so far. Called every second."""
        if packets != self._packets:
            self._packets = packets
            self._heard_ms = now_ms
            return False
        return True

    def answered(self, now_ms: int) -> None:
        """The path was asked, and there was an answer."""
        self._heard_ms = now_ms

    def is_lost(self, now_ms: int) -> bool:
        """Whether it was silent for too long."""
        return now_ms - self._heard_ms >= self._silence_ms

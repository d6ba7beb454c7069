"""
Sequence numbers and timestamps that wrap.

Owns the arithmetic of 16-bit sequence numbers and 32-bit timestamps. See RFC 3550, section 5.1 and appendix A.1,
and RFC 1982.
"""

from __future__ import annotations

from typing import Final

SEQUENCE_MODULUS: Final = 1 << 16
TIMESTAMP_MODULUS: Final = 1 << 32


def sequence_distance(start: int, end: int) -> int:
    """How far `end` lies after `start`: -32768 to 32767, negative if before."""
    distance = (end - start) & 0xFFFF
    return distance - SEQUENCE_MODULUS if distance >= 1 << 15 else distance


def timestamp_distance(start: int, end: int) -> int:
    """How far `end` lies after `start` in ticks, negative if before."""
    distance = (end - start) & 0xFFFFFFFF
    return distance - TIMESTAMP_MODULUS if distance >= 1 << 31 else distance


class SequenceExtender:
    """Makes 16-bit sequence numbers into ones that never wrap, for arithmetic over long streams."""

    __slots__ = ("_highest",)

    def __init__(self) -> None:
        self._highest: int | None = None

    def extend(self, number: int) -> int:
        """The number with its wraps counted; numbers a little older than the newest stay below it."""
        if self._highest is None:
            # One turn of room below, so that a late packet of the start is not negative.
            self._highest = number + SEQUENCE_MODULUS
            return self._highest
        extended = self._highest + sequence_distance(self._highest & 0xFFFF, number)
        self._highest = max(self._highest, extended)
        return extended

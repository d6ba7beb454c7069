"""
The numbers of what a subscriber gets: one stream that goes on, whatever it is made of.

Owns sequence numbers and timestamps of one outgoing source across changes of the stream behind it. A subscriber must
see no jump when its slot carries another publication: the sequence goes on by one, the timestamp by the time that
passed. While one stream is carried both are the incoming ones and a constant, which the engine adds by itself for every
packet. See RFC 3550, section 5.1.
"""

from __future__ import annotations


class Rewriter:
    """
    Maps incoming extended sequence numbers and 32-bit timestamps to outgoing ones.

    `start_sequence` and `start_timestamp` are random, as RFC 3550 wants it; they are passed in.
    """

    __slots__ = (
        "_last_at_ms",
        "_last_sequence",
        "_last_timestamp",
        "first",
        "is_based",
        "sequence_delta",
        "timestamp_delta",
    )

    def __init__(self, start_sequence: int, start_timestamp: int) -> None:
        self._last_sequence = start_sequence - 1
        self._last_timestamp = start_timestamp
        self._last_at_ms: int | None = None
        self.sequence_delta = 0
        self.timestamp_delta = 0
        self.first = 0
        """The first packet of the stream carried now that was sent; earlier ones must not follow it."""
        self.is_based = False
        """Whether a packet of the stream carried now has been sent."""

    def base(self, sequence: int, timestamp: int, clock_rate_hz: int, now_ms: int) -> None:
        """The packet with this extended sequence number is the first to be sent of a stream."""
        elapsed = 0
        if self._last_at_ms is not None:
            elapsed = max(1, (now_ms - self._last_at_ms) * clock_rate_hz // 1000)
        self.first = sequence
        self.sequence_delta = self._last_sequence + 1 - sequence
        self.timestamp_delta = self._last_timestamp + elapsed - timestamp
        self.is_based = True

    def rewrite(self, sequence: int, timestamp: int) -> tuple[int, int] | None:
        """The outgoing sequence number and timestamp; None for a packet from before the first one."""
        if sequence < self.first:
            return None
        return (sequence + self.sequence_delta) & 0xFFFF, self.timestamp(timestamp)

    def timestamp(self, incoming: int) -> int:
        """An incoming timestamp as it goes out now."""
        return (incoming + self.timestamp_delta) & 0xFFFFFFFF

    def finish(self, newest_sequence: int, newest_timestamp: int, at_ms: int) -> None:
        """The stream is carried no more; these belong to the newest packet of it that was sent."""
        if self.is_based:
            self._last_sequence = newest_sequence + self.sequence_delta
            self._last_timestamp = (newest_timestamp + self.timestamp_delta) & 0xFFFFFFFF
            self._last_at_ms = at_ms
            self.is_based = False

    def incoming(self, sequence: int, newest_sequence: int) -> int | None:
        """
        Which extended incoming number went out under these 16 bits; None if none of the stream carried now.

        `newest_sequence` is the newest incoming one.
        """
        if not self.is_based:
            return None
        newest = newest_sequence + self.sequence_delta
        original = newest_sequence - ((newest - sequence) & 0xFFFF)
        return original if original >= self.first else None

"""
The numbers of what a subscriber gets: one stream that goes on, whatever it is made of.

Owns sequence numbers and timestamps of one outgoing source across changes of the stream behind it. A subscriber must
see no jump when its slot carries another publication: the sequence goes on by one, the timestamp by the time that
passed. See RFC 3550, section 5.1.
"""

from __future__ import annotations

from peerbus.sfu.rtp.sequence import timestamp_distance


class Rewriter:
    """
    Maps extended incoming sequence numbers and timestamps to outgoing ones.

    `start_sequence` and `start_timestamp` are random, as RFC 3550 wants it; they are passed in.
    """

    __slots__ = (
        "_first_in",
        "_last_at_ms",
        "_last_sequence",
        "_last_timestamp",
        "_sequence_delta",
        "_timestamp_delta",
        "is_based",
    )

    def __init__(self, start_sequence: int, start_timestamp: int) -> None:
        self._last_sequence = start_sequence - 1
        self._last_timestamp = start_timestamp
        self._last_at_ms: int | None = None
        self._sequence_delta = 0
        self._timestamp_delta = 0
        self._first_in = 0
        self.is_based = False
        """Whether a packet of the stream that is bound now has been sent."""

    def rebind(self) -> None:
        """The next packet is the first one of another stream."""
        self.is_based = False

    def base(self, sequence: int, timestamp: int, clock_rate_hz: int, now_ms: int) -> None:
        """The packet with this extended sequence number is the first to be sent of a stream."""
        self._first_in = sequence
        self._sequence_delta = self._last_sequence + 1 - sequence
        if self._last_at_ms is None:
            elapsed = 0
        else:
            elapsed = max(1, (now_ms - self._last_at_ms) * clock_rate_hz // 1000)
        self._timestamp_delta = self._last_timestamp + elapsed - timestamp
        self.is_based = True

    def rewrite(self, sequence: int, timestamp: int, now_ms: int) -> tuple[int, int] | None:
        """
        The outgoing sequence number and timestamp; None for a packet from before the base.

        `sequence` is extended, `timestamp` has 32 bits.
        """
        if sequence < self._first_in:
            return None
        outgoing = sequence + self._sequence_delta
        stamp = (timestamp + self._timestamp_delta) & 0xFFFFFFFF
        if outgoing > self._last_sequence:
            self._last_sequence = outgoing
            if timestamp_distance(self._last_timestamp & 0xFFFFFFFF, stamp) >= 0:
                self._last_timestamp = stamp
                self._last_at_ms = now_ms
        return outgoing & 0xFFFF, stamp

    def incoming(self, sequence: int) -> int | None:
        """Which extended incoming number went out under these 16 bits; None if none of the stream bound now."""
        if not self.is_based:
            return None
        behind = (self._last_sequence - sequence) & 0xFFFF
        original = self._last_sequence - behind - self._sequence_delta
        return original if original >= self._first_in else None

    def timestamp(self, incoming: int) -> int:
        """An incoming timestamp as it goes out now."""
        return (incoming + self._timestamp_delta) & 0xFFFFFFFF

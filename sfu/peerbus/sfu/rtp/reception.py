"""
How well a stream arrives: the figures of a receiver report.

Owns counting and jitter of one incoming stream. See RFC 3550, sections 6.4.1 and appendices A.3 and A.8.
"""

from __future__ import annotations

from peerbus.sfu.rtp.rtcp import ReportBlock


class Reception:
    """Counts of one source; sequence numbers are extended, times are milliseconds."""

    __slots__ = (
        "_clock_rate_hz",
        "_expected_before",
        "_first",
        "_highest",
        "_jitter",
        "_last_report_at_ms",
        "_last_report_ntp",
        "_received_before",
        "_transit",
        "bytes",
        "packets",
    )

    def __init__(self, clock_rate_hz: int) -> None:
        self._clock_rate_hz = clock_rate_hz
        self._first: int | None = None
        self._highest = 0
        self._jitter = 0.0
        self._transit: int | None = None
        self._expected_before = 0
        self._received_before = 0
        self._last_report_ntp = 0
        self._last_report_at_ms = 0
        self.packets = 0
        self.bytes = 0

    def receive(self, sequence: int, timestamp: int, size_bytes: int, now_ms: int) -> None:
        """A packet has come."""
        self.packets += 1
        self.bytes += size_bytes
        if self._first is None:
            self._first = self._highest = sequence
        elif sequence > self._highest:
            self._highest = sequence
        transit = (now_ms * self._clock_rate_hz // 1000 - timestamp) & 0xFFFFFFFF
        if self._transit is not None:
            difference = (transit - self._transit) & 0xFFFFFFFF
            if difference >= 1 << 31:
                difference = (1 << 32) - difference
            self._jitter += (difference - self._jitter) / 16
        self._transit = transit

    def sender_report(self, ntp_time: int, now_ms: int) -> None:
        """The sender has told its clock; the next report says so."""
        self._last_report_ntp = ntp_time >> 16 & 0xFFFFFFFF
        self._last_report_at_ms = now_ms

    @property
    def lost(self) -> int:
        """How many packets never came; duplicates count against it."""
        return 0 if self._first is None else self._highest - self._first + 1 - self.packets

    @property
    def jitter(self) -> int:
        """In ticks of the media clock."""
        return int(self._jitter)

    def report(self, ssrc: int, now_ms: int) -> ReportBlock | None:
        """The block for the next receiver report, which ends an interval; None if nothing has come yet."""
        if self._first is None:
            return None
        expected = self._highest - self._first + 1
        expected_now = expected - self._expected_before
        lost_now = expected_now - (self.packets - self._received_before)
        self._expected_before, self._received_before = expected, self.packets
        fraction = min(255, lost_now * 256 // expected_now) if expected_now > 0 and lost_now > 0 else 0
        delay = (now_ms - self._last_report_at_ms) * 65_536 // 1000 if self._last_report_ntp else 0
        return ReportBlock(
            ssrc,
            fraction,
            max(-(1 << 23), min(self.lost, (1 << 23) - 1)),
            self._highest & 0xFFFFFFFF,
            min(self.jitter, 0xFFFFFFFF),
            self._last_report_ntp,
            min(delay, 0xFFFFFFFF),
        )

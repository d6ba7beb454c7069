"""
What lies between one client and the server: how long it takes, how much it takes, and what it swallows.

Owns the state that links of one client share; links read it for everything they carry.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Path:
    """`*_until_ms`: half-open, that is: what is sent that way before this time never arrives, and nobody is told."""

    latency_ms: int = 5
    bytes_per_s: int | None = None
    """How fast the client's side takes what the server writes; None: at once."""
    up_until_ms: int = 0
    down_until_ms: int = 0
    up_trips_after: int | None = None
    """So many more messages to the server get through; with the next one the connection is cut."""
    down_trips_after: int | None = None
    """The same for messages to the client."""

    def swallows_up(self, now_ms: int) -> bool:
        return now_ms < self.up_until_ms

    def swallows_down(self, now_ms: int) -> bool:
        return now_ms < self.down_until_ms

    def trips_up(self) -> bool:
        """Whether the message that is now sent to the server cuts the connection."""
        if self.up_trips_after is None:
            return False
        self.up_trips_after = self.up_trips_after - 1 if self.up_trips_after else None
        return self.up_trips_after is None

    def trips_down(self) -> bool:
        """Whether the message that is now sent to the client cuts the connection."""
        if self.down_trips_after is None:
            return False
        self.down_trips_after = self.down_trips_after - 1 if self.down_trips_after else None
        return self.down_trips_after is None

    def heal(self) -> None:
        """As good as new."""
        self.bytes_per_s = None
        self.up_until_ms = self.down_until_ms = 0
        self.up_trips_after = self.down_trips_after = None

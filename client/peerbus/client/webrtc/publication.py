"""
A track that this side sends.

Owns what is known of it and who waits for the SFU to take it. Never sends anything itself: its feed does, on the line
that a connection gives it.
"""

from __future__ import annotations

from typing import Final

from peerbus.client.outcome import Outcome
from peerbus.client.webrtc.outgoing import Feed
from peerbus.protocol.signals import MediaKind, OfferedTrack, Source


class Publication:
    """What `publish` gives. It is published again by itself after a loss of the connection."""

    def __init__(self, id: str, source: Source, feed: Feed, outcome: Outcome[Publication]) -> None:  # noqa: A002 - its name
        self.id: Final = id
        """Unique among the own ones; the others see it as `<identity>/<id>`."""
        self.source: Final[Source] = source
        self.feed: Final = feed
        """For the helper."""
        self.is_published = False
        """The SFU has taken it, and it did not end."""
        self.is_ended = False
        self._outcome: Final = outcome

    @property
    def media(self) -> MediaKind:
        """`audio` or `video`."""
        return self.feed.kind

    @property
    def is_muted(self) -> bool:
        """Whether it is held back."""
        return self.feed.is_muted

    def __repr__(self) -> str:
        return f"Publication({self.id!r}, {self.media}, {self.source})"

    # --- for the helper -----------------------------------------------------------------------------------------

    def offered(self, mid: str, *, is_sealed: bool) -> OfferedTrack:
        """As an offer names it."""
        return OfferedTrack(
            mid=mid, publication=self.id, source=self.source, is_muted=self.is_muted, is_sealed=is_sealed
        )

    def taken(self) -> None:
        """The SFU answered an offer that has it."""
        if not self.is_ended:
            self.is_published = True
            self._outcome.succeed(self)

    def end(self, error: Exception | None, *, is_expected: bool = False) -> None:
        """It is over; whoever waits for it to be published hears the error (if it is expected, nobody else)."""
        self.is_ended = True
        self.is_published = False
        if error is not None:
            self._outcome.fail(error, is_expected=is_expected)
        else:
            self._outcome.succeed(self)

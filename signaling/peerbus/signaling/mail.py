"""
What one session of a claimed name knows of its mailbox.

Owns the mail that the session still has to be shown before anything else, and how much of the mailbox it has said it
has read. Never reads or changes the mailbox, which stands in the log. See PROTOCOL.md, section 15.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final


class Mail:
    """
    Begins with what was unread when the session connected: offsets, rising.

    Of what lies beyond `after` and not beyond `until` the session is shown its mail only.
    """

    __slots__ = ("acknowledged", "newest", "unread", "until")

    def __init__(self, unread: tuple[int, ...], *, after: int, until: int) -> None:
        self.unread: Final = tuple(offset for offset in unread if after < offset <= until)
        self.until: Final = until
        self.newest = unread[-1] if unread else 0
        """The offset of the newest mail that is known to be in the mailbox, or to have been."""
        self.acknowledged = 0

    def page(self, after: int, limit: int) -> tuple[tuple[int, ...], int]:
        """The next mail to be shown beyond an offset, and the offset before which that is all of it."""
        first = bisect_right(self.unread, after)
        offsets = self.unread[first : first + limit]
        is_last = first + limit >= len(self.unread)
        return offsets, (self.until if is_last else offsets[-1]) + 1

    def arrived(self, offset: int) -> None:
        """There is a new message in the mailbox."""
        self.newest = max(self.newest, offset)

    def acknowledge(self, offset: int) -> bool:
        """The client has read everything up to an offset; whether that may have been mail."""
        was, self.acknowledged = self.acknowledged, max(self.acknowledged, offset)
        return self.acknowledged > was < self.newest

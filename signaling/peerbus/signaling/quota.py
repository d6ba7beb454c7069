"""
What one project may have on a server at a time.

Owns the structure. Never counts: members and channels are counted where they are (`membership`).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class Quota(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """None means no less than the server's own limits. A channel counts for the project that opened it."""

    channels: int | None = None
    sessions: int | None = None
    messages_per_channel: int | None = None
    """How many stored messages are kept in the project's own channels; the oldest go first."""
    message_bytes: int | None = None


NO_QUOTA: Final = Quota()
"""Only the limits of the server hold."""

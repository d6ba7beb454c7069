"""
What a client session is made with.

Owns the options and their defaults. Never changes while the session lives.
"""

from __future__ import annotations

from msgspec import Struct

from peerbus.protocol.messages import Connect
from peerbus.protocol.session.paths import TransportName


class ClientSettings(Struct, frozen=True, kw_only=True):
    """What one session is made with."""

    connect: Connect
    """The connect frame; its `id` is ignored, and its `resume` is where an earlier page or process stood."""
    transports: tuple[TransportName, ...] = ("websocket", "longpoll")
    """In order of preference."""
    can_renew: bool = False
    """Somebody answers `FetchCredential`."""
    request_timeout_ms: int = 30_000
    max_requests: int = 1_000
    """How many requests may wait for an outcome: the offline queue and what is under way together."""
    max_request_bytes: int = 4_194_304
    attempt_timeout_ms: int = 10_000
    """From opening a transport to `connected`."""
    give_up_after_ms: int | None = 30_000
    """How long the first connect may take, all attempts together; None: for ever. Reconnecting never ends."""
    stable_after_ms: int = 5_000
    """A connection that lasted this long makes the delays start from the shortest again."""

"""
The channels that everyone has left a moment ago.

Owns them until nothing can be under way any more. Whoever joins meanwhile may bring a state of the log that is older
than the last change of the channel, so the channel that is kept here is the one that goes on.
"""

from __future__ import annotations

from typing import Final

from peerbus.signaling.channel import Channel
from peerbus.signaling.log.interface import ChannelKey

_REST_MS: Final = 10_000


class RestingChannels:
    """Those of one server."""

    def __init__(self) -> None:
        self._channels: Final[dict[ChannelKey, Channel]] = {}

    def __len__(self) -> int:
        return len(self._channels)

    def of(self, key: ChannelKey) -> Channel | None:
        """The channel, if it rests."""
        return self._channels.get(key)

    def rest(self, channel: Channel) -> None:
        """Everyone has left."""
        self._channels[channel.key] = channel

    def wake(self, channel: Channel) -> None:
        """Somebody has joined it."""
        self._channels.pop(channel.key, None)
        channel.resting_since_ms = None

    def tick(self, now_ms: int) -> None:
        """Forgets those that have rested for long enough; to be called a few times a second."""
        for channel in list(self._channels.values()):
            if channel.changes_under_way:
                continue
            if channel.resting_since_ms is None:
                channel.resting_since_ms = now_ms
            elif now_ms - channel.resting_since_ms >= _REST_MS:
                del self._channels[channel.key]

"""
What comes in, sorted: messages for the user, signals of calls, and what peers say to each other.

Owns the types that were asked for and the streams of messages. Never opens anything sealed (that is `opening`).
"""

from __future__ import annotations

from typing import Final

from peerbus.client.errors import PeerbusError
from peerbus.client.events import Emitter
from peerbus.client.records import Message
from peerbus.client.stream import MessageStream
from peerbus.protocol.groups import GROUP_AGENT, PEER_DATA_TYPE
from peerbus.protocol.messages import SIGNAL_TYPE
from peerbus.protocol.signals import SFU_AGENT


class Inbox:
    """That of one agent, whose events it emits."""

    def __init__(self, agent: Emitter) -> None:
        self.wanted: list[str] = []
        """The types that the user asked for; all if empty."""
        self._agent: Final = agent
        self._streams: list[MessageStream] = []

    def stream(self, max_buffered: int) -> MessageStream:
        """A new reader of messages from now on."""
        stream = MessageStream(max_buffered)
        self._streams = [other for other in self._streams if not other.is_over]
        self._streams.append(stream)
        return stream

    def end(self, error: PeerbusError | None) -> None:
        """Nothing comes in any more; None where that was wanted."""
        for stream in self._streams:
            stream.end(error)
        self._streams = []

    def take(self, message: Message) -> None:
        """A message, opened if it was sealed."""
        if message.sender in (SFU_AGENT, GROUP_AGENT):
            # Part of a call, not of the conversation; nobody else can bear these names.
            self._agent.emit("signal", message)
            return
        if _is_of_peer(message):
            kind = "peer_data" if message.type == PEER_DATA_TYPE else "peer_signal"
            self._agent.emit(kind, message)
            return
        if self.wanted and message.type not in self.wanted and message.custom_event_type not in self.wanted:
            return  # More types are pushed than were asked for.
        for stream in self._streams:
            stream.put(message)
        self._agent.emit("message", message)


def _is_of_peer(message: Message) -> bool:
    """Whether another member's `WebRTCHelper` says it to this one's."""
    if message.delivery == "durable":
        return False
    content = message.content
    if message.type == PEER_DATA_TYPE:
        return isinstance(content, bytes)
    kind = content.get("kind") if isinstance(content, dict) and message.type == SIGNAL_TYPE else None
    return isinstance(kind, str) and kind.startswith("peer_")

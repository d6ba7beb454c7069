"""
What the server itself says in channels, under one of its reserved names.

Owns the form of these live messages and their ids. Never decides what is said, or to whom.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from peerbus.protocol.messages import Message
from peerbus.signaling.dispatch import Dispatch
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.member import Member


class ServerAgent:
    """One of the names that nobody else can bear, such as `peerbus:sfu`."""

    def __init__(self, name: str, dispatch: Dispatch) -> None:
        self._name: Final = name
        self._dispatch: Final = dispatch
        self._numbers = 0

    def push(self, members: Iterable[Member], type_: str, now_ms: int, **content: Any) -> None:
        """A message for each of the members; `content` or `binary` is what it says."""
        self._numbers += 1
        message = Message(
            delivery="live",
            message_id=f"{self._name}.{self._numbers}",
            time_ms=self._dispatch.wall_ms(now_ms),
            sender=self._name,
            identity=self._name,
            type=type_,
            **content,
        )
        self._dispatch.push_live(members, EncodedFrame(message), now_ms)

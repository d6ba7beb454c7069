"""
Which transport a client tries next: WebSocket, or HTTP long-poll where WebSockets don't get through.

Owns the choice. Never opens anything. See PROTOCOL.md, section 7.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

TransportName: TypeAlias = Literal["websocket", "longpoll"]

PATIENCE: Final = 2
"""How many attempts in a row may die on one transport before the other is tried."""


class TransportChoice:
    """
    Tries `allowed` in order, and stays with what worked.

    After two attempts in a row that died before the server said anything, it alternates.
    """

    def __init__(self, allowed: tuple[TransportName, ...]) -> None:
        if not allowed:
            raise ValueError("at least one transport is needed")
        self._allowed = allowed
        self._index = 0
        self._deaths = 0

    @property
    def current(self) -> TransportName:
        """The transport for this attempt."""
        return self._allowed[self._index]

    def worked(self) -> None:
        """The server answered on this transport, be it a refusal."""
        self._deaths = 0

    def died(self) -> None:
        """An attempt ended before the server answered."""
        self._deaths += 1
        if self._deaths >= PATIENCE:
            self._index = (self._index + 1) % len(self._allowed)

"""
What is said to one peer about the link to it: signals, in order.

Owns that what came too fast for the server is said again, before all that comes after it. What is lost otherwise is
found by the deadline of the link (`mesh`). Frames of mode `relay` need none of this: their delivery resends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from peerbus.client.agent import AgentConnection
from peerbus.client.errors import ErrorCode, PeerbusError
from peerbus.protocol.groups import PeerSignal
from peerbus.protocol.messages import SIGNAL_TYPE

_SAY_AGAIN_MS: Final = 100
"""Where the server does not say when."""


class PeerSpeech:
    """See the module; `name` is the peer's in the channel."""

    def __init__(self, agent: AgentConnection, name: str, on_error: Callable[[PeerbusError], None]) -> None:
        self._agent: Final = agent
        self._name: Final = name
        self._on_error: Final = on_error
        self._refused: list[dict[str, Any]] = []
        """What the server refused for its rate, and what came after it."""
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def say(self, signal: PeerSignal) -> None:
        """Says it now, or when what was refused was said."""
        content = {"content": msgspec.to_builtins(signal)}
        if self._refused:
            self._refused.append(content)
        else:
            self._send(content)

    def close(self) -> None:
        """Nothing is said again."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _send(self, content: dict[str, Any]) -> None:
        def answered(answer: asyncio.Future[Any]) -> None:
            error = None if answer.cancelled() else answer.exception()
            if isinstance(error, PeerbusError) and error.code is ErrorCode.RATE_LIMITED:
                self._was_refused(content, error)

        try:
            sent = self._agent.send_message(content, type=SIGNAL_TYPE, to=[self._name], delivery="live")
        except PeerbusError as error:
            self._on_error(error)
            return
        sent.add_done_callback(answered)

    def _was_refused(self, content: dict[str, Any], error: PeerbusError) -> None:
        if self._is_closed:
            return
        self._refused.append(content)
        if len(self._refused) == 1:
            wait_ms = error.retry_after_ms or _SAY_AGAIN_MS
            self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._say_again)

    def _say_again(self) -> None:
        refused, self._refused = self._refused, []
        for content in refused:
            self._send(content)

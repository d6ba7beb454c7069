"""
Lets a few requests begin in each turn of the event loop, so that a crowd of them does not keep sessions waiting.

Owns the queue of those that wait, first come first served. Never refuses one, and has nothing to do with how long a
request takes once it has begun.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final


class Turnstile:
    """`per_turn` may pass in one turn of the loop; made and used on its thread."""

    def __init__(self, per_turn: int) -> None:
        self._per_turn: Final = per_turn
        self._loop: Final = asyncio.get_running_loop()
        self._left = per_turn
        self._waiting: Final[deque[asyncio.Future[None]]] = deque()
        self._is_turning = False

    async def enter(self) -> None:
        """Returns when it is the caller's turn; at once, unless there is a crowd."""
        if not self._is_turning:
            self._is_turning = True
            self._loop.call_soon(self._turn)
        if self._left > 0:
            self._left -= 1
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(turn)
        await turn

    def _turn(self) -> None:
        self._left = self._per_turn
        while self._waiting and self._left > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        self._is_turning = self._left < self._per_turn
        if self._is_turning:
            self._loop.call_soon(self._turn)

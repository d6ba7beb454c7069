"""
The outcome of a call that was begun at once, whether or not it is awaited.

Owns where its failure goes: to whoever awaits it, else to a fallback. Never starts anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Outcome(asyncio.Future[T]):
    """
    A future that may be left alone.

    A failure that nobody waits for by the next turn of the loop goes to `on_unobserved` (it is raised, too, if
    someone awaits the outcome later), so nothing fails silently and nothing is logged as "never retrieved".
    """

    def __init__(self, on_unobserved: Callable[[Exception], None]) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._on_unobserved = on_unobserved
        self._is_observed = False

    def __await__(self) -> Generator[Any, None, T]:
        self._is_observed = True
        return super().__await__()

    def add_done_callback(self, fn: Callable[[Self], object], /, *, context: Context | None = None) -> None:
        """See `asyncio.Future`; whoever asks to be called observes the outcome."""
        self._is_observed = True
        super().add_done_callback(fn, context=context)

    def succeed(self, value: T) -> None:
        """The call is done. No effect on one that was cancelled."""
        if not self.done():
            self.set_result(value)

    def fail(self, error: Exception, *, is_expected: bool = False) -> None:
        """The call failed. No effect on one that was cancelled; `is_expected`: only whoever awaits it is told."""
        if self.done():
            return
        self.set_exception(error)
        if not self._is_observed:
            self.exception()
            if not is_expected:
                # Whoever made the call may be just about to await it.
                self.get_loop().call_soon(self._report, error)

    def _report(self, error: Exception) -> None:
        if not self._is_observed:
            self._on_unobserved(error)

"""
An event loop in whose time nothing takes long: where it would wait, its clock jumps to the next timer.

    @emulated
    async def test_it() -> None: ...
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _Jumping(selectors.DefaultSelector):
    """Never blocks; tells the loop for how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.on_wait: Callable[[float], None] = lambda seconds: None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise RuntimeError("this would wait for ever")
            if timeout > 0:
                self.on_wait(timeout)
        return found


class EmulatedLoop(asyncio.SelectorEventLoop):
    """See the module. Threads and sockets have no place in it."""

    def __init__(self) -> None:
        selector = _Jumping()
        selector.on_wait = self._jump
        self._now = 1_000.0
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def _jump(self, seconds: float) -> None:
        self._now += seconds


def emulated(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Runs a test in emulated time."""

    @functools.wraps(test)
    def run() -> None:
        with asyncio.Runner(loop_factory=EmulatedLoop) as runner:
            runner.run(test())

    return run

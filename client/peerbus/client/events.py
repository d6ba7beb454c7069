"""
Events and assignable callbacks of an agent.

Owns who is told what, on top of pyee: `agent.on("message", f)` and `agent.on_message = f` are the same, for plain and
for async functions. Never lets a failing handler disturb the connection: its exception goes to the `error` handlers,
and where there are none, or they fail themselves, to the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, overload

from pyee.asyncio import AsyncIOEventEmitter

from peerbus.protocol.errors import ProtocolError

_log: Final = logging.getLogger("peerbus.client")

ERROR: Final = "error"

F = TypeVar("F", bound=Callable[..., Any])


class Emitter(AsyncIOEventEmitter):
    """An event emitter whose handlers can't hurt whoever emits."""

    def __init__(self) -> None:
        super().__init__()
        self._is_telling_error = False

    def emit(self, event: str, *args: Any, **kwargs: Any) -> bool:
        """Calls every handler of `event`; those that are coroutines run as tasks, in the order of the events."""
        if event != ERROR:
            return super().emit(event, *args, **kwargs)
        if self._is_telling_error or not self.listeners(ERROR):
            _log.error("%s", args[0], exc_info=args[0] if _is_bug(args[0]) else None)
            return False
        self._is_telling_error = True
        try:
            return super().emit(event, *args, **kwargs)
        finally:
            self._is_telling_error = False

    def _emit_run(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        is_error = self._is_telling_error
        try:
            result = f(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the user's own code
            self._handler_failed(error, is_error=is_error)
            return
        if asyncio.iscoroutine(result):
            task = asyncio.ensure_future(result)
            self._waiting.add(task)
            task.add_done_callback(lambda done: self._handler_ended(done, is_error=is_error))

    def _handler_ended(self, task: asyncio.Future[Any], *, is_error: bool) -> None:
        self._waiting.discard(task)
        if not task.cancelled():
            error = task.exception()
            if isinstance(error, Exception):
                self._handler_failed(error, is_error=is_error)

    def _handler_failed(self, error: Exception, *, is_error: bool) -> None:
        if is_error:
            _log.error("an error handler failed", exc_info=error)
        else:
            self.emit(ERROR, error)


class Callback(Generic[F]):
    """An attribute of an emitter that holds one handler of one event, or None."""

    def __init__(self, event: str) -> None:
        self._event: Final = event
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}_handler"

    @overload
    def __get__(self, emitter: None, owner: type) -> Callback[F]: ...

    @overload
    def __get__(self, emitter: Emitter, owner: type) -> F | None: ...

    def __get__(self, emitter: Emitter | None, owner: type) -> Callback[F] | F | None:
        if emitter is None:
            return self
        handler: F | None = emitter.__dict__.get(self._name)
        return handler

    def __set__(self, emitter: Emitter, handler: F | None) -> None:
        if handler is not None and not callable(handler):
            raise TypeError(f"A handler of {self._event!r} is a function, not {type(handler).__name__}.")
        old = emitter.__dict__.get(self._name)
        if old is not None:
            emitter.remove_listener(self._event, old)
        emitter.__dict__[self._name] = handler
        if handler is not None:
            emitter.add_listener(self._event, handler)


def _is_bug(error: object) -> bool:
    """Whether a traceback helps: not for what the protocol says in words."""
    return isinstance(error, BaseException) and not isinstance(error, ProtocolError)

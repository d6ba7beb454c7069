"""
The operator's check of data messages: a function of one's own that lets a message pass, changes or refuses it.

Owns loading it and running it apart from everything else: in a thread, for a bounded time. Never sees messages of
sealed channels, which are no business of the server's.

    from peerbus.sfu.data_hook import DataMessage, Refuse, Rewrite

    def check(message: DataMessage) -> Rewrite | None:
        if not isinstance(message.payload, dict):
            raise Refuse("not a message of this game")
        return None
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import logging
import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec import Struct

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.sfu.data_review import ACCEPTED, Changed, Verdict

logger = logging.getLogger(__name__)

LIMIT_S: Final = 0.1
"""A message that is not judged by then is refused."""
_STUCK_MAX: Final = 4
"""So many threads of a room may be stuck in the check; then nothing passes until one of them is back."""


class DataMessage(Struct, frozen=True, kw_only=True):
    """What is to be judged."""

    sender: str
    """The identity of who sent it: the same for all messages of one participant, and nobody else's."""
    name: str
    """Under which the others know it."""
    to: tuple[str, ...] | None
    """The identities it is for; None: everybody else."""
    payload: Any
    """As the receivers get it: JSON-shaped, text or bytes."""
    is_reliable: bool
    channel: str
    """The id of the channel, in hex: to tell apart what several games say."""


class Rewrite(NamedTuple):
    """The message goes on with this payload instead."""

    payload: Any


class Refuse(Exception):
    """The message does not go on; its sender is told the reason."""


Hook: TypeAlias = Callable[[DataMessage], Rewrite | None]


class HookError(ValueError):
    """There is no such check; the text is for the operator."""


def load_hook(place: str) -> Hook:
    """The function at `package.module:function`, also of the current folder. Raises `HookError`."""
    module_name, colon, name = place.partition(":")
    if not colon or not module_name or not name.isidentifier():
        raise HookError(f"{place!r} is not of the form package.module:function")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # A module of somebody else: whatever it raises, it can't be used.
        text = " ".join(str(error).split())
        raise HookError(f"{module_name} cannot be loaded: {type(error).__name__}: {text}") from error
    hook: Any = getattr(module, name, None)
    if not callable(hook):
        raise HookError(f"{module_name} has no function {name}")
    if inspect.iscoroutinefunction(hook):
        raise HookError(f"{place} is a coroutine function; a check is a plain one")
    try:
        inspect.signature(hook).bind(None)
    except TypeError:
        raise HookError(f"{place} has to take one argument, the message") from None
    except ValueError:
        pass  # Of something written in C nobody can tell.
    typed: Hook = hook
    return typed


class HookRunner:
    """
    Runs the check for one room: one message after the other, in a thread.

    A thread that takes too long is left alone, and its message refused; another one goes on with the next.
    """

    def __init__(self, hook: Hook) -> None:
        self._hook: Final = hook
        self._tasks: queue.SimpleQueue[_Task | None] | None = None
        self._turn: Final = asyncio.Lock()
        self._stuck = 0

    async def judge(self, message: DataMessage) -> Verdict:
        """What the check says; never raises for what it does."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            if self._stuck >= _STUCK_MAX:
                return _failed("The check does not answer.")
            answer: asyncio.Future[Verdict] = loop.create_future()
            if self._tasks is None:
                self._tasks = queue.SimpleQueue()
                # Not one of an executor: the process would wait for it at its end.
                threading.Thread(
                    target=_work, args=(self._hook, self._tasks), name="data-hook", daemon=True
                ).start()
            tasks = self._tasks
            tasks.put(_Task(message, loop, answer))
            done, _ = await asyncio.wait([answer], timeout=LIMIT_S)
            if done:
                return answer.result()
            self._stuck += 1
            self._tasks = None
            tasks.put(None)
            answer.add_done_callback(self._came_back)
            logger.warning("The check of data messages took more than %d ms", LIMIT_S * 1000)
            return _failed("The check of the server took too long.")

    def close(self) -> None:
        """Its thread ends as soon as it can."""
        if self._tasks is not None:
            self._tasks.put(None)
            self._tasks = None

    def _came_back(self, answer: asyncio.Future[Verdict]) -> None:
        self._stuck -= 1


class _Task(NamedTuple):
    message: DataMessage
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Verdict]


def _work(hook: Hook, tasks: queue.SimpleQueue[_Task | None]) -> None:
    """A thread's life."""
    while (task := tasks.get()) is not None:
        verdict = _judge(hook, task.message)
        # The worker may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            task.loop.call_soon_threadsafe(_answer, task.answer, verdict)


def _answer(answer: asyncio.Future[Verdict], verdict: Verdict) -> None:
    if not answer.done():
        answer.set_result(verdict)


def _judge(hook: Hook, message: DataMessage) -> Verdict:
    try:
        said: Any = hook(message)
    except Refuse as refusal:
        return ProtocolError(ErrorCode.MESSAGE_REFUSED, str(refusal)[:500] or "The server refused it.")
    except Exception:  # A function of somebody else: what it raises costs its message only.
        logger.exception("The check of data messages failed")
        return _failed("The check of the server failed.")
    if said is None:
        return ACCEPTED
    if isinstance(said, Rewrite):
        return Changed(said.payload)
    logger.error("The check of data messages gave a %s, neither None nor Rewrite", type(said).__name__)
    return _failed("The check of the server failed.")


def _failed(text: str) -> ProtocolError:
    return ProtocolError(ErrorCode.MESSAGE_REFUSED, text)

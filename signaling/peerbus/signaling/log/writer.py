"""The shell around a store: appends from an event loop, group commit in one thread, reads in a few others.

Owns the queue, the threads and the clock. Never decides an offset or who may see an entry: the store does.

An append waits for nothing but the commit before it: an idle writer commits it at once, and what comes in
while a commit is under way makes the next group. Results come back on the loop, in the order of submission,
with one wake-up for each round of the writer. The queue is bounded; what exceeds it is refused at once.

With a store that never blocks there are no threads: the queue is worked off on the loop, one tick later, so
that callers see the same order of events.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import msgspec

from peerbus.protocol.errors import ErrorCode
from peerbus.signaling.log.interface import (
    TRIM_ROWS_MAX,
    Append,
    Appended,
    AppendResult,
    ChannelKey,
    ChannelState,
    Claim,
    Delivery,
    MailRead,
    Page,
    Range,
    Refused,
    Store,
    StoreError,
)

AppendCallback = Callable[[AppendResult], object]
_Result = TypeVar("_Result")

_log: Final = logging.getLogger("peerbus.log")

_MAINTENANCE_S: Final = 1.0
_MORE_MAINTENANCE_S: Final = 0.02
_QUIET_S: Final = 5.0
_ENTRY_OVERHEAD_BYTES: Final = 256

_OVERLOADED: Final = Refused(ErrorCode.OVERLOADED, "too many messages wait to be stored")
_CLOSING: Final = Refused(ErrorCode.SERVER_RESTARTING, "the server is shutting down")
_UNAVAILABLE: Final = Refused(ErrorCode.STORAGE_UNAVAILABLE, "messages can't be stored at the moment")
_UNSTORABLE: Final = Refused(ErrorCode.BAD_REQUEST, "this message can't be stored")
_DEFECT: Final = Refused(ErrorCode.INTERNAL, "storing the message failed")


class WriterLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much may wait, how much is committed at once, and how many reads run side by side."""

    queue: int = 20_000
    queue_bytes: int = 64 << 20
    group: int = 400
    group_bytes: int = 4 << 20
    readers: int = 3


class WriterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Figures since the start, for metrics and readiness.

    `commit_s` is the time spent in commits. `failing` is why the last commit failed, until one succeeds.
    """

    waiting: int
    waiting_bytes: int
    groups: int
    appends: int
    commit_s: float
    failing: str | None


class _Submitted:
    """An append on its way: the writer sets its result, the loop calls its callback."""

    __slots__ = ("append", "callback", "result", "size_bytes")

    def __init__(self, append: Append, callback: AppendCallback, size_bytes: int) -> None:
        self.append = append
        self.callback = callback
        self.size_bytes = size_bytes
        self.result: AppendResult = _DEFECT

    def deliver(self) -> None:
        self.callback(self.result)


class _Call:
    """Another call of the store, which takes its turn among the appends."""

    __slots__ = ("error", "function", "future", "result")

    def __init__(self, function: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.function = function
        self.future = future
        self.result: Any = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.result = self.function()
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the caller, who waits for it
            self.error = error

    def deliver(self) -> None:
        if self.future.done():  # the caller was cancelled
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


_Item = _Submitted | _Call


class LogWriter:
    """Gives an event loop the use of a store, which it closes in the end.

    Made and used on the loop's thread. Every append that `submit` takes gets exactly one callback, on the
    loop.
    """

    def __init__(
        self,
        store: Store,
        *,
        limits: WriterLimits | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._limits = limits or WriterLimits()
        self._now_ms = now_ms
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._waiting = 0
        self._waiting_bytes = 0
        self._groups = 0
        self._appends = 0
        self._commit_s = 0.0
        self._failing: str | None = None
        self._quiet_until_s = 0.0
        self._is_closing = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._tick: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pool: ThreadPoolExecutor | None = None
        if store.blocking:
            self._pool = ThreadPoolExecutor(self._limits.readers, thread_name_prefix="log-reader")
            threading.Thread(target=self._run, name="log-writer", daemon=True).start()
        else:
            self._timer = self._loop.call_later(_MAINTENANCE_S, self._maintain_on_loop)

    @property
    def promise(self) -> Delivery:
        """What an acknowledgement promises."""
        return self._store.promise

    def status(self) -> WriterStatus:
        """The figures of this moment."""
        return WriterStatus(
            waiting=self._waiting,
            waiting_bytes=self._waiting_bytes,
            groups=self._groups,
            appends=self._appends,
            commit_s=self._commit_s,
            failing=self._failing,
        )

    def submit(self, append: Append, callback: AppendCallback) -> Refused | None:
        """Take an append, never waiting. A refusal is returned, and then the callback is never called."""
        if self._is_closing:
            return _CLOSING
        size_bytes = len(append.body) + _ENTRY_OVERHEAD_BYTES
        limits = self._limits
        if self._waiting >= limits.queue or self._waiting_bytes + size_bytes > limits.queue_bytes:
            return _OVERLOADED
        self._waiting += 1
        self._waiting_bytes += size_bytes
        self._put(_Submitted(append, callback, size_bytes))
        return None

    async def open_channel(self, key: ChannelKey, name: str, mode: str, now_ms: int) -> ChannelState:
        """`Store.open_channel`, in its turn."""
        return await self._call(lambda: self._store.open_channel(key, name, mode, now_ms))

    async def claim(self, key: ChannelKey, name: str, mode: str, identity: str, now_ms: int) -> Claim:
        """`Store.open_channel` and then `Store.claim`, in their turn."""

        def claim() -> Claim:
            self._store.open_channel(key, name, mode, now_ms)
            return self._store.claim(key, identity, now_ms)

        return await self._call(claim)

    def read_mail(self, reads: Sequence[MailRead], now_ms: int) -> asyncio.Future[None]:
        """`Store.read_mail`, in its turn: before everything that is asked for later, awaited or not."""
        if self._is_closing:
            raise _closed_error()
        future: asyncio.Future[None] = self._loop.create_future()
        self._put(_Call(lambda: self._store.read_mail(reads, now_ms), future))
        return future

    async def set_locked(self, key: ChannelKey, locked: bool) -> ChannelState:
        """`Store.set_locked`, in its turn."""
        return await self._call(lambda: self._store.set_locked(key, locked))

    async def trim(self, key: ChannelKey, before: int, rows_max: int = TRIM_ROWS_MAX) -> ChannelState:
        """`Store.trim`, in its turn."""
        return await self._call(lambda: self._store.trim(key, before, rows_max))

    async def new_epochs(self) -> None:
        """`Store.new_epochs`, in its turn."""
        await self._call(self._store.new_epochs)

    async def read(self, key: ChannelKey, identity: str, wanted: Range, limit_bytes: int) -> Page:
        """`Store.read`, beside the writer. Sees at least everything whose callback was called."""
        if self._is_closing:
            raise _closed_error()
        if self._pool is None:
            return self._store.read(key, identity, wanted, limit_bytes)
        return await self._loop.run_in_executor(
            self._pool, self._store.read, key, identity, wanted, limit_bytes
        )

    async def close(self) -> None:
        """Take nothing more, finish everything taken, close the store. Returns after the last callback."""
        if not self._is_closing:
            self._is_closing = True
            if self._pool is not None:
                self._queue.put(None)
            else:
                self._close_on_loop()
        await asyncio.shield(self._closed)

    async def _call(self, function: Callable[[], _Result]) -> _Result:
        if self._is_closing:
            raise _closed_error()
        future: asyncio.Future[_Result] = self._loop.create_future()
        self._put(_Call(function, future))
        return await future

    def _put(self, item: _Item) -> None:
        self._queue.put(item)
        if self._pool is None and self._tick is None:
            self._tick = self._loop.call_soon(self._work_on_loop)

    # In the writer's thread

    def _run(self) -> None:
        queue = self._queue
        maintain_at = time.monotonic() + _MAINTENANCE_S
        running = True
        while running:
            try:
                first = queue.get(timeout=max(0.0, maintain_at - time.monotonic()))
            except Empty:
                pass
            else:
                items, running = self._take(first)
                self._work(items)
                running = self._tell_loop(self._deliver, items) and running
            if time.monotonic() >= maintain_at:
                more = self._maintain()
                maintain_at = time.monotonic() + (_MORE_MAINTENANCE_S if more else _MAINTENANCE_S)
        if self._pool is not None:
            self._pool.shutdown()
        self._store.close()
        self._tell_loop(self._closed.set_result, None)

    def _tell_loop(self, function: Callable[[Any], object], argument: object) -> bool:
        """Whether the loop is still there to hear it: it may have ended without `close`."""
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            return False
        return True

    # In the writer's thread, or on the loop if there is none

    def _take(self, first: _Item | None) -> tuple[list[_Item], bool]:
        """What one round works on, from the item already taken; and whether another round may follow."""
        items: list[_Item] = []
        size_bytes = 0
        item = first
        limits = self._limits
        while item is not None:
            items.append(item)
            if isinstance(item, _Submitted):
                size_bytes += item.size_bytes
            if len(items) >= limits.group or size_bytes >= limits.group_bytes or self._queue.empty():
                return items, True
            item = self._queue.get()
        return items, False

    def _work(self, items: list[_Item]) -> None:
        group: list[_Submitted] = []
        for item in items:
            if isinstance(item, _Submitted):
                group.append(item)
                continue
            self._append(group)
            group = []
            item.run()
        self._append(group)

    def _append(self, group: list[_Submitted]) -> None:
        """Store a group and set its results. If one append of it is bad, the others don't suffer."""
        if not group:
            return
        started_s = time.perf_counter()
        try:
            results = self._store.append_group([item.append for item in group])
        except StoreError as error:
            if error.code != "unstorable":
                self._note_failing(error.reason)
                results = [_UNAVAILABLE] * len(group)
            elif len(group) == 1:
                results = [_UNSTORABLE]
            else:
                self._append_singly(group)
                return
        except Exception:  # noqa: BLE001 - a defect, set off by one of them perhaps; the others get their answers
            if len(group) > 1:
                self._append_singly(group)
                return
            _log.exception("storing an entry failed")
            results = [_DEFECT]
        else:
            if self._failing is not None and any(_is_new(result) for result in results):
                self._note_failing(None)
        for item, result in zip(group, results, strict=True):
            item.result = result
        self._groups += 1
        self._appends += len(group)
        self._commit_s += time.perf_counter() - started_s

    def _append_singly(self, group: list[_Submitted]) -> None:
        for item in group:
            self._append([item])

    def _maintain(self) -> bool:
        try:
            more = self._store.maintain(self._now_ms())
        except StoreError as error:
            self._note_failing(error.reason)
            return False
        except Exception:  # noqa: BLE001 - a defect here must not end the thread that answers appends
            _log.exception("housekeeping of the message log failed")
            return False
        self._note_failing(None)
        return more

    def _note_failing(self, reason: str | None) -> None:
        changes = (reason is None) != (self._failing is None)
        self._failing = reason
        now_s = time.monotonic()
        if not changes or now_s < self._quiet_until_s:
            return
        # A disk that is nearly full may change its mind with every group.
        self._quiet_until_s = now_s + _QUIET_S
        if reason is None:
            _log.warning("messages can be stored again")
        else:
            _log.error("messages can't be stored: %s", reason)

    # On the loop

    def _deliver(self, items: list[_Item]) -> None:
        for item in items:
            if isinstance(item, _Submitted):
                self._waiting -= 1
                self._waiting_bytes -= item.size_bytes
            try:
                item.deliver()
            except Exception as error:  # noqa: BLE001 - a callback's defect must not cost the others theirs
                self._loop.call_exception_handler(
                    {"message": "a callback of the message log failed", "exception": error}
                )

    def _work_on_loop(self) -> None:
        self._tick = None
        items, _ = self._take(self._queue.get())
        self._work(items)
        self._deliver(items)
        if not self._queue.empty() and self._tick is None:
            self._tick = self._loop.call_soon(self._work_on_loop)

    def _maintain_on_loop(self) -> None:
        more = self._maintain()
        delay_s = _MORE_MAINTENANCE_S if more else _MAINTENANCE_S
        self._timer = self._loop.call_later(delay_s, self._maintain_on_loop)

    def _close_on_loop(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        if self._timer is not None:
            self._timer.cancel()
        while not self._queue.empty():
            items, _ = self._take(self._queue.get())
            self._work(items)
            self._deliver(items)
        self._store.close()
        self._closed.set_result(None)


def _is_new(result: AppendResult) -> bool:
    return isinstance(result, Appended) and not result.duplicate


def _closed_error() -> StoreError:
    return StoreError("storage_unavailable", "the log is closed")

"""
The message log as an event loop sees it, in emulated time: late, refusing, or gone with its process.

Owns the order that `LogWriter` promises (appends and calls in the order they came, results in that order too) and
the times between; what is stored is stored by a real `Store`. Reads run beside, and see what is committed by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from peerbus.protocol.errors import ErrorCode
from peerbus.signaling.log.interface import (
    Append,
    Appended,
    AppendResult,
    Page,
    Refused,
    Store,
    StoreError,
)
from tests.support.emulated.agenda import Agenda

_GROUP_MAX = 8
_UNAVAILABLE = Refused(ErrorCode.STORAGE_UNAVAILABLE, "no space")

OnCommit = Callable[[Append, Appended], None]


class EmulatedLog:
    """
    One process's use of a store.

    `commit_ms` passes before a round is stored, `tell_ms` more before its callers hear of it; a kill in between
    loses the answer, not the entry.
    """

    def __init__(self, store: Store, agenda: Agenda, on_commit: OnCommit) -> None:
        self.store = store
        self.commit_ms = 0
        self.tell_ms = 0
        self.read_ms = 0
        self.is_refusing = False
        self.are_reads_failing = False
        self._agenda = agenda
        self._on_commit = on_commit
        self._queue: list[tuple[Append | None, Callable[[], Any], Callable[[Any], None]]] = []
        self._is_working = False
        self._is_killed = False
        self._reads = 0

    def kill(self) -> None:
        """The process is gone; nobody hears of anything any more."""
        self._is_killed = True

    def submit(self, append: Append, told: Callable[[AppendResult], None]) -> None:
        """Stores an entry in its turn."""
        self._put(append, lambda: None, told)

    def call(self, function: Callable[[], Any], told: Callable[[Any], None]) -> None:
        """Another call of the store in its turn; `told` gets its value, or the `StoreError` it raised."""
        self._put(None, function, told)

    def read(self, function: Callable[[], Page], told: Callable[[Page | StoreError], None]) -> None:
        """A read beside the queue."""

        self._reads += 1
        # Now early in the time it takes, now late: what is committed meanwhile is told before it or after.
        before_ms = self.read_ms if self._reads % 2 else 0

        def work() -> None:
            if self._is_killed:
                return
            result: Page | StoreError
            if self.are_reads_failing:
                result = StoreError("storage_unavailable", "the disk does not answer")
            else:
                result = function()
            self._agenda.after(self.read_ms - before_ms, lambda: None if self._is_killed else told(result))

        self._agenda.after(before_ms, work)

    def _put(self, append: Append | None, function: Callable[[], Any], told: Callable[[Any], None]) -> None:
        self._queue.append((append, function, told))
        if not self._is_working:
            self._is_working = True
            self._agenda.after(self.commit_ms, self._work)

    def _work(self) -> None:
        if self._is_killed:
            return
        items, self._queue = self._queue[:_GROUP_MAX], self._queue[_GROUP_MAX:]
        results: list[Any] = []
        group: list[Append] = []
        for append, function, _ in items:
            if append is not None:
                group.append(append)
                continue
            results += self._append(group)
            group = []
            try:
                results.append(function())
            except StoreError as error:
                results.append(error)
        results += self._append(group)
        self._agenda.after(self.tell_ms, lambda: self._tell(items, results))

    def _append(self, group: list[Append]) -> list[AppendResult]:
        if not group:
            return []
        if self.is_refusing:
            return [_UNAVAILABLE] * len(group)
        results = self.store.append_group(group)
        for append, result in zip(group, results, strict=True):
            if isinstance(result, Appended) and not result.duplicate:
                self._on_commit(append, result)
        return results

    def _tell(self, items: list[Any], results: list[Any]) -> None:
        if self._is_killed:
            return
        for (_, _, told), result in zip(items, results, strict=True):
            told(result)
        self._is_working = bool(self._queue)
        if self._queue:
            self._agenda.after(self.commit_ms, self._work)

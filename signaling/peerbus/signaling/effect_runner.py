"""
What the hub asks to be done outside: storing, reading, locking, trimming, renewing, closing.

Owns the tasks that wait for it, and gives each answer back to the hub. Never decides what is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Final

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.signaling.audit import AuditLog
from peerbus.signaling.clock import monotonic_ms, wall_ms
from peerbus.signaling.effects import (
    AppendEffect,
    AuditEffect,
    CloseEffect,
    Effect,
    LockEffect,
    MailReadEffect,
    ReadEffect,
    RenewEffect,
    TrimEffect,
)
from peerbus.signaling.gate import Gate
from peerbus.signaling.hub import Hub
from peerbus.signaling.log import AppendResult, StoreError
from peerbus.signaling.log.writer import LogWriter
from peerbus.signaling.read_mail import ReadMail
from peerbus.signaling.reception import Reception

_log: Final = logging.getLogger("peerbus.signaling")


class EffectRunner:
    """That of one server. `schedule` is called when an answer has come, of which something may have to be told."""

    def __init__(
        self,
        hub: Hub,
        log: LogWriter,
        reception: Reception,
        read_mail: ReadMail,
        gate: Gate,
        audit: AuditLog,
        schedule: Callable[[], None],
    ) -> None:
        self._hub: Final = hub
        self._store: Final = log
        self._reception: Final = reception
        self._read_mail: Final = read_mail
        self._gate: Final = gate
        self._audit: Final = audit
        self._schedule: Final = schedule
        self._loop: Final = asyncio.get_running_loop()
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def run(self, effect: Effect) -> None:
        """Begins it; never waits."""
        if isinstance(effect, AppendEffect):
            refused = self._store.submit(effect.append, lambda result: self._appended(effect, result))
            if refused is not None:
                self._appended(effect, refused)
        elif isinstance(effect, CloseEffect):
            effect.connection.close(effect.member, effect.closing, is_abrupt=effect.is_abrupt)
        elif isinstance(effect, ReadEffect):
            self.spawn(self._read(effect))
        elif isinstance(effect, LockEffect):
            self.spawn(self._store_lock(effect))
        elif isinstance(effect, TrimEffect):
            self.spawn(self._trim(effect))
        elif isinstance(effect, MailReadEffect):
            self._read_mail.note(effect.read)
        elif isinstance(effect, AuditEffect):
            self._note_moderation(effect)
        else:
            self.spawn(self._renew(effect))

    def _appended(self, effect: AppendEffect, result: AppendResult) -> None:
        self._hub.sending.appended(effect, result, monotonic_ms())
        self._schedule()

    async def _read(self, effect: ReadEffect) -> None:
        try:
            page = await self._store.read(effect.key, effect.identity, effect.wanted, effect.limit_bytes)
        except StoreError as error:
            refusal = ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, error.reason)
            self._hub.history.read_failed(effect, refusal, monotonic_ms())
        except Exception:  # noqa: BLE001  a defect; who waits for the answer gets one
            _log.exception("the log could not be read: session %s", effect.member.session.session_id)
            self._hub.history.read_failed(effect, ProtocolError(ErrorCode.INTERNAL), monotonic_ms())
        else:
            self._hub.history.page_read(effect, page, monotonic_ms())
        self._schedule()

    async def _store_lock(self, effect: LockEffect) -> None:
        try:
            await self._store.set_locked(effect.key, effect.locked)
        except StoreError as error:
            refusal = ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, error.reason)
            self._hub.lock_failed(effect, refusal, monotonic_ms())
        else:
            self._hub.lock_stored(effect, monotonic_ms())
        self._schedule()

    async def _trim(self, effect: TrimEffect) -> None:
        try:
            state = await self._store.trim(effect.key, effect.before)
            while state.tail < effect.before:
                state = await self._store.trim(effect.key, effect.before)
        except StoreError as error:
            _log.warning("old messages could not be removed: %s", error.reason)

    async def _renew(self, effect: RenewEffect) -> None:
        member, now_ms = effect.member, monotonic_ms()
        try:
            self._gate.check(member.peer, now_ms)
            try:
                principal = self._reception.verify(effect.credential)
            except ProtocolError as error:
                # A wrong key counts against the address, however it is presented.
                self._gate.refused(member.peer, error, now_ms)
                raise
            renewed = await self._reception.renewal(member, principal)
        except ProtocolError as error:
            self._hub.renewal_failed(effect, error, now_ms)
        else:
            self._hub.renewed(effect, renewed.admission, renewed.credential, monotonic_ms())
        self._schedule()

    def _note_moderation(self, effect: AuditEffect) -> None:
        member = effect.member
        self._audit.note(
            effect.action,
            wall_ms(),
            project=member.project,
            by=f"{member.name} ({member.credential.own})",
            target=effect.target,
            channel=member.channel.name,
            address=member.peer.address or "",
            detail=effect.detail,
            correlation_id=member.peer.correlation_id,
        )

    # --- tasks ----------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Something to be done beside; what goes wrong with it stands in the server's log."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def cancel(self) -> None:
        """Nothing that is under way matters any more."""
        for task in list(self._tasks):
            task.cancel()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a piece of work failed", exc_info=task.exception())

"""
The running server: the hub with a clock, a log, keys and connections.

Owns the loop from input to effect to output: it gives every input the time, has the runner do what the hub asks, and
flushes the outboxes that have something once per turn of the event loop, so that frames for one connection are joined
into one write. Never decides who may come in (that is the reception) or who receives what (that is the hub).
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from typing import Final, Protocol

from peerbus.protocol.codec import Rejected
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.messages import ClientFrame, Closing, Connect
from peerbus.signaling.audit_entry import AuditAction
from peerbus.signaling.calls import Calls
from peerbus.signaling.clock import monotonic_ms, wall_ms
from peerbus.signaling.effect_runner import EffectRunner
from peerbus.signaling.gate import Gate
from peerbus.signaling.groups import Groups
from peerbus.signaling.hub import Hub
from peerbus.signaling.keys import KeyStore
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.writer import LogWriter
from peerbus.signaling.member import Member, Peer
from peerbus.signaling.membership import Membership
from peerbus.signaling.parting import Parting
from peerbus.signaling.read_mail import ReadMail
from peerbus.signaling.reception import Reception
from peerbus.signaling.terms import Terms, TermsError
from peerbus.signaling.turn import IceIssuer
from peerbus.signaling.uses import UseStore

_log: Final = logging.getLogger("peerbus.signaling")

SERVER_NAME: Final = "peerbus"
TESTER: Final = "peerbus-doctor/"
"""With what the `client` of a connection tester's `connect` begins."""
_STALLED_POLL_S: Final = 0.02
_TICKS_PER_TIMEOUT: Final = 8
_TICK_MAX_S: Final = 0.5
_KEYS_REFRESH_MS: Final = 450
_FORGET_MS: Final = 60_000
_FAREWELL_S: Final = 0.1
"""For the last frames to leave; closing handshakes that take longer are cut."""


class Connection(Protocol):
    """One transport connection of one session."""

    def flush(self, member: Member) -> bool:
        """Writes what the outbox has and the transport takes; False when something is left behind."""

    def close(self, member: Member | None, closing: Closing, *, is_abrupt: bool) -> None:
        """Writes what it can of the member's outbox, then `closing`, and ends the connection without blocking."""


class Server:
    """Everything of one signaling process but its HTTP surface. Used from one event loop."""

    def __init__(
        self,
        limits: Limits,
        log: LogWriter,
        keys: KeyStore,
        uses: UseStore,
        *,
        version: str,
        terms: Terms | None = None,
        ice: IceIssuer | None = None,
    ) -> None:
        self.limits: Final = limits
        self.version: Final = version
        self.membership: Final = Membership(
            limits,
            ack_promise=log.promise,
            server=f"{SERVER_NAME}/{version}",
            new_epoch=lambda: secrets.token_urlsafe(6),
            ice=ice,
        )
        self._terms: Final = terms
        self.calls: Final = (
            None
            if terms is None
            else Calls(self.membership, self._next_term, was_serving=terms.was_serving, now_ms=monotonic_ms())
        )
        self.groups: Final = (
            None
            if self.calls is None
            else Groups(self.membership, self._next_term, self._has_worker, now_ms=monotonic_ms())
        )
        self.hub: Final = Hub(self.membership, self.calls, self.groups)
        self.log: Final = log
        self.keys: Final = keys
        self.uses: Final = uses
        self.gate: Final = Gate(limits)
        self.gate.on_refused = self._note_refused
        self.started_ms: Final = monotonic_ms()
        self._read_mail: Final = ReadMail(log, self.started_ms)
        self.reception: Final = Reception(
            self.membership, log, keys, uses, self._read_mail, on_revoked=self.schedule
        )
        self._runner: Final = EffectRunner(
            self.hub, log, self.reception, self._read_mail, self.gate, keys.audit, self.schedule
        )
        self._loop: Final = asyncio.get_running_loop()
        self.sweeps: Final[list[Callable[[int], None]]] = [self.gate.sweep]
        """Called at every tick with the monotonic time in milliseconds."""
        self.sweeps.append(lambda now_ms: self._read_mail.sweep(self.membership.members.values(), now_ms))
        if self.calls is not None:
            self.sweeps.append(self._sweep_calls)
        self._is_scheduled = False
        self._groups_timer: asyncio.TimerHandle | None = None
        self._groups_due_ms = 0
        self._stalled: set[Member] = set()
        self._poll_is_due = False
        shortest_ms = min(limits.silence_timeout_ms, limits.resume_window_ms, limits.stalled_reader_ms)
        self._tick_s: Final = min(_TICK_MAX_S, shortest_ms / _TICKS_PER_TIMEOUT / 1000)
        self._set_wall()

    # --- input ------------------------------------------------------------------------------------------

    async def connect(self, frame: Connect, connection: Connection, peer: Peer) -> Member:
        """
        Admits a session from its first frame; `connected` waits in its outbox.

        Raises `ProtocolError` with the reason.
        """
        if self.membership.is_draining:
            raise ProtocolError(ErrorCode.SERVER_RESTARTING, retry_after_ms=1000)
        joining = await self.reception.joining(frame, connection, peer)
        member = self.membership.join(joining, monotonic_ms())
        if frame.client.startswith(TESTER):
            # Whoever runs a connection test has the id in the report, and can be helped by what stands around it here.
            _log.info("connection test of %s, correlation id %s", peer.address or "?", peer.correlation_id)
        self.schedule()
        return member

    def receive(self, member: Member, connection: Connection, frames: list[ClientFrame | Rejected]) -> None:
        """
        Frames of an established session, in order, for as long as it is the connection's.

        What follows a `bye`, or comes over a connection that was replaced meanwhile, is for nobody.
        """
        now_ms = monotonic_ms()
        for frame in frames:
            if member.connection is not connection:
                break
            self.hub.receive(member, frame, now_ms)
        self.schedule()

    def detached(self, member: Member, connection: Connection) -> None:
        """A connection ended."""
        self._stalled.discard(member)
        self.membership.detached(member, connection, monotonic_ms())
        self.schedule()

    def polled(self, member: Member) -> None:
        """A long-poll asks for frames; that is a sign of life, too."""
        member.session.heard(monotonic_ms())
        self.membership.dispatch.mark(member)
        self.schedule()

    def lose(self, member: Member, connection: Connection, code: ErrorCode, text: str) -> None:
        """Closes a connection of a member for what came over it; one that is no longer the member's is left."""
        if member.connection is connection:
            self.membership.lose(member, code, text, monotonic_ms())
        self.schedule()

    def part(self, parting: Parting) -> None:
        """A page says that it goes. Raises `ProtocolError` (`session_unknown`)."""
        self.membership.part(parting, monotonic_ms())
        self.schedule()

    def schedule(self) -> None:
        """Something may have to be done or written; it is, before the loop waits again."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._run)

    # --- loop -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ticks until cancelled: deadlines, keys changed on disk, credentials revoked."""
        keys_at_ms = forgot_at_ms = 0
        while True:
            await asyncio.sleep(self._tick_s)
            self._set_wall()
            now_ms = monotonic_ms()
            try:
                self.membership.tick(now_ms)
                for sweep in self.sweeps:
                    sweep(now_ms)
                if now_ms - keys_at_ms >= _KEYS_REFRESH_MS:
                    keys_at_ms = now_ms
                    self.reception.refresh_keys()
                if now_ms - forgot_at_ms >= _FORGET_MS:
                    forgot_at_ms = now_ms
                    self._runner.spawn(self.reception.forget_ended())
            except Exception:  # noqa: BLE001  a defect here must not stop the clock of all sessions
                _log.exception("a tick failed")
            self.schedule()

    async def drain(self) -> None:
        """Nobody may join any more, everyone is told to come back; what is submitted gets committed."""
        self.membership.drain(lambda: random.randint(250, 3000))  # noqa: S311  spreads reconnects, guards nothing
        self.schedule()
        await asyncio.sleep(_FAREWELL_S)
        self._read_mail.flush()
        self._runner.cancel()

    def _run(self) -> None:
        self._is_scheduled = False
        if self.calls is not None:
            for note in self.calls.notes_to_log():
                _log.info("%s", note)
        for effect in self.membership.dispatch.effects_to_do():
            try:
                self._runner.run(effect)
            except Exception:  # noqa: BLE001  a defect of one must not cost the others their turn
                _log.exception("could not be done: %s", type(effect).__name__)
        if self.groups is not None:
            try:
                self._flush_groups(self.groups)
            except Exception:  # noqa: BLE001  as above
                _log.exception("a group could not be told")
        for member in self.membership.dispatch.dirty_to_flush(monotonic_ms()):
            member.is_dirty = False
            try:
                self._flush(member)
            except Exception:  # noqa: BLE001  as above
                _log.exception("could not be written to: session %s", member.session.session_id)
                self.membership.lose(member, ErrorCode.INTERNAL, "", monotonic_ms(), is_abrupt=True)
        if self.membership.dispatch.has_effects:
            self.schedule()

    def _flush_groups(self, groups: Groups) -> None:
        """Leases of hosts end between two ticks, so groups have a timer of their own."""
        groups.flush(monotonic_ms())
        deadline_ms, timer = groups.deadline_ms, self._groups_timer
        if deadline_ms is None or (timer is not None and self._groups_due_ms <= deadline_ms):
            return
        if timer is not None:
            timer.cancel()
        wait_s = max(0, deadline_ms - monotonic_ms()) / 1000
        self._groups_due_ms = deadline_ms
        self._groups_timer = self._loop.call_later(wait_s, self._groups_are_due)

    def _groups_are_due(self) -> None:
        self._groups_timer = None
        self.schedule()

    def _flush(self, member: Member) -> None:
        connection: Connection | None = member.connection
        if connection is None:
            return
        session = member.session
        if connection.flush(member):
            if session.stalled_at_ms is not None:
                session.flowing()
                self._stalled.discard(member)
            if session.outbox.is_catching_up:
                self.membership.dispatch.read_page(member)
        else:
            session.stalled(monotonic_ms())
            self._stalled.add(member)
            if not self._poll_is_due:
                self._poll_is_due = True
                self._loop.call_later(_STALLED_POLL_S, self._poll_stalled)

    def _poll_stalled(self) -> None:
        self._poll_is_due = False
        for member in self._stalled:
            self.membership.dispatch.mark(member)
        self._stalled.clear()
        self.schedule()

    # --- inside -----------------------------------------------------------------------------------------

    def _note_refused(self, peer: Peer, code: ErrorCode, count: int) -> None:
        self.keys.audit.note(
            AuditAction.CREDENTIALS_REFUSED,
            wall_ms(),
            address=peer.address or "",
            detail=code.value,
            correlation_id=peer.correlation_id,
            count=count,
        )

    def _sweep_calls(self, now_ms: int) -> None:
        assert self.calls is not None
        assert self._terms is not None
        self.calls.tick(now_ms)
        try:
            self._terms.note_serving(self.calls.is_serving)
        except TermsError as error:
            # Noted by a later tick; until then a restart may give a room to another worker a moment too early.
            _log.error("%s", error)

    def _next_term(self, lowest: int) -> int:
        assert self._terms is not None
        try:
            return self._terms.next(lowest)
        except TermsError as error:
            _log.error("no term can be given: %s", error)
            raise ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, "No term could be stored.") from None

    def _has_worker(self) -> bool:
        return self.calls is not None and self.calls.can_place

    def _set_wall(self) -> None:
        self.membership.dispatch.wall_offset_ms = wall_ms() - monotonic_ms()

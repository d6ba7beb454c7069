"""
The running server: the hub with a clock, a log, keys and connections.

Owns the loop from input to effect to output: it gives every input the time, does what the hub asks (append, read,
lock, renew, close), and flushes the outboxes that have something once per turn of the event loop, so that frames for
one connection are joined into one write. Never decides who receives what.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable
from typing import Final, Protocol

from peerbus.protocol import channel as naming
from peerbus.protocol.codec import Rejected
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Admission, admit
from peerbus.protocol.groups import GROUP_AGENT
from peerbus.protocol.messages import ClientFrame, Closing, Connect
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session.server import common_version
from peerbus.protocol.signals import SERVER_AGENT, SFU_AGENT
from peerbus.signaling.audit_entry import AuditAction
from peerbus.signaling.calls import Calls
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
from peerbus.signaling.groups import Groups
from peerbus.signaling.hub import Hub
from peerbus.signaling.joining import Joining
from peerbus.signaling.keyring import Principal
from peerbus.signaling.keys import KeyStore, KeyStoreError
from peerbus.signaling.limits import Limits
from peerbus.signaling.log import (
    AppendResult,
    ChannelKey,
    Claim,
    MailRead,
    StoreError,
    TooManyClaimsError,
)
from peerbus.signaling.log.writer import LogWriter
from peerbus.signaling.member import Member, Peer
from peerbus.signaling.membership import Membership
from peerbus.signaling.quota import NO_QUOTA
from peerbus.signaling.sealed import check_connect
from peerbus.signaling.terms import Terms, TermsError
from peerbus.signaling.turn import IceIssuer
from peerbus.signaling.uses import UsesError, UseStore

_log: Final = logging.getLogger("peerbus.signaling")

SERVER_NAME: Final = "peerbus"
TESTER: Final = "peerbus-doctor/"
"""With what the `client` of a connection tester's `connect` begins."""
_STALLED_POLL_S: Final = 0.02
_TICKS_PER_TIMEOUT: Final = 8
_TICK_MAX_S: Final = 0.5
_KEYS_REFRESH_MS: Final = 450
_CLAIMS_NOTED_MS: Final = 3_600_000
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
            else Calls(
                self.membership, self._next_term, was_serving=terms.was_serving, now_ms=_monotonic_ms()
            )
        )
        self.groups: Final = (
            None
            if self.calls is None
            else Groups(self.membership, self._next_term, self._has_worker, now_ms=_monotonic_ms())
        )
        self.hub: Final = Hub(self.membership, self.calls, self.groups)
        self.log: Final = log
        self.keys: Final = keys
        self.uses: Final = uses
        self.gate: Final = Gate(limits)
        self.gate.on_refused = self._note_refused
        self.started_ms: Final = _monotonic_ms()
        self._loop: Final = asyncio.get_running_loop()
        self.sweeps: Final[list[Callable[[int], None]]] = [self.gate.sweep]
        """Called at every tick with the monotonic time in milliseconds."""
        self.sweeps.append(self._sweep_mail)
        if self.calls is not None:
            self.sweeps.append(self._sweep_calls)
        self._is_scheduled = False
        self._groups_timer: asyncio.TimerHandle | None = None
        self._groups_due_ms = 0
        self._stalled: set[Member] = set()
        # What was read of which mailbox, and is to be taken out of it at the next tick.
        self._read_mail: dict[tuple[ChannelKey, str, frozenset[str] | None], MailRead] = {}
        self._claims_noted_at_ms = self.started_ms
        self._poll_is_due = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._are_keys_unreadable = False
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
        version = common_version(frame.versions)
        principal = self.verify(frame.api_key)
        check_connect(frame)
        scope = naming.PUBLIC_SCOPE if frame.scope == "public" else naming.private_scope(principal.project)
        name = naming.check_channel_name(frame.channel)
        join_token = b"" if frame.join_token is None else frame.join_token.reveal()
        channel_id = naming.channel_id(name, naming.Mode(frame.mode), join_token)
        if frame.channel_id:
            naming.check_channel_id(frame.channel_id, channel_id)
        lineage = naming.lineage(frame.lineage_secret.reveal())
        key = ChannelKey(scope, channel_id)
        agent = self._agent_name(frame, principal, key, lineage)
        admission = self._admission(principal, scope, name, agent, peer)
        await self._count_use(principal, lineage, name, peer)
        identity = naming.name_identity(agent) if admission.is_claimed else naming.lineage_identity(lineage)
        claim = await self._open(key, name, frame.mode, identity if admission.is_claimed else None)
        # The key may have been revoked meanwhile, and its sessions closed, of which this was none yet.
        self.keys.recheck(principal, _wall_ms())
        project = self.keys.project(principal.project)
        member = self.membership.join(
            Joining(
                connect=frame,
                version=version,
                name=agent,
                admission=admission,
                key=key,
                state=claim.state,
                unread=claim.unread,
                lineage=lineage,
                identity=identity,
                credential=principal.ids,
                project=principal.project,
                quota=NO_QUOTA if project is None else project.quota,
                connection=connection,
                peer=peer,
                session_id=secrets.token_urlsafe(9),
                resume_token=Secret(secrets.token_urlsafe(24)),
            ),
            _monotonic_ms(),
        )
        if frame.client.startswith(TESTER):
            # Whoever runs a connection test has the id in the report, and can be helped by what stands around it here.
            _log.info("connection test of %s, correlation id %s", peer.address or "?", peer.correlation_id)
        self.schedule()
        return member

    async def _open(self, key: ChannelKey, name: str, mode: str, claimed: str | None) -> Claim:
        """The channel, and the mail of the identity that is claimed in it. Raises `ProtocolError`."""
        now_ms = _wall_ms()
        try:
            if claimed is None:
                return Claim(await self.log.open_channel(key, name, mode, now_ms), ())
            # What was read a moment ago is not to be shown again.
            self._forget_read_mail()
            return await self.log.claim(key, name, mode, claimed, now_ms)
        except StoreError as error:
            raise ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, error.reason) from None
        except TooManyClaimsError:
            text = f"{self.limits.claims_per_channel} names are claimed in this channel, and no more may be."
            raise ProtocolError(ErrorCode.QUOTA_EXCEEDED, text) from None

    def receive(self, member: Member, connection: Connection, frames: list[ClientFrame | Rejected]) -> None:
        """
        Frames of an established session, in order, for as long as it is the connection's.

        What follows a `bye`, or comes over a connection that was replaced meanwhile, is for nobody.
        """
        now_ms = _monotonic_ms()
        for frame in frames:
            if member.connection is not connection:
                break
            self.hub.receive(member, frame, now_ms)
        self.schedule()

    def detached(self, member: Member, connection: Connection) -> None:
        """A connection ended."""
        self._stalled.discard(member)
        self.membership.detached(member, connection, _monotonic_ms())
        self.schedule()

    def polled(self, member: Member) -> None:
        """A long-poll asks for frames; that is a sign of life, too."""
        member.session.heard(_monotonic_ms())
        self.membership.dispatch.mark(member)
        self.schedule()

    def lose(self, member: Member, connection: Connection, code: ErrorCode, text: str) -> None:
        """Closes a connection of a member for what came over it; one that is no longer the member's is left."""
        if member.connection is connection:
            self.membership.lose(member, code, text, _monotonic_ms())
        self.schedule()

    @staticmethod
    def now_ms() -> int:
        """The clock of all deadlines: monotonic milliseconds."""
        return _monotonic_ms()

    @staticmethod
    def wall_ms() -> int:
        """The clock of credentials: milliseconds since 1970."""
        return _wall_ms()

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
            now_ms = _monotonic_ms()
            try:
                self.membership.tick(now_ms)
                for sweep in self.sweeps:
                    sweep(now_ms)
                if now_ms - keys_at_ms >= _KEYS_REFRESH_MS:
                    keys_at_ms = now_ms
                    self.refresh_keys()
                if now_ms - forgot_at_ms >= _FORGET_MS:
                    forgot_at_ms = now_ms
                    self._spawn(self._forget_ended())
            except Exception:  # noqa: BLE001  a defect here must not stop the clock of all sessions
                _log.exception("a tick failed")
            self.schedule()

    async def drain(self) -> None:
        """Nobody may join any more, everyone is told to come back; what is submitted gets committed."""
        self.membership.drain(lambda: random.randint(250, 3000))  # noqa: S311  spreads reconnects, guards nothing
        self.schedule()
        await asyncio.sleep(_FAREWELL_S)
        self._forget_read_mail()
        for task in list(self._tasks):
            task.cancel()

    def _run(self) -> None:
        self._is_scheduled = False
        if self.calls is not None:
            for note in self.calls.notes_to_log():
                _log.info("%s", note)
        for effect in self.membership.dispatch.effects_to_do():
            try:
                self._do(effect)
            except Exception:  # noqa: BLE001  a defect of one must not cost the others their turn
                _log.exception("could not be done: %s", type(effect).__name__)
        if self.groups is not None:
            try:
                self._flush_groups(self.groups)
            except Exception:  # noqa: BLE001  as above
                _log.exception("a group could not be told")
        for member in self.membership.dispatch.dirty_to_flush(_monotonic_ms()):
            member.is_dirty = False
            try:
                self._flush(member)
            except Exception:  # noqa: BLE001  as above
                _log.exception("could not be written to: session %s", member.session.session_id)
                self.membership.lose(member, ErrorCode.INTERNAL, "", _monotonic_ms(), is_abrupt=True)
        if self.membership.dispatch.has_effects:
            self.schedule()

    def _flush_groups(self, groups: Groups) -> None:
        """Leases of hosts end between two ticks, so groups have a timer of their own."""
        groups.flush(_monotonic_ms())
        deadline_ms, timer = groups.deadline_ms, self._groups_timer
        if deadline_ms is None or (timer is not None and self._groups_due_ms <= deadline_ms):
            return
        if timer is not None:
            timer.cancel()
        wait_s = max(0, deadline_ms - _monotonic_ms()) / 1000
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
            session.stalled(_monotonic_ms())
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

    # --- effects ----------------------------------------------------------------------------------------

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, AppendEffect):
            refused = self.log.submit(effect.append, lambda result: self._appended(effect, result))
            if refused is not None:
                self._appended(effect, refused)
        elif isinstance(effect, CloseEffect):
            effect.connection.close(effect.member, effect.closing, is_abrupt=effect.is_abrupt)
        elif isinstance(effect, ReadEffect):
            self._spawn(self._read(effect))
        elif isinstance(effect, LockEffect):
            self._spawn(self._store_lock(effect))
        elif isinstance(effect, TrimEffect):
            self._spawn(self._trim(effect))
        elif isinstance(effect, MailReadEffect):
            self._note_read_mail(effect.read)
        elif isinstance(effect, AuditEffect):
            self._note_moderation(effect)
        else:
            self._spawn(self._renew(effect))

    def _appended(self, effect: AppendEffect, result: AppendResult) -> None:
        self.hub.appended(effect, result, _monotonic_ms())
        self.schedule()

    async def _read(self, effect: ReadEffect) -> None:
        try:
            page = await self.log.read(effect.key, effect.identity, effect.wanted, effect.limit_bytes)
        except StoreError as error:
            refusal = ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, error.reason)
            self.hub.read_failed(effect, refusal, _monotonic_ms())
        except Exception:  # noqa: BLE001  a defect; who waits for the answer gets one
            _log.exception("the log could not be read: session %s", effect.member.session.session_id)
            self.hub.read_failed(effect, ProtocolError(ErrorCode.INTERNAL), _monotonic_ms())
        else:
            self.hub.page_read(effect, page, _monotonic_ms())
        self.schedule()

    async def _store_lock(self, effect: LockEffect) -> None:
        try:
            await self.log.set_locked(effect.key, effect.locked)
        except StoreError as error:
            refusal = ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, error.reason)
            self.hub.lock_failed(effect, refusal, _monotonic_ms())
        else:
            self.hub.lock_stored(effect, _monotonic_ms())
        self.schedule()

    async def _trim(self, effect: TrimEffect) -> None:
        try:
            state = await self.log.trim(effect.key, effect.before)
            while state.tail < effect.before:
                state = await self.log.trim(effect.key, effect.before)
        except StoreError as error:
            _log.warning("old messages could not be removed: %s", error.reason)

    async def _renew(self, effect: RenewEffect) -> None:
        member = effect.member
        channel = member.channel
        now_ms = _monotonic_ms()
        try:
            self.gate.check(member.peer, now_ms)
            try:
                principal = self.verify(effect.credential)
            except ProtocolError as error:
                # A wrong key counts against the address, however it is presented.
                self.gate.refused(member.peer, error, now_ms)
                raise
            if channel.key.scope not in (naming.PUBLIC_SCOPE, naming.private_scope(principal.project)):
                raise ProtocolError(ErrorCode.FORBIDDEN, "The new key belongs to another project.")
            admission = admit(
                principal.grant,
                now_ms=_wall_ms(),
                scope=channel.key.scope,
                channel=channel.name,
                agent=member.name,
                address=member.peer.address,
                origin=member.peer.origin,
            )
            if admission.is_claimed != member.admission.is_claimed:
                raise ProtocolError(
                    ErrorCode.FORBIDDEN, "The new key does not claim the name as the old one did."
                )
            await self._count_use(principal, member.lineage, channel.name, member.peer)
            # It may have been revoked while its use was counted.
            self.keys.recheck(principal, _wall_ms())
        except ProtocolError as error:
            self.hub.renewal_failed(effect, error, now_ms)
        else:
            self.hub.renewed(effect, admission, principal.ids, _monotonic_ms())
        self.schedule()

    def _spawn(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a piece of work failed", exc_info=task.exception())

    # --- inside -----------------------------------------------------------------------------------------

    async def _count_use(self, principal: Principal, lineage: bytes, channel: str, peer: Peer) -> None:
        """
        Notes on disk that this lineage uses a credential that only so many may use.

        Raises `ProtocolError`: `used_up`, `storage_unavailable`.
        """
        if not principal.use_limits:
            return
        try:
            counted = await self.uses.take(principal.use_limits, lineage)
        except UsesError as error:
            _log.error("a use could not be counted: %s", error)
            raise ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, "The use could not be counted.") from None
        if counted is None or counted:
            self.keys.audit.note(
                AuditAction.USE_REFUSED if counted is None else AuditAction.USE_COUNTED,
                _wall_ms(),
                project=principal.project,
                by=principal.ids.own,
                target=naming.lineage_identity(lineage),
                channel=channel,
                address=peer.address or "",
                correlation_id=peer.correlation_id,
            )
        if counted is None:
            raise ProtocolError(ErrorCode.USED_UP)

    def _note_moderation(self, effect: AuditEffect) -> None:
        member = effect.member
        self.keys.audit.note(
            effect.action,
            _wall_ms(),
            project=member.project,
            by=f"{member.name} ({member.credential.own})",
            target=effect.target,
            channel=member.channel.name,
            address=member.peer.address or "",
            detail=effect.detail,
            correlation_id=member.peer.correlation_id,
        )

    def _note_refused(self, peer: Peer, code: ErrorCode, count: int) -> None:
        self.keys.audit.note(
            AuditAction.CREDENTIALS_REFUSED,
            _wall_ms(),
            address=peer.address or "",
            detail=code.value,
            correlation_id=peer.correlation_id,
            count=count,
        )

    def verify(self, credential: Secret) -> Principal:
        """Whose credential this is; see `Keyring.verify` for what it raises."""
        try:
            return self.keys.verify(credential, _wall_ms())
        except ProtocolError as error:
            if error.code is not ErrorCode.UNAUTHORIZED:
                raise
        # It may be a key that was made a moment ago, by a command beside the server.
        self.refresh_keys()
        return self.keys.verify(credential, _wall_ms())

    def _agent_name(self, frame: Connect, principal: Principal, key: ChannelKey, lineage: bytes) -> str:
        is_service = principal.grant.service
        if frame.agent or is_service:
            if frame.agent in (SFU_AGENT, GROUP_AGENT, SERVER_AGENT):
                raise ProtocolError(ErrorCode.NAME_INVALID, "That is the name of the server itself.")
            return naming.check_agent_name(frame.agent, service=is_service)
        claim = principal.grant.claim
        if claim is not None and principal.grant.claims(claim):
            return naming.check_agent_name(claim)
        # A guest that comes back is still the same guest.
        return self.membership.name_of(key, lineage) or f"guest-{secrets.token_hex(3)}"

    def _admission(self, principal: Principal, scope: str, channel: str, agent: str, peer: Peer) -> Admission:
        return admit(
            principal.grant,
            now_ms=_wall_ms(),
            scope=scope,
            channel=channel,
            agent=agent,
            address=peer.address,
            origin=peer.origin,
        )

    async def _forget_ended(self) -> None:
        """What is remembered of tokens goes when they could not be used any more anyway."""
        try:
            await self.uses.forget(_wall_ms())
            self.keys.forget(_wall_ms())
        except (UsesError, KeyStoreError) as error:
            _log.warning("what has ended is not forgotten yet: %s", error)

    def _note_read_mail(self, read: MailRead) -> None:
        which = (read.channel, read.identity, read.types)
        former = self._read_mail.get(which)
        if former is None or former.upto < read.upto:
            self._read_mail[which] = read

    def _forget_read_mail(self) -> None:
        """Tells the log what was read; before anything that is asked of it later."""
        if not self._read_mail:
            return
        reads, self._read_mail = list(self._read_mail.values()), {}
        try:
            self.log.read_mail(reads, _wall_ms()).add_done_callback(_told_of_read_mail)
        except StoreError as error:
            _log.warning("read mail could not be forgotten: %s", error.reason)

    def _sweep_mail(self, now_ms: int) -> None:
        if now_ms - self._claims_noted_at_ms >= _CLAIMS_NOTED_MS:
            # Who stays for weeks uses the claim all the while.
            self._claims_noted_at_ms = now_ms
            for member in self.membership.members.values():
                if member.mail is not None:
                    self._note_read_mail(MailRead(member.channel.key, member.identity, 0))
        self._forget_read_mail()

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

    def refresh_keys(self) -> None:
        """Takes over what was changed about keys, by whomever, and ends sessions whose credentials are worthless."""
        try:
            revoked = self.keys.refresh()
        except KeyStoreError as error:
            # The keys known so far stay good; the next tick tries again.
            if not self._are_keys_unreadable:
                _log.error("changed keys are not known yet: %s", error)
            self._are_keys_unreadable = True
            return
        self._are_keys_unreadable = False
        if revoked:
            self.membership.revoke(revoked, ErrorCode.REVOKED)
            self.schedule()

    def _set_wall(self) -> None:
        self.membership.dispatch.wall_offset_ms = _wall_ms() - _monotonic_ms()


def _told_of_read_mail(told: asyncio.Future[None]) -> None:
    error = None if told.cancelled() else told.exception()
    if error is not None:
        _log.warning("read mail could not be forgotten: %s", error)


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000

"""
A signaling server in emulated time: the real membership and hub, between an emulated log and emulated links.

Owns what the real shell owns (the order from input to effect to output, the clock's ticks, keys, connections), and
tells a witness what it was given and what it took. Never decides who receives what.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from peerbus.protocol import channel as naming
from peerbus.protocol.codec import Rejected
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import ALL_OPERATIONS, Admission, Operation
from peerbus.protocol.messages import ClientFrame, Closing, Connect
from peerbus.protocol.patterns import EVERY
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session.server import common_version
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.effects import (
    AppendEffect,
    CloseEffect,
    Effect,
    LockEffect,
    MailReadEffect,
    ReadEffect,
    RenewEffect,
    TrimEffect,
)
from peerbus.signaling.encoded import EncodedFrame
from peerbus.signaling.hub import Hub
from peerbus.signaling.joining import Joining
from peerbus.signaling.limits import Limits
from peerbus.signaling.log.interface import (
    AppendResult,
    ChannelKey,
    ChannelState,
    Claim,
    MailRead,
    Page,
    Refused,
    StoreError,
)
from peerbus.signaling.member import Member, Peer
from peerbus.signaling.membership import Membership
from peerbus.signaling.quota import NO_QUOTA, Quota
from peerbus.signaling.refusal import closing_frame, error_frame
from tests.support.emulated.agenda import Agenda
from tests.support.emulated.log import EmulatedLog

TICK_MS = 500
STALLED_POLL_MS = 20
WALL_OFFSET_MS = 1_700_000_000_000


class Key(Struct, frozen=True):
    """What a credential of the emulated world allows; its text is only a name."""

    operations: frozenset[Operation] = ALL_OPERATIONS
    is_claiming: bool = False
    sessions: int = 1
    rate_per_s: float | None = None
    members: int | None = None
    expires_ms: int | None = None
    """Wall time."""

    def admission(self) -> Admission:
        return Admission(
            operations=self.operations,
            types=EVERY,
            is_claimed=self.is_claiming,
            sessions=self.sessions,
            rate_per_s=self.rate_per_s,
            members=self.members,
            expires_ms=self.expires_ms,
        )


class ServerEnd(Protocol):
    """The server's end of a link."""

    def flush(self, member: Member) -> bool: ...

    def close(self, member: Member | None, closing: Closing, *, is_abrupt: bool) -> None: ...

    def refuse(self, error: EncodedFrame, closing: Closing) -> None: ...


class Witness(Protocol):
    """Sees what goes into the hub, and what comes of it."""

    def before(self, member: Member, frame: ClientFrame | Rejected) -> None: ...

    def after(self, member: Member, frame: ClientFrame | Rejected) -> None: ...

    def appending(self, effect: AppendEffect) -> None: ...

    def pushed(self, members: list[Member]) -> None: ...

    def claimed(self, identity: str, claim: Claim) -> None: ...

    def trimmed(self, state: ChannelState) -> None: ...

    def mail_read(self, read: MailRead, epoch: str) -> None: ...

    def joining(self, claim: Claim) -> None: ...

    def joined(self, member: Member, claim: Claim) -> None: ...


class EmulatedServer:
    """One process. `ids` are shared by all processes of a world, so that no id comes twice."""

    def __init__(
        self,
        limits: Limits,
        log: EmulatedLog,
        keys: dict[str, Key],
        agenda: Agenda,
        witness: Witness,
        ids: itertools.count[int],
        *,
        quota: Quota = NO_QUOTA,
    ) -> None:
        self.log = log
        self.limits = limits
        self._keys = keys
        self._quota = quota
        self._agenda = agenda
        self._witness = witness
        self._ids = ids
        self.membership = Membership(
            limits, ack_promise=log.store.promise, server="emulated", new_epoch=lambda: f"L{next(ids)}"
        )
        self.membership.dispatch.wall_offset_ms = WALL_OFFSET_MS
        self.hub = Hub(self.membership)
        self._is_scheduled = False
        self._stalled: set[Member] = set()
        self._poll_is_due = False
        self.is_down = False
        agenda.after(TICK_MS, self._tick)

    def kill(self) -> None:
        """The process is gone."""
        self.is_down = True
        self.log.kill()

    def drain(self) -> None:
        """Tells everyone to come back; the owner kills it a moment later."""
        delays = itertools.cycle((250, 1100, 2900))
        self.membership.drain(lambda: next(delays))
        self.schedule()

    # --- input ------------------------------------------------------------------------------------------

    def connect(self, frame: Connect, end: ServerEnd, joined: Callable[[Member], None]) -> None:
        """A first frame. `joined` comes later, or the end hears that it is refused."""
        peer = Peer(None, None, f"c{next(self._ids)}")

        def refuse(error: ProtocolError) -> None:
            end.refuse(EncodedFrame(error_frame(error, frame.id, peer)), closing_frame(error, peer))

        try:
            common_version(frame.versions)
            credential = frame.api_key.reveal()
            key = self._keys.get(credential)
            if key is None:
                raise ProtocolError(ErrorCode.UNAUTHORIZED)
            if key.expires_ms is not None and key.expires_ms <= self._wall_ms():
                raise ProtocolError(ErrorCode.EXPIRED)
            lineage = naming.lineage(frame.lineage_secret.reveal())
            channel_id = naming.channel_id(frame.channel, naming.Mode(frame.mode), b"")
            place = ChannelKey(naming.private_scope("p"), channel_id)
            known = None if frame.agent else self.membership.name_of(place, lineage)
            agent = frame.agent or known or f"guest-{next(self._ids)}"
        except ProtocolError as error:
            refuse(error)
            return

        identity = naming.name_identity(agent) if key.is_claiming else naming.lineage_identity(lineage)

        def opened(claim: Claim | StoreError) -> None:
            # The coroutine that waits for it goes on a turn of the loop later.
            self._agenda.after(0, lambda: join(claim))

        def join(claim: Claim | StoreError) -> None:
            if self.is_down:
                return
            try:
                if isinstance(claim, StoreError):
                    raise ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, claim.reason)
                self._witness.joining(claim)
                member = self.membership.join(
                    Joining(
                        connect=frame,
                        version=1,
                        name=agent,
                        admission=key.admission(),
                        key=place,
                        state=claim.state,
                        unread=claim.unread,
                        lineage=lineage,
                        identity=identity,
                        credential=_ids(credential),
                        project="p",
                        quota=self._quota,
                        connection=end,
                        peer=peer,
                        session_id=f"s{next(self._ids)}",
                        resume_token=Secret(f"t{next(self._ids)}"),
                    ),
                    self._agenda.now_ms,
                )
            except ProtocolError as error:
                refuse(error)
            else:
                self._witness.joined(member, claim)
                joined(member)
            self.schedule()

        def open_channel() -> Claim:
            store, now_ms = self.log.store, self._wall_ms()
            state = store.open_channel(place, frame.channel, frame.mode, now_ms)
            if not key.is_claiming:
                return Claim(state, ())
            claim = store.claim(place, identity, now_ms)
            self._witness.claimed(identity, claim)
            return claim

        self.log.call(open_channel, opened)

    def receive(self, member: Member, end: ServerEnd, frames: list[ClientFrame | Rejected]) -> None:
        """Frames of a session, for as long as the end is its connection."""
        if self.is_down:
            return
        for frame in frames:
            if member.connection is not end:
                break
            self._witness.before(member, frame)
            self.hub.receive(member, frame, self._agenda.now_ms)
            self._witness.after(member, frame)
        self.schedule()

    def detached(self, member: Member, end: ServerEnd) -> None:
        """A link ended."""
        if not self.is_down:
            self._stalled.discard(member)
            self.membership.detached(member, end, self._agenda.now_ms)
            self.schedule()

    def polled(self, member: Member) -> None:
        """A long-poll waits for frames."""
        member.session.heard(self._agenda.now_ms)
        self.membership.dispatch.mark(member)
        self.schedule()

    def schedule(self) -> None:
        """Effects and flushes are done once the present event is over."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self._agenda.after(0, self._run)

    # --- loop -------------------------------------------------------------------------------------------

    def _wall_ms(self) -> int:
        return self._agenda.now_ms + WALL_OFFSET_MS

    def _tick(self) -> None:
        if self.is_down:
            return
        self.membership.tick(self._agenda.now_ms)
        self.schedule()
        self._agenda.after(TICK_MS, self._tick)

    def _run(self) -> None:
        self._is_scheduled = False
        if self.is_down:
            return
        for effect in self.membership.dispatch.effects_to_do():
            self._do(effect)
        written = self.membership.dispatch.dirty_to_flush(self._agenda.now_ms)
        self._witness.pushed(written)
        for member in written:
            member.is_dirty = False
            self._flush(member)
        if self.membership.dispatch.has_effects:
            self.schedule()

    def _flush(self, member: Member) -> None:
        end: ServerEnd | None = member.connection
        if end is None:
            return
        if end.flush(member):
            member.session.flowing()
            self._stalled.discard(member)
            if member.session.outbox.is_catching_up:
                self.membership.dispatch.read_page(member)
        else:
            member.session.stalled(self._agenda.now_ms)
            self._stalled.add(member)
            if not self._poll_is_due:
                self._poll_is_due = True
                self._agenda.after(STALLED_POLL_MS, self._poll_stalled)

    def _poll_stalled(self) -> None:
        self._poll_is_due = False
        if self.is_down:
            return
        stalled, self._stalled = sorted(self._stalled, key=lambda member: member.order), set()
        for member in stalled:
            self._flush(member)
        self.schedule()

    # --- effects ----------------------------------------------------------------------------------------

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, AppendEffect):
            self._witness.appending(effect)
            self.log.submit(effect.append, lambda result: self._appended(effect, result))
        elif isinstance(effect, CloseEffect):
            effect.connection.close(effect.member, effect.closing, is_abrupt=effect.is_abrupt)
        elif isinstance(effect, ReadEffect):
            self._read(effect)
        elif isinstance(effect, LockEffect):
            self._lock(effect)
        elif isinstance(effect, RenewEffect):
            self._renew(effect)
        elif isinstance(effect, MailReadEffect):
            self._read_mail(effect.read)
        elif isinstance(effect, TrimEffect):
            key, before = effect.key, effect.before
            self.log.call(lambda: self._witness.trimmed(self.log.store.trim(key, before)), lambda state: None)

    def _appended(self, effect: AppendEffect, result: AppendResult) -> None:
        self.hub.sending.appended(effect, result, self._agenda.now_ms)
        self.schedule()

    def _read(self, effect: ReadEffect) -> None:
        def told(result: Page | StoreError) -> None:
            if isinstance(result, StoreError):
                error = ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, result.reason)
                self.hub.history.read_failed(effect, error, self._agenda.now_ms)
            else:
                self.hub.history.page_read(effect, result, self._agenda.now_ms)
            self.schedule()

        key, identity, wanted, limit = effect.key, effect.identity, effect.wanted, effect.limit_bytes
        self.log.read(lambda: self.log.store.read(key, identity, wanted, limit), told)

    def _read_mail(self, read: MailRead) -> None:
        def work() -> None:
            state = self.log.store.open_channel(read.channel, "room", "open", self._wall_ms())
            self._witness.mail_read(read, state.epoch)
            self.log.store.read_mail([read], self._wall_ms())

        self.log.call(work, lambda _: None)

    def _lock(self, effect: LockEffect) -> None:
        def told(result: ChannelState | StoreError | Refused) -> None:
            if isinstance(result, ChannelState):
                self.hub.lock_stored(effect, self._agenda.now_ms)
            else:
                error = ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, result.reason)
                self.hub.lock_failed(effect, error, self._agenda.now_ms)
            self.schedule()

        def store() -> ChannelState:
            if self.log.is_refusing:
                raise StoreError("storage_unavailable", "no space")
            return self.log.store.set_locked(effect.key, effect.locked)

        self.log.call(store, told)

    def _renew(self, effect: RenewEffect) -> None:
        credential = effect.credential.reveal()
        key = self._keys.get(credential)
        now_ms = self._agenda.now_ms
        if key is None:
            self.hub.renewal_failed(effect, ProtocolError(ErrorCode.UNAUTHORIZED), now_ms)
        elif key.expires_ms is not None and key.expires_ms <= self._wall_ms():
            self.hub.renewal_failed(effect, ProtocolError(ErrorCode.EXPIRED), now_ms)
        else:
            self.hub.renewed(effect, key.admission(), _ids(credential), now_ms)
        self.schedule()


def _ids(credential: str) -> CredentialIds:
    return CredentialIds(credential, credential, frozenset({credential}))

"""
Who may come in: the way from a first frame to what the membership needs to admit somebody.

Owns the order of the checks (credential, channel, name, grant, uses, claim), the same for a credential that is renewed,
and what becomes of sessions whose credentials are worth nothing any more. Never admits anybody itself. See PROTOCOL.md,
sections 3 and 8.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Final, NamedTuple

from peerbus.protocol import channel as naming
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import Admission, admit
from peerbus.protocol.groups import GROUP_AGENT
from peerbus.protocol.messages import Connect
from peerbus.protocol.secrets import Secret
from peerbus.protocol.session.server import common_version
from peerbus.protocol.signals import SERVER_AGENT, SFU_AGENT
from peerbus.signaling.audit_entry import AuditAction
from peerbus.signaling.clock import wall_ms
from peerbus.signaling.credential_ids import CredentialIds
from peerbus.signaling.joining import Joining
from peerbus.signaling.keyring import Principal
from peerbus.signaling.keys import KeyStore, KeyStoreError
from peerbus.signaling.log import ChannelKey, Claim, StoreError, TooManyClaimsError
from peerbus.signaling.log.writer import LogWriter
from peerbus.signaling.member import Member, Peer
from peerbus.signaling.membership import Membership
from peerbus.signaling.quota import NO_QUOTA
from peerbus.signaling.read_mail import ReadMail
from peerbus.signaling.sealed import check_connect
from peerbus.signaling.uses import UsesError, UseStore

_log: Final = logging.getLogger("peerbus.signaling")


class Renewed(NamedTuple):
    """What a new credential comes to."""

    admission: Admission
    credential: CredentialIds


class Reception:
    """That of one server. `on_revoked` is called when sessions were ended, whose ends are to be told."""

    def __init__(
        self,
        membership: Membership,
        log: LogWriter,
        keys: KeyStore,
        uses: UseStore,
        read_mail: ReadMail,
        on_revoked: Callable[[], None],
    ) -> None:
        self._membership: Final = membership
        self._store: Final = log
        self._keys: Final = keys
        self._uses: Final = uses
        self._read_mail: Final = read_mail
        self._on_revoked: Final = on_revoked
        self._are_keys_unreadable = False

    # --- coming in ------------------------------------------------------------------------------------------

    async def joining(self, frame: Connect, connection: object, peer: Peer) -> Joining:
        """What the membership has to know of whoever sends this first frame. Raises `ProtocolError`."""
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
        self._keys.recheck(principal, wall_ms())
        project = self._keys.project(principal.project)
        return Joining(
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
        )

    async def _open(self, key: ChannelKey, name: str, mode: str, claimed: str | None) -> Claim:
        """The channel, and the mail of the identity that is claimed in it. Raises `ProtocolError`."""
        now_ms = wall_ms()
        try:
            if claimed is None:
                return Claim(await self._store.open_channel(key, name, mode, now_ms), ())
            # What was read a moment ago is not to be shown again.
            self._read_mail.flush()
            return await self._store.claim(key, name, mode, claimed, now_ms)
        except StoreError as error:
            raise ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, error.reason) from None
        except TooManyClaimsError:
            most = self._membership.limits.claims_per_channel
            text = f"{most} names are claimed in this channel, and no more may be."
            raise ProtocolError(ErrorCode.QUOTA_EXCEEDED, text) from None

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
        return self._membership.name_of(key, lineage) or f"guest-{secrets.token_hex(3)}"

    def _admission(self, principal: Principal, scope: str, channel: str, agent: str, peer: Peer) -> Admission:
        return admit(
            principal.grant,
            now_ms=wall_ms(),
            scope=scope,
            channel=channel,
            agent=agent,
            address=peer.address,
            origin=peer.origin,
        )

    # --- renewing -------------------------------------------------------------------------------------------

    async def renewal(self, member: Member, principal: Principal) -> Renewed:
        """What a credential that was verified allows a member from now on. Raises `ProtocolError`."""
        channel = member.channel
        if channel.key.scope not in (naming.PUBLIC_SCOPE, naming.private_scope(principal.project)):
            raise ProtocolError(ErrorCode.FORBIDDEN, "The new key belongs to another project.")
        admission = self._admission(principal, channel.key.scope, channel.name, member.name, member.peer)
        if admission.is_claimed != member.admission.is_claimed:
            raise ProtocolError(
                ErrorCode.FORBIDDEN, "The new key does not claim the name as the old one did."
            )
        await self._count_use(principal, member.lineage, channel.name, member.peer)
        # It may have been revoked while its use was counted.
        self._keys.recheck(principal, wall_ms())
        return Renewed(admission, principal.ids)

    # --- credentials ----------------------------------------------------------------------------------------

    def verify(self, credential: Secret) -> Principal:
        """Whose credential this is; see `Keyring.verify` for what it raises."""
        try:
            return self._keys.verify(credential, wall_ms())
        except ProtocolError as error:
            if error.code is not ErrorCode.UNAUTHORIZED:
                raise
        # It may be a key that was made a moment ago, by a command beside the server.
        self.refresh_keys()
        return self._keys.verify(credential, wall_ms())

    def refresh_keys(self) -> None:
        """Takes over what was changed about keys, by whomever, and ends sessions whose credentials are worthless."""
        try:
            revoked = self._keys.refresh()
        except KeyStoreError as error:
            # The keys known so far stay good; the next tick tries again.
            if not self._are_keys_unreadable:
                _log.error("changed keys are not known yet: %s", error)
            self._are_keys_unreadable = True
            return
        self._are_keys_unreadable = False
        if revoked:
            self._membership.revoke(revoked, ErrorCode.REVOKED)
            self._on_revoked()

    async def _count_use(self, principal: Principal, lineage: bytes, channel: str, peer: Peer) -> None:
        """
        Notes on disk that this lineage uses a credential that only so many may use.

        Raises `ProtocolError`: `used_up`, `storage_unavailable`.
        """
        if not principal.use_limits:
            return
        try:
            counted = await self._uses.take(principal.use_limits, lineage)
        except UsesError as error:
            _log.error("a use could not be counted: %s", error)
            raise ProtocolError(ErrorCode.STORAGE_UNAVAILABLE, "The use could not be counted.") from None
        if counted is None or counted:
            self._keys.audit.note(
                AuditAction.USE_REFUSED if counted is None else AuditAction.USE_COUNTED,
                wall_ms(),
                project=principal.project,
                by=principal.ids.own,
                target=naming.lineage_identity(lineage),
                channel=channel,
                address=peer.address or "",
                correlation_id=peer.correlation_id,
            )
        if counted is None:
            raise ProtocolError(ErrorCode.USED_UP)

    async def forget_ended(self) -> None:
        """What is remembered of tokens goes when they could not be used any more anyway."""
        try:
            await self._uses.forget(wall_ms())
            self._keys.forget(wall_ms())
        except (UsesError, KeyStoreError) as error:
            _log.warning("what has ended is not forgotten yet: %s", error)

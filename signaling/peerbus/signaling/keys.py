"""
Projects and keys: what there is, who may have what, and every way to change it.

Owns the making, issuing and revoking of keys; keeps a `Keyring` of what stands in the file (`keys_file`), notes every
change in the audit log. Tokens that are given out are not stored, only those that were revoked, for as long as they
would be good otherwise. Several processes may do this at once, the server and `peerbus keys` among them; `refresh`
notices what another one changed.
"""

from __future__ import annotations

import secrets
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from peerbus.protocol.channel import check_project_id
from peerbus.protocol.credentials import (
    KEY_ID_ALPHABET,
    KEY_ID_CHARS,
    DeveloperKey,
    token_id,
)
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import (
    ALL_OPERATIONS,
    MODERATION,
    Grant,
    Operation,
)
from peerbus.protocol.patterns import EVERY
from peerbus.protocol.secrets import MAX_SECRET_CHARS, Secret
from peerbus.protocol.signals import CONTROL_CHANNEL, CONTROL_TYPE
from peerbus.signaling.audit import AuditLog
from peerbus.signaling.audit_entry import OPERATOR, AuditAction, grant_summary
from peerbus.signaling.clock import wall_ms
from peerbus.signaling.issuing import IssuedKey, issued_claims, issued_grant
from peerbus.signaling.keyring import DEMO_PROJECT, SERVICE_PROJECT, KeyRecord, Keyring
from peerbus.signaling.keyring import Principal as Principal
from peerbus.signaling.keys_file import KEYS_FILE as KEYS_FILE
from peerbus.signaling.keys_file import KeysFile, MasterKeyMismatch, Project
from peerbus.signaling.keys_file import KeyStoreError as KeyStoreError
from peerbus.signaling.master_key import (
    MASTER_KEY_FILE,
    MASTER_KEY_VARIABLE,
    MasterKeyError,
    load_master_key,
)
from peerbus.signaling.quota import Quota

DEFAULT_PROJECT: Final = "default"
DEMO_KEY_TTL_MS: Final = 3_600_000
LABEL_MAX_CHARS: Final = 128

FULL_GRANT: Final = Grant(
    channels=EVERY,
    agents=EVERY,
    claim=">",
    operations=ALL_OPERATIONS,
    types=EVERY,
    storage=EVERY,
    public=True,
)
"""Everything within a project, and the public scope without its moderation."""
DEMO_GRANT: Final = msgspec.structs.replace(
    FULL_GRANT,
    claim=None,
    operations=ALL_OPERATIONS - MODERATION - {Operation.ADMIN, Operation.RECORD},
    members=25,
)
"""What anybody may do who opens a page of this server. Nobody moderates and nobody claims a name: everybody
can have such a key, and no channel of the demo project belongs to one of them more than to another."""

WORKER_GRANT: Final = Grant(
    channels=(CONTROL_CHANNEL,),
    agents=EVERY,
    operations=frozenset({Operation.READ, Operation.SEND_LIVE, Operation.DIRECT}),
    types=(CONTROL_TYPE,),
    operator=True,
    service=True,
)
"""What a media worker may do: talk to the server in the one channel that is there for it."""
_OWN_WORKERS_LABEL: Final = "this server's own workers"

DEMO_QUOTA: Final = Quota(channels=200, sessions=400, messages_per_channel=5_000, message_bytes=65_536)


REVOKED_TOKENS_MAX: Final = 100_000
"""Of one key; then the key itself is to be revoked."""
_JTI_BYTES: Final = 9
_DEMO_KEYS_NOTED_EVERY_MS: Final = 3_600_000


class KeyStore:
    """
    The keys of one server, in memory and on disk.

    Belongs to the thread that opened it. Whatever reads or writes the file may raise `KeyStoreError`;
    `verify` reads memory only.
    """

    def __init__(self, file: KeysFile, keyring: Keyring, audit: AuditLog) -> None:
        self.audit: Final = audit
        self._file: Final = file
        self._keyring = keyring
        self._projects: dict[str, Project] = {}
        self._records: dict[str, KeyRecord] = {}
        self._revoked_of: Counter[str] = Counter()
        """How many tokens of each key were revoked."""
        self._version = -1
        self._ended: set[str] = set()
        self._demo_keys_issued = 0
        self._demo_keys_noted_ms = 0

    @classmethod
    def open(cls, data_dir: Path, *, master_key: str | None = None) -> KeyStore:
        """
        Opens the keys of a data folder, or begins them; `master_key` is what `PEERBUS_MASTER_KEY` holds.

        Raises `KeyStoreError` where the folder cannot be used, the file is damaged or of a later version, or
        was made with another master key.
        """
        path = data_dir / KEYS_FILE
        if not master_key and path.exists() and not (data_dir / MASTER_KEY_FILE).exists():
            raise KeyStoreError(
                f"{path} is there but its master key is not: "
                f"restore {MASTER_KEY_FILE} or set {MASTER_KEY_VARIABLE}"
            )
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            key = load_master_key(data_dir, master_key)
        except MasterKeyError as error:
            raise KeyStoreError(str(error)) from error
        except OSError as error:
            raise KeyStoreError(f"cannot use {path}: {error.strerror}") from error
        store = cls(KeysFile(path), Keyring(key), AuditLog(data_dir))
        try:
            store._file.prepare(key)
            store._load()
        except KeyStoreError as error:
            store._file.close()
            if isinstance(error, MasterKeyMismatch):
                store.audit.note(AuditAction.MASTER_KEY_MISMATCH, wall_ms(), by=OPERATOR)
            raise
        return store

    def close(self) -> None:
        """Closes the file; the store is of no use afterwards."""
        if self._demo_keys_issued:
            self._note_demo_keys(wall_ms())
        self._file.close()

    def _note_demo_keys(self, now_ms: int) -> None:
        # Anybody gets one: they are counted, not told one by one.
        count, self._demo_keys_issued = self._demo_keys_issued, 0
        self.audit.note(AuditAction.DEMO_KEYS_ISSUED, now_ms, project=DEMO_PROJECT, count=count)

    def verify(self, credential: Secret, now_ms: int) -> Principal:
        """Whose credential this is; see `Keyring.verify` for what it raises."""
        return self._keyring.verify(credential, now_ms)

    def recheck(self, principal: Principal, now_ms: int) -> None:
        """Whether a credential that was verified a moment ago is still good; see `Keyring.recheck`."""
        self._keyring.recheck(principal, now_ms)

    def refresh(self) -> frozenset[str]:
        """
        Takes over what other processes changed; returns the ids of keys that have become worthless since the
        last call, whoever revoked them: sessions of those keys, and of tokens signed with them, are to be
        closed.

        Costs a few microseconds where nothing changed: meant to be called every second.
        """
        if self._file.version() != self._version:
            self._load()
        ended, self._ended = frozenset(self._ended), set()
        return ended

    def bootstrap(self, now_ms: int) -> DeveloperKey | None:
        """Makes the project `default` and its first key, once: to be shown to the operator now or never."""
        if DEFAULT_PROJECT in self._projects:
            return None
        grant = msgspec.structs.replace(FULL_GRANT, operator=True)
        return self.create_key(DEFAULT_PROJECT, grant=grant, label="made at the first start", now_ms=now_ms)

    def open_demo(self, now_ms: int) -> None:
        """Makes the project `demo` if need be and honours its keys; without this call they are refused."""
        if DEMO_PROJECT not in self._projects:
            self._add_project(DEMO_PROJECT, DEMO_QUOTA, now_ms)
        self._keyring.is_demo_open = True

    def issue_demo_key(self, now_ms: int) -> IssuedKey:
        """
        A token for one visitor of the server's own pages, good for `DEMO_KEY_TTL_MS`.

        It is signed with a key of the demo project whose secret nobody ever sees; where that has been revoked
        (which ends all demo sessions) a new one takes its place. Raises `KeyStoreError` unless `open_demo` was
        called.
        """
        if not self._keyring.is_demo_open:
            raise KeyStoreError("the demo project is closed on this server")
        record = next((key for key in self.keys(DEMO_PROJECT) if key.revoked_ms is None), None)
        if record is None:
            key = self._insert_key(
                DEMO_PROJECT, DEMO_GRANT, "signs the keys of the server's own pages", now_ms
            )
            record = self._records[key.key_id]
        self._demo_keys_issued += 1
        ends_ms = (now_ms + DEMO_KEY_TTL_MS) // 1000 * 1000
        grant = msgspec.structs.replace(record.grant, expires_ms=ends_ms)
        return self._signed(record, grant, ())

    def issue_token(
        self, issuer: Principal, wanted: Grant, ttl_ms: int, now_ms: int, *, by: str = "", address: str = ""
    ) -> IssuedKey:
        """
        A token that allows what both the issuer's grant and `wanted` allow, signed with the issuer's key.

        It ends with its issuer, too. `by` is who asked for it, if that is not the issuer. Raises `ProtocolError`, see
        `issued_grant`, and `too_large`.
        """
        grant = issued_grant(issuer, wanted, ttl_ms, now_ms)
        names = () if issuer.token_id is None else (issuer.token_id, *issuer.issued_by)
        issued = self._signed(self._records[issuer.key_id], grant, names)
        if len(issued.credential.reveal()) > MAX_SECRET_CHARS:
            raise ProtocolError(ErrorCode.TOO_LARGE, "The grant is too long for a token.")
        self.audit.note(
            AuditAction.TOKEN_ISSUED,
            now_ms,
            project=issuer.project,
            by=by or issuer.ids.own,
            target=issued.token_id,
            address=address,
            detail=grant_summary(grant),
        )
        return issued

    def _signed(self, record: KeyRecord, grant: Grant, issued_by: tuple[str, ...]) -> IssuedKey:
        jti = secrets.token_urlsafe(_JTI_BYTES)
        claims = issued_claims(grant, record.project, jti, issued_by)
        return IssuedKey(self._keyring.sign(record, claims), token_id(record.key_id, jti), grant)

    def issuer(self, key_id: str, now_ms: int) -> Principal:
        """
        A developer key as an issuer of tokens, without its secret: for the operator, who has the master key.

        Raises `KeyStoreError` if there is none that is good, `ProtocolError` if its grant has ended.
        """
        record = self._records.get(key_id)
        if record is None or record.revoked_ms is not None:
            raise KeyStoreError("there is no good key with this id; peerbus keys list shows all")
        return self._keyring.verify(Secret(self._keyring.developer_key(record).to_text()), now_ms)

    def create_key(
        self, project: str, *, grant: Grant, label: str = "", now_ms: int, by: str = OPERATOR
    ) -> DeveloperKey:
        """
        Makes a key, and its project if there is none; the only time that its secret is returned.

        Raises `KeyStoreError` also for a bad project id or label, and for the projects of the server itself.
        """
        if project == DEMO_PROJECT:
            raise KeyStoreError("the server makes the keys of the demo project itself")
        if (project == SERVICE_PROJECT) is not grant.service:
            raise KeyStoreError(f"the project {SERVICE_PROJECT} is for keys of workers, and only that one")
        if len(label) > LABEL_MAX_CHARS or not label.isprintable():
            raise KeyStoreError(f"a label has at most {LABEL_MAX_CHARS} printable characters")
        try:
            check_project_id(project)
        except ProtocolError as error:
            raise KeyStoreError(error.message) from error
        if project not in self._projects:
            self._add_project(project, Quota(), now_ms)
        key = self._insert_key(project, grant, label, now_ms)
        self.audit.note(
            AuditAction.KEY_CREATED,
            now_ms,
            project=project,
            by=by,
            target=key.key_id,
            detail=f"{label}: {grant_summary(grant)}" if label else grant_summary(grant),
        )
        return key

    def own_workers_key(self, now_ms: int) -> DeveloperKey:
        """
        The key of the workers that the server starts itself; the same as long as nobody revokes it.

        It travels from one of the server's processes to another and is shown to nobody.
        """
        for record in self.keys(SERVICE_PROJECT):
            if record.label == _OWN_WORKERS_LABEL and record.revoked_ms is None:
                return self._keyring.developer_key(record)
        return self.create_key(SERVICE_PROJECT, grant=WORKER_GRANT, label=_OWN_WORKERS_LABEL, now_ms=now_ms)

    def revoke_key(self, key_id: str, *, now_ms: int, by: str = OPERATOR, address: str = "") -> KeyRecord:
        """Makes a key and all tokens signed with it worthless for ever; revoking it again changes nothing."""
        record = self._records.get(key_id)
        if record is None:
            raise KeyStoreError(f"there is no key with the id {key_id!r}")
        if record.revoked_ms is None:
            self._file.revoke_key(key_id, now_ms)
            self._load()
            self.audit.note(
                AuditAction.KEY_REVOKED,
                now_ms,
                project=record.project,
                by=by,
                target=key_id,
                address=address,
                detail=record.label,
            )
        return self._records[key_id]

    def revoke_token(
        self,
        id_of_token: str,
        *,
        now_ms: int,
        expires_ms: int | None = None,
        by: str = OPERATOR,
        address: str = "",
    ) -> None:
        """
        Makes one token, and what was issued by it, worthless. Revoking it again can only make it be remembered longer.

        It is remembered until `expires_ms`, which is when the token ends by itself; without that for as long as the
        key that signed it is good. Raises `KeyStoreError` if there is no such key, or too many of its tokens were
        revoked.
        """
        key_id = _key_id_of(id_of_token)
        record = self._records.get(key_id)
        if record is None:
            raise KeyStoreError("there is no key that could have signed this token")
        if record.revoked_ms is not None:
            return
        if self._keyring.is_revoked(id_of_token):
            # It may have to be remembered for longer than was said at first.
            self._file.revoke_token(id_of_token, key_id, now_ms, expires_ms)
            return
        own = self._revoked_of[key_id]
        if own >= REVOKED_TOKENS_MAX:
            raise KeyStoreError(f"{own} tokens of this key are revoked already; revoke the key itself")
        self._file.revoke_token(id_of_token, key_id, now_ms, expires_ms)
        # Not loaded anew with all others: there may be many, and anybody who has a token can revoke it.
        self._keyring.revoke_token(id_of_token)
        self._revoked_of[key_id] += 1
        self._ended.add(id_of_token)
        self.audit.note(
            AuditAction.TOKEN_REVOKED,
            now_ms,
            project=record.project,
            by=by,
            target=id_of_token,
            address=address,
        )

    def forget(self, now_ms: int) -> None:
        """Removes revocations of tokens that have ended by themselves since; to be called every minute or so."""
        if self._demo_keys_issued and now_ms - self._demo_keys_noted_ms >= _DEMO_KEYS_NOTED_EVERY_MS:
            self._demo_keys_noted_ms = now_ms
            self._note_demo_keys(now_ms)
        forgotten = self._file.forget_tokens(now_ms)
        self._keyring.forget_tokens(forgotten)
        self._revoked_of.subtract(_key_id_of(name) for name in forgotten)

    def keys(self, project: str | None = None) -> list[KeyRecord]:
        """All keys, or those of one project, the oldest first."""
        records = [key for key in self._records.values() if project in (None, key.project)]
        return sorted(records, key=lambda key: (key.created_ms, key.key_id))

    def record(self, key_id: str) -> KeyRecord | None:
        """The key with this id, if there is one."""
        return self._records.get(key_id)

    def project(self, project: str) -> Project | None:
        """The project with this id, if there is one."""
        return self._projects.get(project)

    # --- inside -----------------------------------------------------------------------------------------

    def _load(self) -> None:
        # Taken first: a change in between is then seen once more, rather than not at all.
        self._version = self._file.version()
        stored = self._file.load()
        self._projects = {project.project: project for project in stored.projects}
        self._records = {record.key_id: record for record in stored.records}
        self._revoked_of = Counter(_key_id_of(name) for name in stored.revoked_tokens)
        self._ended |= self._keyring.replace(stored.records, stored.revoked_tokens)

    def _add_project(self, project: str, quota: Quota, now_ms: int) -> None:
        self._file.add_project(Project(project=project, quota=quota, created_ms=now_ms))
        self._load()

    def _insert_key(self, project: str, grant: Grant, label: str, now_ms: int) -> DeveloperKey:
        key_id = "".join(secrets.choice(KEY_ID_ALPHABET) for _ in range(KEY_ID_CHARS))
        record = KeyRecord(key_id=key_id, project=project, grant=grant, label=label, created_ms=now_ms)
        self._file.add_key(record)
        self._load()
        return self._keyring.developer_key(record)


def _key_id_of(id_of_token: str) -> str:
    return id_of_token.partition(":")[0]

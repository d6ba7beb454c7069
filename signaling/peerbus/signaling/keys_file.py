"""
The file behind the keys: `keys.db` in the data folder (SQLite).

Owns its schema, its transactions, and what is said when it cannot be used. Never stores a secret: it holds projects,
ids, grants and revocations, and a value by which it recognises the master key that it was made with. Several processes
may have it open.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from peerbus.protocol.errors import ProtocolError
from peerbus.protocol.grants import grant_from_json, grant_to_json
from peerbus.signaling.keyring import KeyRecord
from peerbus.signaling.quota import Quota

KEYS_FILE: Final = "keys.db"

_SCHEMA_VERSION: Final = 2
_REVOKED_TOKENS: Final = """
CREATE TABLE revoked_tokens (
    token_id TEXT PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES keys,
    revoked_ms INTEGER NOT NULL,
    expires_ms INTEGER
) WITHOUT ROWID
"""
_SCHEMA: Final = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE projects (
    project TEXT PRIMARY KEY,
    quota TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE keys (
    key_id TEXT PRIMARY KEY,
    project TEXT NOT NULL REFERENCES projects,
    label TEXT NOT NULL,
    grant_json TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    revoked_ms INTEGER
) WITHOUT ROWID;
{_REVOKED_TOKENS}"""
_NOTE_REVOKED: Final = """
INSERT INTO revoked_tokens VALUES (?, ?, ?, ?) ON CONFLICT (token_id) DO UPDATE
SET expires_ms = CASE WHEN expires_ms > excluded.expires_ms THEN expires_ms ELSE excluded.expires_ms END
WHERE expires_ms IS NOT NULL
"""
_BUSY_TIMEOUT_S: Final = 5.0

_Statement = tuple[str, tuple[object, ...]]


class Project(Struct, frozen=True, kw_only=True):
    """A tenant: the owner of keys, channels and quota."""

    project: str
    quota: Quota
    created_ms: int


class Stored(Struct, frozen=True):
    """All that the file holds."""

    projects: list[Project]
    records: list[KeyRecord]
    revoked_tokens: frozenset[str]


class KeyStoreError(Exception):
    """The keys cannot be read or changed; the text is one line for a person."""


class MasterKeyMismatch(KeyStoreError):
    """The file was made with another master key."""


class KeysFile:
    """The open file. Belongs to the thread that opened it; every method raises `KeyStoreError`."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise KeyStoreError(f"cannot use {path}: {error.strerror}") from error
        self._connection: Final = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)

    def close(self) -> None:
        """Closes it."""
        self._connection.close()

    def prepare(self, master_key: bytes) -> None:
        """
        Brings the file into its form and finds out whether it belongs to this master key.

        Raises `KeyStoreError` also for a file of a later version, and `MasterKeyMismatch`.
        """
        run = self._connection.execute
        check = hmac.digest(master_key, b"check/1", hashlib.sha256).hex()
        with self._translated_errors():
            run("PRAGMA journal_mode = WAL")
            run("PRAGMA synchronous = FULL")
            run("PRAGMA foreign_keys = ON")
            with self._transaction():
                self._upgrade(run("PRAGMA user_version").fetchone()[0], check)
            stored = run("SELECT value FROM facts WHERE name = 'master_key_check'").fetchone()
        if stored is None or not hmac.compare_digest(stored[0], check):
            raise MasterKeyMismatch(
                f"the keys in {self._path} were made with another master key; give the server that one, "
                f"or move {KEYS_FILE} away to begin anew"
            )

    def _upgrade(self, version: int, check: str) -> None:
        run = self._connection.execute
        if version > _SCHEMA_VERSION:
            raise KeyStoreError(f"{self._path} was written by a later version of peerbus")
        if version == 0:
            for statement in _SCHEMA.split(";"):
                run(statement)
            run("INSERT INTO facts VALUES ('master_key_check', ?)", (check,))
        elif version == 1:
            run(_REVOKED_TOKENS)
        if version != _SCHEMA_VERSION:
            run(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def version(self) -> int:
        """A number that is another one as soon as another process has changed something; cheap to ask."""
        with self._translated_errors():
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version

    def load(self) -> Stored:
        """Everything."""
        run = self._connection.execute
        with self._translated_errors():
            projects = [
                Project(project=project, quota=msgspec.json.decode(quota, type=Quota), created_ms=created_ms)
                for project, quota, created_ms in run("SELECT project, quota, created_ms FROM projects")
            ]
            records = [
                KeyRecord(
                    key_id=key_id,
                    project=project,
                    label=label,
                    grant=grant_from_json(json.loads(grant)),
                    created_ms=created_ms,
                    revoked_ms=revoked_ms,
                )
                for key_id, project, label, grant, created_ms, revoked_ms in run(
                    "SELECT key_id, project, label, grant_json, created_ms, revoked_ms FROM keys"
                )
            ]
            revoked = frozenset(name for (name,) in run("SELECT token_id FROM revoked_tokens"))
        return Stored(projects, records, revoked)

    def add_project(self, project: Project) -> None:
        """A new tenant; nothing if it is there."""
        quota = msgspec.json.encode(project.quota).decode()
        row = (project.project, quota, project.created_ms)
        self._write(("INSERT OR IGNORE INTO projects VALUES (?, ?, ?)", row))

    def add_key(self, record: KeyRecord) -> None:
        """A new key of a project that is there."""
        grant = json.dumps(grant_to_json(record.grant))
        row = (record.key_id, record.project, record.label, grant, record.created_ms)
        self._write(("INSERT INTO keys VALUES (?, ?, ?, ?, ?, NULL)", row))

    def revoke_key(self, key_id: str, now_ms: int) -> None:
        """Notes the end of a key; that of its tokens needs no notes any more."""
        self._write(
            ("UPDATE keys SET revoked_ms = ? WHERE key_id = ? AND revoked_ms IS NULL", (now_ms, key_id)),
            ("DELETE FROM revoked_tokens WHERE key_id = ?", (key_id,)),
        )

    def revoke_token(self, id_of_token: str, key_id: str, now_ms: int, expires_ms: int | None) -> None:
        """Notes the end of a token. Of two that say until when it is remembered the later counts."""
        row = (id_of_token, key_id, now_ms, expires_ms)
        self._write((_NOTE_REVOKED, row))

    def forget_tokens(self, now_ms: int) -> list[str]:
        """Forgets revoked tokens that have ended by themselves, and says which."""
        with self._translated_errors():
            stale = self._connection.execute(
                "SELECT token_id FROM revoked_tokens WHERE expires_ms <= ?", (now_ms,)
            ).fetchall()
        if stale:
            self._write(("DELETE FROM revoked_tokens WHERE expires_ms <= ?", (now_ms,)))
        return [name for (name,) in stale]

    def _write(self, *statements: _Statement) -> None:
        with self._translated_errors(), self._transaction():
            for statement, values in statements:
                self._connection.execute(statement, values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            # Some errors have ended the transaction already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise KeyStoreError(f"cannot use {self._path}: {error}") from error
        except (sqlite3.DatabaseError, ValueError, ProtocolError) as error:
            raise KeyStoreError(f"{self._path} is damaged: {error}") from error

"""
Who has used a credential that only so many may use.

Owns `uses.db` in the data folder (SQLite): one row for each credential and lineage, on disk before the session begins
that it stands for. The same lineage comes back as often as it likes; of two that race for the last use one gets it.
Never looks at a credential, and knows nothing of sessions.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from peerbus.signaling.keyring import UseLimit

USES_FILE: Final = "uses.db"

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE uses (
    credential_id TEXT NOT NULL,
    lineage BLOB NOT NULL,
    expires_ms INTEGER,
    PRIMARY KEY (credential_id, lineage)
) WITHOUT ROWID;
CREATE INDEX uses_by_expiry ON uses (expires_ms) WHERE expires_ms IS NOT NULL;
"""
_BUSY_TIMEOUT_S: Final = 5.0


class UsesError(Exception):
    """Uses cannot be counted; the text is one line for a person."""


class UseStore:
    """
    The uses of one server. Reading and writing happens in a thread of its own, one after another.

    `take` and `forget` raise `UsesError` where the file cannot be used.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection: Final = connection
        self._path: Final = path
        self._thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="uses")

    @classmethod
    def open(cls, data_dir: Path) -> UseStore:
        """Opens the file, or begins it. Raises `UsesError` where it cannot be used or is of a later version."""
        path = data_dir / USES_FILE
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise UsesError(f"cannot use {path}: {error.strerror}") from None
        connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, path)
        except sqlite3.Error as error:
            connection.close()
            raise UsesError(f"cannot use {path}: {error}") from None
        except UsesError:
            connection.close()
            raise
        return cls(connection, path)

    def close(self) -> None:
        """Waits for what is under way, and closes the file."""
        self._thread.shutdown()
        self._connection.close()

    async def take(self, limits: tuple[UseLimit, ...], lineage: bytes) -> frozenset[str] | None:
        """
        Counts a use of each of the credentials by this lineage: all of them, or none.

        Returns the ids of those that it had not used before; None when one has been used by as many others as may.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._take, limits, lineage)

    async def forget(self, now_ms: int) -> None:
        """Removes what nobody can use any more; `now_ms` is milliseconds since 1970."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._forget, now_ms)

    # --- in the thread ------------------------------------------------------------------------------------------

    def _take(self, limits: Iterable[UseLimit], lineage: bytes) -> frozenset[str] | None:
        run = self._connection.execute
        taken = []
        try:
            run("BEGIN IMMEDIATE")
            for limit in limits:
                if run(
                    "SELECT 1 FROM uses WHERE credential_id = ? AND lineage = ?",
                    (limit.credential_id, lineage),
                ).fetchone():
                    continue
                (count,) = run(
                    "SELECT count(*) FROM uses WHERE credential_id = ?", (limit.credential_id,)
                ).fetchone()
                if count >= limit.most:
                    return None
                run("INSERT INTO uses VALUES (?, ?, ?)", (limit.credential_id, lineage, limit.expires_ms))
                taken.append(limit.credential_id)
            run("COMMIT")
        except sqlite3.Error as error:
            raise UsesError(f"cannot use {self._path}: {error}") from None
        finally:
            # Whatever it was: nobody after it finds a transaction that is not theirs.
            if self._connection.in_transaction:
                run("ROLLBACK")
        return frozenset(taken)

    def _forget(self, now_ms: int) -> None:
        try:
            self._connection.execute("DELETE FROM uses WHERE expires_ms <= ?", (now_ms,))
        except sqlite3.Error as error:
            raise UsesError(f"cannot use {self._path}: {error}") from None


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    run = connection.execute
    run("PRAGMA journal_mode = WAL")
    run("PRAGMA synchronous = FULL")
    run("BEGIN IMMEDIATE")
    version = run("PRAGMA user_version").fetchone()[0]
    if version > _SCHEMA_VERSION:
        run("ROLLBACK")
        raise UsesError(f"{path} was written by a later version of peerbus")
    if version == 0:
        for statement in _SCHEMA.split(";"):
            run(statement)
        run(f"PRAGMA user_version = {_SCHEMA_VERSION}")
    run("COMMIT")

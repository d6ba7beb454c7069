"""The SQLite database of a log: its tables, how a connection is set up, and what SQLite's errors mean.

Owns the schema and its version, the settings that make a commit reach the disk, the checks of a file found at
start, and the mapping of SQLite's result codes to `StoreError`. Never reads or writes an entry.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from peerbus.signaling.log.interface import StoreError, StoreErrorCode

SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x70656272  # "pebr", in the file's header: tells our databases from others

OFFSET_BITS: Final = 40
CHANNELS_MAX: Final = 1 << (63 - OFFSET_BITS)

# `entries.id` is the channel's number and the offset in one integer, the table's own key: entries of a
# channel lie together in offset order, appending writes at the end of a run, and a large body does not spill out
# of its page as it would in an index. `head` is the highest id of the channel, and stands nowhere else;
# `trimmed_to` is the highest offset that was removed.
_MAILBOXES: Final = (
    """CREATE TABLE claims (
        channel INTEGER NOT NULL, identity TEXT NOT NULL, seen_ms INTEGER NOT NULL,
        PRIMARY KEY (channel, identity)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE mail (
        channel INTEGER NOT NULL, identity TEXT NOT NULL, offset INTEGER NOT NULL,
        time_ms INTEGER NOT NULL, bytes INTEGER NOT NULL,
        PRIMARY KEY (channel, identity, offset)) STRICT, WITHOUT ROWID""",
)
_SCHEMA: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID",
    """CREATE TABLE channels (
        no INTEGER PRIMARY KEY, scope TEXT NOT NULL, channel_id BLOB NOT NULL, name TEXT NOT NULL,
        mode TEXT NOT NULL, created_ms INTEGER NOT NULL, locked INTEGER NOT NULL, trimmed_to INTEGER NOT NULL,
        UNIQUE (scope, channel_id)) STRICT""",
    """CREATE TABLE entries (
        id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, identity TEXT NOT NULL, sender TEXT NOT NULL,
        recipients TEXT, type TEXT NOT NULL, custom_event_type TEXT, body BLOB NOT NULL, author TEXT) STRICT""",
    """CREATE TABLE retries (
        channel INTEGER NOT NULL, identity TEXT NOT NULL, idempotency_key TEXT NOT NULL,
        offset INTEGER NOT NULL, time_ms INTEGER NOT NULL, fingerprint BLOB NOT NULL,
        PRIMARY KEY (channel, identity, idempotency_key)) STRICT, WITHOUT ROWID""",
    *_MAILBOXES,
)
_TO_NEXT_VERSION: Final = {1: ("ALTER TABLE entries ADD COLUMN author TEXT", *_MAILBOXES)}
"""What makes a database of an earlier version one of the next."""

_BUSY_TIMEOUT_S: Final = 5.0
_CHECKPOINT_PAGES: Final = 4_000
_WAL_KEPT_BYTES: Final = 64 << 20
_WRITER_CACHE_KIB: Final = 64 << 10
_READER_CACHE_KIB: Final = 4 << 10
_CHECKED_WHOLE_BYTES: Final = 256 << 20


class Cursor(Protocol):
    """The part of `sqlite3.Cursor` that the log uses."""

    def fetchone(self) -> Any:
        """The next row, or `None`."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...


class Connection(Protocol):
    """The part of `sqlite3.Connection` (in autocommit mode) that the log uses; tests put a failing disk under
    it.
    """

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def execute(self, sql: str, parameters: Any = ..., /) -> Cursor:
        """Run one statement."""
        ...

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        """Run one statement once for each set of parameters."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def connect(database: Path) -> sqlite3.Connection:
    """A connection in autocommit mode that may be used from any thread, by one at a time."""
    return sqlite3.connect(database, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


def set_up_writer(db: Connection) -> None:
    """Make every commit reach the disk before it returns."""
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise StoreError("storage_unwritable", "the file system can't hold the database (no write-ahead log)")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # on macOS an fsync alone stops at the drive's cache
    db.execute("PRAGMA checkpoint_fullfsync = ON")
    db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    db.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")


def set_up_reader(db: Connection) -> None:
    """Keep a reading connection from ever writing."""
    db.execute("PRAGMA query_only = ON")
    db.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")


def check_or_create(db: Connection, database: Path, epoch: str) -> bool:
    """Make the tables in an empty file, and say so; else check that the file is a sound log, and make it one of this
    version.

    A large file is not read whole at each start: then only the small tables are. Raises `StoreError` or
    `sqlite3.Error`.
    """
    application_id = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not tables and not application_id:
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            db.execute(statement)
        db.execute("INSERT INTO meta VALUES ('epoch', ?), ('commits', 0)", (epoch,))
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
        return True
    if application_id != APPLICATION_ID:
        raise StoreError("storage_foreign", f"{database} is a database of another program")
    if version != SCHEMA_VERSION and version not in _TO_NEXT_VERSION:
        raise StoreError(
            "storage_foreign",
            f"{database} has schema version {version}, this server reads version {SCHEMA_VERSION}",
        )
    whole = database.stat().st_size <= _CHECKED_WHOLE_BYTES
    for check in ("quick_check(1)",) if whole else ("quick_check(meta)", "quick_check(channels)"):
        found = db.execute(f"PRAGMA {check}").fetchone()[0]
        if found != "ok":
            raise StoreError("storage_damaged", f"{database} is damaged: {' '.join(found.split())}")
    while version != SCHEMA_VERSION:
        db.execute("BEGIN IMMEDIATE")
        for statement in _TO_NEXT_VERSION[version]:
            db.execute(statement)
        version += 1
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("COMMIT")
    return False


_CODES: Final[dict[int, StoreErrorCode]] = {
    sqlite3.SQLITE_FULL: "storage_unavailable",
    sqlite3.SQLITE_IOERR: "storage_unavailable",
    sqlite3.SQLITE_BUSY: "storage_unavailable",
    sqlite3.SQLITE_LOCKED: "storage_unavailable",
    sqlite3.SQLITE_NOMEM: "storage_unavailable",
    sqlite3.SQLITE_CANTOPEN: "storage_unavailable",
    sqlite3.SQLITE_READONLY: "storage_unavailable",
    sqlite3.SQLITE_PERM: "storage_unavailable",
    sqlite3.SQLITE_PROTOCOL: "storage_unavailable",
    sqlite3.SQLITE_TOOBIG: "unstorable",
}


def passes_by_itself(error: Exception) -> bool:
    """Whether the connection can be used on after this error: the disk was full, a lock held, or a value
    bad.
    """
    code = _result_code(error)
    return code in (0, sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_TOOBIG)


def store_error(error: Exception, database: Path) -> StoreError:
    """What an error of `sqlite3`, or of handing it a value, means for the log, in one line."""
    code = _result_code(error)
    meaning = _CODES.get(code, "storage_damaged") if code else "unstorable"
    if meaning == "unstorable":
        return StoreError(meaning, f"this entry can't be stored: {error}")
    if meaning == "storage_damaged":
        return StoreError(meaning, f"{database} is damaged or not a database: {error}")
    return StoreError(meaning, f"the log can't be used now: {error}")


def _result_code(error: Exception) -> int:
    """SQLite's primary result code, or 0 for an error that came from handing it a value."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF if isinstance(code, int) else 0


def close_quietly(db: Connection) -> None:
    """Close a connection; what is committed is on the disk already, so a failure changes nothing."""
    with suppress(sqlite3.Error):
        db.close()

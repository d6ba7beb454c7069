"""A connection to SQLite whose disk fails when a test says so."""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from peerbus.signaling.log.schema import connect


def sqlite_failure(code: int, text: str = "disk I/O error") -> sqlite3.OperationalError:
    """What `sqlite3` raises for a result code."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


class FailingDisk:
    """Hands out connections, and makes the statements that begin with one of `failing` raise their error.

    `failing` maps the beginning of a statement to what is raised instead of running it; `failing_after` runs
    it first, as an fsync does whose pages reach the disk although it reports an error. `before` sees each
    statement.
    """

    def __init__(self) -> None:
        self.failing: dict[str, Exception] = {}
        self.failing_after: dict[str, Exception] = {}
        self.before: Callable[[str], object] = lambda _: None
        self.connections = 0

    def connect(self, database: Path) -> "FailingConnection":
        """A `connect_to` for `SqliteStore`."""
        self.check("connect")
        self.connections += 1
        return FailingConnection(self, connect(database))

    def check(self, statement: str) -> None:
        """Raise if the statement is to fail."""
        self.before(statement)
        _raise_for(self.failing, statement)

    def check_after(self, statement: str) -> None:
        """Raise if the statement is to fail although it was run."""
        _raise_for(self.failing_after, statement)


class FailingConnection:
    """`Connection`, with a failing disk in between."""

    def __init__(self, disk: FailingDisk, db: sqlite3.Connection) -> None:
        self._disk = disk
        self._db = db

    @property
    def in_transaction(self) -> bool:
        """As `sqlite3` says."""
        return self._db.in_transaction

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run the statement, unless it fails."""
        self._disk.check(sql)
        cursor = self._db.execute(sql, parameters)
        self._disk.check_after(sql)
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Run the statements, unless they fail."""
        self._disk.check(sql)
        cursor = self._db.executemany(sql, parameters)
        self._disk.check_after(sql)
        return cursor

    def close(self) -> None:
        """Close, unless that fails too."""
        self._db.close()


def _raise_for(failing: dict[str, Exception], statement: str) -> None:
    for beginning, error in failing.items():
        if statement.startswith(beginning):
            raise error

"""
The connections that read the SQLite log while another one writes.

Owns them: any thread may take one, and gives it back. One whose transaction failed is closed instead.
"""

import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from peerbus.signaling.log.schema import close_quietly, connect, set_up_reader


class Readers:
    """Those of one database; as many as there are reads at a time."""

    def __init__(self, database: Path) -> None:
        self._database: Final = database
        self._idle: Final[deque[sqlite3.Connection]] = deque()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the database. Raises what SQLite raises."""
        db = self._take()
        try:
            db.execute("BEGIN")
            yield db
            db.execute("COMMIT")
        except BaseException:
            close_quietly(db)
            raise
        self._idle.append(db)

    def close(self) -> None:
        """Closes those that nobody has."""
        while self._idle:
            close_quietly(self._idle.pop())

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            db = connect(self._database)
            set_up_reader(db)
            return db

"""
How the keys of appends stand in the rows of the SQLite log, so that a retry gets the answer of the first.

Owns their statements. Begins no transaction but the one it is given.
"""

from collections.abc import Callable
from typing import Final

from peerbus.signaling.log.plan import First, Retry
from peerbus.signaling.log.schema import Connection

INSERT_RETRY: Final = "INSERT INTO retries VALUES (?, ?, ?, ?, ?, ?)"
_SELECT: Final = (
    "SELECT offset, time_ms, fingerprint FROM retries"
    " WHERE channel = ? AND identity = ? AND idempotency_key = ?"
)
_SELECT_PAGE: Final = (
    "SELECT channel, identity, idempotency_key, time_ms FROM retries"
    " WHERE (channel, identity, idempotency_key) > (?, ?, ?)"
    " ORDER BY channel, identity, idempotency_key LIMIT ?"
)
_DELETE: Final = "DELETE FROM retries WHERE channel = ? AND identity = ? AND idempotency_key = ?"


def select_first(db: Connection, retry: Retry) -> First | None:
    """What was stored under a key, if it is still known."""
    found: First | None = db.execute(_SELECT, retry).fetchone()
    return found


def delete_old_retries(
    db: Connection,
    after: Retry | None,
    oldest_ms: int,
    rows_max: int,
    transact: Callable[[Connection, Callable[[], object]], None],
) -> Retry | None:
    """Forgets keys older than that, among the rows that follow `after`; the last row, None if there are no more."""
    rows = db.execute(_SELECT_PAGE, (*(after or (0, "", "")), rows_max)).fetchall()
    old = [row[:3] for row in rows if row[3] < oldest_ms]
    if old:
        transact(db, lambda: db.executemany(_DELETE, old))
    return rows[-1][:3] if len(rows) == rows_max else None

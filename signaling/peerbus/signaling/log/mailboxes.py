"""
How claims and mailboxes stand in the rows of the SQLite log.

Owns their statements. Never decides who claims, who gets mail or when it is read, and begins no transaction but the
one it is given.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from peerbus.signaling.log.interface import MailRead
from peerbus.signaling.log.plan import Filling, Mailbox
from peerbus.signaling.log.rows import ChannelRow
from peerbus.signaling.log.schema import OFFSET_BITS, Connection

INSERT_MAIL: Final = "INSERT INTO mail VALUES (?, ?, ?, ?, ?)"
_READ: Final = "DELETE FROM mail WHERE channel = ? AND identity = ? AND offset <= ?"
# An entry that has no custom event type gives NULL there, which counts as no.
_READ_OF_TYPES: Final = (
    "DELETE FROM mail WHERE channel = ? AND identity = ? AND offset <= ? AND"
    " (SELECT type IN ({0}) OR custom_event_type IN ({0}) FROM entries"
    " WHERE id = (mail.channel << ? | mail.offset))"
)
_SELECT_MAIL: Final = (
    "SELECT channel, identity, offset, time_ms FROM mail WHERE (channel, identity, offset) > (?, ?, ?)"
    " ORDER BY channel, identity, offset LIMIT ?"
)
_SELECT_UNUSED: Final = (
    "SELECT channel, identity FROM claims WHERE seen_ms < ? AND NOT EXISTS"
    " (SELECT 1 FROM mail WHERE mail.channel = claims.channel AND mail.identity = claims.identity) LIMIT ?"
)

Transact = Callable[[Connection, Callable[[], object]], None]


class Sweep(NamedTuple):
    """How many rows a sweep has deleted, and the last that it looked at; None where there are no more."""

    deleted: int
    last: tuple[int, str, int] | None


def select_claims(db: Connection, channel: ChannelRow) -> dict[str, int]:
    """The claimed identities of a channel, and when each was last seen to be used."""
    rows = db.execute("SELECT identity, seen_ms FROM claims WHERE channel = ?", (channel.no,)).fetchall()
    return dict(rows)


def put_claim(db: Connection, channel: ChannelRow, identity: str, seen_ms: int) -> None:
    """An identity is claimed, and in use."""
    db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", (channel.no, identity, seen_ms))


def select_unread(db: Connection, channel: ChannelRow, identity: str, since_ms: int) -> tuple[int, ...]:
    """The offsets of the mail that is there and not older than that."""
    rows = db.execute(
        "SELECT offset FROM mail WHERE channel = ? AND identity = ? AND time_ms >= ? ORDER BY offset",
        (channel.no, identity, since_ms),
    ).fetchall()
    return tuple(offset for (offset,) in rows)


def filling_of(db: Connection, box: Mailbox) -> Filling:
    """What is in a mailbox: messages and bytes."""
    messages, size_bytes = db.execute(
        "SELECT count(*), coalesce(sum(bytes), 0) FROM mail WHERE channel = ? AND identity = ?", box
    ).fetchone()
    return messages, size_bytes


def delete_read_mail(db: Connection, channel: ChannelRow, read: MailRead) -> None:
    """Takes out of a mailbox what was read."""
    which = (channel.no, read.identity, read.upto)
    if read.types is None:
        db.execute(_READ, which)
    else:
        types = sorted(read.types)
        places = ", ".join("?" * len(types))
        db.execute(_READ_OF_TYPES.format(places), (*which, *types, *types, OFFSET_BITS))


def delete_old_mail(
    db: Connection,
    after: tuple[int, str, int] | None,
    oldest_ms: int,
    rows_max: int,
    transact: Transact,
) -> Sweep:
    """Takes out of the mailboxes what is older than that, among the rows that follow `after`."""
    rows = db.execute(_SELECT_MAIL, (*(after or (0, "", 0)), rows_max)).fetchall()
    old = [row[:3] for row in rows if row[3] < oldest_ms]
    if old:
        delete = "DELETE FROM mail WHERE channel = ? AND identity = ? AND offset = ?"
        transact(db, lambda: db.executemany(delete, old))
    return Sweep(len(old), rows[-1][:3] if len(rows) == rows_max else None)


def delete_unused_claims(db: Connection, oldest_ms: int, rows_max: int, transact: Transact) -> int:
    """Forgets claims that were last used before that and have no mail; how many."""
    unused = db.execute(_SELECT_UNUSED, (oldest_ms, rows_max)).fetchall()
    if unused:
        delete = "DELETE FROM claims WHERE channel = ? AND identity = ?"
        transact(db, lambda: db.executemany(delete, unused))
    return len(unused)

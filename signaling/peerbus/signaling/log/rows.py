"""How channels and entries stand in the rows of the SQLite log.

Owns the statements that read them and the two ways between a row and a value. Never begins or ends a
transaction.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import msgspec

from peerbus.signaling.log.interface import (
    SCAN_ROWS_MAX,
    Append,
    ChannelKey,
    ChannelState,
    Entry,
    Page,
    Range,
)
from peerbus.signaling.log.page import fill_page, scan_bounds
from peerbus.signaling.log.schema import OFFSET_BITS, Connection

OFFSET_MAX: Final = (1 << OFFSET_BITS) - 1

INSERT_CHANNEL: Final = "INSERT INTO channels VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_ENTRY: Final = "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SELECT_CHANNEL: Final = (
    "SELECT no, name, mode, created_ms, locked, trimmed_to FROM channels WHERE scope = ? AND channel_id = ?"
)
_SELECT_LAST_ID: Final = "SELECT id FROM entries WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1"
_SELECT_ENTRIES: Final = "SELECT * FROM entries WHERE id BETWEEN ? AND ? ORDER BY id {} LIMIT ?"
_SELECT_ONLY: Final = "SELECT * FROM entries WHERE id IN ({}) ORDER BY id"
_SELECT_UPWARDS: Final = _SELECT_ENTRIES.format("ASC")
_SELECT_DOWNWARDS: Final = _SELECT_ENTRIES.format("DESC")

_encode_recipients = msgspec.json.Encoder().encode
_decode_recipients = msgspec.json.Decoder(tuple[str, ...]).decode


class ChannelRow:
    """What is known of one channel, with its number in the database; `stored` says whether it has a row
    there.
    """

    __slots__ = (
        "_claim_set",
        "claims",
        "created_ms",
        "head",
        "key",
        "locked",
        "mode",
        "name",
        "no",
        "stored",
        "tail",
    )

    def __init__(self, no: int, key: ChannelKey, name: str, mode: str, created_ms: int) -> None:
        self.no = no
        self.key = key
        self.name = name
        self.mode = mode
        self.created_ms = created_ms
        self.locked = False
        self.head = 0
        self.tail = 1
        self.stored = False
        self.claims: dict[str, int] = {}
        """The claimed identities, and when each was last seen to be used (milliseconds since 1970)."""
        self._claim_set: frozenset[str] = frozenset()

    def note_claim(self, identity: str, seen_ms: int) -> None:
        """An identity is claimed, and in use."""
        if identity not in self.claims:
            self._claim_set |= {identity}
        self.claims[identity] = seen_ms

    def note_claims(self, claims: dict[str, int]) -> None:
        """All that is claimed."""
        self.claims = claims
        self._claim_set = frozenset(claims)

    def id_of(self, offset: int) -> int:
        """`entries.id` of this channel's entry at an offset."""
        return self.no << OFFSET_BITS | offset

    def state(self, epoch: str) -> ChannelState:
        """The channel as callers see it."""
        return ChannelState(
            epoch=epoch,
            head=self.head,
            tail=self.tail,
            locked=self.locked,
            name=self.name,
            mode=self.mode,
            created_ms=self.created_ms,
            claims=self._claim_set,
        )

    def row(self) -> tuple[Any, ...]:
        """The row of `channels`, for `INSERT_CHANNEL`."""
        scope, channel_id = self.key.scope, self.key.channel_id
        trimmed_to = self.tail - 1
        return (
            self.no,
            scope,
            channel_id,
            self.name,
            self.mode,
            self.created_ms,
            int(self.locked),
            trimmed_to,
        )


def select_channel(db: Connection, key: ChannelKey) -> ChannelRow | None:
    """The channel as it stands in the database."""
    found = db.execute(_SELECT_CHANNEL, (key.scope, key.channel_id)).fetchone()
    if found is None:
        return None
    no, name, mode, created_ms, locked, trimmed_to = found
    channel = ChannelRow(no, key, name, mode, created_ms)
    channel.stored = True
    channel.locked = bool(locked)
    channel.tail = trimmed_to + 1
    last = db.execute(_SELECT_LAST_ID, (channel.id_of(0), channel.id_of(OFFSET_MAX))).fetchone()
    channel.head = trimmed_to if last is None else last[0] & OFFSET_MAX
    return channel


def delete_below(db: Connection, channel: ChannelRow, tail: int) -> None:
    """Remove the channel's entries below `tail`, from mailboxes too, and remember that they are gone."""
    db.execute(
        "DELETE FROM entries WHERE id BETWEEN ? AND ?", (channel.id_of(channel.tail), channel.id_of(tail - 1))
    )
    if channel.claims:
        db.execute("DELETE FROM mail WHERE channel = ? AND offset < ?", (channel.no, tail))
    db.execute("UPDATE channels SET trimmed_to = ? WHERE no = ?", (tail - 1, channel.no))


def entry_row(entry_id: int, append: Append) -> tuple[Any, ...]:
    """The row of `entries`, for `INSERT_ENTRY`."""
    recipients = append.recipients
    return (
        entry_id,
        append.time_ms,
        append.identity,
        append.sender,
        None if recipients is None else _encode_recipients(recipients).decode(),
        append.type,
        append.custom_event_type,
        append.body,
        append.author,
    )


def read_page(
    db: sqlite3.Connection,
    channel: ChannelRow,
    identity: str,
    wanted: Range,
    limit_bytes: int,
    epoch: str,
) -> Page:
    """The page of one read, within the transaction that `channel` was read in."""
    state = channel.state(epoch)
    low, high = scan_bounds(wanted, state)
    if low > high:
        return fill_page((), identity, wanted, limit_bytes, state)
    if wanted.only is not None:
        ids = [channel.id_of(offset) for offset in wanted.only if low <= offset <= high]
        with closing(db.execute(_SELECT_ONLY.format(", ".join("?" * len(ids))), ids)) as rows:
            return fill_page(_entries(rows), identity, wanted, limit_bytes, state)
    select = _SELECT_DOWNWARDS if wanted.newest_first else _SELECT_UPWARDS
    bounds = (channel.id_of(low), channel.id_of(high), SCAN_ROWS_MAX + 1)
    with closing(db.execute(select, bounds)) as rows:
        return fill_page(_entries(rows), identity, wanted, limit_bytes, state)


def _entries(rows: sqlite3.Cursor) -> Iterator[Entry]:
    for entry_id, time_ms, identity, sender, recipients, type_, custom_event_type, body, author in rows:
        yield Entry(
            entry_id & OFFSET_MAX,
            time_ms,
            identity,
            sender,
            None if recipients is None else _decode_recipients(recipients),
            type_,
            custom_event_type,
            body,
            author,
        )

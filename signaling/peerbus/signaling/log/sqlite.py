"""The message log in SQLite: one file in the data folder, every acknowledged group committed and fsynced.

Owns the database and its connections: one that writes, used by one thread at a time, and some that read,
usable from any thread. Its promise is `local-fsync`. What is known of a channel while it is in use is kept in
memory, and trusted only as long as every commit succeeds; after a failure it is read again.

A failed commit is rolled back and its group refused. A full disk needs nothing more: the next group is tried
as it comes. After any other failure the connection is closed; the next call opens a new one, and first makes
sure that everything in the file is on the disk (see `schema.set_up_writer`).

All channels of a database share one epoch. A new one is made when the database has fewer commits than the
folder's witness has seen, or is a copy (see `folder`); `SqliteStore.opening` says what was found.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from peerbus.signaling.log.folder import DataFolder
from peerbus.signaling.log.interface import (
    IDEMPOTENCY_RETENTION_MS,
    MESSAGES_MAX_PER_CHANNEL,
    TRIM_ROWS_MAX,
    Append,
    AppendResult,
    ChannelKey,
    ChannelState,
    Claim,
    Delivery,
    MailLimits,
    MailRead,
    Page,
    Range,
    StoreError,
    TooManyClaimsError,
    UnknownChannelError,
)
from peerbus.signaling.log.mailboxes import (
    INSERT_MAIL,
    delete_read_mail,
    filling_of,
    put_claim,
    select_claims,
    select_unread,
)
from peerbus.signaling.log.plan import Filling, First, Mailbox, Plan, Retry, plan_group, retry_of
from peerbus.signaling.log.readers import Readers
from peerbus.signaling.log.retries import INSERT_RETRY, select_first
from peerbus.signaling.log.rows import (
    INSERT_CHANNEL,
    INSERT_ENTRY,
    ChannelRow,
    delete_below,
    read_page,
    select_channel,
)
from peerbus.signaling.log.schema import (
    Connection,
    check_or_create,
    close_quietly,
    connect,
    passes_by_itself,
    set_up_writer,
    store_error,
)
from peerbus.signaling.log.sweeping import Sweeping

_KNOWN_CHANNELS_MAX: Final = 20_000
_NEW_CHANNELS_MAX: Final = 500
_FILLINGS_MAX: Final = 50_000
_CLAIM_NOTES_PER_TTL: Final = 30


class Opening(NamedTuple):
    """What was found when the store was opened: a new database; else why it got new epochs, if it did."""

    created: bool
    restored: str | None


class SqliteStore:
    """`Store` in `peerbus.db` in a data folder, which it holds until `close`.

    `new_epoch` gives a short random id, different each time. `connect_to` opens the connection that writes.
    Raises `StoreError` when the folder or the database can't be used.
    """

    promise: Delivery = "local-fsync"
    blocking = True

    def __init__(
        self,
        folder: Path,
        new_epoch: Callable[[], str],
        *,
        messages_max_per_channel: int = MESSAGES_MAX_PER_CHANNEL,
        idempotency_retention_ms: int = IDEMPOTENCY_RETENTION_MS,
        mail_limits: MailLimits | None = None,
        connect_to: Callable[[Path], Connection] = connect,
    ) -> None:
        self._mail_limits = mail_limits or MailLimits()
        self._new_epoch = new_epoch
        self._messages_max = messages_max_per_channel
        self._connect_to = connect_to
        # Channels as they are in the database, and those that were opened but have no row yet.
        self._known: dict[ChannelKey, ChannelRow] = {}
        self._new: dict[ChannelKey, ChannelRow] = {}
        # What is in mailboxes that were written to; forgotten where one changes in another way.
        self._fillings: dict[Mailbox, Filling] = {}
        self._sweeping = Sweeping(mail_ttl_ms=self._mail_limits.ttl_ms, retention_ms=idempotency_retention_ms)
        self._next_no = 1
        self._epoch = ""
        self._commits = 0
        self._is_proven = True
        self._writer: Connection | None = None
        self._folder = DataFolder(folder)
        self._database = self._folder.database
        self._readers = Readers(self._database)
        try:
            with self._failing():
                self.opening = self._open()
        except StoreError:
            self.close()
            raise

    def _open(self) -> Opening:
        self._folder.settle_database()
        db = self._writer = self._connect_to(self._database)
        created = check_or_create(db, self._database, self._new_epoch())
        set_up_writer(db)
        self._load(db)
        restored = None if created else self._restored()
        if restored is not None:
            self._renew_epoch(db)
        self._folder.write_witness(self._commits)
        return Opening(created, restored)

    def _load(self, db: Connection) -> None:
        meta = dict(db.execute("SELECT name, value FROM meta").fetchall())
        self._epoch = meta["epoch"]
        self._commits = meta["commits"]
        highest = db.execute("SELECT max(no) FROM channels").fetchone()[0] or 0
        self._next_no = max(self._next_no, highest + 1)

    def _restored(self) -> str | None:
        """Why the database seems to have been put back from a copy, if it does."""
        witness = self._folder.read_witness()
        if witness is None:
            return "its witness file is missing"
        if self._commits < witness.commits:
            return f"it lacks the last {witness.commits - self._commits} commits"
        if self._folder.database_inode != witness.inode:
            return "it is a copy"
        return None

    def close(self) -> None:
        """See `Store`. Closing again does nothing."""
        self._readers.close()
        db, self._writer = self._writer, None
        if db is not None:
            close_quietly(db)
        self._folder.close()

    # Channels

    def open_channel(self, key: ChannelKey, name: str, mode: str, now_ms: int) -> ChannelState:
        """See `Store`. A new channel gets its row with its first entry, or together with many others."""
        with self._writing() as db:
            self._forget_known()
            channel = self._find(db, key)
            if channel is None:
                if len(self._new) >= _NEW_CHANNELS_MAX:
                    self._store_new_channels(db)
                channel = self._new[key] = ChannelRow(self._next_no, key, name, mode, now_ms)
                self._next_no += 1
            return channel.state(self._epoch)

    def _forget_known(self) -> None:
        """Makes room for more channels; not within a piece of work, where one channel is one object."""
        if len(self._known) >= _KNOWN_CHANNELS_MAX:
            self._known.clear()

    def _find(self, db: Connection, key: ChannelKey) -> ChannelRow | None:
        channel = self._known.get(key) or self._new.get(key)
        if channel is None:
            channel = select_channel(db, key)
            if channel is not None:
                channel.note_claims(select_claims(db, channel))
                self._known[key] = channel
        return channel

    def _find_stored(self, db: Connection, key: ChannelKey) -> ChannelRow:
        """The channel, with a row in the database. Raises `UnknownChannelError`."""
        channel = self._find(db, key)
        if channel is None:
            raise UnknownChannelError(key)
        if not channel.stored:
            self._store_new_channels(db)
        return channel

    def _store_new_channels(self, db: Connection) -> None:
        new = list(self._new.values())
        self._transact(db, lambda: db.executemany(INSERT_CHANNEL, [channel.row() for channel in new]))
        self._now_stored(new)

    def _now_stored(self, channels: Sequence[ChannelRow]) -> None:
        for channel in channels:
            channel.stored = True
            self._known[channel.key] = channel
            self._new.pop(channel.key, None)

    def _look_for_new_channels(self, db: Connection) -> None:
        found = [select_channel(db, key) for key in self._new]
        self._now_stored([channel for channel in found if channel is not None])

    def set_locked(self, key: ChannelKey, locked: bool) -> ChannelState:
        """See `Store`."""
        with self._writing() as db:
            channel = self._find_stored(db, key)
            row = (int(locked), channel.no)
            self._transact(db, lambda: db.execute("UPDATE channels SET locked = ? WHERE no = ?", row))
            channel.locked = locked
            return channel.state(self._epoch)

    def trim(self, key: ChannelKey, before: int, rows_max: int = TRIM_ROWS_MAX) -> ChannelState:
        """See `Store`."""
        with self._writing() as db:
            channel = self._find_stored(db, key)
            tail = min(before, channel.head + 1, channel.tail + rows_max)
            if tail > channel.tail:
                self._transact(db, lambda: delete_below(db, channel, tail))
                self._fillings.clear()
                channel.tail = tail
            return channel.state(self._epoch)

    def new_epochs(self) -> None:
        """See `Store`."""
        with self._writing() as db:
            self._renew_epoch(db)

    def _renew_epoch(self, db: Connection) -> None:
        epoch = self._new_epoch()
        self._transact(db, lambda: db.execute("UPDATE meta SET value = ? WHERE name = 'epoch'", (epoch,)))
        self._epoch = epoch

    # Mailboxes

    def claim(self, key: ChannelKey, identity: str, now_ms: int) -> Claim:
        """See `Store`."""
        limits = self._mail_limits
        with self._writing() as db:
            channel = self._find_stored(db, key)
            seen_ms = channel.claims.get(identity)
            if seen_ms is None and len(channel.claims) >= limits.claims_per_channel:
                raise TooManyClaimsError
            if self._is_to_be_noted(seen_ms, now_ms):
                self._transact(db, lambda: put_claim(db, channel, identity, now_ms))
                channel.note_claim(identity, now_ms)
            unread = select_unread(db, channel, identity, now_ms - limits.ttl_ms)
            return Claim(channel.state(self._epoch), unread)

    def _is_to_be_noted(self, seen_ms: int | None, now_ms: int) -> bool:
        """Whether the use of a claim is to be written down: not each one is."""
        return seen_ms is None or now_ms - seen_ms >= self._mail_limits.ttl_ms // _CLAIM_NOTES_PER_TTL

    def read_mail(self, reads: Sequence[MailRead], now_ms: int) -> None:
        """See `Store`."""
        with self._writing() as db:
            found = [(self._find(db, read.channel), read) for read in reads]
            known = [
                (channel, read)
                for channel, read in found
                if channel is not None and read.identity in channel.claims
            ]
            noted = {
                (channel, read.identity)
                for channel, read in known
                if self._is_to_be_noted(channel.claims[read.identity], now_ms)
            }
            if not noted and not any(read.upto for _, read in known):
                return

            def write() -> None:
                for channel, read in known:
                    if read.upto:
                        delete_read_mail(db, channel, read)
                for channel, identity in noted:
                    put_claim(db, channel, identity, now_ms)

            self._transact(db, write)
            for channel, read in known:
                self._fillings.pop((channel.no, read.identity), None)
            for channel, identity in noted:
                channel.note_claim(identity, now_ms)

    # Appending

    def append_group(self, group: Sequence[Append]) -> list[AppendResult]:
        """See `Store`.

        The group is planned as if all its keys were new, but those of which is said that they are not. The
        database says if another one is not: then they are all looked up, and the group is planned again.
        """
        with self._writing() as db:
            self._forget_known()
            retries = [append for append in group if append.is_retry]
            plan = self._plan(db, group, self._first_appends(db, retries))
            try:
                self._commit(db, plan)
            except sqlite3.IntegrityError:
                # Not only a key may be there already: a commit that failed may have stored new channels all the same.
                self._look_for_new_channels(db)
                plan = self._plan(db, group, self._first_appends(db, group))
                self._commit(db, plan)
            return plan.results

    def _plan(self, db: Connection, group: Sequence[Append], first: dict[Retry, First]) -> Plan:
        return plan_group(
            group,
            lambda key: self._find(db, key),
            first,
            self._messages_max,
            lambda box: self._fillings.get(box) or filling_of(db, box),
            self._mail_limits,
        )

    def _commit(self, db: Connection, plan: Plan) -> None:
        if not plan.entries:
            return
        new = [channel for channel in plan.heads if not channel.stored]

        def insert() -> None:
            if new:
                db.executemany(INSERT_CHANNEL, [channel.row() for channel in new])
            if plan.retries:
                db.executemany(INSERT_RETRY, plan.retries)
            db.executemany(INSERT_ENTRY, plan.entries)
            if plan.mail:
                db.executemany(INSERT_MAIL, plan.mail)
            for channel, tail in plan.tails.items():
                delete_below(db, channel, tail)

        self._transact(db, insert)
        self._now_stored(new)
        for channel, head in plan.heads.items():
            channel.head = head
        for channel, tail in plan.tails.items():
            channel.tail = tail
        self._note_fillings(plan)

    def _note_fillings(self, plan: Plan) -> None:
        if any(channel.claims for channel in plan.tails) or len(self._fillings) >= _FILLINGS_MAX:
            self._fillings.clear()
        else:
            self._fillings.update(plan.fillings)

    def _first_appends(self, db: Connection, group: Sequence[Append]) -> dict[Retry, First]:
        """What stands in the database under the group's keys."""
        first: dict[Retry, First] = {}
        for append in group:
            channel = self._find(db, append.channel)
            retry = retry_of(channel, append) if channel is not None else None
            if retry is not None:
                found = select_first(db, retry)
                if found is not None:
                    first[retry] = found
        return first

    def maintain(self, now_ms: int) -> bool:
        """See `Store`. After a failure it also tries whether the disk can be written to again."""
        with self._writing() as db:
            if not self._is_proven:
                self._transact(db, lambda: None)
            swept = self._sweeping.sweep(db, now_ms, self._transact)
            if swept.has_mail_changed:
                self._fillings.clear()
            if swept.have_claims_changed:
                self._known.clear()
            return swept.is_more

    # Reading

    def read(self, key: ChannelKey, identity: str, wanted: Range, limit_bytes: int) -> Page:
        """See `Store`."""
        # Looked up before the database is: a channel that gets its row in between is then found there.
        new = self._new.get(key)
        try:
            with self._readers.transaction() as db:
                channel = select_channel(db, key) or new
                page = (
                    None
                    if channel is None
                    else read_page(db, channel, identity, wanted, limit_bytes, self._epoch)
                )
        except sqlite3.Error as error:
            raise store_error(error, self._database) from error
        if page is None:
            raise UnknownChannelError(key)
        return page

    # Transactions and failures

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """The connection that writes, opened again if a failure closed it."""
        with self._failing():
            yield self._writer or self._reopen()

    def _reopen(self) -> Connection:
        self._folder.settle_database()
        db = self._connect_to(self._database)
        try:
            set_up_writer(db)
            known_commits = self._commits
            self._load(db)
            if self._commits < known_commits:
                raise StoreError("storage_damaged", f"{self._database} was replaced by an older one")
            # A group whose commit failed may be in the file after all, with its new channels.
            self._look_for_new_channels(db)
        except BaseException:
            close_quietly(db)
            raise
        self._writer = db
        return db

    def _transact(self, db: Connection, work: Callable[[], object]) -> None:
        """Run `work` and commit. Raises what SQLite raises; then nothing is committed."""
        commits = self._commits + 1
        db.execute("BEGIN IMMEDIATE")
        try:
            work()
            db.execute("UPDATE meta SET value = ? WHERE name = 'commits'", (commits,))
            db.execute("COMMIT")
        except BaseException:
            _roll_back(db)
            raise
        self._commits = commits
        self._is_proven = True
        self._folder.note_commit(commits)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Turn what SQLite raises into `StoreError`, and be ready for the next call."""
        try:
            yield
        except (sqlite3.Error, UnicodeEncodeError, OverflowError) as error:
            failure = store_error(error, self._database)
            self._known.clear()
            self._fillings.clear()
            self._is_proven = self._is_proven and failure.code == "unstorable"
            db = self._writer
            if db is not None and (db.in_transaction or not passes_by_itself(error)):
                self._writer = None
                close_quietly(db)
            raise failure from error


def _roll_back(db: Connection) -> None:
    """End a failed transaction, if SQLite has not done so. If it can't, the connection is closed later."""
    with suppress(sqlite3.Error):
        if db.in_transaction:
            db.execute("ROLLBACK")

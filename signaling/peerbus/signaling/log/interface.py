"""The message log: its values, and the contract that every backend keeps.

A channel's log is a sequence of entries numbered 1, 2, 3 … without a gap. The number is the entry's *offset*;
it is given in the transaction that stores the entry, and an entry is shown to nobody before that transaction
is committed. `head` is the last committed offset (0 while the channel is empty), `tail` the lowest one still
kept.

What is promised:

- **An acknowledgement is true.** When `Store.append_group` returns, every `Appended` in its result is stored
  as the backend's `promise` says: `memory` (gone with the process) or `local-fsync` (written through to this
  machine's disk: it survives the death of the process and of the machine).
- **At least once, with idempotent effect.** An append with an `idempotency_key` that was appended before by
  the same identity in the same channel gives the first offset and time again and stores nothing. Another
  content under the same key is a `Conflict`. Keys are remembered for `IDEMPOTENCY_RETENTION_MS` at least,
  across restarts; the record is written in the transaction of the append.
- **A refusal may be repeated.** After a refusal with `retryable` nothing was acknowledged. In one case its
  content may still turn up: the disk failed while the group was being written through, and the machine went
  down before the log could go on. A retry under the same key is right either way.
- **In order.** Offsets follow the order of submission within a channel. Nothing is promised across channels.
- **An epoch for each life of the offsets.** `epoch` changes whenever offsets given out earlier may be missing
  or be given out again: in every process for the memory backend; after a database was restored from an older
  copy; and when an operator says so. A cursor is the pair (epoch, offset) and means nothing in another epoch.

Who may see an entry is decided by `visible`, here and nowhere else: by every read, and by live delivery.

An identity may be *claimed* in a channel. From then on it has a mailbox there: the offsets of the entries that name it
as a recipient, until they are read (`Store.read_mail`), too old, or no longer kept. An entry and its place in the
mailboxes are stored in one transaction. A claim is forgotten when it was not used for as long as mail is kept.

The log takes identities, recipients, types and bodies as they are. It never interprets a body, resolves a
recipient, checks a grant or enforces the lock it keeps; it reads no clock (times are given in) and makes no
random ids.
"""

from collections.abc import Sequence
from typing import Final, Literal, Protocol

import msgspec

from peerbus.protocol.errors import ERRORS, ErrorCode

IDEMPOTENCY_RETENTION_MS: Final = 24 * 3600 * 1000
"""How long an idempotency key is remembered at least, unless configured otherwise."""

MESSAGES_MAX_PER_CHANNEL: Final = 1_000_000
"""How many entries a channel keeps at most, unless configured otherwise."""

TRIM_ROWS_MAX: Final = 1_000
"""How many entries one append group removes from a channel at most."""

MAIL_TTL_MS: Final = 30 * 24 * 3600 * 1000
"""How long mail is kept, and a claim that nobody uses, unless configured otherwise."""

SCAN_ROWS_MAX: Final = 2_000
"""How many entries one read looks at, at most, whether the reader may see them or not."""

Delivery = Literal["memory", "local-fsync", "replicated"]
"""What an acknowledgement of a store promises."""


class ChannelKey(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Which log: `scope` is `public` or `private:<project>`, `channel_id` the channel's 32-byte id."""

    scope: str
    channel_id: bytes


class ChannelState(msgspec.Struct, frozen=True, gc=False):
    """A channel's log at one moment. `head` 0 means empty; nothing below `tail` is kept; `tail` is `head` + 1
    if all is gone.
    """

    epoch: str
    head: int
    tail: int
    locked: bool
    name: str
    mode: str
    created_ms: int = 0
    claims: frozenset[str] = frozenset()
    """The identities that are claimed in it. Reads leave it empty."""


class MailLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much mail an identity may have in one channel, how long it is kept, and how many identities may claim."""

    claims_per_channel: int = 10_000
    messages: int = 5_000
    bytes: int = 16 << 20
    ttl_ms: int = MAIL_TTL_MS


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A channel, and the mail that a claimed identity has there: offsets, rising."""

    state: ChannelState
    unread: tuple[int, ...]


class MailRead(msgspec.Struct, frozen=True, gc=False):
    """
    The bearer of a claimed identity has read its mail up to an offset: all of it, or that of some types.

    With `upto` 0 it only says that the claim is in use.
    """

    channel: ChannelKey
    identity: str
    upto: int
    types: frozenset[str] | None = None


class Append(msgspec.Struct, frozen=True, gc=False):
    """One entry to store.

    `identity` is who sends it, as the opaque string that recipients are compared with (`name:…` or
    `lineage:…`); `sender` is the name shown; `author` tells apart those who share an identity (None: nobody else
    has it). `recipients` is `None` for everyone in the channel, else the
    identities resolved at send. `fingerprint` tells contents apart under one `idempotency_key` (a keyed hash,
    or a tag made by the sender). Keys that one sender makes in rising lexical order are the cheapest to
    store; any others work.

    `is_retry` says that it may only be one: where nothing stands under its key, nothing is stored, and it is
    `Refused` with `unknown_recipient` (its recipients were to be found, and were not).

    `needs_room` says that it is `Refused` with `mailbox_full` where a recipient has no room for mail; else such a
    recipient may see it, and gets no mail.
    """

    channel: ChannelKey
    identity: str
    sender: str
    recipients: tuple[str, ...] | None
    type: str
    custom_event_type: str | None
    body: bytes
    time_ms: int
    idempotency_key: str | None = None
    fingerprint: bytes = b""
    is_retry: bool = False
    author: str | None = None
    needs_room: bool = False


class Appended(msgspec.Struct, frozen=True, gc=False):
    """Stored. For a duplicate, `offset` and `time_ms` are those of the first append."""

    offset: int
    time_ms: int
    duplicate: bool = False


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """Not stored: the key was used before, for the other content that stands at `offset`."""

    offset: int


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Not acknowledged: `code` says why, `reason` is a line for people.

    `storage_unavailable`: the disk is full or failing, the log goes on when it works again. `overloaded`: too
    much waits to be written. `server_restarting`: the log is being closed. `not_found`: the channel was never
    opened. `bad_request`: the backend can't take this entry. `unknown_recipient`: see `Append.is_retry`.
    `mailbox_full`: `identities` have no room for it. `internal`: a defect.
    """

    code: ErrorCode
    reason: str
    identities: tuple[str, ...] = ()

    @property
    def retryable(self) -> bool:
        """Whether the same append may succeed later."""
        return ERRORS[self.code].is_retryable


AppendResult = Appended | Conflict | Refused

NOT_A_RETRY: Final = Refused(ErrorCode.UNKNOWN_RECIPIENT, "nothing stands under this key")
"""The answer to an append with `is_retry` that is none."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One stored entry, as `Append` gave it, with its offset."""

    offset: int
    time_ms: int
    identity: str
    sender: str
    recipients: tuple[str, ...] | None
    type: str
    custom_event_type: str | None
    body: bytes
    author: str | None = None

    @property
    def written_by(self) -> str:
        """Whose hand it is from: the author where one is told, else the identity."""
        return self.identity if self.author is None else self.author


def visible(entry: Entry, identity: str) -> bool:
    """Whether `identity` may see `entry`: it is for everyone, or for this identity, or by it."""
    recipients = entry.recipients
    return recipients is None or identity in recipients or identity == entry.identity


class Range(msgspec.Struct, frozen=True, gc=False):
    """What to read: entries with `after` < offset < `before` (`None`: no bound on that side).

    `limit` counts the entries returned. `newest_first` takes the newest of them instead of the oldest.
    `types` keeps entries whose `type` or `custom_event_type` is among them; `exclude_author` leaves out
    what is `written_by` that one. `only` takes no other offsets than these, which rise; with it the oldest come first.
    """

    after: int | None = None
    before: int | None = None
    limit: int = 100
    newest_first: bool = False
    types: frozenset[str] | None = None
    exclude_author: str | None = None
    only: tuple[int, ...] | None = None

    def wants(self, entry: Entry) -> bool:
        """Whether the entry passes `types` and `exclude_author`. Says nothing about `visible`."""
        if self.exclude_author is not None and entry.written_by == self.exclude_author:
            return False
        types = self.types
        return types is None or entry.type in types or entry.custom_event_type in types


class Page(msgspec.Struct, frozen=True, gc=False):
    """One answer to a read, taken from one consistent moment of the channel.

    `entries` stand in ascending order, whichever end was taken first. `scanned_to` is how far the read
    looked: upwards, every offset of the range up to it is either in `entries` or not for this reader; with
    `newest_first`, every one down to it. It is the cursor to go on with, as `after` or, with `newest_first`,
    as `before`; a reader that catches up stores it even when the page is empty. `complete` says that the
    range was read to its end. A page may be empty and not complete: one call looks at a bounded number of
    rows and bytes. `state` is the channel at that moment. History is gone for a reader whose cursor is below
    `state.tail` - 1.
    """

    entries: tuple[Entry, ...]
    scanned_to: int
    complete: bool
    state: ChannelState

    @property
    def next(self) -> int | None:
        """The cursor to go on with, or `None` when the range was read to its end."""
        return None if self.complete else self.scanned_to

    def history_gone(self, after: int) -> bool:
        """Whether entries that a reader with the cursor `after` has not read are no longer kept."""
        return after < self.state.tail - 1


StoreErrorCode = Literal[
    "storage_unavailable",  # the disk is full or failing: the same call may succeed later
    "storage_damaged",  # the database can't be read
    "storage_foreign",  # the file is not a log, or one of a newer version
    "storage_in_use",  # another server has the data folder
    "storage_unwritable",  # the folder can't be made or written to
    "unstorable",  # this entry can't be stored, others can
]


class StoreError(Exception):
    """The store failed, or can't be opened. `code` is stable, `reason` one line for people."""

    def __init__(self, code: StoreErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code: StoreErrorCode = code
        self.reason = reason


class UnknownChannelError(LookupError):
    """The channel was never opened in this store."""


class TooManyClaimsError(Exception):
    """As many identities are claimed in the channel as may be."""


def trimmed_tail(tail: int, head: int, messages_max: int) -> int:
    """The new tail for a channel whose entries are `tail` … `head`, so that at most `messages_max` stay.

    Room is made in chunks of 1/64 of the maximum, so that not every append has to remove one, and at most
    `TRIM_ROWS_MAX` are removed at once: a channel far above a newly lowered maximum shrinks in steps.
    """
    if head - tail + 1 <= messages_max:
        return tail
    chunk = min(messages_max // 64, TRIM_ROWS_MAX)
    return min(head - messages_max + 1 + chunk, tail + TRIM_ROWS_MAX, head + 1)


class Store(Protocol):
    """A backend. Synchronous: it may block on a disk, so an event loop uses it through `LogWriter`.

    All methods but `read` are called from one thread at a time. `read` may be called from any thread at any
    time where `blocking` is true.
    """

    @property
    def promise(self) -> Delivery:
        """What `Appended` promises."""
        ...

    @property
    def blocking(self) -> bool:
        """Whether calls may wait for a disk, and so belong in threads."""
        ...

    def open_channel(self, key: ChannelKey, name: str, mode: str, now_ms: int) -> ChannelState:
        """Make the channel if it isn't there, and tell its state. An existing one keeps its name and mode.

        An empty channel need not survive a crash; it starts again as the same: same epoch, head 0.
        """
        ...

    def append_group(self, group: Sequence[Append]) -> list[AppendResult]:
        """Store the group in one transaction, in order; results stand in the order of the group.

        Duplicates and conflicts are found against everything stored and within the group. Channels above
        their maximum lose their oldest entries in the same transaction. Raises `StoreError` when the group
        could not be committed: then nothing of it is acknowledged, nothing of it will be read, and the next
        call may succeed.
        """
        ...

    def read(self, key: ChannelKey, identity: str, wanted: Range, limit_bytes: int) -> Page:
        """The entries of a range that `identity` may see, within `limit_bytes` of bodies looked at.

        At least one row is looked at, however large. Raises `UnknownChannelError` or `StoreError`.
        """
        ...

    def set_locked(self, key: ChannelKey, locked: bool) -> ChannelState:
        """Store the channel's lock, durably. Raises `UnknownChannelError` or `StoreError`."""
        ...

    def claim(self, key: ChannelKey, identity: str, now_ms: int) -> Claim:
        """Note, durably, that an identity is claimed in the channel, and list its mail.

        Raises `TooManyClaimsError`, `UnknownChannelError` or `StoreError`.
        """
        ...

    def read_mail(self, reads: Sequence[MailRead], now_ms: int) -> None:
        """Take what was read out of the mailboxes, in one transaction, and note that these claims are in use.

        Identities that are not claimed and channels that are not there are passed over.
        """
        ...

    def trim(self, key: ChannelKey, before: int, rows_max: int = TRIM_ROWS_MAX) -> ChannelState:
        """Remove entries below `before`, at most `rows_max` of the oldest. Offsets are never given out
        again.
        """
        ...

    def new_epochs(self) -> None:
        """Give every channel a new epoch, durably: all cursors held by clients are void."""
        ...

    def maintain(self, now_ms: int) -> bool:
        """Do one small piece of housekeeping (forget old idempotency keys, old mail, claims out of use); whether
        there is more to do now.
        """
        ...

    def close(self) -> None:
        """Release everything. No call may follow."""
        ...

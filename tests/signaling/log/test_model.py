"""Any sequence of calls gives what plain lists and dicts give, on each backend, reopened as often as one likes."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from peerbus.protocol.errors import ErrorCode
from peerbus.signaling.log import (
    Append,
    Appended,
    AppendResult,
    ChannelKey,
    Conflict,
    MailLimits,
    MailRead,
    Range,
    Refused,
    Store,
    TooManyClaimsError,
)
from peerbus.signaling.log.interface import NOT_A_RETRY
from tests.support.examples import examples
from tests.support.log_entries import PAGE_BYTES, StoreMaker, entry, memory_store, sqlite_store

MOST = 130
RETENTION_MS = 10_000
KEYS = [ChannelKey(scope, bytes([number]) * 32) for scope in ("public", "private:p") for number in (1, 2)]
IDENTITIES = ["name:ann", "name:bob", "lineage:1"]
MAIL = MailLimits(claims_per_channel=2, messages=9, bytes=9_000, ttl_ms=1 << 40)

channels = st.sampled_from(KEYS)
identities = st.sampled_from(IDENTITIES)
recipients = st.none() | st.lists(identities, max_size=2, unique=True).map(tuple)
types = st.sampled_from(["chat-text", "move"])
appends = st.builds(
    entry,
    st.sampled_from(["a", "b", "c" * 3_000]),
    channel=channels,
    identity=identities,
    recipients=recipients,
    type=types,
    custom_event_type=st.none() | st.just("shot"),
    time_ms=st.just(0),
    key=st.none() | st.sampled_from(["k1", "k2", "k3", "k\x00"]),
    is_retry=st.sampled_from([False, False, False, True]),
    author=st.none() | st.just("lineage:9"),
    needs_room=st.booleans(),
)
offsets = st.none() | st.integers(-1, 3 * MOST)
ranges = st.builds(
    Range,
    after=offsets,
    before=offsets,
    limit=st.integers(1, 2 * MOST),
    newest_first=st.booleans(),
    types=st.none() | st.frozensets(st.sampled_from(["chat-text", "move", "shot"])),
    exclude_author=st.none() | identities,
)


class First(NamedTuple):
    """What the model remembers under a key."""

    offset: int
    time_ms: int
    fingerprint: bytes


class ModelChannel:
    """A channel as a list that nothing is ever removed from, beside the store's own tail."""

    def __init__(self) -> None:
        self.log: list[Append] = []
        self.tail = 1
        self.locked = False
        self.first: dict[tuple[str, str], First] = {}
        self.mail: dict[str, dict[int, Append]] = {}
        """Claimed identity → its unread mail."""

    def full(self, append: Append) -> tuple[str, ...]:
        return tuple(
            identity
            for identity in append.recipients or ()
            if identity in self.mail
            and identity != append.identity
            and not self.has_room(self.mail[identity], append)
        )

    def trim(self, tail: int) -> None:
        self.tail = tail
        for mail in self.mail.values():
            for offset in [offset for offset in mail if offset < tail]:
                del mail[offset]

    @staticmethod
    def has_room(mail: dict[int, Append], append: Append) -> bool:
        size = sum(len(other.body) for other in mail.values()) + len(append.body)
        return len(mail) < MAIL.messages and size <= MAIL.bytes


class LogModel(RuleBasedStateMachine):
    """Calls on a store, each beside the same on the model."""

    make_store: StoreMaker
    survives: bool

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.now_ms = 1_000
        self.model: dict[ChannelKey, ModelChannel] = {}
        self.store = self.open()
        self.epoch = ""

    def open(self) -> Store:
        return self.make_store(
            Path(self._folder.name),
            messages_max_per_channel=MOST,
            idempotency_retention_ms=RETENTION_MS,
            mail_limits=MAIL,
        )

    def teardown(self) -> None:
        self.store.close()
        self._folder.cleanup()

    @initialize(key=channels)
    def begin(self, key: ChannelKey) -> None:
        self.open_channel(key)
        self.epoch = self.store.open_channel(key, "n", "open", 0).epoch

    @rule(key=channels)
    def open_channel(self, key: ChannelKey) -> None:
        state = self.store.open_channel(key, "n", "open", self.now_ms)
        channel = self.model.setdefault(key, ModelChannel())
        assert (state.head, state.tail, state.locked) == (len(channel.log), channel.tail, channel.locked)
        assert state.claims == frozenset(channel.mail)

    @rule(group=st.lists(appends, max_size=12))
    def append(self, group: list[Append]) -> None:
        self.append_all(group)

    @rule(key=channels, count=st.integers(1, 60))
    def append_many(self, key: ChannelKey, count: int) -> None:
        self.append_all([entry(f"many {number}", channel=key) for number in range(count)])

    def append_all(self, group: list[Append]) -> None:
        stamped = [
            entry(
                append.body.decode(),
                channel=append.channel,
                identity=append.identity,
                recipients=append.recipients,
                type=append.type,
                custom_event_type=append.custom_event_type,
                time_ms=self.now_ms + number,
                key=append.idempotency_key,
                is_retry=append.is_retry,
                author=append.author,
                needs_room=append.needs_room,
            )
            for number, append in enumerate(group)
        ]
        assert self.store.append_group(stamped) == [self.expected(append) for append in stamped]
        for key in {append.channel for append in group} & self.model.keys():
            channel = self.model[key]
            tail = self.store.open_channel(key, "n", "open", 0).tail
            kept = len(channel.log) - tail + 1
            assert tail >= channel.tail
            assert kept <= MOST
            assert tail == channel.tail or kept >= MOST - MOST // 64
            channel.trim(tail)
        self.now_ms += len(group)

    def expected(self, append: Append) -> AppendResult:
        channel = self.model.get(append.channel)
        if channel is None:
            return Refused(ErrorCode.NOT_FOUND, "the channel was never opened")
        offset = len(channel.log) + 1
        key = (append.identity, append.idempotency_key or "")
        first = None if append.idempotency_key is None else channel.first.get(key)
        if first is not None:
            same = first.fingerprint == append.fingerprint
            return Appended(first.offset, first.time_ms, True) if same else Conflict(first.offset)
        if append.is_retry:
            return NOT_A_RETRY
        full = channel.full(append)
        if full and append.needs_room:
            return Refused(ErrorCode.MAILBOX_FULL, "a recipient has no room for it", full)
        for identity in append.recipients or ():
            if identity in channel.mail and identity not in (*full, append.identity):
                channel.mail[identity][offset] = append
        if append.idempotency_key is not None:
            channel.first[key] = First(offset, append.time_ms, append.fingerprint)
        channel.log.append(append)
        return Appended(offset, append.time_ms)

    @rule(key=channels, identity=identities, wanted=ranges)
    def read(self, key: ChannelKey, identity: str, wanted: Range) -> None:
        channel = self.model.get(key)
        if channel is None:
            return
        page = self.store.read(key, identity, wanted, PAGE_BYTES)
        seen = [
            (offset, append)
            for offset, append in enumerate(channel.log, 1)
            if offset >= channel.tail
            and (wanted.after is None or offset > wanted.after)
            and (wanted.before is None or offset < wanted.before)
            and (append.recipients is None or identity in (*append.recipients, append.identity))
            and (wanted.types is None or {append.type, append.custom_event_type} & wanted.types)
            and (append.author or append.identity) != wanted.exclude_author
        ]
        cut = seen[-wanted.limit :] if wanted.newest_first else seen[: wanted.limit]
        found = [(e.offset, e.time_ms, e.identity, e.recipients, e.type, e.body) for e in page.entries]
        assert found == [(offset, a.time_ms, a.identity, a.recipients, a.type, a.body) for offset, a in cut]
        assert page.complete or len(cut) == wanted.limit
        assert (page.state.head, page.state.tail) == (len(channel.log), channel.tail)
        assert (page.state.locked, page.state.epoch) == (channel.locked, self.epoch)

    @rule(key=channels, before=st.integers(-1, 2 * MOST), rows_max=st.integers(0, 50))
    def trim(self, key: ChannelKey, before: int, rows_max: int) -> None:
        channel = self.model.get(key)
        if channel is not None:
            wanted = min(before, len(channel.log) + 1, channel.tail + rows_max)
            channel.trim(max(channel.tail, wanted))
            assert self.store.trim(key, before, rows_max).tail == channel.tail

    @rule(key=channels, identity=identities)
    def claim(self, key: ChannelKey, identity: str) -> None:
        channel = self.model.get(key)
        if channel is None:
            return
        if identity not in channel.mail and len(channel.mail) >= MAIL.claims_per_channel:
            with pytest.raises(TooManyClaimsError):
                self.store.claim(key, identity, self.now_ms)
            return
        channel.mail.setdefault(identity, {})
        claim = self.store.claim(key, identity, self.now_ms)
        assert claim.unread == tuple(channel.mail[identity])
        assert claim.state.claims == frozenset(channel.mail)
        page = self.store.read(key, identity, Range(only=claim.unread, limit=MOST), PAGE_BYTES)
        assert [(e.offset, e.body) for e in page.entries] == [
            (offset, append.body) for offset, append in channel.mail[identity].items()
        ]

    @rule(
        reads=st.lists(
            st.builds(
                MailRead,
                channels,
                identities,
                st.integers(0, MOST),
                st.none() | st.frozensets(st.sampled_from(["chat-text", "shot", "x"]), min_size=1),
            ),
            max_size=3,
        )
    )
    def read_mail(self, reads: list[MailRead]) -> None:
        self.store.read_mail(reads, self.now_ms)
        for one in reads:
            mail = self.model[one.channel].mail.get(one.identity, {}) if one.channel in self.model else {}
            for offset, append in list(mail.items()):
                kinds = {append.type, append.custom_event_type}
                if offset <= one.upto and (one.types is None or kinds & one.types):
                    del mail[offset]

    @rule(key=channels, locked=st.booleans())
    def lock(self, key: ChannelKey, locked: bool) -> None:
        channel = self.model.get(key)
        if channel is not None:
            channel.locked = locked
            assert self.store.set_locked(key, locked).locked is locked

    @rule(elapsed_ms=st.integers(1, 3_000))
    def wait(self, elapsed_ms: int) -> None:
        self.now_ms += elapsed_ms

    @rule()
    def forget_old_keys(self) -> None:
        """After a whole retention without a sweep, one sweep forgets everything that is old enough."""
        self.now_ms += RETENTION_MS
        while self.store.maintain(self.now_ms):
            pass
        for channel in self.model.values():
            channel.first = {
                key: first
                for key, first in channel.first.items()
                if first.time_ms >= self.now_ms - RETENTION_MS
            }

    @precondition(lambda self: self.survives)
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open()
        for key, channel in list(self.model.items()):
            if not channel.log and not channel.locked and not channel.mail:
                # An empty channel need not survive; it starts again as the same.
                self.store.open_channel(key, "n", "open", self.now_ms)

    @rule()
    def new_epochs(self) -> None:
        self.store.new_epochs()
        state = self.store.open_channel(next(iter(self.model)), "n", "open", 0)
        assert state.epoch != self.epoch
        self.epoch = state.epoch

    @invariant()
    def unknown_stays_unknown(self) -> None:
        group = [entry(channel=key) for key in KEYS if key not in self.model]
        assert all(isinstance(result, Refused) for result in self.store.append_group(group))


class MemoryModel(LogModel):
    make_store = staticmethod(memory_store)
    survives = False


class SqliteModel(LogModel):
    make_store = staticmethod(sqlite_store)
    survives = True


TestMemoryModel = MemoryModel.TestCase
TestSqliteModel = SqliteModel.TestCase

TestMemoryModel.settings = settings(max_examples=examples(0.5))
TestSqliteModel.settings = settings(max_examples=examples(0.25))

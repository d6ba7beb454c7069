"""The message log in memory: the contract of `interface` without a disk.

Owns the entries of all channels for the life of the process; its promise is `memory`, its epoch is new in
every process. Never blocks, never fails to commit, and is used from one thread only. It serves tests and
throw-away servers.
"""

from collections.abc import Callable, Sequence

from peerbus.protocol.errors import ErrorCode
from peerbus.signaling.log.interface import (
    IDEMPOTENCY_RETENTION_MS,
    MESSAGES_MAX_PER_CHANNEL,
    NOT_A_RETRY,
    SCAN_ROWS_MAX,
    TRIM_ROWS_MAX,
    Append,
    Appended,
    AppendResult,
    ChannelKey,
    ChannelState,
    Claim,
    Conflict,
    Delivery,
    Entry,
    MailLimits,
    MailRead,
    Page,
    Range,
    Refused,
    TooManyClaimsError,
    UnknownChannelError,
    trimmed_tail,
)
from peerbus.signaling.log.page import fill_page, scan_bounds

_FORGET_MAX = 2_000


class _Channel:
    """One channel's log. `entries[0]` has the offset `tail`."""

    __slots__ = ("claims", "created_ms", "entries", "locked", "mail", "mode", "name", "retries", "tail")

    def __init__(self, name: str, mode: str, created_ms: int) -> None:
        self.name = name
        self.mode = mode
        self.created_ms = created_ms
        self.locked = False
        self.tail = 1
        self.entries: list[Entry] = []
        # (identity, idempotency key) → (offset, time_ms, fingerprint), oldest first.
        self.retries: dict[tuple[str, str], tuple[int, int, bytes]] = {}
        # claimed identity → when it was last seen to be used
        self.claims: dict[str, int] = {}
        # claimed identity → offset → bytes, oldest first.
        self.mail: dict[str, dict[int, int]] = {}

    @property
    def head(self) -> int:
        return self.tail + len(self.entries) - 1

    def trim_to(self, tail: int) -> None:
        if tail > self.tail:
            del self.entries[: tail - self.tail]
            self.tail = tail
            for mail in self.mail.values():
                for offset in [offset for offset in mail if offset < tail]:
                    del mail[offset]

    def entry_at(self, offset: int) -> Entry:
        return self.entries[offset - self.tail]


class MemoryStore:
    """`Store` in memory. `new_epoch` gives a short random id, different each time."""

    promise: Delivery = "memory"
    blocking = False

    def __init__(
        self,
        new_epoch: Callable[[], str],
        *,
        messages_max_per_channel: int = MESSAGES_MAX_PER_CHANNEL,
        idempotency_retention_ms: int = IDEMPOTENCY_RETENTION_MS,
        mail_limits: MailLimits | None = None,
    ) -> None:
        self._mail_limits = mail_limits or MailLimits()
        self._new_epoch = new_epoch
        self._epoch = new_epoch()
        self._messages_max = messages_max_per_channel
        self._retention_ms = idempotency_retention_ms
        self._channels: dict[ChannelKey, _Channel] = {}

    def open_channel(self, key: ChannelKey, name: str, mode: str, now_ms: int) -> ChannelState:
        """See `Store`."""
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel(name, mode, now_ms)
        return self._state(channel)

    def append_group(self, group: Sequence[Append]) -> list[AppendResult]:
        """See `Store`. Never raises `StoreError`."""
        results = [self._append(append) for append in group]
        for key in {append.channel for append in group}:
            channel = self._channels.get(key)
            if channel is not None:
                channel.trim_to(trimmed_tail(channel.tail, channel.head, self._messages_max))
        return results

    def _append(self, append: Append) -> AppendResult:
        channel = self._channels.get(append.channel)
        if channel is None:
            return Refused(ErrorCode.NOT_FOUND, "the channel was never opened")
        offset = channel.head + 1
        retry = None if append.idempotency_key is None else (append.identity, append.idempotency_key)
        first = None if retry is None else channel.retries.get(retry)
        if first is not None:
            first_offset, time_ms, fingerprint = first
            if fingerprint != append.fingerprint:
                return Conflict(first_offset)
            return Appended(first_offset, time_ms, duplicate=True)
        if append.is_retry:
            return NOT_A_RETRY
        boxes, full = self._mailboxes(channel, append)
        if full and append.needs_room:
            return Refused(ErrorCode.MAILBOX_FULL, "a recipient has no room for it", full)
        for identity in boxes:
            channel.mail.setdefault(identity, {})[offset] = len(append.body)
        if retry is not None:
            channel.retries[retry] = (offset, append.time_ms, append.fingerprint)
        channel.entries.append(
            Entry(
                offset,
                append.time_ms,
                append.identity,
                append.sender,
                append.recipients,
                append.type,
                append.custom_event_type,
                append.body,
                append.author,
            )
        )
        return Appended(offset, append.time_ms)

    def _mailboxes(self, channel: _Channel, append: Append) -> tuple[list[str], tuple[str, ...]]:
        """The claimed identities that an entry is mail for; and those of them without room."""
        limits = self._mail_limits
        boxes: list[str] = []
        full: list[str] = []
        for identity in append.recipients or ():
            if identity not in channel.claims or identity == append.identity:
                continue
            mail = channel.mail.get(identity, {})
            has_room = len(mail) < limits.messages and sum(mail.values()) + len(append.body) <= limits.bytes
            (boxes if has_room else full).append(identity)
        return boxes, tuple(full)

    def read(self, key: ChannelKey, identity: str, wanted: Range, limit_bytes: int) -> Page:
        """See `Store`."""
        channel = self._channel(key)
        state = self._state(channel)
        low, high = scan_bounds(wanted, state)
        if wanted.newest_first:
            low = max(low, high - SCAN_ROWS_MAX)
        else:
            high = min(high, low + SCAN_ROWS_MAX)
        if wanted.only is not None:
            chosen = [channel.entry_at(offset) for offset in wanted.only if low <= offset <= high]
            return fill_page(chosen, identity, wanted, limit_bytes, state)
        entries = channel.entries[max(0, low - channel.tail) : max(0, high - channel.tail + 1)]
        if wanted.newest_first:
            entries.reverse()
        return fill_page(entries, identity, wanted, limit_bytes, state)

    def set_locked(self, key: ChannelKey, locked: bool) -> ChannelState:
        """See `Store`."""
        channel = self._channel(key)
        channel.locked = locked
        return self._state(channel)

    def claim(self, key: ChannelKey, identity: str, now_ms: int) -> Claim:
        """See `Store`."""
        channel = self._channel(key)
        limits = self._mail_limits
        if identity not in channel.claims and len(channel.claims) >= limits.claims_per_channel:
            raise TooManyClaimsError
        channel.claims[identity] = now_ms
        unread = tuple(
            offset
            for offset in channel.mail.get(identity, ())
            if channel.entry_at(offset).time_ms >= now_ms - limits.ttl_ms
        )
        return Claim(self._state(channel), unread)

    def read_mail(self, reads: Sequence[MailRead], now_ms: int) -> None:
        """See `Store`."""
        for read in reads:
            channel = self._channels.get(read.channel)
            if channel is None or read.identity not in channel.claims:
                continue
            channel.claims[read.identity] = now_ms
            mail = channel.mail.get(read.identity, {})
            wanted = Range(types=read.types)
            for offset in list(mail):
                if offset <= read.upto and wanted.wants(channel.entry_at(offset)):
                    del mail[offset]

    def trim(self, key: ChannelKey, before: int, rows_max: int = TRIM_ROWS_MAX) -> ChannelState:
        """See `Store`."""
        channel = self._channel(key)
        channel.trim_to(min(before, channel.head + 1, channel.tail + rows_max))
        return self._state(channel)

    def new_epochs(self) -> None:
        """See `Store`."""
        self._epoch = self._new_epoch()

    def maintain(self, now_ms: int) -> bool:
        """See `Store`."""
        oldest_ms = now_ms - self._retention_ms
        budget = _FORGET_MAX
        for channel in self._channels.values():
            forgotten = []
            for retry, (_, time_ms, _) in channel.retries.items():
                if time_ms >= oldest_ms or budget == 0:
                    break
                forgotten.append(retry)
                budget -= 1
            for retry in forgotten:
                del channel.retries[retry]
            self._forget_mail(channel, now_ms - self._mail_limits.ttl_ms)
        return budget == 0

    @staticmethod
    def _forget_mail(channel: _Channel, oldest_ms: int) -> None:
        for identity, mail in list(channel.mail.items()):
            for offset in [offset for offset in mail if channel.entry_at(offset).time_ms < oldest_ms]:
                del mail[offset]
            if not mail:
                del channel.mail[identity]
        for identity, seen_ms in list(channel.claims.items()):
            if seen_ms < oldest_ms and identity not in channel.mail:
                del channel.claims[identity]

    def close(self) -> None:
        """See `Store`."""
        self._channels.clear()

    def _channel(self, key: ChannelKey) -> _Channel:
        channel = self._channels.get(key)
        if channel is None:
            raise UnknownChannelError(key)
        return channel

    def _state(self, channel: _Channel) -> ChannelState:
        return ChannelState(
            epoch=self._epoch,
            head=channel.head,
            tail=channel.tail,
            locked=channel.locked,
            name=channel.name,
            mode=channel.mode,
            created_ms=channel.created_ms,
            claims=frozenset(channel.claims),
        )

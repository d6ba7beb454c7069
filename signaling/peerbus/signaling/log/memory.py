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
    Conflict,
    Delivery,
    Entry,
    Page,
    Range,
    Refused,
    UnknownChannelError,
    trimmed_tail,
)
from peerbus.signaling.log.page import fill_page, scan_bounds

_FORGET_MAX = 2_000


class _Channel:
    """One channel's log. `entries[0]` has the offset `tail`."""

    __slots__ = ("created_ms", "entries", "locked", "mode", "name", "retries", "tail")

    def __init__(self, name: str, mode: str, created_ms: int) -> None:
        self.name = name
        self.mode = mode
        self.created_ms = created_ms
        self.locked = False
        self.tail = 1
        self.entries: list[Entry] = []
        # (identity, idempotency key) → (offset, time_ms, fingerprint), oldest first.
        self.retries: dict[tuple[str, str], tuple[int, int, bytes]] = {}

    @property
    def head(self) -> int:
        return self.tail + len(self.entries) - 1

    def trim_to(self, tail: int) -> None:
        if tail > self.tail:
            del self.entries[: tail - self.tail]
            self.tail = tail


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
    ) -> None:
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
            )
        )
        return Appended(offset, append.time_ms)

    def read(self, key: ChannelKey, identity: str, wanted: Range, limit_bytes: int) -> Page:
        """See `Store`."""
        channel = self._channel(key)
        state = self._state(channel)
        low, high = scan_bounds(wanted, state)
        if wanted.newest_first:
            low = max(low, high - SCAN_ROWS_MAX)
        else:
            high = min(high, low + SCAN_ROWS_MAX)
        entries = channel.entries[max(0, low - channel.tail) : max(0, high - channel.tail + 1)]
        if wanted.newest_first:
            entries.reverse()
        return fill_page(entries, identity, wanted, limit_bytes, state)

    def set_locked(self, key: ChannelKey, locked: bool) -> ChannelState:
        """See `Store`."""
        channel = self._channel(key)
        channel.locked = locked
        return self._state(channel)

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
        return budget == 0

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
        )

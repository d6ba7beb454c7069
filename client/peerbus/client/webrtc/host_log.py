"""
The order of a host: which frame stands where, as far as it is kept.

Owns the entries by their place `n`, and which frames of which sender have a place. Whoever is host gives places; its
successor keeps every entry, every other guest what it was sent itself, until all have it. Never decides who is told.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from peerbus.client.errors import PeerbusError
from peerbus.client.webrtc import peer_frames
from peerbus.client.webrtc.host_frames import EntryMessage
from peerbus.client.webrtc.peer_frames import Reliable


class Entry(Struct, frozen=True, kw_only=True):
    """What stands at one place."""

    n: int
    term: int
    """Of the host that gave the place."""
    sender: str
    """Empty: a marker."""
    to: tuple[str, ...]
    is_for_host: bool
    frame: bytes
    at_ms: int
    """When it came here."""

    def message(self, term: int) -> EntryMessage:
        """As it is told under this term."""
        return EntryMessage(term, self.n, self.term, self.sender, list(self.to), self.is_for_host, self.frame)


def entry_of(message: EntryMessage, now_ms: int) -> Entry:
    """The entry that was told."""
    return Entry(
        n=message.n,
        term=message.entry_term,
        sender=message.sender,
        to=tuple(message.to),
        is_for_host=message.is_for_host,
        frame=message.frame,
        at_ms=now_ms,
    )


def reliable_of(frame: bytes) -> Reliable | None:
    """The frame read, if it is a reliable one. `prev` is of no meaning here."""
    try:
        read = peer_frames.decode_frame(frame, "")
    except PeerbusError:
        return None
    return read if isinstance(read, Reliable) else None


class OrderLog:
    """See the module."""

    def __init__(self) -> None:
        self.last_n = 0
        """The highest place that was ever given, as far as is known."""
        self._entries: Final[dict[int, Entry]] = {}
        self._places: list[int] = []
        self._covered: Final[dict[tuple[str, int, int], set[str]]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def put(self, entry: Entry) -> None:
        """Keeps an entry; of two at one place that of the higher term."""
        before = self._entries.get(entry.n)
        if before is not None:
            if before.term > entry.term:
                return
            self._uncover(before)
        elif not self._places or entry.n > self._places[-1]:
            self._places.append(entry.n)
        else:
            self._places.insert(bisect_left(self._places, entry.n), entry.n)
        self._entries[entry.n] = entry
        self.last_n = max(self.last_n, entry.n)
        frame = reliable_of(entry.frame) if entry.sender else None
        if frame is not None:
            self._covered.setdefault((entry.sender, frame.stream, frame.seq), set()).update(entry.to)

    def uncovered(self, sender: str, frame: Reliable, to: list[str]) -> tuple[str, ...]:
        """Those of `to` for whom this frame has no place that is kept."""
        covered = self._covered.get((sender, frame.stream, frame.seq), ())
        return tuple(who for who in to if who not in covered)

    def between(self, after: int, up_to: int) -> Iterator[Entry]:
        """The entries behind `after`, up to and with `up_to`, in order."""
        low, high = bisect_right(self._places, after), bisect_right(self._places, up_to)
        for n in self._places[low:high]:
            yield self._entries[n]

    def get(self, n: int) -> Entry | None:
        """What is kept of this place."""
        return self._entries.get(n)

    def keep(self, wanted: Callable[[Entry], bool]) -> None:
        """Drops all others."""
        dropped = [entry for entry in self._entries.values() if not wanted(entry)]
        for entry in dropped:
            self._uncover(entry)
            del self._entries[entry.n]
        if dropped:
            self._places = sorted(self._entries)

    def cut(self, n: int) -> None:
        """The order ends at `n`."""
        self.keep(lambda entry: entry.n <= n)
        self.last_n = n

    def forget_recipient(self, identity: str) -> None:
        """Nothing here is for it any more."""
        for n, entry in list(self._entries.items()):
            if identity in entry.to:
                self._uncover(entry)
                rest = tuple(who for who in entry.to if who != identity)
                self._entries[n] = changed = _with_recipients(entry, rest)
                frame = reliable_of(changed.frame) if changed.sender else None
                if frame is not None:
                    self._covered.setdefault((changed.sender, frame.stream, frame.seq), set()).update(rest)

    def _uncover(self, entry: Entry) -> None:
        frame = reliable_of(entry.frame) if entry.sender else None
        if frame is None:
            return
        key = (entry.sender, frame.stream, frame.seq)
        covered = self._covered.get(key)
        if covered is not None:
            covered.difference_update(entry.to)
            if not covered:
                del self._covered[key]


def _with_recipients(entry: Entry, to: tuple[str, ...]) -> Entry:
    return Entry(
        n=entry.n,
        term=entry.term,
        sender=entry.sender,
        to=to,
        is_for_host=entry.is_for_host,
        frame=entry.frame,
        at_ms=entry.at_ms,
    )

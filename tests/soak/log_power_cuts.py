"""The message log alone, on a disk that forgets what was not synced, with power cuts. Scale: cuts."""

from __future__ import annotations

import contextlib
import itertools
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from peerbus.signaling.log import Append, Appended, Range, StoreError
from peerbus.signaling.log.sqlite import SqliteStore
from tests.soak.soak import Soak
from tests.support.log_entries import CHANNEL, entry, new_epoch
from tests.support.power_cut import PowerCutDisk

_STEPS_MAX = 500
_CUTS_A_MACHINE = 25


class Journal:
    """What the log said, kept outside of it."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, int] = {}
        self.open_groups: list[list[str]] = []
        self.epoch = ""
        self.tail = 1
        self.locked: set[bool] = {False}
        self.counts = dict.fromkeys(["acknowledged", "groups refused", "restarts"], 0)

    def compare(self, store: SqliteStore) -> None:
        """Whether the log, found after a cut, holds what it said, and whole groups only."""
        assert store.opening.restored is None, f"taken for restored: {store.opening.restored}"
        state = store.open_channel(CHANNEL, "lobby", "open", 0)
        self.epoch = self.epoch or state.epoch
        assert state.epoch == self.epoch, "a power cut is no reason for a new epoch"
        page = store.read(CHANNEL, "name:reader", Range(limit=1_000_000), 1 << 30)
        while not page.complete:
            more = store.read(CHANNEL, "name:reader", Range(after=page.next, limit=1_000_000), 1 << 30)
            page = type(page)(page.entries + more.entries, more.scanned_to, more.complete, more.state)
        offsets = {found.body.decode().split()[0]: found.offset for found in page.entries}
        assert [*offsets.values()] == [*range(state.tail, state.head + 1)], (
            "offsets have a gap, or an entry is twice"
        )
        assert state.tail >= self.tail, "what was trimmed is back"
        assert state.locked in self.locked, "the lock is not as it was stored"
        lost = {
            key: offset
            for key, offset in self.acknowledged.items()
            if offset >= state.tail and offsets.get(key) != offset
        }
        assert not lost, f"acknowledged, and not there: {dict(itertools.islice(lost.items(), 5))}"
        assert state.head >= max(self.acknowledged.values(), default=0), "the head fell"
        for group in self.open_groups:
            found = [key in offsets for key in group]
            kept_to_its_end = found == sorted(found) and state.tail > 1
            assert all(found) or not any(found) or kept_to_its_end, f"half a group: {group}"
        # What is there now has been seen by readers, and has to stay.
        self.acknowledged.update(offsets)
        self.open_groups.clear()
        self.tail = state.tail
        self.locked = {state.locked}


class Life:
    """One run of the store, from a start to a cut."""

    def __init__(self, folder: Path, disk: PowerCutDisk, journal: Journal, chance: random.Random) -> None:
        self._folder = folder
        self._disk = disk
        self._journal = journal
        self._chance = chance
        self._store: SqliteStore | None = None

    def run(self, keys: Iterator[int]) -> None:
        """Use the store until the power goes."""
        while self._disk.has_power:
            if self._store is None:
                self._start()
                continue
            if self._disk.is_frozen:
                self._disk.process_dies(self._store.close)
                self._store = None
                continue
            act = self._chance.choices(
                [self._append, self._retry, self._lock, self._trim, self._restart, self._maintain],
                [70, 8, 4, 3, 2, 4],
            )[0]
            act(self._store, keys)
        if self._store is not None:
            self._store.close()

    def _start(self) -> None:
        try:
            self._store = SqliteStore(self._folder, new_epoch, connect_to=self._disk.connect)
            self._store.open_channel(CHANNEL, "lobby", "open", 0)
        except StoreError as error:
            self._expect_unavailable(error)
            self._disk.is_frozen = False

    def _append(self, store: SqliteStore, keys: Iterator[int]) -> None:
        group = []
        for _ in range(self._chance.choice([1, 1, 2, 10, 40])):
            key = f"{next(keys):08}"
            size = self._chance.choice([0, 50, 500, 5_000])
            group.append(entry(f"{key} {'x' * size}", key=key, fingerprint=b""))
        self._store_group(store, group)

    def _retry(self, store: SqliteStore, keys: Iterator[int]) -> None:
        """Send a refused group again, with something new between."""
        if self._journal.open_groups:
            again = self._chance.choice(self._journal.open_groups)
            group = [entry(f"{key} again", key=key, fingerprint=b"") for key in again]
            key = f"{next(keys):08}"
            self._store_group(store, [*group, entry(f"{key} new", key=key, fingerprint=b"")])

    def _store_group(self, store: SqliteStore, group: list[Append]) -> None:
        keys = [append.idempotency_key or "" for append in group]
        journal = self._journal
        try:
            results = store.append_group(group)
        except StoreError as error:
            self._expect_unavailable(error)
            journal.counts["groups refused"] += 1
            if keys not in journal.open_groups:
                # A retry is two transactions' worth: what it repeats may be there, and what is new may not.
                journal.open_groups += [keys[:-1], keys[-1:]] if keys[:-1] in journal.open_groups else [keys]
            return
        for key, result in zip(keys, results, strict=True):
            assert isinstance(result, Appended), result
            assert journal.acknowledged.setdefault(key, result.offset) == result.offset, (
                f"{key} is there twice"
            )
            journal.counts["acknowledged"] += 1

    def _expect_unavailable(self, error: StoreError) -> None:
        assert error.code == "storage_unavailable", error

    def _lock(self, store: SqliteStore, _: Iterator[int]) -> None:
        locked = self._chance.random() < 0.5
        self._journal.locked.add(locked)
        with contextlib.suppress(StoreError):
            store.set_locked(CHANNEL, locked)
            self._journal.locked = {locked}

    def _trim(self, store: SqliteStore, _: Iterator[int]) -> None:
        with contextlib.suppress(StoreError):
            self._journal.tail = store.trim(CHANNEL, self._journal.tail + self._chance.randrange(40)).tail

    def _maintain(self, store: SqliteStore, _: Iterator[int]) -> None:
        with contextlib.suppress(StoreError):
            store.maintain(0)

    def _restart(self, store: SqliteStore, _: Iterator[int]) -> None:
        """The process ends, with or without closing; the machine goes on."""
        self._journal.counts["restarts"] += 1
        if self._chance.random() < 0.5:
            store.close()
        else:
            self._disk.process_dies(store.close)
        self._store = None


def run(seed: int, scale: int) -> Mapping[str, object]:
    """Cut the power at random steps, on a new machine every so often, and look at the log after each cut."""
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    for cuts in [_CUTS_A_MACHINE] * (scale // _CUTS_A_MACHINE) + [scale % _CUTS_A_MACHINE]:
        counts.update(wear_out(chance, cuts))
    return {"cuts": scale, **counts}


def wear_out(chance: random.Random, cuts: int) -> Mapping[str, int]:
    """One machine and its cuts."""
    journal = Journal()
    keys = itertools.count()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with PowerCutDisk(folder, chance) as disk, disk.settling():
            for _ in range(cuts):
                disk.power_on()
                disk.cut_after = chance.randrange(_STEPS_MAX)
                disk.sync_fails = chance.choice([0.0, 0.02, 0.2])
                disk.kills_at_failed_sync = chance.random() < 0.3
                disk.write_fails = chance.choice([0.0, 0.0, 0.01])
                Life(folder, disk, journal, chance).run(keys)
                disk.cut()
                look(folder, journal)
            return {"stored": len(journal.acknowledged), "syncs failed": disk.failed_syncs, **journal.counts}


def look(folder: Path, journal: Journal) -> None:
    """Read what the cut left, with the SQLite that the server uses."""
    try:
        with contextlib.closing(SqliteStore(folder, new_epoch)) as store:
            journal.compare(store)
    except StoreError as error:
        raise AssertionError(f"the log can't be read after a cut: {error.reason}") from error


SOAK = Soak(run, full_scale=5_000, slice_scale=25)

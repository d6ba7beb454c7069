"""A disk that loses what was not synced, under SQLite: writes stay in a cache until a sync, and a cut drops
them.

The files themselves show what a running system shows: everything written. Beside them stands what is on the
platter: what was synced, plus whatever part of the rest the cut lets through, in whole writes or in sectors.
A sync may fail as it does on Linux: part of the pages reach the platter, the others are taken for clean and
reach it only if they are written again. `apsw` brings the SQLite that such a file system can be put under.
"""

import errno
import itertools
import os
import random
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

import apsw

_SECTOR = 512
_names = itertools.count(1)


class CachedFile:
    """One file: what is on the platter, and what was done to it since the last sync."""

    def __init__(self, content: bytes, *, is_durable: bool) -> None:
        self.platter = bytearray(content)
        self.is_durable = is_durable  # whether the folder's entry is on the platter too
        self.cache: list[tuple[int, bytes] | int] = []  # writes (offset, bytes) and truncations (size)

    def put(self, change: tuple[int, bytes] | int) -> None:
        """Bring one change to the platter."""
        if isinstance(change, int):
            if change < len(self.platter):
                del self.platter[change:]
            return
        offset, data = change
        if len(self.platter) < offset:
            self.platter.extend(bytes(offset - len(self.platter)))
        self.platter[offset : offset + len(data)] = data


class PowerCutDisk:
    """The disk under one data folder. Use it as a context: its file system is known to `apsw` for that long.

    `cut_after` counts down with every write, sync, truncation and deletion; at 0 the power goes. `sync_fails`
    and `write_fails` are the chances of each to fail; `kills_at_failed_sync` makes it the last thing the
    process does, which then has to be told by `process_dies`.
    """

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder = folder
        self._chance = chance
        self._files: dict[str, CachedFile] = {}
        self.is_frozen = False
        self.cut_after: int | None = None
        self.sync_fails = 0.0
        self.write_fails = 0.0
        self.kills_at_failed_sync = False
        self.failed_syncs = 0
        self.has_power = True
        self._vfs = _Vfs(self)

    def __enter__(self) -> Self:
        # SQLite has heard of the failures; where it goes on without a word, apsw reports them to this hook.
        self._report_of_others = sys.unraisablehook
        sys.unraisablehook = self._report
        return self

    def _report(self, unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, apsw.Error):
            self._report_of_others(unraisable)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        sys.unraisablehook = self._report_of_others
        self._vfs.unregister()

    def connect(self, database: Path) -> "PowerCutConnection":
        """A `connect_to` for `SqliteStore`."""
        return PowerCutConnection(str(database), self._vfs.name)

    def power_on(self) -> None:
        """Begin with the files as they are, all on the platter."""
        self._files = {
            str(path): CachedFile(path.read_bytes(), is_durable=True)
            for path in self._folder.glob("peerbus.db*")
            if not path.name.endswith("-shm")
        }
        self.has_power = True

    def process_dies(self, close: Any) -> None:
        """Let `close` release what the process had without a write reaching the files: they stay as they
        are.
        """
        self.is_frozen = True
        close()
        self.is_frozen = False

    @contextmanager
    def settling(self) -> Iterator[None]:
        """See what the log itself writes to the database's files, which passes SQLite by."""
        pwrite, fsync = os.pwrite, os.fsync

        def seen_pwrite(descriptor: int, data: bytes, offset: int) -> int:
            file = self._file_of(descriptor)
            if file is not None:
                file.cache.append((offset, data))
            return pwrite(descriptor, data, offset)

        def seen_fsync(descriptor: int) -> None:
            fsync(descriptor)
            file = self._file_of(descriptor)
            if file is not None and not self._reaches_platter(file):
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        with mock.patch.object(os, "pwrite", seen_pwrite), mock.patch.object(os, "fsync", seen_fsync):
            yield

    def _file_of(self, descriptor: int) -> CachedFile | None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        return self._files.get(path) if self.has_power else None

    def cut(self) -> None:
        """Turn the files into what the platter holds after the power has gone."""
        self.has_power = False
        for path in {*self._files, *map(str, self._folder.glob("peerbus.db*"))}:
            file = self._files.get(path)
            if file is None or (not file.is_durable and self._chance.random() < 0.5):
                Path(path).unlink(missing_ok=True)
                continue
            for change in self._let_through(file.cache):
                file.put(change)
            Path(path).touch()
            with open(path, "r+b") as real:  # in place: the inode stays
                real.truncate()
                real.write(file.platter)

    def _let_through(self, cache: list[tuple[int, bytes] | int]) -> Iterable[tuple[int, bytes] | int]:
        """The part of the unsynced changes that happens to reach the platter."""
        manner = self._chance.choice(["none", "all", "first", "some", "sectors"])
        if manner == "none":
            return []
        if manner == "all":
            return cache
        if manner == "first":
            return cache[: self._chance.randrange(len(cache) + 1)]
        if manner == "some":
            return [change for change in cache if self._chance.random() < 0.5]
        return [part for change in cache for part in _sectors(change) if self._chance.random() < 0.5]

    # What the file system does

    def step(self) -> None:
        """Count one change. Raises when there is no power."""
        if self.cut_after is not None and self.has_power and not self.is_frozen:
            self.cut_after -= 1
            if self.cut_after < 0:
                self.has_power = False
        if self.is_frozen or not self.has_power:
            raise _failure(apsw.SQLITE_IOERR_WRITE)

    def opened(self, path: str) -> None:
        """A file was opened, perhaps made."""
        self._files.setdefault(path, CachedFile(b"", is_durable=False))

    def write(self, path: str, offset: int, data: bytes) -> None:
        """Take a write into the cache."""
        self.step()
        if self._chance.random() < self.write_fails:
            raise _failure(apsw.SQLITE_FULL)
        self._files[path].cache.append((offset, data))

    def truncate(self, path: str, size: int) -> None:
        """Take a truncation into the cache."""
        self.step()
        self._files[path].cache.append(size)

    def sync(self, path: str) -> None:
        """Bring a file's cache to the platter, or fail."""
        self.step()
        if not self._reaches_platter(self._files[path]):
            raise _failure(apsw.SQLITE_IOERR_FSYNC)

    def _reaches_platter(self, file: CachedFile) -> bool:
        """Sync a file; if that fails, part of the cache is forgotten."""
        fails = self._chance.random() < self.sync_fails
        for change in file.cache:
            if not fails or self._chance.random() < 0.5:
                file.put(change)
        file.cache = []
        file.is_durable = file.is_durable or not fails
        if fails:
            self.failed_syncs += 1
            self.is_frozen = self.kills_at_failed_sync
        return not fails

    def delete(self, path: str) -> None:
        """Remove a file, for good."""
        self.step()
        self._files.pop(path, None)


class _Vfs(apsw.VFS):
    def __init__(self, disk: PowerCutDisk) -> None:
        self.name = f"power-cut-{next(_names)}"
        self._disk = disk
        super().__init__(self.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if name is None:
            return apsw.VFSFile("", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        file = _File(self._disk, path, name, flags)
        self._disk.opened(path)
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self._disk.delete(filename)
        super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(self, disk: PowerCutDisk, path: str, name: str | apsw.URIFilename, flags: list[int]) -> None:
        self._disk = disk
        self._path = path
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.write(self._path, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.truncate(self._path, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.sync(self._path)
        super().xSync(flags)


class PowerCutConnection:
    """`Connection` on a `PowerCutDisk`, with the errors of `sqlite3`."""

    def __init__(self, database: str, vfs: str) -> None:
        self._db = self._translated(apsw.Connection, database, vfs=vfs)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        is_open: bool = self._db.in_transaction
        return is_open

    def execute(self, sql: str, parameters: Any = (), /) -> apsw.Cursor:
        """Run one statement. Checkpoints come often, and a synced commit is what the statements ask for."""
        if sql.startswith("PRAGMA wal_autocheckpoint"):
            sql = "PRAGMA wal_autocheckpoint = 25"
        cursor: apsw.Cursor = self._translated(self._db.execute, sql, parameters)
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> apsw.Cursor:
        """Run one statement for each set of parameters."""
        cursor: apsw.Cursor = self._translated(self._db.executemany, sql, parameters)
        return cursor

    def close(self) -> None:
        """Close, whatever the disk says."""
        self._translated(self._db.close, True)

    def _translated(self, function: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except apsw.ConstraintError as error:
            raise sqlite3.IntegrityError(str(error)) from error
        except apsw.Error as error:
            translated = sqlite3.OperationalError(str(error))
            translated.sqlite_errorcode = getattr(error, "extendedresult", apsw.SQLITE_IOERR)
            raise translated from error


def _failure(code: int) -> Exception:
    return apsw.exception_for(code)


def _sectors(change: tuple[int, bytes] | int) -> Iterable[tuple[int, bytes] | int]:
    if isinstance(change, int):
        return [change]
    offset, data = change
    first = _SECTOR - offset % _SECTOR
    starts = [0, *range(first, len(data), _SECTOR)]
    return [(offset + a, data[a:b]) for a, b in itertools.pairwise([*starts, len(data)])]

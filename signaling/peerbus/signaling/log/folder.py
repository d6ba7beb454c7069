"""The data folder of a durable log: who has it, and a witness of how far its database had got.

Owns the folder's lock file and its witness file. The lock keeps a second server out; the system drops it when
the process dies, however it dies. The witness tells a database that was put back from an older copy: it holds
the number of the last commit and the database file's inode, outside the database. A database with fewer
commits than the witness has lost some; a file with another inode is a copy, and nobody knows of when.

The witness is written through to the disk when the folder is opened, and after each commit only handed to the
system: it survives the death of the process, and after a power failure it may lag behind, which makes it see
less and never too much. It is a help against operators' accidents, not a part of the log's promise.

Never opens the database, and never changes what is in it.
"""

import errno
import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from peerbus.signaling.log.interface import StoreError

DATABASE: Final = "peerbus.db"
_LOCK: Final = "peerbus.lock"
_WITNESS: Final = "peerbus.witness"
_SETTLED_BYTES: Final = 1 << 20
_WITNESS_FORM: Final = re.compile(rb"commits (\d{20}) inode (\d{20})\n")


class Witness(NamedTuple):
    """What the witness file says: the number of the database's last commit, and the inode of its file."""

    commits: int
    inode: int


class DataFolder:
    """The data folder, held by this process until `close`.

    Raises `StoreError`: `storage_unwritable` when the folder can't be made or written to, `storage_in_use`
    when another server has it, `storage_unavailable` when the disk is full or fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / DATABASE
        self._lock = -1
        self._witness = -1
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            self._take_lock()
            # Made here so that its mode is right, and that a folder one can't write to is told as such.
            os.close(os.open(self.database, os.O_RDWR | os.O_CREAT, 0o600))
            self.database_inode = self.database.stat().st_ino
            self._witness = os.open(path / _WITNESS, os.O_RDWR | os.O_CREAT, 0o600)
            if self.database.stat().st_size == 0:
                # Before there is anything in it: a start that is cut short must not look like a restore.
                self.write_witness(0)
        except OSError as error:
            self.close()
            raise folder_error(path, error) from error
        except StoreError:
            self.close()
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
            by = f" (process {holder})" if holder.isdigit() else ""
            raise StoreError(
                "storage_in_use", f"the data folder {self.path} is in use by another server{by}"
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode("ascii"), 0)

    def settle_database(self) -> None:
        """Make sure, before the database is opened, that what its write-ahead log says is on the disk.

        When an fsync fails, the system may go on showing pages that never reached the disk, and take them for
        clean: a later fsync succeeds and does nothing for them. SQLite would read commits from them and build
        on these. So the file is written again as it reads, and synced. Raises `StoreError`.
        """
        try:
            with open(f"{self.database}-wal", "r+b", buffering=0) as log:
                position = 0
                while chunk := os.pread(log.fileno(), _SETTLED_BYTES, position):
                    position += os.pwrite(log.fileno(), chunk, position)
                os.fsync(log.fileno())
        except FileNotFoundError:
            return
        except OSError as error:
            raise folder_error(self.path, error) from error

    def read_witness(self) -> Witness | None:
        """What the last server left, or `None` if there is nothing readable. Raises `StoreError`."""
        try:
            found = _WITNESS_FORM.fullmatch(os.pread(self._witness, 128, 0))
        except OSError as error:
            raise folder_error(self.path, error) from error
        return Witness(int(found[1]), int(found[2])) if found else None

    def write_witness(self, commits: int) -> None:
        """Store the database's last commit, through to the disk. Raises `StoreError`."""
        try:
            self._put_witness(commits)
            os.fsync(self._witness)
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise folder_error(self.path, error) from error

    def note_commit(self, commits: int) -> None:
        """Hand the number of a commit to the system. If it takes none, the witness just sees less."""
        with suppress(OSError):
            self._put_witness(commits)

    def _put_witness(self, commits: int) -> None:
        os.pwrite(self._witness, b"commits %020d inode %020d\n" % (commits, self.database_inode), 0)

    def close(self) -> None:
        """Let go of the folder. The files stay."""
        for descriptor in (self._witness, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._witness = self._lock = -1


def folder_error(path: Path, error: OSError) -> StoreError:
    """The error that says in one line why the folder can't be used."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return StoreError("storage_unavailable", f"the data folder {path} can't be used now: {reason}")
    return StoreError("storage_unwritable", f"the data folder {path} can't be written to: {reason}")

"""The data folder: one holder, a witness, and a write-ahead log that is put on the disk again."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peerbus.signaling.log import StoreError
from peerbus.signaling.log.folder import DataFolder, Witness, folder_error


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    held = DataFolder(tmp_path)
    yield held
    held.close()


def failing(code: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


def test_one_holder_at_a_time(folder: DataFolder) -> None:
    with pytest.raises(StoreError) as refused:
        DataFolder(folder.path)
    assert refused.value.code == "storage_in_use"
    folder.close()
    DataFolder(folder.path).close()


def test_a_refused_folder_leaves_nothing_open(folder: DataFolder) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(StoreError):
            DataFolder(folder.path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_witness(folder: DataFolder) -> None:
    assert folder.read_witness() == Witness(0, folder.database_inode)
    folder.write_witness(41)
    assert folder.read_witness() == Witness(41, folder.database_inode)
    folder.note_commit(42)
    assert folder.read_witness() == Witness(42, folder.database_inode)
    assert folder.database_inode == folder.database.stat().st_ino


def test_a_witness_that_can_not_be_noted_stops_nothing(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write_witness(41)
    monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC))
    folder.note_commit(42)
    with pytest.raises(StoreError) as failed:
        folder.write_witness(42)
    assert failed.value.code == "storage_unavailable"
    assert folder.read_witness() == Witness(41, folder.database_inode)


def test_a_witness_that_can_not_be_read_is_an_error(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pread", failing(errno.EIO))
    with pytest.raises(StoreError) as failed:
        folder.read_witness()
    assert failed.value.code == "storage_unavailable"


def test_settling_writes_every_byte_again_and_syncs(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.settle_database()  # nothing there
    log = Path(f"{folder.database}-wal")
    content = bytes(number % 251 for number in range(2_500_000))
    log.write_bytes(content)
    done: list[object] = []
    pwrite, fsync = os.pwrite, os.fsync

    def short_write(descriptor: int, data: bytes, offset: int) -> int:
        """The system may write less than it was given."""
        written = pwrite(descriptor, data[:700_000], offset)
        done.append((offset, written))
        return written

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        done.append("fsync")

    monkeypatch.setattr(os, "pwrite", short_write)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    folder.settle_database()
    assert done == [
        (0, 700_000), (700_000, 700_000), (1_400_000, 700_000), (2_100_000, 400_000), "fsync",
    ]  # fmt: skip
    assert log.read_bytes() == content


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_log_that_can_not_be_settled_is_not_believed(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    Path(f"{folder.database}-wal").write_bytes(b"x")
    monkeypatch.setattr(os, call, failing(errno.EIO))
    with pytest.raises(StoreError) as failed:
        folder.settle_database()
    assert failed.value.code == "storage_unavailable"


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (errno.ENOSPC, "storage_unavailable"),
        (errno.EIO, "storage_unavailable"),
        (errno.EMFILE, "storage_unavailable"),
        (errno.EACCES, "storage_unwritable"),
        (errno.EROFS, "storage_unwritable"),
        (errno.ENOTDIR, "storage_unwritable"),
    ],
)
def test_what_the_system_says_in_one_line(code: int, meaning: str) -> None:
    error = folder_error(Path("/data"), OSError(code, "?"))
    assert error.code == meaning
    assert "/data" in error.reason
    assert os.strerror(code) in error.reason

"""What only a store on a disk can do: go on after a restart, refuse what it can't read, fail and recover."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerbus.signaling.log import Append, Appended, ChannelKey, Page, Range, StoreError, UnknownChannelError
from peerbus.signaling.log.schema import SCHEMA_VERSION, connect
from peerbus.signaling.log.sqlite import Opening, SqliteStore
from tests.support.failing_disk import FailingDisk, sqlite_failure
from tests.support.log_entries import CHANNEL, OTHER, PAGE_BYTES, entry, new_epoch


def open_store(folder: Path, disk: FailingDisk | None = None) -> SqliteStore:
    return SqliteStore(folder, new_epoch, connect_to=connect if disk is None else disk.connect)


def read(store: SqliteStore, wanted: Range | None = None) -> Page:
    return store.read(CHANNEL, "name:bob", wanted or Range(), PAGE_BYTES)


def bodies(page: Page) -> list[str]:
    return [entry.body.decode() for entry in page.entries]


@pytest.fixture
def disk() -> FailingDisk:
    return FailingDisk()


@pytest.fixture
def store(tmp_path: Path, disk: FailingDisk) -> Iterator[SqliteStore]:
    made = open_store(tmp_path, disk)
    made.open_channel(CHANNEL, "lobby", "open", 500)
    yield made
    made.close()


# Restarts


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    assert store.opening == Opening(created=True, restored=None)
    store.open_channel(CHANNEL, "lobby", "open", 500)
    store.append_group([entry("a"), entry("b", key="k", time_ms=2_000), entry("c", recipients=("name:cat",))])
    store.trim(CHANNEL, 2)
    state = store.set_locked(CHANNEL, True)
    store.close()

    store = open_store(tmp_path)
    assert store.opening == Opening(created=False, restored=None)
    assert store.open_channel(CHANNEL, "another", "sealed", 900) == state
    assert store.append_group([entry("b", key="k"), entry("d")]) == [
        Appended(2, 2_000, duplicate=True),
        Appended(4, 1_000),
    ]
    assert bodies(read(store)) == ["b", "d"]
    store.close()


def test_a_channel_trimmed_empty_goes_on_counting_after_a_restart(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.open_channel(CHANNEL, "lobby", "open", 500)
    store.append_group([entry("a"), entry("b")])
    store.trim(CHANNEL, 100)
    store.close()
    store = open_store(tmp_path)
    state = store.open_channel(CHANNEL, "lobby", "open", 500)
    assert (state.head, state.tail) == (2, 3)
    assert store.append_group([entry("c")]) == [Appended(3, 1_000)]
    store.close()


def test_the_database_belongs_to_its_user_alone(tmp_path: Path) -> None:
    store = open_store(tmp_path / "new" / "data")
    store.open_channel(CHANNEL, "lobby", "open", 500)
    store.append_group([entry("a")])
    modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "new" / "data").iterdir()}
    assert {"peerbus.db", "peerbus.db-wal", "peerbus.lock", "peerbus.witness"} <= modes.keys()
    assert set(modes.values()) == {0}
    assert (tmp_path / "new" / "data").stat().st_mode & 0o077 == 0
    store.close()


def test_closing_twice(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.close()
    store.close()


def test_reading_needs_no_turn(store: SqliteStore, disk: FailingDisk) -> None:
    """Reads see the last commit while the next group is being written."""
    store.append_group([entry("a")])
    seen: list[list[str]] = []
    disk.before = lambda statement: seen.append(bodies(read(store))) if statement == "COMMIT" else None
    store.append_group([entry("b")])
    assert seen == [["a"]]
    assert bodies(read(store)) == ["a", "b"]


def test_channels_that_are_opened_and_not_written_to_are_not_kept_in_mind(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerbus.signaling.log.sqlite._KNOWN_CHANNELS_MAX", 3)
    monkeypatch.setattr("peerbus.signaling.log.sqlite._NEW_CHANNELS_MAX", 2)
    keys = [ChannelKey("private:p", bytes([number]) * 32) for number in range(20)]
    for key in keys:
        store.open_channel(key, "lobby", "open", 500)
        store.claim(key, "name:bob", 500)
    assert len(store._known) + len(store._new) <= 6
    states = [store.open_channel(key, "lobby", "open", 900) for key in keys]
    assert [state.claims for state in states] == [frozenset({"name:bob"})] * 20


def test_more_channels_than_are_remembered(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerbus.signaling.log.sqlite._KNOWN_CHANNELS_MAX", 3)
    keys = [ChannelKey("public", bytes([number])) for number in range(7)]
    for key in keys:
        store.open_channel(key, "n", "open", 0)
    for offset in range(1, 4):
        for key in keys:
            assert store.append_group([entry(channel=key)]) == [Appended(offset, 1_000)]
            assert len(store._known) <= 4
        # One group may need more of them at once.
        assert len(store.append_group([entry(channel=CHANNEL), entry(channel=CHANNEL)])) == 2
    group = [entry(channel=key) for key in (*keys, *keys)]
    assert store.append_group(group) == [Appended(4, 1_000)] * 7 + [Appended(5, 1_000)] * 7


# Epochs


def test_the_epoch_survives_a_restart_and_a_crash(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    epoch = store.open_channel(CHANNEL, "lobby", "open", 0).epoch
    store.append_group([entry("a")])
    store.close()
    store = open_store(tmp_path)
    assert store.open_channel(CHANNEL, "lobby", "open", 0).epoch == epoch
    store.append_group([entry("b")])
    # A crash: the files as they are, the lock dropped by the system.
    os.close(store._folder._lock)
    store._folder._lock = -1
    again = open_store(tmp_path)
    assert again.opening == Opening(created=False, restored=None)
    assert again.open_channel(CHANNEL, "lobby", "open", 0).epoch == epoch
    assert bodies(read(again)) == ["a", "b"]
    again.close()
    store.close()


def back_up(folder: Path) -> None:
    source = sqlite3.connect(folder / "peerbus.db")
    copy = sqlite3.connect(folder.parent / "backup.db")
    source.backup(copy)
    copy.close()
    source.close()


def used_folder(tmp_path: Path) -> tuple[Path, str]:
    """A folder whose database was backed up, and used after that."""
    folder = tmp_path / "data"
    store = open_store(folder)
    epoch = store.open_channel(CHANNEL, "lobby", "open", 0).epoch
    store.append_group([entry("a")])
    back_up(folder)
    store.append_group([entry("lost by the restore")])
    store.close()
    return folder, epoch


def test_a_database_put_back_in_place_gets_a_new_epoch(tmp_path: Path) -> None:
    """The file keeps its inode, and the server was started no other time between backup and restore."""
    folder, epoch = used_folder(tmp_path)
    (folder / "peerbus.db").write_bytes((tmp_path / "backup.db").read_bytes())
    store = open_store(folder)
    assert store.opening == Opening(created=False, restored="it lacks the last 1 commits")
    assert store.open_channel(CHANNEL, "lobby", "open", 0).epoch != epoch
    assert bodies(read(store)) == ["a"]
    new_epoch_of_it = read(store).state.epoch
    store.close()
    store = open_store(folder)
    assert store.opening.restored is None
    assert read(store).state.epoch == new_epoch_of_it
    store.close()


def test_a_folder_put_back_whole_gets_a_new_epoch(tmp_path: Path) -> None:
    folder, epoch = used_folder(tmp_path)
    shutil.copytree(folder, tmp_path / "copy")
    store = open_store(tmp_path / "copy")
    assert store.opening == Opening(created=False, restored="it is a copy")
    assert store.open_channel(CHANNEL, "lobby", "open", 0).epoch != epoch
    store.close()


@pytest.mark.parametrize("content", [None, b"", b"commits 1 inode 2\n", b"\xff" * 64])
def test_without_a_readable_witness_the_epoch_is_new(tmp_path: Path, content: bytes | None) -> None:
    folder, epoch = used_folder(tmp_path)
    (folder / "peerbus.witness").unlink()
    if content is not None:
        (folder / "peerbus.witness").write_bytes(content)
    store = open_store(folder)
    assert store.opening.restored == "its witness file is missing"
    assert store.open_channel(CHANNEL, "lobby", "open", 0).epoch != epoch
    store.close()


def test_a_first_start_that_was_cut_short_is_no_restore(tmp_path: Path, disk: FailingDisk) -> None:
    """The tables are made, and the process dies before it can note anything."""
    disk.failing["PRAGMA synchronous"] = sqlite_failure(sqlite3.SQLITE_IOERR)
    with pytest.raises(StoreError):
        open_store(tmp_path, disk)
    store = open_store(tmp_path)
    assert store.opening == Opening(created=False, restored=None)
    store.close()


def test_a_deleted_database_starts_with_a_new_epoch(tmp_path: Path) -> None:
    folder, epoch = used_folder(tmp_path)
    (folder / "peerbus.db").unlink()
    store = open_store(folder)
    assert store.opening == Opening(created=True, restored=None)
    state = store.open_channel(CHANNEL, "lobby", "open", 0)
    assert (state.head, state.epoch != epoch) == (0, True)
    store.close()


# What can't be opened


def refusal(folder: Path) -> StoreError:
    with pytest.raises(StoreError) as refused:
        open_store(folder)
    assert "\n" not in refused.value.reason
    assert str(folder) in refused.value.reason
    return refused.value


def test_a_folder_in_use(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    error = refusal(tmp_path)
    assert error.code == "storage_in_use"
    assert str(os.getpid()) in error.reason
    store.close()
    open_store(tmp_path).close()


def test_a_folder_in_use_by_another_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from peerbus.signaling.log.sqlite import SqliteStore\n"
        "store = SqliteStore(Path(sys.argv[1]), lambda: 'e'); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        error = refusal(tmp_path)
        assert (error.code, f"process {other.pid}" in error.reason) == ("storage_in_use", True)
        other.kill()
    open_store(tmp_path).close()


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert refusal(tmp_path / "file").code == "storage_unwritable"
    assert refusal(tmp_path / "file" / "below").code == "storage_unwritable"


def test_a_folder_nobody_can_write_to() -> None:
    assert refusal(Path("/proc/peerbus")).code == "storage_unwritable"


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "peerbus.db").write_bytes(b"This is not a database at all. " * 200)
    assert refusal(tmp_path).code == "storage_damaged"


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION])
def test_a_database_of_another_program(tmp_path: Path, version: int) -> None:
    db = sqlite3.connect(tmp_path / "peerbus.db")
    db.execute("CREATE TABLE notes (text)")
    db.execute(f"PRAGMA user_version = {version}")
    db.commit()
    db.close()
    assert refusal(tmp_path).code == "storage_foreign"


def test_a_database_of_the_first_version_goes_on(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    state = store.open_channel(CHANNEL, "lobby", "open", 0)
    store.append_group([entry("before", key="k")])
    store.close()
    db = sqlite3.connect(tmp_path / "peerbus.db")
    db.executescript(
        "ALTER TABLE entries DROP COLUMN author; DROP TABLE claims; DROP TABLE mail; PRAGMA user_version = 1;"
    )
    db.close()
    for _ in range(2):
        store = open_store(tmp_path)
        assert store.open_channel(CHANNEL, "lobby", "open", 0).epoch == state.epoch
        store.claim(CHANNEL, "name:bob", 0)
        store.append_group([entry("before", key="k"), entry("after", key="l", recipients=("name:bob",))])
        assert store.claim(CHANNEL, "name:bob", 0).unread == (2,)
        page = store.read(CHANNEL, "name:bob", Range(), 1 << 20)
        assert [found.body for found in page.entries] == [b"before", b"after"]
        store.close()


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1])
def test_a_schema_of_another_version(tmp_path: Path, version: int) -> None:
    open_store(tmp_path).close()
    db = sqlite3.connect(tmp_path / "peerbus.db")
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    error = refusal(tmp_path)
    assert (error.code, str(version) in error.reason) == ("storage_foreign", True)


@pytest.mark.parametrize("harm", ["truncated", "overwritten", "one page", "header"])
def test_a_damaged_database(tmp_path: Path, harm: str) -> None:
    folder = tmp_path
    store = open_store(folder)
    store.open_channel(CHANNEL, "lobby", "open", 0)
    for _ in range(20):
        store.append_group([entry("x" * 500, key=f"{number}{_}") for number in range(50)])
    store.close()
    content = (folder / "peerbus.db").read_bytes()
    damaged = {
        "truncated": content[: len(content) // 2],
        "overwritten": content[:8192] + b"\xa5" * (len(content) - 16384) + content[-8192:],
        "one page": content[: 100 * 4096] + b"\xa5" * 4096 + content[101 * 4096 :],
        "header": b"\x00" * 100 + content[100:],
    }[harm]
    (folder / "peerbus.db").write_bytes(damaged)
    assert refusal(folder).code == "storage_damaged"


# Failures


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO entries", "UPDATE meta", "COMMIT"])
@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC]
)
def test_a_failed_group_leaves_nothing(
    store: SqliteStore, disk: FailingDisk, statement: str, code: int
) -> None:
    store.append_group([entry("a")])
    store.open_channel(OTHER, "hall", "open", 0)
    disk.failing[statement] = sqlite_failure(code)
    for _ in range(3):
        with pytest.raises(StoreError) as failed:
            store.append_group([entry("b", key="k"), entry("x", channel=OTHER)])
        assert failed.value.code == "storage_unavailable"
        assert bodies(read(store)) == ["a"]
        assert store.read(OTHER, "name:bob", Range(), PAGE_BYTES).state.head == 0
    disk.failing.clear()
    assert store.append_group([entry("b", key="k"), entry("c"), entry("x", channel=OTHER)]) == [
        Appended(2, 1_000),
        Appended(3, 1_000),
        Appended(1, 1_000),
    ]
    assert bodies(read(store)) == ["a", "b", "c"]


def test_a_full_disk_keeps_the_connection_and_another_failure_does_not(
    store: SqliteStore, disk: FailingDisk
) -> None:
    for code, connections in ((sqlite3.SQLITE_FULL, 1), (sqlite3.SQLITE_IOERR_FSYNC, 2)):
        disk.failing["COMMIT"] = sqlite_failure(code)
        with pytest.raises(StoreError):
            store.append_group([entry("lost")])
        disk.failing.clear()
        store.append_group([entry("a")])
        assert disk.connections == connections


def test_a_rollback_that_fails_too(store: SqliteStore, disk: FailingDisk) -> None:
    disk.failing["COMMIT"] = disk.failing["ROLLBACK"] = sqlite_failure(sqlite3.SQLITE_FULL)
    with pytest.raises(StoreError):
        store.append_group([entry("lost")])
    disk.failing.clear()
    assert store.append_group([entry("a")]) == [Appended(1, 1_000)]
    assert disk.connections == 2


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_FULL])
def test_a_commit_that_reports_an_error_and_reached_the_disk(
    store: SqliteStore, disk: FailingDisk, code: int
) -> None:
    """The group was not acknowledged; its retry finds it, and what was new besides goes on behind it."""
    disk.failing_after["COMMIT"] = sqlite_failure(code)
    with pytest.raises(StoreError):
        store.append_group([entry("a", key="k"), entry("b")])
    disk.failing_after.clear()
    assert store.append_group([entry("a", key="k"), entry("c", key="l")]) == [
        Appended(1, 1_000, duplicate=True),
        Appended(3, 1_000),
    ]
    assert bodies(read(store)) == ["a", "b", "c"]


def test_a_disk_that_can_not_be_opened_again(store: SqliteStore, disk: FailingDisk) -> None:
    disk.failing["COMMIT"] = sqlite_failure(sqlite3.SQLITE_IOERR_FSYNC)
    disk.failing["connect"] = disk.failing["PRAGMA synchronous"] = sqlite_failure(sqlite3.SQLITE_CANTOPEN)
    for beginning in ("COMMIT", "connect", "PRAGMA synchronous"):
        with pytest.raises(StoreError) as failed:
            store.append_group([entry("lost")])
        assert failed.value.code == "storage_unavailable"
        del disk.failing[beginning]
    assert store.append_group([entry("a")]) == [Appended(1, 1_000)]


def test_another_program_that_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerbus.signaling.log.schema._BUSY_TIMEOUT_S", 0.0)
    disk = FailingDisk()
    store = open_store(tmp_path, disk)
    store.open_channel(CHANNEL, "lobby", "open", 0)
    other = sqlite3.connect(tmp_path / "peerbus.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError) as failed:
        store.append_group([entry("lost")])
    assert failed.value.code == "storage_unavailable"
    other.execute("COMMIT")
    assert store.append_group([entry("a")]) == [Appended(1, 1_000)]
    assert disk.connections == 1
    other.close()
    store.close()


def test_a_database_exchanged_while_in_use(store: SqliteStore, disk: FailingDisk, tmp_path: Path) -> None:
    store.append_group([entry("a")])
    back_up_folder = tmp_path / "backup.db"
    source = sqlite3.connect(tmp_path / "peerbus.db")
    source.execute("VACUUM INTO ?", (str(back_up_folder),))
    source.close()
    store.append_group([entry("b")])
    disk.failing["COMMIT"] = sqlite_failure(sqlite3.SQLITE_IOERR_FSYNC)
    with pytest.raises(StoreError):
        store.append_group([entry("lost")])
    disk.failing.clear()
    for left_over in ("peerbus.db-wal", "peerbus.db-shm"):
        (tmp_path / left_over).unlink(missing_ok=True)
    shutil.move(back_up_folder, tmp_path / "peerbus.db")
    with pytest.raises(StoreError) as failed:
        store.append_group([entry("c")])
    assert (failed.value.code, "older" in failed.value.reason) == ("storage_damaged", True)


def test_housekeeping_tries_whether_the_disk_works_again(store: SqliteStore, disk: FailingDisk) -> None:
    disk.failing["COMMIT"] = sqlite_failure(sqlite3.SQLITE_FULL)
    with pytest.raises(StoreError):
        store.append_group([entry("lost")])
    with pytest.raises(StoreError):
        store.maintain(0)
    disk.failing.clear()
    assert not store.maintain(0)


def test_other_calls_fail_as_clearly(store: SqliteStore, disk: FailingDisk) -> None:
    epoch = store.append_group([entry("a")]) and read(store).state.epoch
    disk.failing["COMMIT"] = sqlite_failure(sqlite3.SQLITE_FULL)
    for call in (lambda: store.set_locked(CHANNEL, True), lambda: store.trim(CHANNEL, 2), store.new_epochs):
        with pytest.raises(StoreError):
            call()
    state = read(store).state
    assert (state.locked, state.tail, state.epoch) == (False, 1, epoch)
    disk.failing.clear()
    assert store.open_channel(CHANNEL, "lobby", "open", 0) == state


@pytest.mark.parametrize(
    "append",
    [
        entry(key="\ud800"),
        entry(identity="name:\udfff"),
        entry(recipients=("\ud800",)),
        entry(type="\ud800"),
        entry(time_ms=1 << 63),
    ],
)
def test_what_can_not_be_stored_harms_nothing(store: SqliteStore, append: Append) -> None:
    with pytest.raises(StoreError) as failed:
        store.append_group([entry("a"), append])
    assert failed.value.code == "unstorable"
    assert store.append_group([entry("b")]) == [Appended(1, 1_000)]
    assert bodies(read(store)) == ["b"]


def test_a_defect_in_between_leaves_no_transaction_open(store: SqliteStore, disk: FailingDisk) -> None:
    disk.failing["UPDATE meta"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        store.append_group([entry("a")])
    disk.failing.clear()
    assert store.append_group([entry("b")]) == [Appended(1, 1_000)]
    assert disk.connections == 1


def test_a_damaged_page_met_while_reading(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.open_channel(CHANNEL, "lobby", "open", 0)
    store.append_group([entry("x" * 500) for _ in range(400)])
    store.close()
    store = open_store(tmp_path)
    size = (tmp_path / "peerbus.db").stat().st_size
    with (tmp_path / "peerbus.db").open("r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xa5" * (size - 8 * 4096))
    with pytest.raises(StoreError) as failed:
        read(store, Range(limit=1_000))
    assert failed.value.code == "storage_damaged"
    with pytest.raises(UnknownChannelError):
        store.read(ChannelKey("public", b"?"), "name:bob", Range(), PAGE_BYTES)
    store.close()

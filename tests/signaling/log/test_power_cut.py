"""The power-cut test finds a log that is careless: with the syncs left out, or with the disk believed after a
failed one.

That the log itself passes is the slice of `tests/soak/log_power_cuts.py` in the test run.
"""

import random
from pathlib import Path
from typing import Any

import pytest

from peerbus.signaling.log import Appended, StoreError
from peerbus.signaling.log.folder import DataFolder
from peerbus.signaling.log.sqlite import SqliteStore
from tests.soak.log_power_cuts import run
from tests.support.log_entries import CHANNEL, entry, new_epoch
from tests.support.power_cut import CachedFile, PowerCutConnection, PowerCutDisk


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_commits_that_are_not_synced_are_found(monkeypatch: pytest.MonkeyPatch, synchronous: str) -> None:
    inner = PowerCutConnection.execute

    def careless(self: PowerCutConnection, sql: str, parameters: Any = (), /) -> Any:
        return inner(self, sql.replace("synchronous = FULL", f"synchronous = {synchronous}"), parameters)

    monkeypatch.setattr(PowerCutConnection, "execute", careless)
    with pytest.raises(AssertionError):
        run(1, 25)


def stored_after_a_failed_sync(folder: Path, seed: int) -> bool:
    """A group's sync fails, and the process dies; its next life acknowledges the group; then the power goes."""
    folder.mkdir()
    with PowerCutDisk(folder, random.Random(seed)) as disk:
        disk.power_on()
        with disk.settling():
            store = SqliteStore(folder, new_epoch, connect_to=disk.connect)
            store.open_channel(CHANNEL, "lobby", "open", 0)
            store.append_group([entry("first")])
            disk.sync_fails = 1.0
            disk.kills_at_failed_sync = True
            with pytest.raises(StoreError):
                store.append_group([entry("x" * 9_000, key="k", fingerprint=b"")])
            disk.sync_fails = 0.0
            disk.process_dies(store.close)
            store = SqliteStore(folder, new_epoch, connect_to=disk.connect)
            results = store.append_group([entry("x" * 9_000, key="k", fingerprint=b"")])
            assert [result.offset for result in results if isinstance(result, Appended)] == [2]
            disk.cut()
            store.close()
    store = SqliteStore(folder, new_epoch)
    head = store.open_channel(CHANNEL, "lobby", "open", 0).head
    store.close()
    return head == 2


def test_what_is_acknowledged_after_a_failed_sync_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(stored_after_a_failed_sync(tmp_path / f"settled{seed}", seed) for seed in range(20))
    monkeypatch.setattr(DataFolder, "settle_database", lambda _: None)
    assert not all(stored_after_a_failed_sync(tmp_path / f"believed{seed}", seed) for seed in range(20))


@pytest.mark.parametrize("through", [True, False])
def test_a_cut_keeps_what_was_synced_and_only_parts_of_the_rest(tmp_path: Path, through: bool) -> None:
    path = tmp_path / "peerbus.db"
    outcomes = set()
    for seed in range(60):
        path.write_bytes(b"a" * 1024)
        with PowerCutDisk(tmp_path, random.Random(seed)) as disk:
            disk.power_on()
            db = disk.connect(tmp_path / "peerbus.db")
            db.close()
            disk.write(str(path), 0, b"b" * 1024)
            if through:
                disk.sync(str(path))
            disk.write(str(path), 1024, b"c" * 512)
            disk.cut()
        outcomes.add(path.read_bytes())
    first = b"b" * 1024 if through else b"a" * 1024
    assert {first, first + b"c" * 512} <= outcomes
    assert all(outcome.startswith(b"b" * 1024) for outcome in outcomes) is through


def test_a_truncation_waits_for_a_sync_as_well() -> None:
    file = CachedFile(b"abcdef", is_durable=True)
    file.put(3)
    file.put((5, b"x"))
    file.put(9)
    assert bytes(file.platter) == b"abc\x00\x00x"

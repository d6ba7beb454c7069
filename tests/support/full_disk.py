"""Fills the disk under a log and frees it again: a program, run where the folder is a small file system.

`python -m tests.support.full_disk FOLDER fill` appends until nothing more fits, then ends as by a crash.
`python -m tests.support.full_disk FOLDER free` opens what is left, first while the disk is still full, then after
it has space again. Both print what was acknowledged; a broken promise is an AssertionError.
"""

import os
import sys
from pathlib import Path

from peerbus.signaling.log import Appended, Range, Store, StoreError
from peerbus.signaling.log.sqlite import SqliteStore
from tests.support.log_entries import CHANNEL, entry, new_epoch

_FILLER = "filler"
_FILLER_BYTES = 3 << 20  # more than the rest of the file system: a start copies the write-ahead log once
_BODY = "x" * 1_000


def fill(folder: Path) -> None:
    """Append until the disk is full; free some space and fill it again; end without closing."""
    store = SqliteStore(folder, new_epoch)
    store.open_channel(CHANNEL, "lobby", "open", 0)
    acknowledged: list[int] = []
    for round_number in range(2):
        filler = folder / f"{_FILLER}{round_number}"
        filler.write_bytes(b"x" * _FILLER_BYTES)
        refusals = 0
        while refusals < 5:
            try:
                results = store.append_group([entry(_BODY) for _ in range(20)])
            except StoreError as error:
                expect_full(error)
                refusals += 1
            else:
                acknowledged += [result.offset for result in results if isinstance(result, Appended)]
        check(store, acknowledged)
        if round_number == 0:
            filler.unlink()
            # Room for what was refused, without anybody doing anything about it.
            assert len(store.append_group([entry(_BODY)])) == 1
            acknowledged.append(acknowledged[-1] + 1)
    print(len(acknowledged), flush=True)
    os._exit(0)


def free(folder: Path) -> None:
    """Open the log on the full disk, or hear why not; then free the disk, and go on."""
    expected = int(sys.stdin.read())
    try:
        store = SqliteStore(folder, new_epoch)
    except StoreError as error:
        expect_full(error)
    else:
        check(store, list(range(1, expected + 1)))
        store.close()
    for filler in folder.glob(f"{_FILLER}*"):
        filler.unlink()
    store = SqliteStore(folder, new_epoch)
    assert store.opening.restored is None, store.opening
    assert store.append_group([entry(_BODY)]) == [Appended(expected + 1, 1_000)]
    check(store, list(range(1, expected + 2)))
    store.close()
    print(expected + 1)


def expect_full(error: StoreError) -> None:
    """Whether the log said what is the matter."""
    assert error.code == "storage_unavailable", error
    assert "full" in error.reason, error


def check(store: Store, acknowledged: list[int]) -> None:
    """Whether the log holds what was acknowledged, and nothing else."""
    page = store.read(CHANNEL, "name:bob", Range(limit=100_000), 1 << 30)
    assert page.complete
    assert [entry.offset for entry in page.entries] == acknowledged


if __name__ == "__main__":
    {"fill": fill, "free": free}[sys.argv[2]](Path(sys.argv[1]))

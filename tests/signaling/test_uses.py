"""Uses of a credential: counted once for each lineage, whoever races, and for good."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerbus.signaling.keyring import UseLimit
from peerbus.signaling.uses import USES_FILE, UsesError, UseStore

ONCE = UseLimit("abcdefghijkl:t-1", 1, 1_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[UseStore]:
    uses = UseStore.open(tmp_path)
    yield uses
    uses.close()


def lineage(number: int) -> bytes:
    return bytes([number]) * 32


async def test_the_same_lineage_comes_back_and_another_does_not(store: UseStore) -> None:
    assert await store.take((ONCE,), lineage(1)) == frozenset({ONCE.credential_id})
    assert await store.take((ONCE,), lineage(1)) == frozenset()
    assert await store.take((ONCE,), lineage(2)) is None
    assert await store.take((UseLimit("abcdefghijkl:t-2", 1, None),), lineage(2)) is not None


async def test_of_all_who_race_as_many_win_as_may(store: UseStore) -> None:
    limit = UseLimit("abcdefghijkl:t-1", 3, None)
    results = await asyncio.gather(*(store.take((limit,), lineage(number % 20)) for number in range(60)))
    winners = {number % 20 for number, result in enumerate(results) if result is not None}
    assert len(winners) == 3
    # Each of them was counted by its first attempt, and known in those after that.
    assert [len(result) for result in results if result is not None].count(1) == 3


async def test_who_cannot_be_counted_leaves_nothing_to_who_comes_next(store: UseStore) -> None:
    unstorable = UseLimit("abcdefghijkl:\ud800", 1, 1_000)
    with pytest.raises(UnicodeEncodeError):
        await store.take((ONCE, unstorable), lineage(1))
    assert await store.take((ONCE,), lineage(2)) == frozenset({ONCE.credential_id})


async def test_two_processes_give_one_use_once(tmp_path: Path, store: UseStore) -> None:
    other = UseStore.open(tmp_path)
    results = await asyncio.gather(
        *((store, other)[number % 2].take((ONCE,), lineage(number)) for number in range(10))
    )
    other.close()
    assert len([result for result in results if result is not None]) == 1


async def test_a_token_and_its_key_are_counted_both_or_neither(store: UseStore) -> None:
    key = UseLimit("abcdefghijkl", 2, None)
    tokens = [UseLimit(f"abcdefghijkl:{number}", 1, 1_000) for number in range(4)]
    assert await store.take((key, tokens[0]), lineage(0)) == frozenset({"abcdefghijkl", "abcdefghijkl:0"})
    # Another lineage finds the token used, and takes nothing of the key.
    assert await store.take((key, tokens[0]), lineage(1)) is None
    assert await store.take((key, tokens[1]), lineage(2)) is not None
    # The key is used up, and so the token is not used by who was refused.
    assert await store.take((key, tokens[2]), lineage(3)) is None
    assert await store.take((tokens[2],), lineage(4)) is not None


async def test_a_use_outlives_the_process(tmp_path: Path) -> None:
    first = UseStore.open(tmp_path)
    assert await first.take((ONCE,), lineage(1)) is not None
    # As it is on disk at this moment, without a word of farewell.
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in (USES_FILE, f"{USES_FILE}-wal"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    first.close()
    for folder in (tmp_path, copy):
        again = UseStore.open(folder)
        assert await again.take((ONCE,), lineage(2)) is None
        assert await again.take((ONCE,), lineage(1)) == frozenset()
        again.close()


async def test_what_has_expired_is_forgotten_and_nothing_else(store: UseStore) -> None:
    endless = UseLimit("abcdefghijkl", 1, None)
    assert await store.take((ONCE, endless), lineage(1)) is not None
    await store.forget(999)
    assert await store.take((ONCE,), lineage(2)) is None
    await store.forget(1_000)
    assert await store.take((ONCE,), lineage(2)) is not None
    assert await store.take((endless,), lineage(2)) is None


async def test_what_cannot_be_counted_is_told(tmp_path: Path, store: UseStore) -> None:
    holder = sqlite3.connect(tmp_path / USES_FILE, isolation_level=None)
    store._connection.execute("PRAGMA busy_timeout = 1")
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(UsesError, match="locked"):
        await store.take((ONCE,), lineage(1))
    holder.execute("ROLLBACK")
    assert await store.take((ONCE,), lineage(1)) is not None
    holder.execute("PRAGMA user_version = 99")
    holder.close()
    with pytest.raises(UsesError, match="later version"):
        UseStore.open(tmp_path)


def test_what_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / USES_FILE).write_bytes(b"not a database at all, but long enough to look at")
    with pytest.raises(UsesError, match=USES_FILE):
        UseStore.open(tmp_path)
    with pytest.raises(UsesError, match=USES_FILE):
        UseStore.open(tmp_path / "nowhere")

"""What is stored about keys and projects, across restarts and processes."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import ALL_OPERATIONS, Grant, Operation, admit
from peerbus.protocol.secrets import Secret
from peerbus.signaling.audit import AUDIT_FILE
from peerbus.signaling.keyring import DEMO_PROJECT
from peerbus.signaling.keys import (
    DEFAULT_PROJECT,
    DEMO_GRANT,
    DEMO_KEY_TTL_MS,
    DEMO_QUOTA,
    FULL_GRANT,
    KEYS_FILE,
    KeyStore,
    KeyStoreError,
)
from peerbus.signaling.master_key import MASTER_KEY_FILE
from peerbus.signaling.quota import Quota

NOW_MS = 1_800_000_000_000
MASTER_KEY = "A" * 43

Open = Callable[..., KeyStore]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    """Opens stores of one data folder, and closes them in the end."""
    stores: list[KeyStore] = []

    def open_one(folder: Path = tmp_path, *, master_key: str | None = None) -> KeyStore:
        stores.append(KeyStore.open(folder, master_key=master_key))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def code_of(store: KeyStore, credential: str, now_ms: int = NOW_MS) -> ErrorCode:
    with pytest.raises(ProtocolError) as caught:
        store.verify(Secret(credential), now_ms)
    return caught.value.code


# --- keys -------------------------------------------------------------------------------------------------


def test_the_first_key_is_made_once(open_store: Open) -> None:
    store = open_store()
    key = store.bootstrap(NOW_MS)
    assert key is not None
    principal = store.verify(Secret(key.to_text()), NOW_MS)
    assert principal.project == DEFAULT_PROJECT
    assert principal.grant.operator
    assert principal.grant.operations == ALL_OPERATIONS
    assert store.bootstrap(NOW_MS) is None
    store.close()
    again = open_store()
    assert again.bootstrap(NOW_MS) is None
    assert again.verify(Secret(key.to_text()), NOW_MS) == principal


def test_a_key_and_its_revocation_outlive_a_restart(open_store: Open) -> None:
    store = open_store()
    grant = Grant(
        channels=("team/*",), operations=frozenset({Operation.READ}), origins=("https://a.example",)
    )
    good = store.create_key("acme", grant=grant, label="one", now_ms=NOW_MS)
    bad = store.create_key("acme", grant=FULL_GRANT, now_ms=NOW_MS + 1)
    assert store.revoke_key(bad.key_id, now_ms=NOW_MS + 2).revoked_ms == NOW_MS + 2
    store.close()
    store = open_store()
    assert store.verify(Secret(good.to_text()), NOW_MS).grant == grant
    assert code_of(store, bad.to_text()) is ErrorCode.REVOKED
    assert [(key.key_id, key.label, key.revoked_ms) for key in store.keys("acme")] == [
        (good.key_id, "one", None),
        (bad.key_id, "", NOW_MS + 2),
    ]
    assert store.keys("default") == []
    project = store.project("acme")
    assert project is not None
    assert project.quota == Quota()
    assert store.project("nobody") is None


def test_the_first_revocation_counts(open_store: Open) -> None:
    store = open_store()
    key = store.create_key("acme", grant=FULL_GRANT, now_ms=NOW_MS)
    store.revoke_key(key.key_id, now_ms=NOW_MS)
    assert store.revoke_key(key.key_id, now_ms=NOW_MS + 5).revoked_ms == NOW_MS


def test_no_file_holds_a_secret(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    keys = [store.create_key("acme", grant=FULL_GRANT, now_ms=NOW_MS) for _ in range(3)]
    store.open_demo(NOW_MS)
    token = store.issue_demo_key(NOW_MS).credential.reveal()
    store.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    # The positive control: what is stored is found.
    assert keys[0].key_id.encode() in stored
    for secret in [*(key.secret.reveal() for key in keys), token.rsplit(".", 1)[1]]:
        assert secret.encode() not in stored


@pytest.mark.parametrize(
    ("project", "label"),
    [("", ""), ("Acme", ""), ("a/b", ""), (DEMO_PROJECT, ""), ("acme", "x" * 129), ("acme", "a\x1b[31m")],
)
def test_bad_keys_are_not_made(open_store: Open, project: str, label: str) -> None:
    store = open_store()
    with pytest.raises(KeyStoreError):
        store.create_key(project, grant=FULL_GRANT, label=label, now_ms=NOW_MS)
    assert store.keys() == []
    assert store.project(project) is None


def test_an_unknown_key_is_not_revoked(open_store: Open) -> None:
    with pytest.raises(KeyStoreError, match="no key"):
        open_store().revoke_key("abcdefghijkl", now_ms=NOW_MS)


# --- several processes ------------------------------------------------------------------------------------


def test_a_running_server_notices_what_the_command_changed(open_store: Open) -> None:
    server, command = open_store(), open_store()
    key = command.create_key("acme", grant=FULL_GRANT, now_ms=NOW_MS)
    assert code_of(server, key.to_text()) is ErrorCode.UNAUTHORIZED
    assert server.refresh() == frozenset()
    assert server.verify(Secret(key.to_text()), NOW_MS).project == "acme"
    assert server.project("acme") is not None
    command.revoke_key(key.key_id, now_ms=NOW_MS)
    assert server.verify(Secret(key.to_text()), NOW_MS).key_id == key.key_id
    assert server.refresh() == {key.key_id}
    assert code_of(server, key.to_text()) is ErrorCode.REVOKED
    assert server.refresh() == frozenset()


def test_a_revocation_is_told_even_if_an_own_change_came_first(open_store: Open) -> None:
    server, command = open_store(), open_store()
    key = server.create_key("acme", grant=FULL_GRANT, now_ms=NOW_MS)
    command.refresh()
    command.revoke_key(key.key_id, now_ms=NOW_MS)
    own = server.create_key("acme", grant=FULL_GRANT, now_ms=NOW_MS)
    server.revoke_key(own.key_id, now_ms=NOW_MS)
    assert server.refresh() == {key.key_id, own.key_id}


def test_two_processes_may_begin_at_once(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from peerbus.signaling.keys import *\n"
        "store = KeyStore.open(pathlib.Path(sys.argv[1]))\n"
        "print(store.create_key('acme', grant=FULL_GRANT, now_ms=1).to_text())"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    texts = [child.communicate(timeout=60)[0].strip() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    store = KeyStore.open(tmp_path)
    assert all(store.verify(Secret(text), NOW_MS).project == "acme" for text in texts)
    assert len(store.keys()) == 3
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [AUDIT_FILE, KEYS_FILE, MASTER_KEY_FILE]


# --- the demo project -------------------------------------------------------------------------------------


def test_demo_keys_are_short_lived_and_weak(open_store: Open) -> None:
    store = open_store()
    store.open_demo(NOW_MS)
    issued = store.issue_demo_key(NOW_MS)
    assert issued.expires_ms == NOW_MS + DEMO_KEY_TTL_MS
    principal = store.verify(issued.credential, NOW_MS)
    assert principal.project == DEMO_PROJECT
    assert principal.expires_ms == issued.expires_ms
    assert code_of(store, issued.credential.reveal(), issued.expires_ms) is ErrorCode.EXPIRED
    for scope in ("private:demo", "public"):
        session = admit(principal.grant, now_ms=NOW_MS, scope=scope, channel="lobby", agent="guest")
        assert not session.is_claimed
        assert session.allows(Operation.SEND_DURABLE, message_type="chat-text")
        for operation in (Operation.KICK, Operation.LOCK, Operation.ADMIN, Operation.RECORD):
            assert not session.allows(operation)
    project = store.project(DEMO_PROJECT)
    assert project is not None
    assert project.quota == DEMO_QUOTA


def test_one_signing_key_serves_all_visitors_and_is_replaced_when_revoked(open_store: Open) -> None:
    store = open_store()
    store.open_demo(NOW_MS)
    first = store.issue_demo_key(NOW_MS)
    store.issue_demo_key(NOW_MS + 1)
    (record,) = store.keys(DEMO_PROJECT)
    assert record.grant == DEMO_GRANT
    store.revoke_key(record.key_id, now_ms=NOW_MS)
    assert code_of(store, first.credential.reveal()) is ErrorCode.REVOKED
    assert store.verify(store.issue_demo_key(NOW_MS).credential, NOW_MS).key_id != record.key_id


def test_demo_keys_are_refused_by_a_server_without_demo(open_store: Open) -> None:
    store = open_store()
    store.open_demo(NOW_MS)
    issued = store.issue_demo_key(NOW_MS)
    store.close()
    store = open_store()
    assert code_of(store, issued.credential.reveal()) is ErrorCode.FORBIDDEN
    with pytest.raises(KeyStoreError, match="closed"):
        store.issue_demo_key(NOW_MS)
    store.open_demo(NOW_MS)
    assert store.verify(issued.credential, NOW_MS).project == DEMO_PROJECT


# --- what can be wrong with a data folder -----------------------------------------------------------------


def refusal(folder: Path, **options: str) -> str:
    with pytest.raises(KeyStoreError) as caught:
        KeyStore.open(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_files_are_private(open_store: Open, tmp_path: Path) -> None:
    open_store(tmp_path / "data")
    for name in (KEYS_FILE, MASTER_KEY_FILE):
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600


def test_a_master_key_that_others_can_read_is_refused(open_store: Open, tmp_path: Path) -> None:
    open_store().close()
    (tmp_path / MASTER_KEY_FILE).chmod(0o640)
    assert "chmod 600" in refusal(tmp_path)


@pytest.mark.parametrize("content", ["", "short", "A" * 42, "A" * 44, "ä", "!" * 43])
def test_a_damaged_master_key_is_refused(open_store: Open, tmp_path: Path, content: str) -> None:
    open_store().close()
    (tmp_path / MASTER_KEY_FILE).write_text(content, "utf-8")
    assert MASTER_KEY_FILE in refusal(tmp_path)


def test_the_master_key_may_come_from_the_environment(open_store: Open, tmp_path: Path) -> None:
    key = open_store(master_key=MASTER_KEY).create_key("acme", grant=FULL_GRANT, now_ms=NOW_MS)
    assert not (tmp_path / MASTER_KEY_FILE).exists()
    assert open_store(master_key=MASTER_KEY).verify(Secret(key.to_text()), NOW_MS).key_id == key.key_id
    assert "another master key" in refusal(tmp_path, master_key="B" * 42 + "A")
    assert "PEERBUS_MASTER_KEY" in refusal(tmp_path, master_key="x")
    # Without it no new one is made, which could open nothing.
    assert MASTER_KEY_FILE in refusal(tmp_path)
    assert not (tmp_path / MASTER_KEY_FILE).exists()


def test_another_master_key_is_recognised(open_store: Open, tmp_path: Path) -> None:
    open_store().close()
    (tmp_path / MASTER_KEY_FILE).write_text(MASTER_KEY, "ascii")
    assert "another master key" in refusal(tmp_path)


def test_what_is_not_a_database_is_refused(open_store: Open, tmp_path: Path) -> None:
    open_store().close()
    (tmp_path / KEYS_FILE).write_bytes(b"not a database at all, but long enough to look at")
    assert "damaged" in refusal(tmp_path)


def test_a_damaged_row_is_refused(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    store.create_key("acme", grant=FULL_GRANT, now_ms=NOW_MS)
    store.close()
    with sqlite3.connect(tmp_path / KEYS_FILE) as connection:
        connection.execute("UPDATE keys SET grant_json = '{\"moon\": 1}'")
    connection.close()
    assert "damaged" in refusal(tmp_path)


def test_a_later_version_is_refused(open_store: Open, tmp_path: Path) -> None:
    open_store().close()
    with sqlite3.connect(tmp_path / KEYS_FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "later version" in refusal(tmp_path)


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refusal(tmp_path / "file")
    assert str(tmp_path / "file") in refusal(tmp_path / "file" / "data")


@pytest.mark.parametrize("name", [KEYS_FILE, MASTER_KEY_FILE])
def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    if name == KEYS_FILE:
        (tmp_path / MASTER_KEY_FILE).write_text(MASTER_KEY)
        (tmp_path / MASTER_KEY_FILE).chmod(0o600)
    assert name in refusal(tmp_path)


def test_a_change_that_cannot_be_stored_is_not_made(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    key = store.create_key("acme", grant=FULL_GRANT, now_ms=NOW_MS)
    holder = sqlite3.connect(tmp_path / KEYS_FILE, isolation_level=None)
    store._connection.execute("PRAGMA busy_timeout = 1")
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(KeyStoreError, match="locked"):
        store.revoke_key(key.key_id, now_ms=NOW_MS)
    assert store.verify(Secret(key.to_text()), NOW_MS).key_id == key.key_id
    assert store.refresh() == frozenset()
    holder.execute("ROLLBACK")
    holder.close()
    store.revoke_key(key.key_id, now_ms=NOW_MS)
    assert code_of(store, key.to_text()) is ErrorCode.REVOKED


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_files_are_private_whatever_the_umask(open_store: Open, tmp_path: Path, umask: int) -> None:
    former = os.umask(umask)
    try:
        open_store(tmp_path / "data")
    finally:
        os.umask(former)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert modes == {0o600}

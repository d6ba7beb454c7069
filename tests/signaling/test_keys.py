"""What is stored about keys and projects, across restarts and processes."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import ALL_OPERATIONS, Grant, Operation, admit
from peerbus.protocol.secrets import Secret
from peerbus.signaling.audit import AUDIT_FILE
from peerbus.signaling.audit_entry import AuditAction
from peerbus.signaling.keyring import DEMO_PROJECT, Principal
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
from peerbus.signaling.keys_file import KeysFile, Stored
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


# --- temporary keys and tokens ----------------------------------------------------------------------------


WANTED = Grant(
    channels=("lobby", "team/*"), agents=(">",), operations=frozenset({Operation.READ, Operation.KICK})
)


def issuer_of(store: KeyStore, **grant: Any) -> Principal:
    key = store.create_key("acme", grant=msgspec.structs.replace(FULL_GRANT, **grant), now_ms=NOW_MS)
    return store.verify(Secret(key.to_text()), NOW_MS)


def test_a_temporary_key_allows_what_both_allow_and_ends(open_store: Open) -> None:
    store = open_store()
    issuer = issuer_of(store, operations=frozenset({Operation.READ, Operation.HISTORY}), members=5)
    issued = store.issue_token(issuer, WANTED, 60_500, NOW_MS)
    principal = store.verify(issued.credential, NOW_MS)
    assert (principal.project, principal.key_id) == ("acme", issuer.key_id)
    assert principal.ids.own == issued.token_id
    assert principal.grant == issued.grant
    assert issued.grant == msgspec.structs.replace(
        WANTED, operations=frozenset({Operation.READ}), members=5, expires_ms=NOW_MS + 60_500
    )
    assert store.verify(issued.credential, NOW_MS + 60_499) == principal
    assert code_of(store, issued.credential.reveal(), NOW_MS + 60_500) is ErrorCode.EXPIRED


def test_it_ends_no_later_than_its_issuer(open_store: Open) -> None:
    store = open_store()
    issued = store.issue_token(issuer_of(store, expires_ms=NOW_MS + 1_000), WANTED, 60_000, NOW_MS)
    assert issued.expires_ms == NOW_MS + 1_000


@pytest.mark.parametrize("section", ["channels", "agents", "operations"])
def test_a_key_for_nothing_is_refused(open_store: Open, section: str) -> None:
    store = open_store()
    nothing = msgspec.structs.replace(
        WANTED, **{section: Grant().operations if section == "operations" else ()}
    )
    with pytest.raises(ProtocolError, match=section) as caught:
        store.issue_token(issuer_of(store), nothing, 1_000, NOW_MS)
    assert caught.value.code is ErrorCode.FORBIDDEN


def test_a_grant_that_fits_no_token_is_refused(open_store: Open) -> None:
    store = open_store()
    long = msgspec.structs.replace(WANTED, channels=tuple(f"{n}{'x' * 200}" for n in range(32)))
    with pytest.raises(ProtocolError) as caught:
        store.issue_token(issuer_of(store), long, 1_000, NOW_MS)
    assert caught.value.code is ErrorCode.TOO_LARGE


def test_which_tokens_issue_others(open_store: Open) -> None:
    store = open_store()
    key = issuer_of(store)
    admin = msgspec.structs.replace(WANTED, operations=frozenset({Operation.READ, Operation.ADMIN}))

    def principal(grant: Grant, issuer: Principal = key) -> Principal:
        return store.verify(store.issue_token(issuer, grant, 60_000, NOW_MS).credential, NOW_MS)

    def refusal(issuer: Principal) -> str:
        with pytest.raises(ProtocolError) as caught:
            store.issue_token(issuer, WANTED, 1_000, NOW_MS)
        assert caught.value.code is ErrorCode.FORBIDDEN
        return caught.value.message

    assert "admin" in refusal(principal(WANTED))
    assert "uses" in refusal(principal(msgspec.structs.replace(admin, uses=3)))
    assert "jti" in refusal(msgspec.structs.replace(principal(admin), token_id=None))
    chain = [key]
    for _ in range(5):
        chain.append(principal(admin, chain[-1]))
    assert "too many" in refusal(chain[-1])
    # The last of a chain ends with every one before it.
    assert chain[-1].ids.all == {one.ids.own for one in chain}
    store.revoke_token(chain[2].ids.own, now_ms=NOW_MS)
    for index, one in enumerate(chain):
        if index < 2:
            store.recheck(one, NOW_MS)
        else:
            with pytest.raises(ProtocolError):
                store.recheck(one, NOW_MS)


def test_a_revoked_token_stays_so_after_a_restart_and_is_forgotten_when_it_has_ended(
    open_store: Open,
) -> None:
    server, command = open_store(), open_store()
    issuer = issuer_of(server)
    issued = [server.issue_token(issuer, WANTED, 60_000, NOW_MS) for _ in range(3)]
    command.refresh()
    command.revoke_token(issued[0].token_id, now_ms=NOW_MS, expires_ms=issued[0].expires_ms)
    command.revoke_token(issued[1].token_id, now_ms=NOW_MS)
    assert server.refresh() == {issued[0].token_id, issued[1].token_id}
    assert server.refresh() == frozenset()
    server.close()
    server = open_store()
    for one in issued[:2]:
        assert code_of(server, one.credential.reveal()) is ErrorCode.REVOKED
    assert server.verify(issued[2].credential, NOW_MS).ids.own == issued[2].token_id
    server.forget(NOW_MS + 59_999)
    assert code_of(server, issued[0].credential.reveal()) is ErrorCode.REVOKED
    server.forget(NOW_MS + 60_000)
    # Nothing is left of it but its end; the other one is remembered as long as its key.
    assert code_of(server, issued[0].credential.reveal(), NOW_MS + 60_000) is ErrorCode.EXPIRED
    assert code_of(server, issued[1].credential.reveal()) is ErrorCode.REVOKED
    assert rows(server) == 1
    server.revoke_key(issuer.key_id, now_ms=NOW_MS)
    assert rows(server) == 0
    assert code_of(server, issued[2].credential.reveal()) is ErrorCode.REVOKED


@pytest.mark.parametrize("later_ms", [None, NOW_MS + 60_000])
def test_a_revocation_that_was_to_be_forgotten_soon_can_be_made_to_last(
    open_store: Open, later_ms: int | None
) -> None:
    store = open_store()
    issued = store.issue_token(issuer_of(store), WANTED, 60_000, NOW_MS)
    store.revoke_token(issued.token_id, now_ms=NOW_MS, expires_ms=NOW_MS + 1_000)
    # As by whoever has stolen it, and hopes that it is forgotten before it has ended.
    store.revoke_token(issued.token_id, now_ms=NOW_MS, expires_ms=later_ms)
    store.revoke_token(issued.token_id, now_ms=NOW_MS, expires_ms=NOW_MS + 2_000)
    store.forget(NOW_MS + 2_000)
    assert code_of(store, issued.credential.reveal()) is ErrorCode.REVOKED
    store.forget(NOW_MS + 60_000)
    assert rows(store) == (1 if later_ms is None else 0)


def test_a_revocation_does_not_read_all_others_again(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    issuer = issuer_of(store)
    issued = [store.issue_token(issuer, WANTED, 60_000, NOW_MS) for _ in range(2)]

    def load(_file: KeysFile) -> Stored:
        raise AssertionError("many may be revoked, and the server does nothing else meanwhile")

    monkeypatch.setattr(KeysFile, "load", load)
    store.revoke_token(issued[0].token_id, now_ms=NOW_MS, expires_ms=issued[0].expires_ms)
    assert code_of(store, issued[0].credential.reveal()) is ErrorCode.REVOKED
    assert store.refresh() == {issued[0].token_id}
    store.forget(NOW_MS + 60_000)
    assert code_of(store, issued[0].credential.reveal(), NOW_MS + 60_000) is ErrorCode.EXPIRED
    assert store.verify(issued[1].credential, NOW_MS).ids.own == issued[1].token_id


def rows(store: KeyStore) -> int:
    count: int = store._file._connection.execute("SELECT count(*) FROM revoked_tokens").fetchone()[0]
    return count


def test_a_token_of_no_known_key_cannot_be_revoked(open_store: Open) -> None:
    store = open_store()
    with pytest.raises(KeyStoreError, match="no key"):
        store.revoke_token("abcdefghijkl:x", now_ms=NOW_MS)


def test_a_folder_of_the_first_version_is_taken_over(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    key = store.create_key("acme", grant=FULL_GRANT, now_ms=NOW_MS)
    store.close()
    with sqlite3.connect(tmp_path / KEYS_FILE) as connection:
        connection.execute("DROP TABLE revoked_tokens")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    store = open_store()
    issued = store.issue_token(store.verify(Secret(key.to_text()), NOW_MS), WANTED, 60_000, NOW_MS)
    store.revoke_token(issued.token_id, now_ms=NOW_MS)
    assert code_of(store, issued.credential.reveal()) is ErrorCode.REVOKED


def test_what_is_done_with_keys_stands_in_the_audit_log_without_a_secret(
    open_store: Open, tmp_path: Path
) -> None:
    store = open_store()
    key = store.create_key("acme", grant=FULL_GRANT, label="for a bot", now_ms=NOW_MS)
    issued = store.issue_token(
        store.verify(Secret(key.to_text()), NOW_MS), WANTED, 60_000, NOW_MS, address="192.0.2.1"
    )
    store.revoke_token(issued.token_id, now_ms=NOW_MS, by="x:y")
    store.revoke_key(key.key_id, now_ms=NOW_MS)
    store.revoke_key(key.key_id, now_ms=NOW_MS)
    store.open_demo(NOW_MS)
    for number in range(3):
        store.issue_demo_key(NOW_MS + number)
    store.forget(NOW_MS + 1)
    store.issue_demo_key(NOW_MS)
    store.forget(NOW_MS + 2)
    entries = list(store.audit.entries())
    assert [(entry.action, entry.by, entry.target, entry.count) for entry in entries] == [
        (AuditAction.KEY_CREATED, "operator", key.key_id, 1),
        (AuditAction.TOKEN_ISSUED, key.key_id, issued.token_id, 1),
        (AuditAction.TOKEN_REVOKED, "x:y", issued.token_id, 1),
        (AuditAction.KEY_REVOKED, "operator", key.key_id, 1),
        (AuditAction.DEMO_KEYS_ISSUED, "", "", 3),
    ]
    assert entries[0].detail.startswith("for a bot: channels=>; ")
    assert "operations=kick,read" in entries[1].detail
    assert entries[1].address == "192.0.2.1"
    store.close()
    refusal(tmp_path, master_key="B" * 42 + "A")
    text = (tmp_path / AUDIT_FILE).read_text()
    assert "master_key_mismatch" in text
    assert '"count": 1' not in text
    for secret in (key.secret.reveal(), issued.credential.reveal().rsplit(".", 1)[1]):
        assert secret not in text


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
    store._file._connection.execute("PRAGMA busy_timeout = 1")
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

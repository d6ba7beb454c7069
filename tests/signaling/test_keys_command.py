"""`peerbus keys`: what it prints where, and what it exits with."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from peerbus.protocol.grants import ALL_OPERATIONS, Grant, Operation
from peerbus.protocol.secrets import Secret
from peerbus.signaling.keys import FULL_GRANT, KeyStore
from peerbus.signaling.keys_command import main

KEY = re.compile(r"pb_[a-z2-7]{12}_[\w-]{43}\n")


class Run(NamedTuple):
    """What one run of the command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def run(folder: Path, *argv: str) -> Run:
    out, err = io.StringIO(), io.StringIO()
    code = main(argv, env={"PEERBUS_DATA_DIR": str(folder)}, out=out, err=err)
    return Run(code, out.getvalue(), err.getvalue())


def create(folder: Path, *argv: str) -> str:
    done = run(folder, "create", *argv)
    assert done.code == 0, done.err
    assert KEY.fullmatch(done.out)
    assert done.out.strip() not in done.err
    return done.out.strip()


def grant_of(folder: Path, key: str) -> Grant:
    store = KeyStore.open(folder)
    try:
        return store.verify(Secret(key), 0).grant
    finally:
        store.close()


def failed(folder: Path, *argv: str) -> str:
    done = run(folder, *argv)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("peerbus keys: ")
    assert done.err.count("\n") == 1
    return done.err


def test_a_key_is_printed_once_and_alone(folder: Path) -> None:
    key = create(folder)
    assert grant_of(folder, key) == FULL_GRANT
    for argv in (["list"], ["list", "--json"]):
        assert key.split("_", 2)[2] not in run(folder, *argv).out


def test_flags_become_the_grant(folder: Path) -> None:
    key = create(
        folder,
        *("--project", "acme", "--label", "a bot", "--operator"),
        *("--channel", "lobby", "--channel", "team/*", "--name", "bot/*"),
        *("--allow", "read, send_live", "--origin", "https://a.example"),
    )
    grant = grant_of(folder, key)
    assert grant.channels == ("lobby", "team/*")
    assert grant.agents == ("bot/*",)
    assert grant.operations == {Operation.READ, Operation.SEND_LIVE}
    assert grant.origins == ("https://a.example",)
    assert grant.operator
    (listed,) = json.loads(run(folder, "list", "--json").out)
    assert (listed["project"], listed["label"], listed["revoked_ms"]) == ("acme", "a bot", None)
    assert listed["grant"]["channels"] == ["lobby", "team/*"]


def test_a_pattern_that_looks_like_a_wildcard_is_pointed_out(folder: Path) -> None:
    assert '"team-*" is one name' in run(folder, "create", "--channel", "team-*").err
    assert "one name" not in run(folder, "create", "--channel", "team/*", "--name", "bob").err


def test_keys_are_listed_by_project(folder: Path) -> None:
    create(folder, "--label", "first")
    create(folder, "--project", "acme", "--label", "second")
    rows = [line.split() for line in run(folder, "list").out.splitlines()]
    assert rows[0] == ["KEY", "ID", "PROJECT", "MADE", "STATE", "LABEL"]
    assert [(row[1], row[3], row[4]) for row in rows[1:]] == [
        ("default", "good", "first"),
        ("acme", "good", "second"),
    ]
    assert [key["label"] for key in json.loads(run(folder, "list", "--json", "--project", "acme").out)] == [
        "second"
    ]
    nothing = run(folder, "list", "--project", "other")
    assert (nothing.code, nothing.out) == (0, "")
    assert nothing.err


@pytest.mark.parametrize("by_id", [True, False])
def test_a_key_is_revoked_by_its_id_or_itself(folder: Path, by_id: bool) -> None:
    key = create(folder)
    key_id = key.split("_")[1]
    done = run(folder, "revoke", key_id if by_id else key)
    assert (done.code, done.err) == (0, "")
    assert key_id in done.out
    assert key.split("_", 2)[2] not in done.out
    (listed,) = json.loads(run(folder, "list", "--json").out)
    assert listed["revoked_ms"] is not None
    assert "revoked" in run(folder, "list").out
    assert run(folder, "revoke", key_id).code == 0


def test_a_key_of_another_project_is_not_revoked(folder: Path) -> None:
    key_id = create(folder).split("_")[1]
    assert "project acme" in failed(folder, "revoke", key_id, "--project", "acme")
    assert "good" in run(folder, "list").out
    assert run(folder, "revoke", key_id, "--project", "default").code == 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "create|temporary|list|revoke"),
        (["destroy"], "destroy"),
        (["revoke"], "required: ID"),
        (["create", "--nonsense"], "--nonsense"),
        (["create", "--allow", "read,fly"], "'fly'"),
        (["create", "--allow", ""], "''"),
        (["create", "--project", "No Such"], "project"),
        (["create", "--project", "demo"], "demo"),
        (["create", "--channel", "a/>/b"], "pattern"),
        (["create", "--channel", ""], "pattern"),
        (["create", "--origin", "a.example"], "origin"),
        (["create", "--label", "x" * 200], "label"),
        (["revoke", "abcdefghijkl"], "no key"),
    ],
)
def test_mistakes_are_one_line(folder: Path, argv: list[str], said: str) -> None:
    create(folder)
    assert said in failed(folder, *argv)
    assert len(run(folder, "list").out.splitlines()) == 2


def test_a_secret_given_by_mistake_is_not_repeated(folder: Path) -> None:
    create(folder)
    wrong = "pb_abcdefghijkl_" + "s3cr3t" * 7 + "x"
    assert "s3cr3t" not in failed(folder, "revoke", wrong)
    assert "s3cr3t" not in failed(folder, "revoke", wrong[:-3])


@pytest.mark.parametrize("command", ["list", "revoke"])
def test_looking_into_the_wrong_folder_begins_nothing_there(folder: Path, command: str) -> None:
    argv = [command, "abcdefghijkl"] if command == "revoke" else [command]
    assert str(folder) in failed(folder, *argv)
    assert not folder.exists()


def test_a_folder_that_cannot_be_used(folder: Path) -> None:
    folder.write_text("a file")
    assert str(folder) in failed(folder, "create")


def test_the_data_folder_can_be_a_flag(folder: Path, tmp_path: Path) -> None:
    create(folder, "--data-dir", str(tmp_path / "other"))
    assert not folder.exists()
    assert len(run(folder, "list", "--data-dir", str(tmp_path / "other")).out.splitlines()) == 2


def test_help_names_every_operation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(folder, "create", "--help")
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(operation.value in shown for operation in ALL_OPERATIONS)


def test_a_key_for_a_worker_is_for_nothing_else(folder: Path) -> None:
    grant = grant_of(folder, create(folder, "--worker", "--name", "peerbus:sfu-eu"))
    assert grant.service
    assert grant.channels == ("peerbus:workers",)
    assert grant.agents == ("peerbus:sfu-eu",)
    assert grant.operations == {Operation.READ, Operation.SEND_LIVE, Operation.DIRECT}
    assert "--operator" in failed(folder, "create", "--worker", "--operator")
    assert "peerbus" in failed(folder, "create", "--project", "peerbus")

"""`peerbus keys`: what it prints where, and what it exits with."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import NamedTuple

import jwt
import pytest

from peerbus.client.token import USER_OPERATIONS
from peerbus.protocol.errors import ErrorCode, ProtocolError
from peerbus.protocol.grants import ALL_OPERATIONS, Grant, Operation
from peerbus.protocol.secrets import Secret
from peerbus.signaling.keyring import Principal
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


# --- temporary keys -----------------------------------------------------------------------------------------


def temporary(folder: Path, *argv: str, **env: str) -> Run:
    out, err = io.StringIO(), io.StringIO()
    code = main(["temporary", *argv], env={"PEERBUS_DATA_DIR": str(folder), **env}, out=out, err=err)
    assert code == 0, err.getvalue()
    assert out.getvalue().strip() not in err.getvalue()
    return Run(code, out.getvalue(), err.getvalue())


def principal_of(folder: Path, credential: str) -> Principal:
    store = KeyStore.open(folder)
    try:
        return store.verify(Secret(credential.strip()), int(time.time() * 1000))
    finally:
        store.close()


def test_a_temporary_key_is_printed_alone_and_does_what_a_participant_does(folder: Path) -> None:
    key = create(folder, "--channel", "lobby")
    done = temporary(folder, "--ttl", "90s")
    principal = principal_of(folder, done.out)
    assert principal.key_id == key.split("_")[1]
    assert principal.grant.channels == ("lobby",)
    assert principal.grant.operations == USER_OPERATIONS
    assert (principal.grant.claim, principal.grant.public, principal.use_limits) == (None, False, ())
    assert f"Token {principal.ids.own}, good until " in done.err


def test_all_flags_of_a_temporary_key(folder: Path) -> None:
    create(folder)
    done = temporary(
        folder,
        *("--channel", "lobby", "--claim", "bob", "--sessions", "2", "--allow", "read,kick", "--uses", "3"),
        *(
            "--type",
            "chat/*",
            "--storage",
            "a/>",
            "--rate",
            "2.5",
            "--members",
            "9",
            "--address",
            "10.0.0.0/8",
        ),
        *("--origin", "https://a.example", "--public", "--ttl", "2h", "--json"),
    )
    issued = json.loads(done.out)
    grant = principal_of(folder, issued["api_key"]).grant
    assert grant == Grant(
        channels=("lobby",),
        agents=("bob",),
        claim="bob",
        sessions=2,
        operations=frozenset({Operation.READ, Operation.KICK}),
        types=("chat/*",),
        storage=("a/>",),
        public=True,
        rate_per_s=2.5,
        members=9,
        uses=3,
        addresses=("10.0.0.0/8",),
        origins=("https://a.example",),
        expires_ms=issued["expires_ms"],
    )
    assert issued["grant"]["operations"] == ["kick", "read"]
    assert 7_100_000 < issued["expires_ms"] - time.time() * 1000 <= 7_200_000


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_who_has_a_key_needs_no_data_folder(folder: Path, tmp_path: Path, by: str) -> None:
    key = create(folder, "--channel", "team/*")
    nowhere = tmp_path / "nowhere"
    if by == "flag":
        done = temporary(nowhere, "--key", key)
    else:
        done = temporary(nowhere, PEERBUS_API_KEY=key)
    assert not nowhere.exists()
    principal = principal_of(folder, done.out)
    assert principal.grant.channels == ("team/*",)
    assert principal.ids.own in done.err


def test_a_token_is_revoked_by_its_id_or_itself(folder: Path) -> None:
    key = create(folder)
    for what in ("id", "itself"):
        issued = json.loads(temporary(folder, "--json").out)
        done = run(folder, "revoke", issued["token_id"] if what == "id" else issued["api_key"])
        assert (done.code, "is revoked now" in done.out) == (0, True)
        with pytest.raises(ProtocolError) as caught:
            principal_of(folder, issued["api_key"])
        assert caught.value.code is ErrorCode.REVOKED
        assert "ended already" in run(folder, "revoke", issued["api_key"]).out
    assert principal_of(folder, key).token_id is None
    assert "no key that could have signed" in failed(folder, "revoke", "aaaaaaaaaaaa:x")
    assert "no token" in failed(folder, "revoke", "a.b.c")
    unnamed = jwt.encode(
        {"aud": "peerbus", "exp": time.time() + 60, "grant": {}},
        key.split("_", 2)[2],
        algorithm="HS256",
        headers={"kid": key.split("_")[1]},
    )
    assert "no id (jti)" in failed(folder, "revoke", unnamed)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--ttl", "1w"], "'1w'"),
        (["--ttl", "0s"], "'0s'"),
        (["--uses", "0"], "positive"),
        (["--uses", "x"], "--uses"),
        (["--sessions", "2"], "--claim"),
        (["--address", "home"], "network"),
        (["--key", "aaaaaaaaaaaa"], "no good key"),
        (["--project", "other"], "no good key"),
        (["--allow", "fly"], "'fly'"),
    ],
)
def test_mistakes_about_temporary_keys(folder: Path, argv: list[str], said: str) -> None:
    create(folder)
    assert said in failed(folder, "temporary", *argv)

"""The audit log: bounded, in order, by several processes, and never out of line."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbus.protocol.grants import ALL_OPERATIONS, Grant
from peerbus.signaling.audit import AUDIT_FILE, ENTRIES_PER_WINDOW, WINDOW_MS, AuditLog
from peerbus.signaling.audit_command import main
from peerbus.signaling.audit_entry import OPERATOR, AuditAction, AuditEntry, grant_summary, line_of

NOW_MS = 1_800_000_000_000


def targets(log: AuditLog) -> list[str]:
    return [entry.target for entry in log.entries()]


def shown(folder: Path, *argv: str) -> list[str]:
    out = io.StringIO()
    assert main([*argv, "--data-dir", str(folder)], env={}, out=out) == 0
    return out.getvalue().splitlines()


def test_entries_come_back_in_order_and_by_what_is_asked(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.note(AuditAction.KEY_CREATED, NOW_MS, project="a", by=OPERATOR, target="1")
    log.note(AuditAction.KICK, NOW_MS + 1, project="b", by="k:t", target="2", channel="lobby", detail="spam")
    log.note(AuditAction.KEY_REVOKED, NOW_MS + 2, project="a", by=OPERATOR, target="3")
    assert targets(log) == ["1", "2", "3"]
    assert [entry.target for entry in log.entries(since_ms=NOW_MS + 1)] == ["2", "3"]
    assert [entry.target for entry in log.entries(project="a")] == ["1", "3"]
    (kick,) = log.entries(action=AuditAction.KICK)
    assert kick == AuditEntry(
        time_ms=NOW_MS + 1,
        action=AuditAction.KICK,
        project="b",
        by="k:t",
        target="2",
        channel="lobby",
        detail="spam",
    )
    assert stat.S_IMODE((tmp_path / AUDIT_FILE).stat().st_mode) == 0o600


def test_the_oldest_file_goes(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, file_bytes_max=1_000, older_files=2)
    for number in range(100):
        log.note(AuditAction.KEY_CREATED, NOW_MS, by=OPERATOR, target=f"{number:03}")
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["audit.1.jsonl", "audit.2.jsonl", AUDIT_FILE]
    assert all(path.stat().st_size <= 1_000 for path in tmp_path.iterdir())
    kept = targets(log)
    assert kept == [f"{number:03}" for number in range(100 - len(kept), 100)]
    assert 20 < len(kept) < 60


def test_one_who_shouts_does_not_wash_out_the_others(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    for number in range(ENTRIES_PER_WINDOW + 50):
        log.note(AuditAction.KICK, NOW_MS + number, project="loud", target=str(number))
    log.note(AuditAction.KICK, NOW_MS, project="quiet", target="heard")
    log.note(AuditAction.LOCK, NOW_MS, project="loud", target="another kind")
    assert len(list(log.entries(project="loud", action=AuditAction.KICK))) == ENTRIES_PER_WINDOW
    assert targets(log)[-2:] == ["heard", "another kind"]
    log.note(AuditAction.KICK, NOW_MS + WINDOW_MS, project="loud", target="later")
    (later,) = log.entries(since_ms=NOW_MS + WINDOW_MS)
    assert (later.target, later.left_out) == ("later", 50)
    # What the operator does is always noted.
    for _ in range(ENTRIES_PER_WINDOW + 5):
        log.note(AuditAction.KEY_REVOKED, NOW_MS, project="p", by=OPERATOR)
    assert len(list(log.entries(project="p"))) == ENTRIES_PER_WINDOW + 5


@given(st.text(), st.text())
def test_every_text_is_one_line_of_ascii(name: str, detail: str) -> None:
    line = line_of(AuditEntry(time_ms=1, action=AuditAction.KICK, target=name, detail=detail))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in line[:-1])


def test_what_others_wrote_moves_no_cursor(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    evil = "\x1b[2Ja\nb\x9b\u202ec\ud800\u2028"
    log.note(AuditAction.KICK, NOW_MS, project="p", target=evil, detail="x" * 5_000)
    for argv in ((), ("--json",)):
        (line,) = shown(tmp_path, *argv)
        assert line.isprintable()
        assert len(line) < 1_500
    assert json.loads(shown(tmp_path, "--json")[0])["target"].startswith("\x1b[2Ja\nb")


def test_a_line_that_was_cut_costs_no_other(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.note(AuditAction.KICK, NOW_MS, target="1")
    with (tmp_path / AUDIT_FILE).open("ab") as file:
        file.write(b'{"time_ms": 1, "action": "ki')
    log.note(AuditAction.KICK, NOW_MS, target="2")
    assert targets(log) == ["1", "2"]


def test_several_processes_write_whole_lines(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from peerbus.signaling.audit import *; from peerbus.signaling.audit_entry import *\n"
        "log = AuditLog(pathlib.Path(sys.argv[1]), file_bytes_max=20_000)\n"
        "for n in range(200): log.note(AuditAction.KICK, n, by=OPERATOR, target=f'{sys.argv[2]}-{n}')"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(name)]) for name in range(2)
    ]
    assert [child.wait(60) for child in children] == [0, 0]
    seen = targets(AuditLog(tmp_path))
    assert sorted(seen) == sorted(f"{name}-{number}" for name in range(2) for number in range(200))
    for name in range(2):
        own = [target for target in seen if target.startswith(f"{name}-")]
        assert own == [f"{name}-{number}" for number in range(200)]


def test_what_cannot_be_written_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / AUDIT_FILE).mkdir()
    AuditLog(tmp_path).note(AuditAction.KICK, NOW_MS, target="1")
    assert "cannot be written" in caplog.text


def test_a_grant_in_one_line() -> None:
    grant = Grant(
        channels=tuple(f"c{number}" for number in range(9)), operations=ALL_OPERATIONS, public=True, uses=1
    )
    text = grant_summary(grant)
    assert text.startswith("channels=c0,c1,c2,c3,… 5 more; operations=admin,direct,")
    assert text.endswith("; public; uses=1")
    assert grant_summary(Grant()) == ""


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_shows_what_is_asked_for(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.note(AuditAction.KEY_CREATED, NOW_MS, project="a", by=OPERATOR, target="one")
    log.note(AuditAction.DEMO_KEYS_ISSUED, NOW_MS + 1_000, project="demo", count=12)
    first, second = shown(tmp_path)
    assert first == "2027-01-15 08:00:00Z key_created project='a' by='operator' target='one'"
    assert second.endswith("demo_keys_issued project='demo' count=12")
    assert shown(tmp_path, "--project", "a") == [first]
    assert shown(tmp_path, "--action", "demo_keys_issued") == [second]
    assert shown(tmp_path, "--since", "2027-01-15T08:00:01Z") == [second]
    assert shown(tmp_path, "--since", "2027-01-16") == []
    assert [json.loads(line)["time_ms"] for line in shown(tmp_path, "--json")] == [NOW_MS, NOW_MS + 1_000]


@pytest.mark.parametrize(
    ("argv", "said"),
    [(["--since", "soon"], "'soon'"), (["--action", "fly"], "fly"), (["--nonsense"], "--nonsense")],
)
def test_mistakes_are_one_line(tmp_path: Path, argv: list[str], said: str) -> None:
    AuditLog(tmp_path).note(AuditAction.KICK, NOW_MS)
    err = io.StringIO()
    assert main([*argv, "--data-dir", str(tmp_path)], env={}, err=err) == 2
    assert said in err.getvalue()
    assert err.getvalue().count("\n") == 1


def test_a_folder_without_an_audit_log(tmp_path: Path) -> None:
    err = io.StringIO()
    assert main([], env={"PEERBUS_DATA_DIR": str(tmp_path)}, err=err) == 2
    assert str(tmp_path) in err.getvalue()

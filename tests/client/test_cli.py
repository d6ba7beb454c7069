"""The first word of the command line."""

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import pytest

from peerbus.client import cli, serving
from peerbus.client.supervisor import ChildSpec


class Supervised:
    """What `serve` would have run."""

    def __init__(self) -> None:
        self.child = ChildSpec(name="", argv=[])
        self.workers: list[ChildSpec] = []
        self.grace_ms = 0

    def __call__(self, children: Sequence[ChildSpec], grace_ms: int) -> int:
        self.child, *self.workers = children
        self.grace_ms = grace_ms
        return 7


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> Supervised:
    stand_in = Supervised()
    monkeypatch.setattr(serving, "supervise", stand_in)
    for name in ("DRAIN_MS", "SFU_WORKERS", "SFU_PORT", "ADVERTISE", "WORKER_FILE"):
        monkeypatch.delenv(f"PEERBUS_{name}", raising=False)
    return stand_in


SERVE = [sys.executable, "-m", "peerbus.signaling", "serve"]


def test_serve_is_supervised_with_its_options_untouched(supervised: Supervised) -> None:
    assert cli.main(["serve", "--port", "0", "--what=ever"]) == 7
    assert supervised.child.name == "signaling"
    assert supervised.child.argv == [*SERVE, "--port", "0", "--what=ever"]
    assert supervised.grace_ms > 5_000


def worker(number: int, port: int, *advertise: str) -> list[str]:
    name = f"peerbus:sfu-{number}"
    return [sys.executable, "-m", "peerbus.sfu", "--name", name, "--port", str(port), *advertise]


@pytest.mark.parametrize(
    ("arguments", "variables", "workers"),
    [
        ([], {}, [worker(1, 7900)]),
        (["--sfu-workers", "0"], {}, []),
        (["--sfu-workers=2", "--sfu-port=4000"], {}, [worker(1, 4000), worker(2, 4001)]),
        ([], {"SFU_WORKERS": "2", "SFU_PORT": "0"}, [worker(1, 0), worker(2, 0)]),
        (["--sfu-port", "5"], {"SFU_PORT": "6"}, [worker(1, 5)]),
        (
            ["--advertise", "a.example", "--advertise=203.0.113.7:4000,[2001:db8::1]:4001"],
            {},
            [
                worker(
                    1,
                    7900,
                    *("--advertise", "203.0.113.7:4000", "--advertise", "[2001:db8::1]:4001"),
                    *("--advertise", "a.example"),
                )
            ],
        ),
        # The server refuses it, and says so.
        (["--sfu-workers", "many"], {}, []),
    ],
)
def test_workers_are_started_beside_the_server(
    supervised: Supervised,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variables: dict[str, str],
    workers: list[list[str]],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"PEERBUS_{name}", value)
    monkeypatch.setenv("PEERBUS_WORKER_FILE", "")
    cli.main(["serve", *arguments])
    assert [child.argv for child in supervised.workers] == workers
    assert supervised.child.policy.is_essential
    assert not any(child.policy.is_essential for child in supervised.workers)


def test_a_new_epoch_is_for_the_first_start_only(supervised: Supervised) -> None:
    cli.main(["serve", "--new-epoch", "--port", "0"])
    assert supervised.child.argv == [*SERVE, "--new-epoch", "--port", "0"]
    assert supervised.child.restart_argv == [*SERVE, "--port", "0"]
    assert supervised.child.first_start_only == {"PEERBUS_NEW_EPOCH"}


@pytest.mark.parametrize(("drain", "longer_than"), [("60000", 60_000), ("", 5_000), ("soon", 5_000)])
def test_the_supervisor_waits_longer_than_the_server_drains(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch, drain: str, longer_than: int
) -> None:
    monkeypatch.setenv("PEERBUS_DRAIN_MS", drain)
    cli.main(["serve"])
    assert longer_than < supervised.grace_ms <= longer_than + 30_000


def test_keys_becomes_the_servers_program(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[Any] = []
    monkeypatch.setattr(os, "execv", lambda path, argv: run.append((path, argv)))
    cli.main(["keys", "create", "--project", "default"])
    command = [sys.executable, "-m", "peerbus.signaling", "keys", "create", "--project", "default"]
    assert run == [(sys.executable, command)]


def test_help_of_a_command_is_that_commands_own(supervised: Supervised) -> None:
    cli.main(["help", "serve"])
    assert supervised.child.argv == [*SERVE, "--help"]


@pytest.mark.parametrize("argv", [["help"], ["-h"], ["--help"]])
def test_help_names_every_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for command in ("serve", "keys", "chat", "help", "--version"):
        assert f"\n  {command}" in out


def test_without_a_command_the_help_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert capsys.readouterr().err == cli.HELP


@pytest.mark.parametrize("argv", [["serv"], ["--port", "80"], ["help", "serv"], ["\x1b[2J"]])
def test_an_unknown_command_is_one_clear_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert "peerbus help" in err


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_that_of_the_distribution(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([flag]) == 0
    assert capsys.readouterr().out == f"peerbus {version('peerbus')}\n"


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: Any, **_options: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(serving, "supervise", interrupted)
    assert cli.main(["serve"]) == 130


def test_the_command_starts_without_what_it_does_not_need() -> None:
    program = (
        "import sys, peerbus.client.cli, peerbus.client.supervisor\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in "
        "('aiohttp', 'asyncio', 'msgspec', 'prompt_toolkit', 'cryptography', 'argparse')"
        " or name.startswith(('peerbus.signaling', 'peerbus.sfu', 'peerbus.protocol'))))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"

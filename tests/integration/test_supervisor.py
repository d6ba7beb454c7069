"""The supervisor with real processes: small programs take the server's place."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerbus.client.supervisor import ChildSpec, supervise
from tests.support.processes import Process

SUPERVISOR = """
import sys
from peerbus.client.supervision import RestartPolicy
from peerbus.client.supervisor import ChildSpec, supervise

policy = RestartPolicy(first_delay_ms=1, longest_delay_ms=1)
children = [
    ChildSpec(name=f"child-{number}", argv=[sys.executable, "-c", program], policy=policy,
              restart_argv=[sys.executable, "-c", program, "again"], first_start_only=frozenset({"ONCE"}))
    for number, program in enumerate(sys.argv[2:])
]
sys.exit(supervise(children, grace_ms=int(sys.argv[1])))
"""

# Each says its process id, then does what it is there for. A line is one write, so that what two say at once
# is not mixed.
HELLO = """
import os, signal, sys, threading
def say(text):
    os.write(1, f"{text}\\n".encode())
say(f"{os.getpid()} {sys.argv[1:]} {os.environ.get('ONCE')}")
"""
SHUTS_DOWN = HELLO + (
    "signal.signal(signal.SIGTERM, lambda *_: (say('drained'), sys.exit(0)))\n"
    "say('ready')\n"
    "while True: signal.pause()"
)
STUBBORN = HELLO + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay('ready')\nthreading.Event().wait()"
ENDS_WITH_PARENT = HELLO + (
    "from peerbus.signaling.parent import watch_parent\nwatch_parent(lambda: os._exit(0), 0)\nsignal.pause()"
)


class Supervisor:
    """A supervisor in a process of its own, and what its children say."""

    def __init__(self, *programs: str, grace_ms: int = 60_000) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, str(grace_ms), *programs],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ONCE": "yes"},
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def child(self) -> Process:
        """The process whose greeting comes next."""
        return Process(int(self.line().split()[0]))

    def end(self) -> tuple[int, str, str]:
        """Waits for the end: exit code, the rest of the output, errors."""
        output, errors = self.process.communicate(timeout=30)
        return self.process.returncode, output, errors


@pytest.fixture
def supervisors() -> Iterator[list[Supervisor]]:
    made: list[Supervisor] = []
    yield made
    for supervisor in made:
        supervisor.process.kill()
        supervisor.process.communicate()


def test_sigterm_is_passed_on_and_waited_for(supervisors: list[Supervisor]) -> None:
    supervisors.append(one := Supervisor(SHUTS_DOWN))
    child = one.child()
    assert one.line() == "ready"
    one.process.send_signal(signal.SIGTERM)
    assert one.end() == (0, "drained\n", "")
    assert not child.is_alive()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_end_it_as_well(supervisors: list[Supervisor], number: signal.Signals) -> None:
    supervisors.append(one := Supervisor(SHUTS_DOWN))
    one.child()
    assert one.line() == "ready"
    one.process.send_signal(number)
    assert one.end() == (0, "drained\n", "")


def test_a_stubborn_child_is_killed_after_the_grace(supervisors: list[Supervisor]) -> None:
    supervisors.append(one := Supervisor(STUBBORN, grace_ms=50))
    child = one.child()
    assert one.line() == "ready"
    one.process.send_signal(signal.SIGTERM)
    code, _output, errors = one.end()
    assert code == 1
    assert "child-0 did not end in time; killing it" in errors
    assert not child.is_alive()


def test_a_second_signal_kills(supervisors: list[Supervisor]) -> None:
    supervisors.append(one := Supervisor(STUBBORN, SHUTS_DOWN))
    lines = [one.line() for _ in range(4)]
    assert lines.count("ready") == 2
    one.process.send_signal(signal.SIGINT)
    assert one.line() == "drained"
    one.process.send_signal(signal.SIGINT)
    code, _output, errors = one.end()
    assert code == 1
    assert "child-0 was asked to end twice; killing it" in errors


def test_a_killed_child_is_started_again_with_its_later_command_line(supervisors: list[Supervisor]) -> None:
    supervisors.append(one := Supervisor(SHUTS_DOWN))
    pid, rest = one.line().split(" ", 1)
    assert rest == "[] yes"
    assert one.line() == "ready"
    os.kill(int(pid), signal.SIGKILL)
    _pid, rest = one.line().split(" ", 1)
    assert rest == "['again'] None"
    assert one.line() == "ready"
    one.process.send_signal(signal.SIGTERM)
    code, _output, errors = one.end()
    assert code == 0
    assert errors == "peerbus: child-0 was ended by SIGKILL; starting it again in 0.001 s\n"


def test_exit_code_2_is_passed_through_and_ends_the_others(supervisors: list[Supervisor]) -> None:
    supervisors.append(one := Supervisor(HELLO + "sys.stdin.read(); sys.exit(2)", SHUTS_DOWN))
    code, _output, errors = one.end()
    assert (code, errors) == (2, "")


def test_children_notice_that_their_supervisor_was_killed(supervisors: list[Supervisor]) -> None:
    supervisors.append(one := Supervisor(ENDS_WITH_PARENT, ENDS_WITH_PARENT))
    children = [one.child(), one.child()]
    assert all(child.is_alive() for child in children)
    one.process.kill()
    assert all(child.has_ended(timeout_s=30) for child in children)


def test_a_child_does_not_share_the_terminals_process_group(supervisors: list[Supervisor]) -> None:
    supervisors.append(one := Supervisor(SHUTS_DOWN))
    child = one.child()
    assert os.getpgid(child.pid) == child.pid
    assert one.line() == "ready"
    one.process.send_signal(signal.SIGTERM)
    assert one.end()[0] == 0


def test_a_program_that_cannot_be_started_is_a_crash_and_the_handlers_come_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        os.kill(os.getpid(), signal.SIGTERM)

    missing = ChildSpec(name="missing", argv=[str(tmp_path / "missing")])
    assert supervise([missing], 1000, say) == 0
    assert said == ["missing could not be started (No such file or directory); starting it again in 0.25 s"]
    assert signal.getsignal(signal.SIGTERM) is before

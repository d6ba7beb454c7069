"""
When a child process is started, started again, told to end, or killed.

Owns the decisions of a supervisor: restart delays, what an exit code means, how long a shutdown may take.
Never starts or signals a process and never reads a clock: it takes `(input, now_ms)` and returns actions,
which `supervisor.py` carries out.

A child that ends with one of its policy's final codes (0: it is done; 2: its settings make no sense) is not
started again, and takes the others with it: the whole ends with that code. So it does if the child has never
run for a while and gives up with a code of its own: it would do so again, and somebody is looking. Where a child
is not essential, the others go on without it. Any other end is a crash, after which it is started again, each time
in a row after twice the delay.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

KILLED_CODE: Final = 1
"""The exit code of the whole if a child had to be killed because it did not end when it was told to."""


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """How one child is started again."""

    final_codes: frozenset[int] = frozenset({0, 2})
    first_delay_ms: int = 250
    longest_delay_ms: int = 30_000
    steady_ms: int = 10_000
    """A child that runs this long works: a crash after it counts as the first again."""
    is_essential: bool = True
    """The whole ends with it; without one that is not, the others go on."""

    def delay_ms(self, crashes: int) -> int:
        """How long to wait after the `crashes`-th crash in a row, counted from 1."""
        return min(self.longest_delay_ms, self.first_delay_ms << min(crashes - 1, 30))


@dataclass(frozen=True)
class Start:
    """Start the child; what became of it comes back as `exited` or `not_started`."""

    name: str


@dataclass(frozen=True)
class Terminate:
    """Ask the child to end (SIGTERM)."""

    name: str


@dataclass(frozen=True)
class Kill:
    """End the child without asking (SIGKILL)."""

    name: str


@dataclass(frozen=True)
class Notice:
    """Tell the operator."""

    text: str


@dataclass(frozen=True)
class Finish:
    """No child is left: end with this code."""

    code: int


Action: TypeAlias = Start | Terminate | Kill | Notice | Finish


class _State(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    GONE = "gone"


class _Child:
    """One child: its state, and when it is next started."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self.state = _State.WAITING
        self.start_at_ms = 0
        self.started_at_ms = 0
        self.crashes = 0
        self.has_worked = False


class Supervision:
    """
    The supervisor's state machine. Times are milliseconds of one monotonic clock.

    `grace_ms` is how long children have to end after they were told to. Every method returns what to do, in
    order; after a `Finish` nothing more comes.
    """

    def __init__(self, policies: Mapping[str, RestartPolicy], grace_ms: int) -> None:
        if not policies:
            raise ValueError("there is nothing to supervise")
        self._children = {name: _Child(policy) for name, policy in policies.items()}
        self._grace_ms = grace_ms
        self._kill_at_ms: int | None = None
        self._is_stopping = False
        self._code = 0

    def deadline(self) -> int | None:
        """When `tick` is due, if nothing happens before."""
        times = [child.start_at_ms for child in self._children.values() if child.state is _State.WAITING]
        if self._kill_at_ms is not None:
            times.append(self._kill_at_ms)
        return min(times, default=None)

    def tick(self, now_ms: int) -> list[Action]:
        """What the time makes due: the first starts, starts after a delay, kills after the grace."""
        actions: list[Action] = []
        for name, child in self._children.items():
            if child.state is _State.WAITING and child.start_at_ms <= now_ms:
                child.state = _State.RUNNING
                child.started_at_ms = now_ms
                actions.append(Start(name))
        if self._kill_at_ms is not None and self._kill_at_ms <= now_ms:
            actions += self._kill("did not end in time")
        return actions

    def exited(self, name: str, code: int, now_ms: int) -> list[Action]:
        """
        A child ended.

        `code` is its exit code, or the negative number of the signal that ended it (as `Popen.returncode`).
        """
        child = self._children[name]
        if child.state is not _State.RUNNING:
            raise ValueError(f"{name} was not running")
        if self._is_stopping:
            child.state = _State.GONE
            self._count(code)
            return self._finish_if_alone()
        if now_ms - child.started_at_ms >= child.policy.steady_ms:
            child.has_worked = True
            child.crashes = 0
        is_hopeless = code > 0 and not child.has_worked
        if is_hopeless or code in child.policy.final_codes:
            child.state = _State.GONE
            if not child.policy.is_essential:
                return [Notice(f"{name} {describe_exit(code)}; going on without it")]
            self._count(code)
            return self._stop(now_ms)
        return self._try_again(name, describe_exit(code), now_ms)

    def not_started(self, name: str, why: str, now_ms: int) -> list[Action]:
        """A child could not even be started: out of memory or processes, say, which passes."""
        child = self._children[name]
        if self._is_stopping:
            child.state = _State.GONE
            return self._finish_if_alone()
        return self._try_again(name, f"could not be started ({why})", now_ms)

    def _try_again(self, name: str, what: str, now_ms: int) -> list[Action]:
        child = self._children[name]
        child.crashes += 1
        child.state = _State.WAITING
        delay_ms = child.policy.delay_ms(child.crashes)
        child.start_at_ms = now_ms + delay_ms
        return [Notice(f"{name} {what}; starting it again in {delay_ms / 1000:g} s")]

    def stop(self, now_ms: int) -> list[Action]:
        """The operator wants an end; asked a second time, children that are still there are killed."""
        if self._is_stopping:
            return self._kill("was asked to end twice")
        return self._stop(now_ms)

    def _stop(self, now_ms: int) -> list[Action]:
        self._is_stopping = True
        self._kill_at_ms = now_ms + self._grace_ms
        actions: list[Action] = []
        for name, child in self._children.items():
            if child.state is _State.RUNNING:
                actions.append(Terminate(name))
            else:
                child.state = _State.GONE
        return actions + self._finish_if_alone()

    def _kill(self, why: str) -> list[Action]:
        self._kill_at_ms = None
        running = [name for name, child in self._children.items() if child.state is _State.RUNNING]
        return [action for name in running for action in (Notice(f"{name} {why}; killing it"), Kill(name))]

    def _count(self, code: int) -> None:
        # The first thing that went wrong is what the whole ends with. SIGTERM was ours: the child was still
        # too young to handle it.
        if self._code == 0 and code != -signal.SIGTERM:
            self._code = KILLED_CODE if code < 0 else code

    def _finish_if_alone(self) -> list[Action]:
        if any(child.state is _State.RUNNING for child in self._children.values()):
            return []
        self._kill_at_ms = None
        return [Finish(self._code)]


def describe_exit(code: int) -> str:
    """How a process ended, in words: "ended with code 1", "was ended by SIGKILL"."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"

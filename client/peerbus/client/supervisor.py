"""
The parent of the server's processes: starts them, restarts them, and ends with them.

Owns processes, signals and one pipe. What to do when is decided in `supervision.py`. Never looks into its
children: it knows their command lines and their exit codes.

Children run in process groups of their own, so that Ctrl-C reaches this process alone, which then asks them
to end (SIGTERM). SIGTERM and SIGHUP do the same; a second signal kills. Every child inherits the reading end
of a pipe, whose number stands in `PEERBUS_PARENT_FD`: when this process ends in any way, `kill -9` too, the
child reads the end of the file, and has to end by itself. POSIX only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Final, Self

from peerbus.client.supervision import (
    Finish,
    Notice,
    RestartPolicy,
    Start,
    Supervision,
    Terminate,
)

PARENT_FD_VARIABLE: Final = "PEERBUS_PARENT_FD"

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """One child: its name for people, its command line, and how it is started again."""

    name: str
    argv: Sequence[str]
    restart_argv: Sequence[str] | None = None
    """The command line of later starts, where some options are for the first one only."""
    first_start_only: frozenset[str] = frozenset()
    """Variables of the environment that only the first start gets."""
    policy: RestartPolicy = field(default_factory=RestartPolicy)


def supervise(children: Sequence[ChildSpec], grace_ms: int, say: Callable[[str], None] | None = None) -> int:
    """
    Runs the children until they are done or a signal ends them; the exit code is for `sys.exit`.

    `grace_ms` is how long they have to end after being asked. `say` gets lines for the operator (default:
    standard error). To be called in the main thread; no child is left when it returns or raises.
    """
    with _Processes(children) as processes, _Signals() as signals:
        supervision = Supervision({child.name: child.policy for child in children}, grace_ms)
        return _run(supervision, processes, signals, say or _say)


def _run(
    supervision: Supervision, processes: _Processes, signals: _Signals, say: Callable[[str], None]
) -> int:
    while True:
        now = _now_ms()
        # Signals are read before the children are looked at: a child that ends in between is seen at once or
        # leaves its SIGCHLD in the pipe for the next wait.
        stops = signals.stops()
        actions = deque(supervision.tick(now))
        for name, code in processes.ended():
            actions += supervision.exited(name, code, now)
        for _ in range(stops):
            actions += supervision.stop(now)
        if not actions:
            signals.wait(supervision.deadline())
        while actions:
            action = actions.popleft()
            if isinstance(action, Finish):
                return action.code
            if isinstance(action, Notice):
                say(action.text)
            elif isinstance(action, Start):
                if why_not := processes.start(action.name):
                    actions += supervision.not_started(action.name, why_not, now)
            elif isinstance(action, Terminate):
                processes.terminate(action.name)
            else:
                processes.kill(action.name)


class _Processes:
    """The children that run. On leaving, whatever is left is killed."""

    def __init__(self, children: Sequence[ChildSpec]) -> None:
        self._specs = {child.name: child for child in children}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._was_started: set[str] = set()
        # The writing end is only ever closed, by the kernel at the latest.
        self._reading, self._writing = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()
        os.close(self._reading)
        os.close(self._writing)

    def start(self, name: str) -> str:
        """Starts a child; why it could not be, or an empty text."""
        spec = self._specs[name]
        argv, env = spec.argv, dict(os.environ)
        if name in self._was_started:
            argv = spec.restart_argv or spec.argv
            env = {name: value for name, value in env.items() if name not in spec.first_start_only}
        env[PARENT_FD_VARIABLE] = str(self._reading)
        try:
            self._running[name] = subprocess.Popen(  # noqa: S603 - our own command lines
                list(argv), env=env, stdin=subprocess.DEVNULL, pass_fds=[self._reading], process_group=0
            )
        except OSError as error:
            return error.strerror or type(error).__name__
        self._was_started.add(name)
        return ""

    def terminate(self, name: str) -> None:
        """Asks a child to end."""
        if name in self._running:
            self._running[name].terminate()

    def kill(self, name: str) -> None:
        """Ends a child without asking."""
        if name in self._running:
            self._running[name].kill()

    def ended(self) -> list[tuple[str, int]]:
        """Who has ended since the last call, and how."""
        codes = [(name, process.poll()) for name, process in self._running.items()]
        ended = [(name, code) for name, code in codes if code is not None]
        for name, _code in ended:
            del self._running[name]
        return ended


class _Signals:
    """Signals as bytes in a pipe, so that waiting for them and for a deadline is one call."""

    def __enter__(self) -> Self:
        self._reading, writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(writing, False)
        self._writing = writing
        self._wakeup_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._before = {signal.SIGCHLD: signal.signal(signal.SIGCHLD, _ignore)}
        for number in _STOP_SIGNALS:
            # What was ignored stays so: that is how `nohup` works.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, _ignore)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._reading)
        os.close(self._writing)

    def stops(self) -> int:
        """How many signals since the last call asked for an end."""
        try:
            numbers = os.read(self._reading, 4096)
        except BlockingIOError:
            return 0
        return sum(number in _STOP_SIGNALS for number in numbers)

    def wait(self, deadline_ms: int | None) -> None:
        """Returns at a signal, or when it is `deadline_ms`."""
        timeout = None if deadline_ms is None else max(0, deadline_ms - _now_ms()) / 1000
        select.select([self._reading], [], [], timeout)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A handler has to be there for the number to reach the pipe."""


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _say(text: str) -> None:
    # A log that nobody takes any more is no reason to end the server.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"peerbus: {text}\n")
        sys.stderr.flush()

"""Knowing that a process has ended, also one that is somebody else's child (Linux)."""

import contextlib
import os
import select
import signal


class Process:
    """A process that is there now; waiting for its end needs neither polling nor being its parent."""

    def __init__(self, pid: int) -> None:
        """Raises `ProcessLookupError` if there is no such process."""
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)

    @property
    def command(self) -> str:
        """Its command line; empty if it has ended."""
        try:
            with open(f"/proc/{self.pid}/cmdline", "rb") as file:
                return file.read().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            return ""

    def is_alive(self) -> bool:
        """Whether it runs; one that ended and was not collected yet does not."""
        return not self.has_ended(0)

    def has_ended(self, timeout_s: float) -> bool:
        """Whether it ends within the time."""
        return bool(select.select([self._handle], [], [], timeout_s)[0])

    def kill(self) -> None:
        """SIGKILL, as if the machine had run out of memory; nothing if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)


def children(pid: int) -> list[Process]:
    """The direct children of a process; one that ends while this looks is left out."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        pids = [int(child) for child in file.read().split()]
    found = []
    for child in pids:
        with contextlib.suppress(ProcessLookupError):
            found.append(Process(child))
    return found


def children_running(pid: int, module: str) -> list[Process]:
    """The direct children of a process that are `python -m module`."""
    return [child for child in children(pid) if module in child.command.split()]

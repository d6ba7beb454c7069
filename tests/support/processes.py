"""Knowing that a process has ended, also one that is somebody else's child (Linux)."""

import os
import select


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
        """Its command line."""
        with open(f"/proc/{self.pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode()

    def is_alive(self) -> bool:
        """Whether it runs; one that ended and was not collected yet does not."""
        return not self.has_ended(0)

    def has_ended(self, timeout_s: float) -> bool:
        """Whether it ends within the time."""
        return bool(select.select([self._handle], [], [], timeout_s)[0])

    def kill(self) -> None:
        """SIGKILL, as if the machine had run out of memory."""
        os.kill(self.pid, 9)


def children(pid: int) -> list[Process]:
    """The direct children of a process."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [Process(int(child)) for child in file.read().split()]

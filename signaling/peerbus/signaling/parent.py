"""
Ending together with the process that started this one, even if that was killed and could say nothing.

Owns the child's half of the pact: a supervisor passes down the reading end of a pipe and names its number in
`PEERBUS_PARENT_FD`. Nothing is ever written to it; when the supervisor ends, for whatever reason, the kernel
closes the other end, and reading sees the end of the file. Never signals another process, and does nothing in
a process that has no supervisor.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Final

VARIABLE: Final = "PEERBUS_PARENT_FD"

ORPHANED_EXIT_CODE: Final = 3
"""How a process ends that could not shut down in time after its parent was gone."""


def watch_parent(
    on_gone: Callable[[], None], grace_s: float, env: MutableMapping[str, str] | None = None
) -> bool:
    """
    Calls `on_gone` once when the supervisor is gone. False if this process has no supervisor.

    `on_gone` runs in a thread of its own: hand the news to an event loop by `loop.call_soon_threadsafe`. It
    should begin the same shutdown as SIGTERM does. A process that is still there `grace_s` seconds later, say
    because its loop hangs, ends at once with `ORPHANED_EXIT_CODE`. The variable is taken out of the
    environment, so that a process started from here does not believe it is meant.
    Raises `ValueError` if the variable names no open pipe.
    """
    number = (os.environ if env is None else env).pop(VARIABLE, "")
    if not number:
        return False
    try:
        pipe = int(number)
        os.set_inheritable(pipe, False)
    except (ValueError, OSError):
        raise ValueError(f"{VARIABLE}={number!r} names no open file") from None
    threading.Thread(target=_wait, args=(pipe, on_gone, grace_s), name="parent-watch", daemon=True).start()
    return True


def _wait(pipe: int, on_gone: Callable[[], None], grace_s: float) -> None:
    while os.read(pipe, 1):
        pass
    os.close(pipe)
    on_gone()
    time.sleep(grace_s)
    os._exit(ORPHANED_EXIT_CODE)

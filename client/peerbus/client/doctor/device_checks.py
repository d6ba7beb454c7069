"""
Whether this machine has a camera and a microphone that a program may open.

Owns looking for them, on Linux: `/dev/video*` (V4L2) and `/dev/snd/pcmC*D*c` (ALSA). Takes no picture and no sound.
Elsewhere only the page /test can tell.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from peerbus.client.doctor.facts import DeviceState

_PATTERNS: Final = {"camera": "video*", "microphone": "snd/pcmC*D*c"}
_STATES: Final[dict[int, DeviceState]] = {
    errno.EACCES: "forbidden",
    errno.EPERM: "forbidden",
    errno.EBUSY: "busy",
}
Opening = Callable[[Path], None]


def try_device(device: str) -> DeviceState:
    """How the best of all cameras (`camera`) or microphones (`microphone`) is."""
    if sys.platform != "linux":
        return "untried"
    return state_of(sorted(Path("/dev").glob(_PATTERNS[device])))


def state_of(paths: Iterable[Path], opening: Opening | None = None) -> DeviceState:
    """The first that can be opened counts; else the last that cannot. `opening` raises `OSError`."""
    state: DeviceState = "none"
    for path in paths:
        try:
            (opening or _open)(path)
        except OSError as error:
            state = _STATES.get(error.errno or 0, "failed")
        else:
            return "ok"
    return state


def _open(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))

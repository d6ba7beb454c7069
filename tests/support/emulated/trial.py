"""
One seed's world, run over a store: what tests and soaks call, and what a person calls to look at a failure.

    python -m tests.support.emulated.trial sqlite 7210 120      runs seed 7210 with 120 steps; shrinks it if it fails
"""

from __future__ import annotations

import itertools
import pprint
import sys
import tempfile
from pathlib import Path
from typing import Literal, TypeAlias

from peerbus.signaling.log.interface import Store
from peerbus.signaling.log.memory import MemoryStore
from peerbus.signaling.log.sqlite import SqliteStore
from tests.support.emulated.program import program_of, setting_of, shrink
from tests.support.emulated.world import Setting, Step, World

Backend: TypeAlias = Literal["memory", "sqlite"]


def try_program(backend: Backend, setting: Setting, program: list[Step], folder: Path | None = None) -> None:
    """Runs a program in a new world. Raises AssertionError where a promise is broken."""
    epochs = itertools.count(1)

    def new_epoch() -> str:
        return f"E{next(epochs)}"

    with tempfile.TemporaryDirectory(dir=folder) as data:

        def open_store() -> Store:
            if backend == "memory":
                return MemoryStore(new_epoch, mail_limits=setting.limits.mail())
            return SqliteStore(Path(data) / "log", new_epoch, mail_limits=setting.limits.mail())

        World(setting, open_store).run(program)


def try_seed(backend: Backend, seed: int, length: int) -> None:
    """A world of the seed; a failure names it, with a program made as small as can be."""
    setting, program = setting_of(seed), program_of(seed, length)
    try:
        try_program(backend, setting, program)
    except AssertionError as error:
        kind = str(error)[:12]
        smaller = shrink(program, lambda steps: _fails(backend, setting, steps, kind))
        text = f"{backend}, seed {seed}, {length} steps: {error}\n{pprint.pformat(smaller, width=110)}"
        raise AssertionError(text) from error


def _fails(backend: Backend, setting: Setting, program: list[Step], kind: str) -> bool:
    try:
        try_program(backend, setting, program)
    except AssertionError as error:
        return str(error).startswith(kind)
    return False


if __name__ == "__main__":
    try_seed("sqlite" if sys.argv[1] == "sqlite" else "memory", int(sys.argv[2]), int(sys.argv[3]))

"""The message log alone, killed again and again while it appends. Scale: kills."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from peerbus.signaling.log import Entry, Range
from peerbus.signaling.log.sqlite import SqliteStore
from tests.soak.soak import Soak
from tests.support.log_entries import new_epoch
from tests.support.log_victim import VICTIMS_CHANNEL

_SENDERS = 6
_ACKS_MAX = 1_500


class Life(NamedTuple):
    """What a victim said before it was killed."""

    epoch: str
    acks: list[tuple[str, int]]
    duplicates: int


def run(seed: int, scale: int) -> Mapping[str, object]:
    """After each kill a new life goes on with what was not acknowledged; in the end the log is read and compared."""
    chance = random.Random(seed)
    acknowledged: dict[str, int] = {}
    epochs: set[str] = set()
    duplicates = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(scale):
            life = live(folder, first_unacknowledged(acknowledged), chance.randrange(_ACKS_MAX), chance)
            epochs.add(life.epoch)
            duplicates += life.duplicates
            for body, offset in life.acks:
                assert acknowledged.setdefault(body, offset) == offset, (
                    f"{body} was acknowledged at two offsets"
                )
        entries = read_all(folder)
    compare(acknowledged, entries)
    assert len(epochs) == 1, f"a kill is no reason for a new epoch: {epochs}"
    return {
        "kills": scale,
        "acknowledged": len(acknowledged),
        "stored": len(entries),
        "retries answered from the log": duplicates,
    }


def live(folder: Path, next_numbers: list[int], acks: int, chance: random.Random) -> Life:
    """Start a victim; kill it when it has printed about so many acknowledgements."""
    command = [sys.executable, "-m", "tests.support.log_victim", str(folder), *map(str, next_numbers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as victim:
        assert victim.stdout is not None
        lines: list[bytes] = []
        for line in victim.stdout:
            lines.append(line)
            if len(lines) > acks:
                break
        # Somewhere within a commit, not always at the same place after an acknowledgement.
        for _ in range(chance.randrange(20_000)):
            pass
        victim.send_signal(signal.SIGKILL)
        lines += victim.stdout.readlines()
        victim.wait()
    assert victim.returncode == -signal.SIGKILL, f"the victim died by itself: {victim.returncode}"
    words = [line.decode().split() for line in lines if line.endswith(b"\n")]
    return Life(
        epoch=words[0][1],
        acks=[(f"{sender} {number}", int(offset)) for sender, number, offset, _ in words[1:]],
        duplicates=sum(int(duplicate) for *_, duplicate in words[1:]),
    )


def first_unacknowledged(acknowledged: Mapping[str, int]) -> list[int]:
    """For each sender the first number without an acknowledgement: all before it have one."""
    numbers = [0] * _SENDERS
    for sender in range(_SENDERS):
        while f"{sender} {numbers[sender]}" in acknowledged:
            numbers[sender] += 1
    return numbers


def read_all(folder: Path) -> list[Entry]:
    store = SqliteStore(folder, new_epoch)
    entries: list[Entry] = []
    after: int | None = 0
    while after is not None:
        page = store.read(VICTIMS_CHANNEL, "name:reader", Range(after=after, limit=1_000), 1 << 24)
        entries += page.entries
        after = page.next
    store.close()
    return entries


def compare(acknowledged: Mapping[str, int], entries: list[Entry]) -> None:
    """Every acknowledged message once, at its offset; no gap; each sender's messages in its order."""
    assert [entry.offset for entry in entries] == list(range(1, len(entries) + 1)), "offsets have a gap"
    bodies = [entry.body.decode() for entry in entries]
    twice = [body for body, count in Counter(bodies).items() if count > 1]
    assert not twice, f"stored twice: {twice[:5]}"
    offsets = dict(zip(bodies, range(1, len(bodies) + 1), strict=True))
    wrong = {body: offset for body, offset in acknowledged.items() if offsets.get(body) != offset}
    assert not wrong, f"acknowledged, and not there: {dict(list(wrong.items())[:5])}"
    for sender in range(_SENDERS):
        numbers = [int(body.split()[1]) for body in bodies if body.startswith(f"{sender} ")]
        assert numbers == list(range(len(numbers))), f"sender {sender} is out of order"


SOAK = Soak(run, full_scale=300, slice_scale=10)

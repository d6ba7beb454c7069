"""
Which mode a group should be in, where it leaves that to the server.

Owns the bounds and the hysteresis: a group that grows, or a link that cannot be made, counts at once; a smaller mode is
chosen only when the group has been well below the bound for a while, and one that somebody could not do is left alone
for a time. Never switches anything (that is `group`) and never reads a clock. See PROTOCOL.md, section 16.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from peerbus.protocol.groups import Mode

MESH_MEMBERS: Final = 3
"""Where only data flow each sends everything to each other up to so many."""
MEDIA_UPLINKS: Final = 3
"""Where somebody has media, nobody is to send more than so many times what one picture takes: n members of a mesh have
n − 1 uplinks each, so four are a mesh, and five go to the SFU."""
HOST_MEMBERS: Final = 6
"""One sends everything to all others."""
HOST_MEMBERS_MAX: Final = 16
"""Where there is no worker, a host serves so many; then the server carries everything."""

_SETTLED_MS: Final = 5_000
"""For so long a smaller mode has to be right, or a worker to be away, before anything is done about it."""
_FAILED_MS: Final = 30_000
"""For so long a mode that was rolled back is not proposed again; each time it fails again, twice as long."""
_FAILED_MAX_MS: Final = 480_000
_RANK: Final[dict[Mode, int]] = {"mesh": 0, "host": 1, "datachannel": 2, "sfu": 3, "relay": 4}
"""From the one that costs the server least; a lower one is chosen with hesitation."""
_THROUGH_WORKER: Final[frozenset[Mode]] = frozenset({"datachannel", "sfu"})


class Situation(Struct, frozen=True, kw_only=True):
    """All of a group that the choice depends on."""

    members: int
    has_media: bool
    """Somebody publishes audio or video."""
    has_unreachable: bool
    """Two members can't make a link between them."""
    has_worker: bool
    """A media worker can be reached."""
    modes: frozenset[Mode]
    """What every member can do."""


class Choice(NamedTuple):
    """A mode, and in one word why."""

    mode: Mode
    reason: str


def preferences(situation: Situation) -> tuple[Mode, ...]:
    """The modes from the best to the last resort, whoever can do them."""
    members = situation.members
    if situation.has_media:
        if situation.has_unreachable:
            return ("sfu", "datachannel", "relay", "mesh", "host")
        if members - 1 > MEDIA_UPLINKS:
            # What no worker carries only a mesh can.
            return ("sfu", "datachannel", "mesh", "host", "relay")
        return ("mesh", "sfu", "host", "datachannel", "relay")
    if situation.has_unreachable:
        return ("datachannel", "sfu", "relay", "host", "mesh")
    if members <= MESH_MEMBERS:
        return ("mesh", "host", "datachannel", "sfu", "relay")
    if members <= HOST_MEMBERS:
        return ("host", "datachannel", "sfu", "relay", "mesh")
    if members <= HOST_MEMBERS_MAX:
        return ("datachannel", "sfu", "host", "relay", "mesh")
    return ("datachannel", "sfu", "relay", "host", "mesh")


class AutoPolicy:
    """The choice of one group over time."""

    def __init__(self) -> None:
        self._failed: Final[dict[Mode, int]] = {}
        """Until when a mode is not proposed again."""
        self._failures: Final[Counter[Mode]] = Counter()
        self._members = 0
        self._waiting: Mode | None = None
        """The mode that is to be, once it has been right for long enough."""
        self._waiting_until_ms = 0

    @property
    def deadline_ms(self) -> int | None:
        """When to ask again though nothing has changed."""
        until = [] if self._waiting is None else [self._waiting_until_ms]
        return min([*until, *self._failed.values()], default=None)

    def failed(self, mode: Mode, now_ms: int) -> None:
        """A proposal of this mode was rolled back."""
        self._failed[mode] = now_ms + min(_FAILED_MAX_MS, _FAILED_MS << min(self._failures[mode], 8))
        self._failures[mode] += 1

    def decide(self, situation: Situation, current: Mode, now_ms: int) -> Choice | None:
        """What to propose now; None to leave things as they are."""
        if situation.members < self._members:
            self._failures.clear()  # Maybe who could not is gone.
        self._members = situation.members
        for mode in [mode for mode, until_ms in self._failed.items() if now_ms >= until_ms]:
            del self._failed[mode]
        target = self._best(situation, current)
        if target is None or target == current:
            self._waiting = None
            return None
        if not self._hesitates(situation, current, target):
            self._waiting = None
            return Choice(target, self._reason(situation, current, target))
        if self._hangs_on(situation, current):
            self._waiting = None
            return None
        if self._waiting != target:
            self._waiting, self._waiting_until_ms = target, now_ms + _SETTLED_MS
        if now_ms < self._waiting_until_ms:
            return None
        self._waiting = None
        return Choice(target, self._reason(situation, current, target))

    def _best(self, situation: Situation, current: Mode) -> Mode | None:
        for mode in preferences(situation):
            is_there = situation.has_worker or mode not in _THROUGH_WORKER
            if mode in situation.modes and is_there and (mode not in self._failed or mode == current):
                return mode
        return None

    @staticmethod
    def _hesitates(situation: Situation, current: Mode, target: Mode) -> bool:
        if current in _THROUGH_WORKER and not situation.has_worker:
            return True  # It is started again in a moment.
        return _RANK[target] < _RANK[current]

    def _hangs_on(self, situation: Situation, current: Mode) -> bool:
        """Whether one more member would make the present mode right again: then it isn't worth a change."""
        return self._best(replace(situation, members=situation.members + 1), current) == current

    def _reason(self, situation: Situation, current: Mode, target: Mode) -> str:
        if current in _THROUGH_WORKER and not situation.has_worker:
            return "no_worker"
        if situation.has_unreachable:
            return "unreachable"
        if situation.has_media and self._best(replace(situation, has_media=False), current) != target:
            return "media"  # Without it another mode would be right.
        return "grown" if _RANK[target] > _RANK[current] else "shrunk"

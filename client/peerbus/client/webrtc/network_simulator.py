"""
A worse network than there is, for trying what an application does in it.

Owns when each frame goes on, and which lossy ones never do. It stands between the delivery layer and the ways, so it
is the same in every mode: a reliable frame is only ever late, in order with the others (what gets lost is sent again,
a round trip later), a lossy one may be lost or overtake another. Never sends, never reads a clock; chance comes from
a seed, so that both SDKs do the same (`tests/vectors/peers/network.json`). Pictures and sound don't pass here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import Final, Generic, NamedTuple, TypeVar

from msgspec import Struct

from peerbus.client.errors import ErrorCode, PeerbusError

DELAY_MS_MAX: Final = 10_000
LOSS_MAX: Final = 0.9
LANE_BYTES: Final = 1_048_576
"""So much may be under way on a lane; whoever has more is to wait with it."""
_RESEND_MS: Final = 50
"""A resend takes at least that long, and a round trip if that is longer."""
_RESENDS_MAX: Final = 10

T = TypeVar("T")


class Simulation(Struct, frozen=True, kw_only=True):
    """
    What the network is to be like, in each direction: what is sent and what is received pass through it once each.

    Raises `PeerbusError` (`bad_request`) for what is none.
    """

    delay_ms: float = 0
    """Every frame takes so much longer: 0 to 10,000."""
    jitter_ms: float = 0
    """And up to so much more, each another time: 0 to 10,000."""
    loss: float = 0
    """The part of the frames that gets lost: 0 to 0.9."""

    def __post_init__(self) -> None:
        for name, highest in (("delay_ms", DELAY_MS_MAX), ("jitter_ms", DELAY_MS_MAX), ("loss", LOSS_MAX)):
            value: object = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= highest:
                raise PeerbusError(ErrorCode.BAD_REQUEST, f"{name} is {value!r}, not from 0 to {highest}.")


GOOD: Final = Simulation()


class InFlight(NamedTuple, Generic[T]):
    """Something under way; those of the same time go in the order in which they came."""

    due_ms: float
    number: int
    size_bytes: int
    item: T


class _Lane(Generic[T]):
    """What is under way one way."""

    def __init__(self) -> None:
        self.reliable: Final[deque[InFlight[T]]] = deque()
        self.lossy: Final[list[InFlight[T]]] = []
        self.size_bytes = 0

    def heads(self) -> Iterator[InFlight[T]]:
        if self.reliable:
            yield self.reliable[0]
        if self.lossy:
            yield self.lossy[0]


class NetworkSimulator(Generic[T]):
    """See the module. Times are milliseconds of any clock that never goes back; a lane is a path, or a sender."""

    def __init__(self, seed: int, simulation: Simulation = GOOD) -> None:
        self.simulation = simulation
        self._chance = seed & 0xFFFF_FFFF
        self._number = 0
        self._lanes: Final[dict[str, _Lane[T]]] = {}

    def is_clear(self, lane: str) -> bool:
        """Whether a frame would go at once, behind nothing."""
        return self.simulation == GOOD and lane not in self._lanes

    @property
    def lanes(self) -> list[str]:
        """Those on which something is under way."""
        return list(self._lanes)

    def room_bytes(self, lane: str) -> int:
        """How much more may be put on a lane; 0 and less: nothing."""
        held = self._lanes.get(lane)
        return LANE_BYTES if held is None else LANE_BYTES - held.size_bytes

    def put(self, lane: str, items: Sequence[tuple[T, int, bool]], now_ms: float) -> None:
        """Takes things that set out together, each with its size in bytes and whether it is lossy."""
        if not items:
            return
        held = self._lanes.setdefault(lane, _Lane())
        arrives_ms = now_ms + self.simulation.delay_ms + self.simulation.jitter_ms * self._random()
        for item, size_bytes, is_lossy in items:
            self._number += 1
            if is_lossy:
                if not self._is_lost():
                    heappush(held.lossy, InFlight(arrives_ms, self._number, size_bytes, item))
                    held.size_bytes += size_bytes
                continue
            due_ms = arrives_ms
            resends = 0
            while resends < _RESENDS_MAX and self._is_lost():
                resends += 1
                due_ms += max(_RESEND_MS, 2 * self.simulation.delay_ms)
            if held.reliable:
                due_ms = max(due_ms, held.reliable[-1].due_ms)
            held.reliable.append(InFlight(due_ms, self._number, size_bytes, item))
            held.size_bytes += size_bytes
        self._tidy(lane)

    def take(
        self,
        lane: str,
        now_ms: float,
        *,
        reliable_room: int | None = LANE_BYTES,
        lossy_room: int | None = LANE_BYTES,
    ) -> list[T]:
        """What has arrived at the other end of a lane, as far as there is room for it (None: none at all)."""
        held = self._lanes.get(lane)
        if held is None:
            return []
        out: list[InFlight[T]] = []
        room = reliable_room or 0
        while room > 0 and held.reliable and held.reliable[0].due_ms <= now_ms:
            out.append(held.reliable.popleft())
            room -= out[-1].size_bytes
        room = lossy_room or 0
        while room > 0 and held.lossy and held.lossy[0].due_ms <= now_ms:
            out.append(heappop(held.lossy))
            room -= out[-1].size_bytes
        held.size_bytes -= sum(one.size_bytes for one in out)
        self._tidy(lane)
        return [one.item for one in sorted(out, key=lambda one: (one.due_ms, one.number))]

    def forget(self, lane: str) -> None:
        """What is under way on a lane never arrives."""
        self._lanes.pop(lane, None)

    @property
    def deadline_ms(self) -> float | None:
        """When the next thing arrives."""
        return min((head.due_ms for lane in self._lanes.values() for head in lane.heads()), default=None)

    def _tidy(self, lane: str) -> None:
        held = self._lanes[lane]
        if not held.reliable and not held.lossy:
            del self._lanes[lane]

    def _is_lost(self) -> bool:
        return self.simulation.loss > 0 and self._random() < self.simulation.loss

    def _random(self) -> float:
        """From 0 up to 1: mulberry32, which is short and the same everywhere."""
        self._chance = (self._chance + 0x6D2B_79F5) & 0xFFFF_FFFF
        mixed = self._chance
        mixed = ((mixed ^ (mixed >> 15)) * (mixed | 1)) & 0xFFFF_FFFF
        mixed ^= (mixed + ((mixed ^ (mixed >> 7)) * (mixed | 61))) & 0xFFFF_FFFF
        return ((mixed ^ (mixed >> 14)) & 0xFFFF_FFFF) / 4_294_967_296

"""
One member's part in the game: as host it runs the match, as player it aims, and everybody knows the table.

Owns who is believed, what is sent, and taking over from a host who is gone. Any member can go on with the match, since
every state that comes is the whole of it. Never sends by itself or reads a clock: times are milliseconds of one clock
that never goes back, and `take` gives what is to be sent. `web/src/games/air-hockey/game.ts` is its twin, and both run
`tests/vectors/games/game.json`.

Messages, besides which nothing is looked at: `["aim", number, x, y]` to the host and `["table", match, aims]` to all,
60 times a second and unreliably; reliably `["again"]` to the host, and `["match", match]` from a host to the one that
follows it. Places are in ten-thousandths of the table's width; `aims` says which number of each player's aims the host
has heard, and how long ago.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from air_hockey.match import GOALS_TO_WIN, Match, from_wire, is_whole, rounded, to_wire
from air_hockey.rink import LENGTH, STEPS_PER_S, WIDTH, Body, Point, Rink, Seat, step

_STEP_MS: Final = 1000 / STEPS_PER_S
_CATCH_UP_STEPS: Final = 15
"""After a longer pause than this the match goes on from where it was, and does not make up for it."""
_HANDOVER_MS: Final = 2_000
"""So long a new host that knows of no match waits for that of the one before."""
_AHEAD_STEPS_MAX: Final = 12
"""Further than this nothing is guessed."""
_UNIT: Final = 1e4
_REMEMBERED_AIMS: Final = 240
"""So many aims are remembered, to see how long the way to the host and back is."""


class Sending(NamedTuple):
    """Something to be sent."""

    payload: list[Any]
    to: str | None
    """An identity; None: to all."""
    is_reliable: bool


class _Aim(NamedTuple):
    number: int
    at: Point
    at_ms: float


class Game:
    """See the module. `goals_to_win` counts if it is this member who lays the table."""

    def __init__(self, identity: str, goals_to_win: int = GOALS_TO_WIN) -> None:
        self._identity: Final = identity
        self._goals_to_win: Final = goals_to_win
        self._aims: Final[dict[str, _Aim]] = {}
        self._own_aims: Final[dict[int, float]] = {}
        self._outgoing: list[Sending] = []
        self._present: Sequence[str] = ()
        self._host: str | None = None
        self._is_first_of_host = False
        self._became_host_at_ms = 0.0
        self._run: Match | None = None
        self._told: Match | None = None
        self._told_at_ms = 0.0
        self._stepped_at_ms = 0.0
        self._last_aim = 0
        self._target = Point(WIDTH / 2, LENGTH / 2)
        self._way_ms = 0.0

    # --- what can be asked --------------------------------------------------------------------------------------

    @property
    def match(self) -> Match | None:
        """The match: the own one as host, else as the host told it last."""
        return self._run or self._told

    @property
    def is_host(self) -> bool:
        """Whether it is this member's to run."""
        return self._host == self._identity

    @property
    def seat(self) -> Seat | None:
        """Where this member plays; spectators have no seat."""
        return None if self.match is None else self.match.seat_of(self._identity)

    @property
    def delay_ms(self) -> float:
        """From an aim to the news that the host has heard it, measured; 0 for the host."""
        return 0.0 if self._run is not None else self._way_ms

    def rink(self, now_ms: float) -> Rink | None:
        """The table as it should be now, though the news of it is old."""
        if self._run is not None:
            return self._run.rink.copy()
        if self._told is None:
            return None
        return _predicted(self._told, now_ms - self._told_at_ms + self._way_ms / 2)

    def take(self) -> list[Sending]:
        """What is to be sent since the last call."""
        sending, self._outgoing = self._outgoing, []
        return sending

    # --- what happens -------------------------------------------------------------------------------------------

    def members_are(self, present: Sequence[str], host: str | None, now_ms: float) -> None:
        """Who is here, the longest first, and who of them is host."""
        self._present = present
        if host == self._host:
            return
        self._host = host
        self._is_first_of_host = True
        if host == self._identity:
            # The newest state that came is the match; what the old host has seen since comes, if it is still there.
            self._became_host_at_ms = self._stepped_at_ms = now_ms
            self._run = None if self._told is None else from_wire(to_wire(self._told))
        elif self._run is not None:
            self._told, self._told_at_ms, self._run = self._run, now_ms, None
            if host is not None:
                self._send(["match", to_wire(self._told)], host, is_reliable=True)

    def aim(self, target: Point) -> None:
        """The player wants the mallet there."""
        self._target = target

    def again(self) -> None:
        """The player wants to play again."""
        if self._run is not None:
            self._run.want_rematch(self._identity)
        elif self._host is not None:
            self._send(["again"], self._host, is_reliable=True)

    def pass_time(self, now_ms: float) -> None:
        """Time has passed; to be called about as often as there are steps."""
        if not self.is_host:
            self._send_aim(now_ms)
            return
        is_alone = all(identity == self._identity for identity in self._present)
        if self._run is None and (is_alone or now_ms - self._became_host_at_ms >= _HANDOVER_MS):
            self._run = Match(goals_to_win=self._goals_to_win)
        if self._run is not None:
            self._play(self._run, now_ms)

    def receive(self, sender: str, payload: object, now_ms: float) -> None:
        """A message came. What is none of the game's is nobody's business."""
        match payload:
            case ["table", wire, heard] if sender == self._host and not self.is_host:
                self._table_came(wire, heard, now_ms)
            case ["match", wire] if self.is_host:
                self._handed_over(wire, now_ms)
            case ["aim", number, x, y] if self._run is not None:
                self._aim_came(sender, number, x, y, now_ms)
            case ["again"] if self._run is not None:
                self._run.want_rematch(sender)

    # --- inside -------------------------------------------------------------------------------------------------

    def _play(self, match: Match, now_ms: float) -> None:
        due = math.floor((now_ms - self._stepped_at_ms) / _STEP_MS)
        if due <= 0:
            return
        self._stepped_at_ms = now_ms if due > _CATCH_UP_STEPS else self._stepped_at_ms + due * _STEP_MS
        targets = {identity: aim.at for identity, aim in self._aims.items()}
        targets[self._identity] = self._target
        for _ in range(min(due, _CATCH_UP_STEPS)):
            match.advance(self._present, targets)
        for identity in [identity for identity in self._aims if identity not in self._present]:
            del self._aims[identity]
        heard = [
            [identity, aim.number, math.floor(now_ms - aim.at_ms + 0.5)]
            for identity, aim in self._aims.items()
        ]
        self._send(["table", to_wire(match), heard], None, is_reliable=False)

    def _handed_over(self, wire: object, now_ms: float) -> None:
        match = from_wire(wire)
        is_in_time = now_ms - self._became_host_at_ms < _HANDOVER_MS
        if match is not None and is_in_time and (self._run is None or match.at > self._run.at):
            self._run = match

    def _send_aim(self, now_ms: float) -> None:
        if self.seat is None or self._host is None:
            return
        self._last_aim += 1
        self._own_aims[self._last_aim] = now_ms
        self._own_aims.pop(self._last_aim - _REMEMBERED_AIMS, None)
        x, y = self._target
        self._send(["aim", self._last_aim, rounded(x), rounded(y)], self._host, is_reliable=False)

    def _aim_came(self, sender: str, number: object, x: object, y: object, now_ms: float) -> None:
        if not (isinstance(number, int) and isinstance(x, int) and isinstance(y, int)):
            return
        if not all(map(is_whole, (number, x, y))) or sender not in self._present:
            return
        known = self._aims.get(sender)
        # A program that was started again counts from 1; one that is merely late does not come that late.
        if known is not None and known.number - _REMEMBERED_AIMS < number <= known.number:
            return
        self._aims[sender] = _Aim(number, Point(x / _UNIT, y / _UNIT), now_ms)

    def _table_came(self, wire: object, heard: object, now_ms: float) -> None:
        match = from_wire(wire)
        if match is None:
            return
        if self._told is None or match.at > self._told.at or self._is_first_of_host:
            self._told, self._told_at_ms = match, now_ms
        self._is_first_of_host = False
        for entry in heard if isinstance(heard, list) else []:
            match entry:
                case [self._identity, int(number), int() | float() as ago_ms] if number in self._own_aims:
                    way_ms = max(0.0, now_ms - self._own_aims[number] - ago_ms)
                    self._way_ms = way_ms if self._way_ms == 0 else self._way_ms + (way_ms - self._way_ms) / 8

    def _send(self, payload: list[Any], to: str | None, *, is_reliable: bool) -> None:
        self._outgoing.append(Sending(payload, to, is_reliable))


def _predicted(match: Match, elapsed_ms: float) -> Rink:
    rink = match.rink.copy()
    if match.phase != "playing":
        return rink
    for _ in range(min(_AHEAD_STEPS_MAX, max(0, round(elapsed_ms / _STEP_MS)))):
        near, far = (_aim_of(mallet) for mallet in rink.mallets)
        # A goal is the host's to tell.
        if step(rink, (near, far)) is not None:
            break
    return rink


def _aim_of(mallet: Body) -> Point:
    """Where a mallet will be next if it goes on as it does."""
    return Point(mallet.x + mallet.vx * 0.5 / STEPS_PER_S, mallet.y + mallet.vy * 0.5 / STEPS_PER_S)

"""
One match: who sits where, the score, serves and the end.

Owns the rules, as plain data that any member can take over and go on with; `web/src/games/air-hockey/match.ts` is its
twin, and both run `tests/vectors/games/match.json`. Never reads a clock: time is counted in steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_args

from air_hockey.rink import SEATS, STEPS_PER_S, WIDTH, Body, Point, Rink, Seat, home, new_rink, step

GOALS_TO_WIN: Final = 7
"""Unless whoever lays the table says otherwise."""
_GOALS_TO_WIN_MAX: Final = 99
_COUNTDOWN_STEPS: Final = 2 * STEPS_PER_S
_SEAT_KEPT_STEPS: Final = 15 * STEPS_PER_S
"""So long the seat of a player who is away is kept."""
_UNIT: Final = 1e4

Phase: TypeAlias = Literal["waiting", "countdown", "playing", "over"]
"""`waiting` for two players, `countdown` to a serve, `playing`, and `over`."""
_PHASES: Final[tuple[Phase, ...]] = get_args(Phase)


@dataclass(slots=True)
class Match:
    """Everything there is to know of a match."""

    at: int = 0
    """How many steps it is old."""
    phase: Phase = "waiting"
    serves_at: int = 0
    """When the countdown is over."""
    rink: Rink = field(default_factory=lambda: new_rink(0))
    seats: list[str | None] = field(default_factory=lambda: [None, None])
    """The identities of the players."""
    kept_until: list[int] = field(default_factory=lambda: [0, 0])
    """When the seat of a player who is away is given away; 0 while they are here."""
    score: list[int] = field(default_factory=lambda: [0, 0])
    goals_to_win: int = GOALS_TO_WIN
    wants_rematch: list[bool] = field(default_factory=lambda: [False, False])

    def seat_of(self, identity: str) -> Seat | None:
        """Where somebody sits; spectators have no seat."""
        return next((seat for seat in SEATS if self.seats[seat] == identity), None)

    def want_rematch(self, identity: str) -> None:
        """Somebody wants to play again. Has no effect unless they sit here and the match is over."""
        seat = self.seat_of(identity)
        if seat is None or self.phase != "over":
            return
        self.wants_rematch[seat] = True
        if all(self.wants_rematch):
            self._begin(1 if self.score[0] > self.score[1] else 0)

    def advance(self, present: Sequence[str], targets: Mapping[str, Point]) -> None:
        """Goes on by one step. `present` is who is here, the longest first; `targets` where they want their mallets."""
        self.at += 1
        self._sit(present)
        if not all(identity is not None and identity in present for identity in self.seats):
            if self.phase != "over":
                self.phase = "waiting"
            return
        if self.phase == "waiting":
            self._serve(0 if self.rink.puck.y < 1 else 1)
        wanted = (self._target(0, targets), self._target(1, targets))
        if self.phase == "playing":
            scorer = step(self.rink, wanted)
            if scorer is not None:
                self._score(scorer)
            return
        # Between the serves mallets move, and the puck lies still.
        puck = self.rink.puck.copy()
        step(self.rink, wanted)
        self.rink.puck = puck
        if self.phase == "countdown" and self.at >= self.serves_at:
            self.phase = "playing"

    def _sit(self, present: Sequence[str]) -> None:
        for seat in SEATS:
            identity = self.seats[seat]
            if identity is None or identity in present:
                self.kept_until[seat] = 0
            elif self.kept_until[seat] == 0:
                self.kept_until[seat] = self.at + _SEAT_KEPT_STEPS
            elif self.at >= self.kept_until[seat]:
                self.seats[seat] = None
        for seat in SEATS:
            following = next((identity for identity in present if identity not in self.seats), None)
            if self.seats[seat] is None and following is not None:
                self.seats[seat] = following
                self.kept_until[seat] = 0
                self._begin(0)

    def _begin(self, server: Seat) -> None:
        """From nil to nil, with whoever sits there."""
        self.score = [0, 0]
        self.wants_rematch = [False, False]
        self._serve(server)

    def _serve(self, server: Seat) -> None:
        self.rink.puck = new_rink(server).puck
        self.phase = "countdown"
        self.serves_at = self.at + _COUNTDOWN_STEPS

    def _score(self, scorer: Seat) -> None:
        self.score[scorer] += 1
        self._serve(1 if scorer == 0 else 0)
        if self.score[scorer] >= self.goals_to_win:
            self.phase = "over"

    def _target(self, seat: Seat, targets: Mapping[str, Point]) -> Point:
        return targets.get(self.seats[seat] or "", Point(WIDTH / 2, home(seat)))


# --- as it travels --------------------------------------------------------------------------------------------------


def to_wire(match: Match) -> list[Any]:
    """What is sent of a match: numbers and strings in one list, a few hundred bytes."""
    bodies = (match.rink.puck, *match.rink.mallets)
    return [
        match.at,
        _PHASES.index(match.phase),
        match.serves_at,
        [rounded(value) for body in bodies for value in (body.x, body.y, body.vx, body.vy)],
        list(match.seats),
        list(match.kept_until),
        list(match.score),
        list(match.wants_rematch),
        match.goals_to_win,
    ]


def from_wire(value: object) -> Match | None:
    """The match that somebody sent; None if it is none."""
    if not isinstance(value, list) or len(value) != 9:
        return None
    at, phase, serves_at, bodies, seats, kept_until, score, wants_rematch, goals_to_win = value
    is_match = (
        _is_count(at)
        and _is_count(phase)
        and phase < len(_PHASES)
        and _is_count(serves_at)
        and _is_list(bodies, 12, is_whole)
        and _is_list(seats, 2, lambda one: one is None or isinstance(one, str))
        and _is_list(kept_until, 2, _is_count)
        and _is_list(score, 2, _is_count)
        and _is_list(wants_rematch, 2, lambda one: isinstance(one, bool))
        and _is_count(goals_to_win)
        and 1 <= goals_to_win <= _GOALS_TO_WIN_MAX
    )
    if not is_match:
        return None
    puck, near, far = (Body(*(one / _UNIT for one in bodies[first : first + 4])) for first in (0, 4, 8))
    return Match(
        at=at,
        phase=_PHASES[phase],
        serves_at=serves_at,
        rink=Rink(puck, (near, far)),
        seats=list(seats),
        kept_until=list(kept_until),
        score=list(score),
        goals_to_win=goals_to_win,
        wants_rematch=list(wants_rematch),
    )


def rounded(length: float) -> int:
    """A length in ten-thousandths of the table's width."""
    return math.floor(length * _UNIT + 0.5)


def is_whole(value: object) -> bool:
    """Whether it is a whole number that every language has."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53


def _is_count(value: object) -> bool:
    return isinstance(value, int) and is_whole(value) and value >= 0


def _is_list(value: object, length: int, is_one: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and len(value) == length and all(map(is_one, value))

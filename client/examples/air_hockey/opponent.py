"""
How the program plays: where it wants its mallet, given the table.

Owns its skill. It sees the table as a person does, moves no faster than a quick hand, and is beatable. Never knows the
network or the score, and never reads a clock: it is asked once a step.
"""

from __future__ import annotations

from random import Random
from typing import Final

from air_hockey.rink import (
    LENGTH,
    MALLET_RADIUS,
    PUCK_RADIUS,
    STEPS_PER_S,
    WIDTH,
    Body,
    Point,
    Rink,
    Seat,
    home,
    reach,
)

_CONTACT: Final = MALLET_RADIUS + PUCK_RADIUS
_GUARD_SPEED: Final = 1.6 / STEPS_PER_S
_STRIKE_SPEED: Final = 2.6 / STEPS_PER_S
"""How far the hand moves in a step."""
_CALM: Final = 2.4
"""A faster puck is stopped first, and struck afterwards."""
_COMING: Final = 0.1
_AHEAD_S: Final = 0.1
"""So far ahead a puck is met."""
_MISJUDGED: Final = 0.1
"""How far off it is, as a rule, about where a puck will come."""
_THROUGH: Final = 0.08
_SHOTS: Final = (WIDTH / 2, WIDTH * 0.38, WIDTH * 0.62, -WIDTH / 2, WIDTH * 1.5)
"""Where on the other end line to shoot at: the goal, its corners, and the goal as the sides mirror it."""


class Opponent:
    """A player in one seat; `random` chooses the shots, and the mistakes."""

    def __init__(self, seat: Seat, random: Random) -> None:
        self.seat: Final = seat
        self._random: Final = random
        self._hand = Point(WIDTH / 2, home(0))
        self._shot: float | None = None
        self._mistake = 0.0
        self._is_coming = False

    def aim(self, rink: Rink) -> Point:
        """Where the mallet is wanted in this step."""
        puck = self._from_own_side(rink.puck)
        is_coming = puck.vy < -_COMING
        if is_coming and not self._is_coming:
            self._mistake = self._random.gauss(0, _MISJUDGED)
        self._is_coming = is_coming
        if self._is_to_be_struck(puck):
            if self._shot is None:
                self._shot = self._random.choice(_SHOTS)
            wanted, speed = _stroke(puck, self._shot), _STRIKE_SPEED
        else:
            self._shot = None
            wanted, speed = _guard(puck, self._mistake), _GUARD_SPEED
        self._hand = reach(0, _towards(self._hand, wanted, speed))
        return self._hand if self.seat == 0 else Point(WIDTH - self._hand.x, LENGTH - self._hand.y)

    def _is_to_be_struck(self, puck: Body) -> bool:
        is_calm = puck.vx * puck.vx + puck.vy * puck.vy < _CALM * _CALM
        is_here = puck.y < LENGTH / 2 - PUCK_RADIUS
        return is_calm and is_here and puck.y > self._hand.y + _CONTACT / 2

    def _from_own_side(self, body: Body) -> Body:
        """As seen by somebody who defends y = 0."""
        if self.seat == 0:
            return body
        return Body(WIDTH - body.x, LENGTH - body.y, -body.vx, -body.vy)


def _stroke(puck: Body, shot: float) -> Point:
    """From behind through the puck, so that it goes there."""
    x, y = _after(puck, _AHEAD_S)
    to_x, to_y = shot - x, LENGTH - y
    way = (to_x * to_x + to_y * to_y) ** 0.5
    return Point(
        x + to_x / way * (_THROUGH - _CONTACT), max(MALLET_RADIUS, y + to_y / way * (_THROUGH - _CONTACT))
    )


def _guard(puck: Body, mistake: float) -> Point:
    """Where a puck that comes will cross the home line; else before the own goal, a little to its side."""
    line = home(0)
    if puck.vy < -_COMING and puck.y > line:
        x = _after(puck, (puck.y - line) / -puck.vy).x + mistake
        return Point(min(0.78, max(0.22, x)), line)
    if puck.y <= line:
        # It is behind: between it and the goal, along the end line.
        return Point(WIDTH / 2 + (puck.x - WIDTH / 2) * 0.6, MALLET_RADIUS)
    return Point(WIDTH / 2 + (puck.x - WIDTH / 2) * 0.35, line)


def _after(puck: Body, seconds: float) -> Point:
    """Where it will be, off the sides but not off the mallets."""
    low, high = PUCK_RADIUS, WIDTH - PUCK_RADIUS
    away = (puck.x + puck.vx * seconds - low) % (2 * (high - low))
    x = low + (away if away <= high - low else 2 * (high - low) - away)
    return Point(x, puck.y + puck.vy * seconds)


def _towards(hand: Point, wanted: Point, speed: float) -> Point:
    dx, dy = wanted.x - hand.x, wanted.y - hand.y
    way = (dx * dx + dy * dy) ** 0.5
    return wanted if way <= speed else Point(hand.x + dx / way * speed, hand.y + dy / way * speed)

"""
The table, the puck and the two mallets, and how they move.

Owns the physics, in steps of a fixed time; `web/src/games/air-hockey/rink.ts` is its twin to the last bit, and both run
`tests/vectors/games/rink.json`. Never knows who plays, the score or the network. Lengths are widths of the table,
times are seconds; player 0 defends y = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

WIDTH: Final = 1.0
LENGTH: Final = 2.0
PUCK_RADIUS: Final = 0.05
MALLET_RADIUS: Final = 0.075
GOAL_WIDTH: Final = 0.36
STEPS_PER_S: Final = 60
"""So many steps of the game there are in a second."""

_SUBSTEPS: Final = 4
"""A step is cut into so many that nothing fast passes through anything."""
_MALLET_SPEED: Final = 7.0
_PUCK_SPEED: Final = 3.6
_FRICTION: Final = 0.2
"""The share of its speed that the puck loses in a second."""
_WALL_BOUNCE: Final = 0.92
_MALLET_BOUNCE: Final = 0.85
_GOAL_LEFT: Final = (WIDTH - GOAL_WIDTH) / 2
_GOAL_RIGHT: Final = (WIDTH + GOAL_WIDTH) / 2

Seat: TypeAlias = Literal[0, 1]
SEATS: Final[tuple[Seat, Seat]] = (0, 1)


class Point(NamedTuple):
    """A place on the table."""

    x: float
    y: float


@dataclass(slots=True)
class Body:
    """Something that moves."""

    x: float
    y: float
    vx: float = 0.0
    vy: float = 0.0

    def copy(self) -> Body:
        """Another one that is as this one is now."""
        return Body(self.x, self.y, self.vx, self.vy)


@dataclass(slots=True)
class Rink:
    """Everything on the table at one moment."""

    puck: Body
    mallets: tuple[Body, Body]

    def copy(self) -> Rink:
        """A copy that moves on its own."""
        return Rink(self.puck.copy(), (self.mallets[0].copy(), self.mallets[1].copy()))


def home(seat: Seat) -> float:
    """How far from the near end line a mallet waits."""
    return LENGTH * 0.15 if seat == 0 else LENGTH * 0.85


def new_rink(seat: Seat) -> Rink:
    """Everybody at home, the puck on the half of `seat`, at rest."""
    puck = Body(WIDTH / 2, LENGTH * 0.32 if seat == 0 else LENGTH * 0.68)
    return Rink(puck, (Body(WIDTH / 2, home(0)), Body(WIDTH / 2, home(1))))


def reach(seat: Seat, at: Point) -> Point:
    """The place closest to a point where a mallet may be: its own half, inside the walls."""
    if seat == 0:
        low, high = MALLET_RADIUS, LENGTH / 2 - MALLET_RADIUS
    else:
        low, high = LENGTH / 2 + MALLET_RADIUS, LENGTH - MALLET_RADIUS
    return Point(min(WIDTH - MALLET_RADIUS, max(MALLET_RADIUS, at.x)), min(high, max(low, at.y)))


def step(rink: Rink, targets: tuple[Point, Point]) -> Seat | None:
    """
    Moves everything on by one step. `targets` are where the players want their mallets.

    Gives who has scored, if somebody has; the puck is then behind the line, and the rink has to be set anew.
    """
    seconds = 1 / STEPS_PER_S / _SUBSTEPS
    wanted = (reach(0, targets[0]), reach(1, targets[1]))
    for _ in range(_SUBSTEPS):
        for seat in SEATS:
            _move_mallet(rink.mallets[seat], wanted[seat], seconds)
        scorer = _move_puck(rink, seconds)
        if scorer is not None:
            return scorer
    return None


def _move_mallet(mallet: Body, target: Point, seconds: float) -> None:
    way = _length(target.x - mallet.x, target.y - mallet.y)
    share = (_MALLET_SPEED * seconds) / way if way > _MALLET_SPEED * seconds else 1.0
    dx, dy = (target.x - mallet.x) * share, (target.y - mallet.y) * share
    mallet.x += dx
    mallet.y += dy
    mallet.vx = dx / seconds
    mallet.vy = dy / seconds


def _move_puck(rink: Rink, seconds: float) -> Seat | None:
    puck = rink.puck
    glide = 1 - _FRICTION * seconds
    puck.vx *= glide
    puck.vy *= glide
    puck.x += puck.vx * seconds
    puck.y += puck.vy * seconds
    for mallet in rink.mallets:
        _bounce_off(puck, mallet, MALLET_RADIUS + PUCK_RADIUS, _MALLET_BOUNCE)
    _bounce_off_sides(puck)
    scorer = _bounce_off_ends(puck)
    if scorer is not None:
        return scorer
    speed = _length(puck.vx, puck.vy)
    if speed > _PUCK_SPEED:
        puck.vx *= _PUCK_SPEED / speed
        puck.vy *= _PUCK_SPEED / speed
    return None


def _bounce_off(puck: Body, body: Body, distance: float, bounce: float) -> None:
    """Off something round, or off a point, that moves or does not."""
    dx, dy = puck.x - body.x, puck.y - body.y
    apart = _length(dx, dy)
    if apart >= distance:
        return
    if apart > 0:
        nx, ny = dx / apart, dy / apart
    else:
        # Exactly on top of each other: apart along the table, away from the nearer end.
        nx, ny = 0.0, 1.0 if puck.y < LENGTH / 2 else -1.0
    puck.x = body.x + nx * distance
    puck.y = body.y + ny * distance
    approach = (puck.vx - body.vx) * nx + (puck.vy - body.vy) * ny
    if approach < 0:
        puck.vx -= (1 + bounce) * approach * nx
        puck.vy -= (1 + bounce) * approach * ny


def _bounce_off_sides(puck: Body) -> None:
    if puck.x < PUCK_RADIUS:
        puck.x = PUCK_RADIUS
        puck.vx = abs(puck.vx) * _WALL_BOUNCE
    elif puck.x > WIDTH - PUCK_RADIUS:
        puck.x = WIDTH - PUCK_RADIUS
        puck.vx = -abs(puck.vx) * _WALL_BOUNCE


def _bounce_off_ends(puck: Body) -> Seat | None:
    is_near = puck.y < PUCK_RADIUS
    if not is_near and puck.y <= LENGTH - PUCK_RADIUS:
        return None
    if _GOAL_LEFT < puck.x < _GOAL_RIGHT:
        if is_near and puck.y < -PUCK_RADIUS:
            return 1
        if not is_near and puck.y > LENGTH + PUCK_RADIUS:
            return 0
        for x in (_GOAL_LEFT, _GOAL_RIGHT):
            _bounce_off(puck, Body(x, 0.0 if is_near else LENGTH), PUCK_RADIUS, _WALL_BOUNCE)
        return None
    puck.y = PUCK_RADIUS if is_near else LENGTH - PUCK_RADIUS
    puck.vy = (abs(puck.vy) if is_near else -abs(puck.vy)) * _WALL_BOUNCE
    return None


def _length(x: float, y: float) -> float:
    """Not `math.hypot`, which rounds otherwise than browsers do."""
    return math.sqrt(x * x + y * y)

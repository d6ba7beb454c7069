/**
 * The table, the puck and the two mallets, and how they move.
 *
 * Owns the physics, in steps of a fixed time, so that the same inputs give the same motion everywhere: to the last bit,
 * since only operations are used that IEEE 754 rounds exactly. `client/examples/air_hockey/rink.py` is its twin, and both
 * run `tests/vectors/games/rink.json`. Never knows who plays, the score or the network. Lengths are widths of the table,
 * times are seconds; player 0 defends y = 0.
 */

export const WIDTH = 1;
export const LENGTH = 2;
export const PUCK_RADIUS = 0.05;
export const MALLET_RADIUS = 0.075;
export const GOAL_WIDTH = 0.36;
/** So many steps of the game there are in a second. */
export const STEPS_PER_S = 60;

/** A step is cut into so many that nothing fast passes through anything. */
const SUBSTEPS = 4;
const MALLET_SPEED = 7;
const PUCK_SPEED = 3.6;
/** The share of its speed that the puck loses in a second. */
const FRICTION = 0.2;
const WALL_BOUNCE = 0.92;
const MALLET_BOUNCE = 0.85;
const GOAL_LEFT = (WIDTH - GOAL_WIDTH) / 2;
const GOAL_RIGHT = (WIDTH + GOAL_WIDTH) / 2;

export type Seat = 0 | 1;

/** A place on the table. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** Something that moves. */
export interface Body {
  x: number;
  y: number;
  vx: number;
  vy: number;
}

/** Everything on the table at one moment. */
export interface Rink {
  readonly puck: Body;
  readonly mallets: readonly [Body, Body];
}

/** Everybody at home, the puck on the half of `seat`, at rest. */
export function newRink(seat: Seat): Rink {
  return {
    puck: still(WIDTH / 2, seat === 0 ? LENGTH * 0.32 : LENGTH * 0.68),
    mallets: [still(WIDTH / 2, home(0)), still(WIDTH / 2, home(1))],
  };
}

/** A copy that moves on its own. */
export function copyOf({ puck, mallets: [near, far] }: Rink): Rink {
  return { puck: { ...puck }, mallets: [{ ...near }, { ...far }] };
}

/** The place closest to a point where a mallet may be: its own half, inside the walls. */
export function reach(seat: Seat, { x, y }: Point): Point {
  const [low, high] =
    seat === 0
      ? [MALLET_RADIUS, LENGTH / 2 - MALLET_RADIUS]
      : [LENGTH / 2 + MALLET_RADIUS, LENGTH - MALLET_RADIUS];
  return { x: within(x, MALLET_RADIUS, WIDTH - MALLET_RADIUS), y: within(y, low, high) };
}

/**
 * Moves everything on by one step. `targets` are where the players want their mallets.
 *
 * Gives who has scored, if somebody has; the puck is then behind the line, and the rink has to be set anew.
 */
export function step(rink: Rink, targets: readonly [Point, Point]): Seat | undefined {
  const seconds = 1 / STEPS_PER_S / SUBSTEPS;
  for (let at = 0; at < SUBSTEPS; at += 1) {
    moveMallet(rink.mallets[0], reach(0, targets[0]), seconds);
    moveMallet(rink.mallets[1], reach(1, targets[1]), seconds);
    const scorer = movePuck(rink, seconds);
    if (scorer !== undefined) return scorer;
  }
  return undefined;
}

function moveMallet(mallet: Body, { x, y }: Point, seconds: number): void {
  const way = lengthOf(x - mallet.x, y - mallet.y);
  const share = way > MALLET_SPEED * seconds ? (MALLET_SPEED * seconds) / way : 1;
  const [dx, dy] = [(x - mallet.x) * share, (y - mallet.y) * share];
  mallet.x += dx;
  mallet.y += dy;
  mallet.vx = dx / seconds;
  mallet.vy = dy / seconds;
}

function movePuck({ puck, mallets }: Rink, seconds: number): Seat | undefined {
  const glide = 1 - FRICTION * seconds;
  puck.vx *= glide;
  puck.vy *= glide;
  puck.x += puck.vx * seconds;
  puck.y += puck.vy * seconds;
  for (const mallet of mallets) hit(puck, mallet);
  bounceOffSides(puck);
  const scorer = bounceOffEnds(puck);
  if (scorer !== undefined) return scorer;
  const speed = lengthOf(puck.vx, puck.vy);
  if (speed > PUCK_SPEED) {
    puck.vx *= PUCK_SPEED / speed;
    puck.vy *= PUCK_SPEED / speed;
  }
  return undefined;
}

function hit(puck: Body, mallet: Body): void {
  bounceOff(puck, mallet, MALLET_RADIUS + PUCK_RADIUS, mallet.vx, mallet.vy, MALLET_BOUNCE);
}

/** Off something round, or off a point, that moves at this speed. */
function bounceOff(puck: Body, at: Point, distance: number, vx: number, vy: number, bounce: number): void {
  const [dx, dy] = [puck.x - at.x, puck.y - at.y];
  const apart = lengthOf(dx, dy);
  if (apart >= distance) return;
  // Exactly on top of each other: apart along the table, away from the nearer end.
  const [nx, ny] = apart > 0 ? [dx / apart, dy / apart] : [0, puck.y < LENGTH / 2 ? 1 : -1];
  puck.x = at.x + nx * distance;
  puck.y = at.y + ny * distance;
  const approach = (puck.vx - vx) * nx + (puck.vy - vy) * ny;
  if (approach < 0) {
    puck.vx -= (1 + bounce) * approach * nx;
    puck.vy -= (1 + bounce) * approach * ny;
  }
}

function bounceOffSides(puck: Body): void {
  if (puck.x < PUCK_RADIUS) {
    puck.x = PUCK_RADIUS;
    puck.vx = Math.abs(puck.vx) * WALL_BOUNCE;
  } else if (puck.x > WIDTH - PUCK_RADIUS) {
    puck.x = WIDTH - PUCK_RADIUS;
    puck.vx = -Math.abs(puck.vx) * WALL_BOUNCE;
  }
}

function bounceOffEnds(puck: Body): Seat | undefined {
  const isNear = puck.y < PUCK_RADIUS;
  if (!isNear && puck.y <= LENGTH - PUCK_RADIUS) return undefined;
  const line = isNear ? 0 : LENGTH;
  if (puck.x > GOAL_LEFT && puck.x < GOAL_RIGHT) {
    if (isNear ? puck.y < -PUCK_RADIUS : puck.y > LENGTH + PUCK_RADIUS) return isNear ? 1 : 0;
    for (const x of [GOAL_LEFT, GOAL_RIGHT]) bounceOff(puck, { x, y: line }, PUCK_RADIUS, 0, 0, WALL_BOUNCE);
    return undefined;
  }
  puck.y = isNear ? PUCK_RADIUS : LENGTH - PUCK_RADIUS;
  puck.vy = (isNear ? Math.abs(puck.vy) : -Math.abs(puck.vy)) * WALL_BOUNCE;
  return undefined;
}

/** How far from the end line a mallet waits. */
export function home(seat: Seat): number {
  return seat === 0 ? LENGTH * 0.15 : LENGTH * 0.85;
}

function still(x: number, y: number): Body {
  return { x, y, vx: 0, vy: 0 };
}

/** Not `Math.hypot`, which browsers round differently. */
function lengthOf(x: number, y: number): number {
  return Math.sqrt(x * x + y * y);
}

function within(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}

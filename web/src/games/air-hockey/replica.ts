/**
 * The table as a player sees it who is not host.
 *
 * Owns prediction: the newest state from the host, moved on with what the player has done since. How far: where the puck
 * is near the own side, to the moment when what the hand does now arrives at the host, so that a hit is seen when it is
 * made; on the other side to what the host sees now. What turns out to have been wrong is not jumped over but smoothed
 * away. When a state was made is told by its number and not by when it came, so that jitter is not seen. Never sends
 * anything and never reads a clock.
 */

import type { Match } from "./match";
import {
  type Body,
  copyOf,
  LENGTH,
  type Point,
  type Rink,
  reach,
  type Seat,
  STEPS_PER_S,
  step,
} from "./rink";

const STEP_MS = 1000 / STEPS_PER_S;
/** Further than this nothing is guessed: a stall looks like one. */
const AHEAD_STEPS_MAX = 24;
/** After this a third of an error is left. */
const SMOOTHING_MS = 60;
/** An error larger than this is a serve or a new host, and is shown at once. */
const JUMP = 0.5;
/** The part of a deviation by which the host's clock is corrected with each state. */
const CLOCK_SHARE = 1 / 16;
/** By more than this a clock does not deviate: the host was asleep, or is another. */
const CLOCK_JUMP_MS = 250;
/** The puck is near within this part of the table, and far beyond that one. */
const NEAR = 0.4;
const FAR = 0.75;

/** Where the player wanted the mallet, and since when; the oldest first. */
export type Wishes = readonly { readonly at: Point; readonly atMs: number }[];

interface Offset {
  x: number;
  y: number;
}

/** What came last, and how it is shown. Times are milliseconds of one monotonic clock. */
export class Replica {
  private newest: Match | undefined;
  private cameAtMs = 0;
  /** The host's time, in milliseconds of the match, less the local one: as it comes here, so the way is in it. */
  private clockMs = 0;
  private shownAtMs = 0;
  private readonly errors: readonly [Offset, Offset, Offset] = [zero(), zero(), zero()];
  private shown: Rink | undefined;
  private base: Match | undefined;

  /** The match as the host told it last. */
  get match(): Match | undefined {
    return this.newest;
  }

  /** How long ago that was. */
  ageMs(nowMs: number): number {
    return nowMs - this.cameAtMs;
  }

  /** A state came from the host. An older one than the last is dropped, unless the host is another. */
  receive(match: Match, nowMs: number, isNewHost = false): void {
    const deviationMs = match.at * STEP_MS - nowMs - this.clockMs;
    const isOther = isNewHost || !this.newest || Math.abs(deviationMs) > CLOCK_JUMP_MS;
    this.clockMs += isOther ? deviationMs : deviationMs * CLOCK_SHARE;
    if (this.newest && match.at <= this.newest.at && !isNewHost) return;
    this.newest = match;
    this.cameAtMs = nowMs;
  }

  /**
   * What to draw at this moment. `own` is where the player in `seat` wants the mallet, `wishes` where they wanted it
   * before, `wayMs` the way to the host and back.
   */
  draw(
    nowMs: number,
    wayMs: number,
    seat: Seat | undefined,
    own: Point,
    wishes: Wishes = [],
  ): Rink | undefined {
    const { newest } = this;
    if (!newest) return undefined;
    const aheadMs = (wayMs / 2) * (1 + nearness(newest.rink.puck, seat));
    const elapsedMs = nowMs + this.clockMs - newest.at * STEP_MS + aheadMs;
    // What the host will know when it makes a step is what was wanted here a way there and back before that comes.
    const madeMs = (newest.at + 0.5) * STEP_MS - this.clockMs - wayMs;
    const rink = predicted(
      newest,
      elapsedMs,
      seat,
      (steps) => wishAt(wishes, madeMs + steps * STEP_MS) ?? own,
    );
    this.smooth(rink, nowMs, seat);
    if (seat !== undefined) {
      // The own mallet is where the hand is: nothing feels slower than waiting for oneself.
      Object.assign(rink.mallets[seat], reach(seat, own));
    }
    this.shown = copyOf(rink);
    return rink;
  }

  /** By how much the last picture was off from what is known now, and ever less of it. */
  private smooth(rink: Rink, nowMs: number, seat: Seat | undefined): void {
    const passedMs = nowMs - this.shownAtMs;
    const isNew = this.newest !== this.base;
    this.shownAtMs = nowMs;
    this.base = this.newest;
    const last = this.shown && [this.shown.puck, ...this.shown.mallets];
    for (const [at, body] of [rink.puck, ...rink.mallets].entries()) {
      const error = this.errors[at] as Offset;
      const was = last?.[at];
      if (!was || (seat !== undefined && at === seat + 1)) continue;
      if (isNew) {
        error.x = was.x + (was.vx * passedMs) / 1000 - body.x;
        error.y = was.y + (was.vy * passedMs) / 1000 - body.y;
        if (Math.hypot(error.x, error.y) > JUMP) Object.assign(error, zero());
      }
      const left = Math.exp(-passedMs / SMOOTHING_MS);
      error.x *= left;
      error.y *= left;
      body.x += error.x;
      body.y += error.y;
    }
  }
}

/** How much of the way ahead the puck is shown: 1 near the own side, 0 far from it and for spectators. */
function nearness(puck: Body, seat: Seat | undefined): number {
  if (seat === undefined) return 0;
  const away = (seat === 0 ? puck.y : LENGTH - puck.y) / LENGTH;
  return Math.min(1, Math.max(0, (FAR - away) / (FAR - NEAR)));
}

function wishAt(wishes: Wishes, atMs: number): Point | undefined {
  for (let at = wishes.length - 1; at >= 0; at -= 1) {
    const wish = wishes[at];
    if (wish && wish.atMs <= atMs) return wish.at;
  }
  return undefined;
}

/** `wishOf` says where the player wants the mallet so many steps after the match as it came. */
function predicted(
  match: Match,
  elapsedMs: number,
  seat: Seat | undefined,
  wishOf: (steps: number) => Point,
): Rink {
  const rink = copyOf(match.rink);
  if (match.phase !== "playing") return rink;
  const elapsed = Math.min(AHEAD_STEPS_MAX, Math.max(0, elapsedMs / STEP_MS));
  const whole = Math.floor(elapsed);
  for (let done = 1; done <= whole; done += 1) {
    const targets: [Point, Point] = [aimOf(rink.mallets[0]), aimOf(rink.mallets[1])];
    if (seat !== undefined) targets[seat] = wishOf(done);
    // A goal is the host's to tell.
    if (step(rink, targets) !== undefined) return rink;
  }
  glide(rink, (elapsed - whole) * STEP_MS);
  return rink;
}

/** Moves everything on by less than a step, as if nothing was in its way. */
export function glide(rink: Rink, ms: number): void {
  for (const body of [rink.puck, ...rink.mallets]) {
    body.x += (body.vx * ms) / 1000;
    body.y += (body.vy * ms) / 1000;
  }
}

/** Where a mallet will be next if it goes on as it does. */
function aimOf({ x, y, vx, vy }: Body): Point {
  return { x: x + (vx * 0.5) / STEPS_PER_S, y: y + (vy * 0.5) / STEPS_PER_S };
}

function zero(): Offset {
  return { x: 0, y: 0 };
}

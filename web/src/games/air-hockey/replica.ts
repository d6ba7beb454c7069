/**
 * The table as a player sees it who is not host.
 *
 * Owns prediction: the newest state from the host, moved on to now with what the player has done since. What turns out
 * to have been wrong is not jumped over but smoothed away. Never sends anything and never reads a clock.
 */

import type { Match } from "./match";
import { type Body, copyOf, type Point, type Rink, reach, type Seat, STEPS_PER_S, step } from "./rink";

/** Further than this nothing is guessed: a stall looks like one. */
const AHEAD_STEPS_MAX = 12;
/** After this a third of an error is left. */
const SMOOTHING_MS = 60;
/** An error larger than this is a serve or a new host, and is shown at once. */
const JUMP = 0.5;

interface Offset {
  x: number;
  y: number;
}

/** What came last, and how it is shown. Times are milliseconds of one monotonic clock. */
export class Replica {
  private newest: Match | undefined;
  private cameAtMs = 0;
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
    if (this.newest && match.at <= this.newest.at && !isNewHost) return;
    this.newest = match;
    this.cameAtMs = nowMs;
  }

  /** What to draw at this moment. `own` is where the player in `seat` wants the mallet; `delayMs` the way from the host. */
  draw(nowMs: number, delayMs: number, seat: Seat | undefined, own: Point): Rink | undefined {
    const { newest } = this;
    if (!newest) return undefined;
    const rink = predicted(newest, nowMs - this.cameAtMs + delayMs, seat, own);
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

function predicted(match: Match, elapsedMs: number, seat: Seat | undefined, own: Point): Rink {
  const rink = copyOf(match.rink);
  if (match.phase !== "playing") return rink;
  const steps = Math.min(AHEAD_STEPS_MAX, Math.max(0, Math.round((elapsedMs * STEPS_PER_S) / 1000)));
  for (let done = 0; done < steps; done += 1) {
    const targets: [Point, Point] = [aimOf(rink.mallets[0]), aimOf(rink.mallets[1])];
    if (seat !== undefined) targets[seat] = own;
    // A goal is the host's to tell.
    if (step(rink, targets) !== undefined) break;
  }
  return rink;
}

/** Where a mallet will be next if it goes on as it does. */
function aimOf({ x, y, vx, vy }: Body): Point {
  return { x: x + (vx * 0.5) / STEPS_PER_S, y: y + (vy * 0.5) / STEPS_PER_S };
}

function zero(): Offset {
  return { x: 0, y: 0 };
}

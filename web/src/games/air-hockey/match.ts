/**
 * One match: who sits where, the score, serves and the end.
 *
 * Owns the rules, as plain data that any member can take over and go on with. Never reads a clock: time is counted in
 * steps. Never knows the network; `steps` come from whoever is host. `client/examples/air_hockey/match.py` is its twin, and
 * both run `tests/vectors/games/match.json`.
 */

import {
  type Body,
  copyOf,
  home,
  newRink,
  type Point,
  type Rink,
  type Seat,
  STEPS_PER_S,
  step,
  WIDTH,
} from "./rink";

/** Unless whoever lays the table says otherwise. */
export const GOALS_TO_WIN = 7;
const GOALS_TO_WIN_MAX = 99;
const COUNTDOWN_STEPS = 2 * STEPS_PER_S;
/** So long the seat of a player who is away is kept. */
const SEAT_KEPT_STEPS = 15 * STEPS_PER_S;

/** `waiting` for two players, `countdown` to a serve, `playing`, and `over`. */
export type Phase = "waiting" | "countdown" | "playing" | "over";
export const PHASES: readonly Phase[] = ["waiting", "countdown", "playing", "over"];

/** Everything there is to know of a match. */
export interface Match {
  /** How many steps it is old. */
  at: number;
  phase: Phase;
  /** When the countdown is over. */
  servesAt: number;
  rink: Rink;
  /** The identities of the players. */
  readonly seats: [string | null, string | null];
  /** When the seat of a player who is away is given away; 0 while they are here. */
  readonly keptUntil: [number, number];
  readonly score: [number, number];
  /** So many goals end it. */
  readonly goalsToWin: number;
  /** Who wants to play again. */
  readonly wantsRematch: [boolean, boolean];
}

/** A table where nobody sits. */
export function newMatch(goalsToWin = GOALS_TO_WIN): Match {
  return {
    at: 0,
    phase: "waiting",
    servesAt: 0,
    rink: newRink(0),
    seats: [null, null],
    keptUntil: [0, 0],
    score: [0, 0],
    goalsToWin,
    wantsRematch: [false, false],
  };
}

/** Where somebody sits; spectators have no seat. */
export function seatOf(match: Match, identity: string): Seat | undefined {
  const at = match.seats.indexOf(identity);
  return at < 0 ? undefined : (at as Seat);
}

/** Somebody wants to play again. Has no effect unless they sit here and the match is over. */
export function wantRematch(match: Match, identity: string): void {
  const seat = seatOf(match, identity);
  if (seat === undefined || match.phase !== "over") return;
  match.wantsRematch[seat] = true;
  if (match.wantsRematch[0] && match.wantsRematch[1]) {
    begin(match, match.score[0] > match.score[1] ? 1 : 0);
  }
}

/** Goes on by one step. `present` is who is here, the longest first; `targets` where they want their mallets. */
export function advance(match: Match, present: readonly string[], targets: ReadonlyMap<string, Point>): void {
  match.at += 1;
  sit(match, present);
  const isComplete = match.seats.every((identity) => identity !== null && present.includes(identity));
  if (!isComplete) {
    if (match.phase !== "over") match.phase = "waiting";
    return;
  }
  if (match.phase === "waiting") serve(match, match.rink.puck.y < 1 ? 0 : 1);
  const wanted: [Point, Point] = [target(match, 0, targets), target(match, 1, targets)];
  if (match.phase === "playing") {
    const scorer = step(match.rink, wanted);
    if (scorer !== undefined) score(match, scorer);
    return;
  }
  // Between the serves mallets move, and the puck lies still.
  const { puck } = match.rink;
  const place = { ...puck };
  step(match.rink, wanted);
  Object.assign(puck, place);
  if (match.phase === "countdown" && match.at >= match.servesAt) match.phase = "playing";
}

function sit(match: Match, present: readonly string[]): void {
  for (const seat of [0, 1] as const) {
    const identity = match.seats[seat];
    if (identity !== null && !present.includes(identity)) {
      if (match.keptUntil[seat] === 0) match.keptUntil[seat] = match.at + SEAT_KEPT_STEPS;
      else if (match.at >= match.keptUntil[seat]) match.seats[seat] = null;
    } else match.keptUntil[seat] = 0;
  }
  for (const seat of [0, 1] as const) {
    if (match.seats[seat] !== null) continue;
    const next = present.find((identity) => !match.seats.includes(identity));
    if (next === undefined) continue;
    match.seats[seat] = next;
    match.keptUntil[seat] = 0;
    begin(match, 0);
  }
}

/** From nil to nil, with whoever sits there. */
function begin(match: Match, server: Seat): void {
  match.score.fill(0);
  match.wantsRematch.fill(false);
  serve(match, server);
}

function serve(match: Match, server: Seat): void {
  const { mallets } = match.rink;
  match.rink = { puck: newRink(server).puck, mallets: copyOf({ puck: mallets[0], mallets }).mallets };
  match.phase = "countdown";
  match.servesAt = match.at + COUNTDOWN_STEPS;
}

function score(match: Match, scorer: Seat): void {
  match.score[scorer] += 1;
  const conceded: Seat = scorer === 0 ? 1 : 0;
  serve(match, conceded);
  if (match.score[scorer] >= match.goalsToWin) match.phase = "over";
}

function target(match: Match, seat: Seat, targets: ReadonlyMap<string, Point>): Point {
  const identity = match.seats[seat];
  const found = identity === null ? undefined : targets.get(identity);
  return found ?? { x: WIDTH / 2, y: home(seat) };
}

// --- as it travels -------------------------------------------------------------------------------------------

/** What is sent of a match: numbers and strings in one list, a few hundred bytes. */
export function toWire(match: Match): unknown[] {
  // A negative zero would travel as a number with a fraction.
  const body = ({ x, y, vx, vy }: Body): number[] =>
    [x, y, vx, vy].map((value) => Math.round(value * 1e4) + 0);
  const { puck, mallets } = match.rink;
  return [
    match.at,
    PHASES.indexOf(match.phase),
    match.servesAt,
    [...body(puck), ...body(mallets[0]), ...body(mallets[1])],
    match.seats,
    match.keptUntil,
    match.score,
    match.wantsRematch,
    match.goalsToWin,
  ];
}

/** The match that somebody sent; nothing if it is none. */
export function fromWire(value: unknown): Match | undefined {
  if (!Array.isArray(value) || value.length !== 9) return undefined;
  const [at, phase, servesAt, bodies, seats, keptUntil, score, wantsRematch, goalsToWin] = value as unknown[];
  const name = isCount(phase) ? PHASES[phase] : undefined;
  if (!isCount(at) || !isCount(servesAt) || name === undefined) return undefined;
  if (!isList(bodies, 12, Number.isSafeInteger) || !isList(seats, 2, isIdentity)) return undefined;
  if (!isList(keptUntil, 2, isCount) || !isList(score, 2, isCount)) return undefined;
  if (!isList(wantsRematch, 2, (one) => typeof one === "boolean")) return undefined;
  if (!isCount(goalsToWin) || goalsToWin < 1 || goalsToWin > GOALS_TO_WIN_MAX) return undefined;
  const numbers = (bodies as number[]).map((one) => one / 1e4);
  const body = (from: number): Body => {
    const [x = 0, y = 0, vx = 0, vy = 0] = numbers.slice(from, from + 4);
    return { x, y, vx, vy };
  };
  return {
    at,
    phase: name,
    servesAt,
    rink: { puck: body(0), mallets: [body(4), body(8)] },
    seats: [...(seats as [string | null, string | null])],
    keptUntil: [...(keptUntil as [number, number])],
    score: [...(score as [number, number])],
    goalsToWin,
    wantsRematch: [...(wantsRematch as [boolean, boolean])],
  };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isIdentity(value: unknown): boolean {
  return value === null || typeof value === "string";
}

function isList(value: unknown, length: number, isOne: (one: unknown) => boolean): value is unknown[] {
  return Array.isArray(value) && value.length === length && value.every(isOne);
}

/**
 * One member's part in the game: as host it runs the match, as player it aims, and everybody sees the table.
 *
 * Owns who is believed, what is sent, and taking over from a host who is gone. Any member can go on with the match, since
 * every state that comes is the whole of it. Never sends by itself, draws or reads a clock: times are milliseconds of
 * one monotonic clock, `toSend` empties what is to be sent.
 *
 * Messages, besides which nothing is looked at: `["aim", number, x, y]` to the host and `["table", match, aims]` to all,
 * 60 times a second and unreliably; reliably `["again"]` to the host, and `["match", match]` from a host to the one that
 * follows it. Places are in ten-thousandths of the table's width; `aims` says which number of each player's aims the host
 * has heard, and how long ago. `client/examples/air_hockey/game.py` is its twin, and both run
 * `tests/vectors/games/game.json`.
 */

import { advance, fromWire, type Match, newMatch, seatOf, toWire, wantRematch } from "./match";
import { glide, Replica } from "./replica";
import { copyOf, LENGTH, type Point, type Rink, type Seat, STEPS_PER_S, WIDTH } from "./rink";

const STEP_MS = 1000 / STEPS_PER_S;
/** After a longer pause than this the match goes on from where it was, and does not make up for it. */
const CATCH_UP_STEPS = 15;
/** So long a new host that knows of no match waits for that of the one before. */
const HANDOVER_MS = 2_000;
const UNIT = 1e4;
/** So many aims are remembered, to see how long the way to the host and back is. */
const REMEMBERED_AIMS = 240;

/** Something to be sent. */
export interface Sending {
  readonly payload: unknown;
  /** An identity; nobody named: to all. */
  readonly to: string | undefined;
  readonly reliable: boolean;
}

interface Aim {
  readonly number: number;
  readonly at: Point;
  readonly atMs: number;
}

export class Game {
  private readonly identity: string;
  private readonly goalsToWin: number | undefined;
  private readonly replica = new Replica();
  private readonly aims = new Map<string, Aim>();
  /** The newest last. */
  private ownAims: Aim[] = [];
  private outgoing: Sending[] = [];
  private present: readonly string[] = [];
  private hostIdentity: string | undefined;
  private isFirstOfHost = false;
  private becameHostAtMs = 0;
  /** The match, while it is this member's to run. */
  private run: Match | undefined;
  private steppedAtMs = 0;
  private lastAim = 0;
  private target: Point = { x: WIDTH / 2, y: LENGTH / 2 };
  private wayMs = 0;

  /** `goalsToWin` counts if it is this member who lays the table. */
  constructor(identity: string, goalsToWin?: number) {
    this.identity = identity;
    this.goalsToWin = goalsToWin;
  }

  // --- what can be asked -----------------------------------------------------------------------------------

  get match(): Match | undefined {
    return this.run ?? this.replica.match;
  }

  get isHost(): boolean {
    return this.hostIdentity === this.identity;
  }

  /** Where this member plays; spectators have no seat. */
  get seat(): Seat | undefined {
    return this.match && seatOf(this.match, this.identity);
  }

  /** From the hand to the picture of it coming back from the host, measured; 0 for the host. */
  get delayMs(): number {
    return this.run ? 0 : this.wayMs;
  }

  /** For how long nothing has come from the host. */
  silentMs(nowMs: number): number {
    return this.run || !this.replica.match ? 0 : this.replica.ageMs(nowMs);
  }

  /** What to draw now. */
  draw(nowMs: number): Rink | undefined {
    if (!this.run) return this.replica.draw(nowMs, this.wayMs, this.seat, this.target, this.ownAims);
    // Pictures come between the steps, too.
    const rink = copyOf(this.run.rink);
    if (this.run.phase === "playing") glide(rink, Math.min(STEP_MS, Math.max(0, nowMs - this.steppedAtMs)));
    return rink;
  }

  /** What is to be sent since the last call. */
  toSend(): Sending[] {
    const sending = this.outgoing;
    this.outgoing = [];
    return sending;
  }

  // --- what happens -----------------------------------------------------------------------------------------

  /** Who is here, the longest first, and who of them is host. */
  membersAre(present: readonly string[], host: string | undefined, nowMs: number): void {
    this.present = present;
    if (host === this.hostIdentity) return;
    this.hostIdentity = host;
    this.isFirstOfHost = true;
    const { run } = this;
    if (host === this.identity) {
      // The newest state that came is the match; what the old host has seen since comes, if it is still there.
      this.becameHostAtMs = this.steppedAtMs = nowMs;
      this.run = cloned(this.replica.match);
    } else if (run) {
      this.run = undefined;
      this.replica.receive(run, nowMs, true);
      if (host !== undefined) this.send(["match", toWire(run)], host, true);
    }
  }

  /** The player wants the mallet there. */
  aim(target: Point): void {
    this.target = target;
  }

  /** The player wants to play again. */
  again(): void {
    if (this.run) wantRematch(this.run, this.identity);
    else if (this.hostIdentity !== undefined) this.send(["again"], this.hostIdentity, true);
  }

  /** Time has passed; to be called about as often as there are steps. */
  pass(nowMs: number): void {
    if (!this.isHost) {
      this.sendAim(nowMs);
      return;
    }
    const isAlone = this.present.every((identity) => identity === this.identity);
    if (!this.run && (isAlone || nowMs - this.becameHostAtMs >= HANDOVER_MS))
      this.run = newMatch(this.goalsToWin);
    if (this.run) this.host(this.run, nowMs);
  }

  /** A message came. What is none of the game's is nobody's business. */
  receive(sender: string, payload: unknown, nowMs: number): void {
    if (!Array.isArray(payload)) return;
    const [kind, ...rest] = payload as unknown[];
    if (kind === "table" && sender === this.hostIdentity && !this.isHost) this.tableCame(rest, nowMs);
    else if (kind === "match" && this.isHost) this.handedOver(rest[0], nowMs);
    else if (!this.run) return;
    else if (kind === "aim") this.aimCame(sender, rest, nowMs);
    else if (kind === "again") wantRematch(this.run, sender);
  }

  // --- inside -----------------------------------------------------------------------------------------------

  private host(match: Match, nowMs: number): void {
    const due = Math.floor((nowMs - this.steppedAtMs) / STEP_MS);
    if (due <= 0) return;
    this.steppedAtMs = due > CATCH_UP_STEPS ? nowMs : this.steppedAtMs + due * STEP_MS;
    const targets = new Map([...this.aims].map(([identity, { at }]) => [identity, at]));
    targets.set(this.identity, this.target);
    for (let done = 0; done < Math.min(due, CATCH_UP_STEPS); done += 1) advance(match, this.present, targets);
    for (const identity of this.aims.keys()) if (!this.present.includes(identity)) this.aims.delete(identity);
    const heard = [...this.aims].map(([identity, { number, atMs }]) => [
      identity,
      number,
      Math.round(nowMs - atMs),
    ]);
    this.send(["table", toWire(match), heard], undefined, false);
  }

  private handedOver(wire: unknown, nowMs: number): void {
    const match = fromWire(wire);
    const isInTime = nowMs - this.becameHostAtMs < HANDOVER_MS;
    if (match && isInTime && (!this.run || match.at > this.run.at)) this.run = match;
  }

  private sendAim(nowMs: number): void {
    if (this.seat === undefined || this.hostIdentity === undefined) return;
    this.lastAim += 1;
    this.ownAims.push({ number: this.lastAim, at: this.target, atMs: nowMs });
    if (this.ownAims.length > REMEMBERED_AIMS) this.ownAims.shift();
    const { x, y } = this.target;
    const place = [Math.round(x * UNIT) + 0, Math.round(y * UNIT) + 0];
    this.send(["aim", this.lastAim, ...place], this.hostIdentity, false);
  }

  private aimCame(sender: string, rest: unknown[], nowMs: number): void {
    if (rest.length !== 3 || !rest.every(Number.isSafeInteger) || !this.present.includes(sender)) return;
    const [number, x, y] = rest as [number, number, number];
    const known = this.aims.get(sender);
    // A page that was loaded again counts from 1; one that is merely late does not come that late.
    if (known && number <= known.number && number > known.number - REMEMBERED_AIMS) return;
    this.aims.set(sender, { number, at: { x: x / UNIT, y: y / UNIT }, atMs: nowMs });
  }

  private tableCame([wire, heard]: unknown[], nowMs: number): void {
    const match = fromWire(wire);
    if (!match) return;
    this.replica.receive(match, nowMs, this.isFirstOfHost);
    this.isFirstOfHost = false;
    for (const entry of Array.isArray(heard) ? (heard as unknown[]) : []) {
      const [identity, number, agoMs] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (identity !== this.identity || typeof agoMs !== "number") continue;
      const sent = this.ownAims.find((aim) => aim.number === number);
      if (!sent) continue;
      const way = Math.max(0, nowMs - sent.atMs - agoMs);
      this.wayMs = this.wayMs === 0 ? way : this.wayMs + (way - this.wayMs) / 8;
    }
  }

  private send(payload: unknown, to: string | undefined, reliable: boolean): void {
    this.outgoing.push({ payload, to, reliable });
  }
}

function cloned(match: Match | undefined): Match | undefined {
  return match && fromWire(toWire(match));
}

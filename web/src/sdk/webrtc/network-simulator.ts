/**
 * A worse network than there is, for trying what an application does in it.
 *
 * Owns when each frame goes on, and which lossy ones never do. It stands between the delivery layer and the paths, so it is
 * the same in every mode: a reliable frame is only ever late, in order with the others (what gets lost is sent again, a
 * round trip later), a lossy one may be lost or overtake another. Never sends, never reads a clock; chance comes from a
 * seed, so that both SDKs do the same (`tests/vectors/peers/network.json`). Pictures and sound don't pass here.
 */

import { ProtocolError } from "../protocol/errors";

export const DELAY_MS_MAX = 10_000;
export const LOSS_MAX = 0.9;
/** So much may be under way on a lane; whoever has more is to wait with it. */
export const LANE_BYTES = 1_048_576;
/** A resend takes at least that long, and a round trip if that is longer. */
const RESEND_MS = 50;
const RESENDS_MAX = 10;

/** What the network is to be like, in each direction: what is sent and what is received pass through it once each. */
export interface Simulation {
  /** Every frame takes so much longer: 0 to 10,000. */
  readonly delayMs?: number | undefined;
  /** And up to so much more, each another time: 0 to 10,000. */
  readonly jitterMs?: number | undefined;
  /** The part of the frames that gets lost: 0 to 0.9. */
  readonly loss?: number | undefined;
}

/** Something to be put on a lane. */
export interface Parcel<T> {
  readonly item: T;
  readonly sizeBytes: number;
  readonly isLossy: boolean;
}

interface InFlight<T> {
  readonly dueMs: number;
  readonly number: number;
  readonly sizeBytes: number;
  readonly item: T;
}

/** What is under way one way, each in the order in which it arrives. */
interface Lane<T> {
  readonly reliable: InFlight<T>[];
  readonly lossy: InFlight<T>[];
  sizeBytes: number;
}

/** Times are milliseconds of any clock that never goes back; a lane is a path, or a sender. */
export class NetworkSimulator<T> {
  private conditions = checked({});
  private chance: number;
  private number = 0;
  private readonly held = new Map<string, Lane<T>>();

  constructor(seed: number) {
    this.chance = seed | 0;
  }

  /** The network is like this from now on; for what is under way it stays as it was. Throws `ProtocolError` (`bad_request`). */
  become(simulation: Simulation): void {
    this.conditions = checked(simulation);
  }

  /** Whether a frame would go at once, behind nothing. */
  isClear(lane: string): boolean {
    const { delayMs, jitterMs, loss } = this.conditions;
    return delayMs === 0 && jitterMs === 0 && loss === 0 && !this.held.has(lane);
  }

  /** Those on which something is under way. */
  get lanes(): string[] {
    return [...this.held.keys()];
  }

  /** How much more may be put on a lane; 0 and less: nothing. */
  roomBytes(lane: string): number {
    return LANE_BYTES - (this.held.get(lane)?.sizeBytes ?? 0);
  }

  /** Takes things that set out together. */
  put(lane: string, parcels: readonly Parcel<T>[], nowMs: number): void {
    if (parcels.length === 0) return;
    const { delayMs, jitterMs } = this.conditions;
    const held = this.held.get(lane) ?? { reliable: [], lossy: [], sizeBytes: 0 };
    this.held.set(lane, held);
    const arrivesMs = nowMs + delayMs + jitterMs * this.random();
    for (const { item, sizeBytes, isLossy } of parcels) {
      this.number += 1;
      const { number } = this;
      if (isLossy) {
        if (this.isLost()) continue;
        const later = held.lossy.findIndex(({ dueMs }) => dueMs > arrivesMs);
        const place = later < 0 ? held.lossy.length : later;
        held.lossy.splice(place, 0, { dueMs: arrivesMs, number, sizeBytes, item });
      } else {
        let dueMs = arrivesMs;
        for (let resends = 0; resends < RESENDS_MAX && this.isLost(); resends += 1) {
          dueMs += Math.max(RESEND_MS, 2 * delayMs);
        }
        dueMs = Math.max(dueMs, held.reliable.at(-1)?.dueMs ?? 0);
        held.reliable.push({ dueMs, number, sizeBytes, item });
      }
      held.sizeBytes += sizeBytes;
    }
    this.tidy(lane, held);
  }

  /** What has arrived at the other end of a lane, as far as there is room for it (`undefined`: none at all). */
  take(lane: string, nowMs: number, reliableRoom: number | undefined, lossyRoom: number | undefined): T[] {
    const held = this.held.get(lane);
    if (!held) return [];
    const out = [...arrived(held.reliable, nowMs, reliableRoom), ...arrived(held.lossy, nowMs, lossyRoom)];
    for (const { sizeBytes } of out) held.sizeBytes -= sizeBytes;
    this.tidy(lane, held);
    return out.sort((a, b) => a.dueMs - b.dueMs || a.number - b.number).map(({ item }) => item);
  }

  /** What is under way on a lane never arrives. */
  forget(lane: string): void {
    this.held.delete(lane);
  }

  /** When the next thing arrives. */
  get deadlineMs(): number | undefined {
    const dues = [...this.held.values()].flatMap(({ reliable, lossy }) =>
      [reliable[0], lossy[0]].flatMap((head) => (head ? [head.dueMs] : [])),
    );
    return dues.length > 0 ? Math.min(...dues) : undefined;
  }

  private tidy(lane: string, { reliable, lossy }: Lane<T>): void {
    if (reliable.length + lossy.length === 0) this.held.delete(lane);
  }

  private isLost(): boolean {
    return this.conditions.loss > 0 && this.random() < this.conditions.loss;
  }

  /** From 0 up to 1: mulberry32, which is short and the same everywhere. */
  private random(): number {
    this.chance = (this.chance + 0x6d2b79f5) | 0;
    let mixed = this.chance;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }
}

function checked({ delayMs = 0, jitterMs = 0, loss = 0 }: Simulation) {
  const all = {
    delayMs: [delayMs, DELAY_MS_MAX],
    jitterMs: [jitterMs, DELAY_MS_MAX],
    loss: [loss, LOSS_MAX],
  };
  for (const [name, [value, highest]] of Object.entries(all) as [string, [unknown, number]][]) {
    if (typeof value !== "number" || !(value >= 0 && value <= highest)) {
      throw new ProtocolError("bad_request", `${name} is ${String(value)}, not from 0 to ${highest}.`);
    }
  }
  return { delayMs, jitterMs, loss };
}

function arrived<T>(queue: InFlight<T>[], nowMs: number, room: number | undefined): InFlight<T>[] {
  let [count, left] = [0, room ?? 0];
  for (const { dueMs, sizeBytes } of queue) {
    if (dueMs > nowMs || left <= 0) break;
    count += 1;
    left -= sizeBytes;
  }
  return queue.splice(0, count);
}

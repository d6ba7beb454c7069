/**
 * The state of a host's application, as snapshots that outlive the host.
 *
 * Owns the form of a snapshot, its pieces on the link, and which snapshot a guest gets when: the newest only, one under way
 * at a time. A snapshot says up to which place of the order (`host-log`) its messages are in it. Never reads a state.
 */

import { concat } from "../crypto/bytes";
import { encodeMessagePack, Reader } from "../protocol/messagepack";
import {
  type Done,
  Fields,
  STATE_BYTES_MAX,
  STATE_PIECE,
  STATE_PIECE_BYTES,
  type StatePiece,
} from "./host-frames";
import { badFrame, formOf, payloadOf, tooLarge } from "./peer-frames";

/** How often a guest that is not the successor is sent a snapshot, at most. */
const STATE_EVERY_MS = 250;

/** Of two snapshots the one of the higher age is the newer. */
export type Age = readonly [term: number, version: number];

/** A state, and where in the order it stands. */
export interface Snapshot {
  readonly age: Age;
  /** All messages for the host up to here are in the state, and no other. */
  readonly n: number;
  /** The first place that is needed to go on from here: a message of several pieces may begin before `n`. */
  readonly floor: number;
  readonly done: Done;
  readonly kind: number;
  readonly data: Uint8Array;
}

/** Whether one age is above another. */
export function isNewer(one: Age, other: Age): boolean {
  return one[0] > other[0] || (one[0] === other[0] && one[1] > other[1]);
}

/** Throws `ProtocolError`: `bad_request` (no MessagePack form), `too_large`. */
export function snapshotOf(state: unknown, age: Age, n: number, floor: number, done: Done): Snapshot {
  const { kind, data } = formOf(state);
  if (data.length > STATE_BYTES_MAX) throw tooLarge(data.length, STATE_BYTES_MAX);
  return { age, n, floor, done, kind, data };
}

/** The state as the application gave it. Throws `ProtocolError` (`bad_frame`). */
export function stateOf({ kind, data }: Snapshot): unknown {
  return payloadOf(kind, data);
}

/** The messages that carry it under this term. */
export function piecesOf({ age, n, floor, done, kind, data }: Snapshot, term: number): StatePiece[] {
  const [stateTerm, version] = age;
  const whole = encodeMessagePack([stateTerm, version, n, floor, Object.fromEntries(done), kind, data]);
  const count = Math.ceil(whole.length / STATE_PIECE_BYTES);
  return Array.from({ length: count }, (_, index) => {
    const piece = whole.subarray(index * STATE_PIECE_BYTES, (index + 1) * STATE_PIECE_BYTES);
    return { kind: STATE_PIECE, term, stateTerm, version, index, count, piece };
  });
}

/** Puts the pieces of one sender together; they come in order, and one snapshot after the other. */
export class SnapshotReader {
  private age: Age = [0, 0];
  private pieces: Uint8Array[] = [];

  /** The snapshot, with its last piece. Throws `ProtocolError` (`bad_frame`) if it is none. */
  read({ stateTerm, version, index, count, piece }: StatePiece): Snapshot | undefined {
    if (index === 0) {
      this.age = [stateTerm, version];
      this.pieces = [];
    }
    const [term, number] = this.age;
    if (stateTerm !== term || version !== number || index !== this.pieces.length) return undefined;
    this.pieces.push(piece);
    if (this.pieces.length < count) return undefined;
    const data = concat(...this.pieces);
    this.pieces = [];
    return snapshotIn(data);
  }
}

function snapshotIn(bytes: Uint8Array): Snapshot {
  const { value, error } = new Reader(bytes).next();
  if (error || !Array.isArray(value)) throw badFrame("a snapshot is none");
  const fields = new Fields(value as readonly unknown[]);
  return {
    age: [fields.number(), fields.number()],
    n: fields.number(),
    floor: fields.number(),
    done: fields.done(),
    kind: fields.number(0, 2),
    data: fields.bytes(STATE_BYTES_MAX),
  };
}

/** What one guest has of the snapshots, and what is under way to it. */
export class SnapshotSending {
  has: Age;
  nextMs = 0;
  underWay: Age | undefined;

  constructor(has: Age) {
    this.has = has;
  }

  /** Whether there is something to send, as soon as it may be. */
  wants({ age }: Snapshot): boolean {
    return isNewer(age, this.has) && !this.underWay;
  }

  sent({ age }: Snapshot, nowMs: number): void {
    this.underWay = age;
    this.nextMs = nowMs + STATE_EVERY_MS;
  }

  /** The guest says what it has. */
  got(age: Age): void {
    if (isNewer(age, this.has)) this.has = age;
    if (this.underWay && !isNewer(this.underWay, age)) this.underWay = undefined;
  }
}

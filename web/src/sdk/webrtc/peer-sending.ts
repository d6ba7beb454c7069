/**
 * What goes to all peers: one numbered stream, kept until everybody it was for has it.
 *
 * Owns the frames that are not acknowledged, for each recipient how far its path has got, the lossy messages that wait for
 * room, and which messages were handed over. Never sends anything: `takeReliable` and `takeLossy` say what goes onto a
 * path now.
 */

import type { Bytes } from "../crypto/bytes";
import { ProtocolError } from "../protocol/errors";
import {
  CONTINUES,
  encodeLossy,
  encodeReliable,
  formOf,
  LOSSY_FRAME_BYTES,
  lossyFormOf,
  MORE,
  PIECE_BYTES,
} from "./peer-frames";

/** When so much is kept, no reliable message is taken. */
export const KEPT_BYTES_MAX = 16 * 1_048_576;
export const LOSSY_WAIT_MS = 100;
export const LOSSY_BYTES_MAX = 256 * 1_024;
/** Requests to send again are followed at most so often. */
const AGAIN_MS = 250;
/** What was sent to a recipient that acknowledges nothing for so long is sent again. */
const STALL_MS = 5_000;
/** Of a lossy frame, at most. */
const HEAD_BYTES = 16;

/** A frame for these recipients, who share a path. */
export interface OutgoingFrame {
  readonly to: readonly string[];
  readonly frame: Bytes;
  readonly isLossy: boolean;
}

/** One that was not handed over yet. */
interface Message {
  readonly number: number;
  /** The recipients that were not given all of it. */
  readonly missing: Set<string>;
  wasGiven: boolean;
}

interface Piece {
  readonly seq: number;
  readonly flags: number;
  readonly body: Uint8Array;
  /** Recipients that have not acknowledged it. */
  readers: number;
  /** Of which it is the last piece. */
  readonly message: Message | undefined;
}

/** A piece in the line of one recipient. */
interface Turn {
  readonly piece: Piece;
  prev: number;
}

interface LossyMessage {
  readonly message: Message;
  readonly to: readonly string[];
  readonly data: Bytes;
  readonly sinceMs: number;
}

/** How far one peer has got. */
class Recipient {
  path: string | undefined;
  /** What is not acknowledged, and before it what is done with and not cut off yet. */
  private turns: Turn[] = [];
  private first = 0;
  /** Where the piece stands whose turn it is. */
  private at = 0;
  /** The last piece that is for it. */
  last = 0;
  /** When it was last sent everything again because it had asked. */
  followedMs: number | undefined;
  againDueMs: number | undefined;
  /** When it has not acknowledged anything for too long; undefined while nothing was sent that it could. */
  stallsMs: number | undefined;

  add(piece: Piece): void {
    this.turns.push({ piece, prev: this.last });
    this.last = piece.seq;
  }

  /** Everything that is not acknowledged goes onto the path once more. */
  sendAgain(): void {
    this.at = this.first;
    this.stallsMs = undefined;
    const next = this.turns[this.first];
    if (next) next.prev = 0;
  }

  /** The piece whose turn it is. */
  get next(): Turn | undefined {
    return this.turns[this.at];
  }

  taken(nowMs: number): void {
    this.at += 1;
    this.stallsMs ??= nowMs + STALL_MS;
  }

  /** Takes out what has come, up to a number. */
  *acknowledge(seq: number, nowMs: number): Iterable<Piece> {
    const before = this.first;
    for (;;) {
      const turn = this.turns[this.first];
      if (!turn || turn.piece.seq > seq) break;
      this.first += 1;
      yield turn.piece;
    }
    this.at = Math.max(this.at, this.first);
    if (this.first > before) this.stallsMs = this.at > this.first ? nowMs + STALL_MS : undefined;
    if (this.first < 256 || this.first < this.turns.length / 2) return;
    this.turns = this.turns.slice(this.first);
    this.at -= this.first;
    this.first = 0;
  }

  get unacknowledged(): number {
    return this.turns.length - this.first;
  }
}

export class Sending {
  readonly stream: number;
  /** The last piece that was numbered. */
  seq = 0;
  keptBytes = 0;
  handed: number[] = [];
  dropped: number[] = [];
  readonly recipients = new Map<string, Recipient>();
  private readonly open = new Map<number, Message>();
  private lossy: LossyMessage[] = [];
  private lossyBytes = 0;

  constructor(stream: number) {
    this.stream = stream;
  }

  // --- messages --------------------------------------------------------------------------------------------

  /** Takes a message. Throws `ProtocolError`: `bad_request`, `too_large`, `queue_full`. */
  sendReliable(number: number, to: readonly string[], payload: unknown): void {
    const { kind, data } = formOf(payload);
    if (this.keptBytes >= KEPT_BYTES_MAX) {
      const text = `${this.keptBytes} bytes were not acknowledged yet; await sendData to keep pace.`;
      throw new ProtocolError("queue_full", text);
    }
    const message = this.begin(number, to);
    if (!message) return;
    // The caller may change its bytes as soon as this returns.
    const whole = data.slice();
    for (let start = 0; start === 0 || start < whole.length; start += PIECE_BYTES) {
      const hasMore = start + PIECE_BYTES < whole.length;
      const flags = (kind << 1) | (hasMore ? MORE : 0) | (start > 0 ? CONTINUES : 0);
      this.append(flags, whole.subarray(start, start + PIECE_BYTES), to, hasMore ? undefined : message);
    }
  }

  /** Takes a message that may be dropped. Throws `ProtocolError`: `bad_request`, `too_large`. */
  sendLossy(number: number, to: readonly string[], payload: unknown, nowMs: number): void {
    const data = lossyFormOf(payload);
    const message = this.begin(number, to);
    if (!message) return;
    this.lossy.push({ message, to, data, sinceMs: nowMs });
    this.lossyBytes += data.length;
    this.dropLossy(nowMs);
  }

  private begin(number: number, to: readonly string[]): Message | undefined {
    if (to.length === 0) {
      this.handed.push(number);
      return undefined;
    }
    const message = { number, missing: new Set(to), wasGiven: false };
    this.open.set(number, message);
    return message;
  }

  private append(flags: number, body: Uint8Array, to: readonly string[], message: Message | undefined): void {
    this.seq += 1;
    const piece: Piece = { seq: this.seq, flags, body, readers: to.length, message };
    this.keptBytes += body.length;
    for (const identity of to) this.recipient(identity).add(piece);
  }

  // --- recipients ------------------------------------------------------------------------------------------

  /** What is known of a peer; nothing at first. */
  private recipient(identity: string): Recipient {
    let recipient = this.recipients.get(identity);
    if (!recipient) {
      recipient = new Recipient();
      this.recipients.set(identity, recipient);
    }
    return recipient;
  }

  /** Everything for it goes here from now on, what is not acknowledged once more. */
  setPath(identity: string, path: string | undefined): void {
    const recipient = this.recipient(identity);
    recipient.path = path;
    recipient.sendAgain();
    recipient.againDueMs = undefined;
    this.settleAll();
  }

  /** A recipient has everything up to `seq`. */
  acknowledged(identity: string, stream: number, seq: number, nowMs: number): void {
    if (stream !== this.stream) return;
    const come = this.recipients.get(identity)?.acknowledge(seq, nowMs) ?? [];
    for (const piece of come) this.forget(identity, piece);
  }

  /** A recipient has everything up to `seq`, and wants what follows. */
  asked(identity: string, stream: number, seq: number, nowMs: number): void {
    const recipient = this.recipients.get(identity);
    if (!recipient || (stream !== 0 && stream !== this.stream)) return;
    this.acknowledged(identity, stream, seq, nowMs);
    if (recipient.followedMs !== undefined && nowMs < recipient.followedMs + AGAIN_MS) {
      recipient.againDueMs = recipient.followedMs + AGAIN_MS;
    } else {
      recipient.followedMs = nowMs;
      recipient.sendAgain();
    }
  }

  /** It is gone; nothing is kept for it. */
  left(identity: string): void {
    const recipient = this.recipients.get(identity);
    if (!recipient) return;
    this.recipients.delete(identity);
    for (const piece of recipient.acknowledge(Number.MAX_SAFE_INTEGER, 0)) this.forget(identity, piece);
    for (const { message } of this.lossy) message.missing.delete(identity);
    this.settleAll();
  }

  private forget(identity: string, piece: Piece): void {
    piece.readers -= 1;
    if (piece.readers === 0) this.keptBytes -= piece.body.length;
    if (piece.message) this.given(piece.message, identity);
  }

  // --- what goes onto paths --------------------------------------------------------------------------------

  /** Drops what waited too long, and follows requests that had to wait. */
  tick(nowMs: number): void {
    this.dropLossy(nowMs);
    for (const recipient of this.recipients.values()) {
      const { againDueMs, stallsMs } = recipient;
      if (againDueMs !== undefined && nowMs >= againDueMs) {
        recipient.againDueMs = undefined;
        recipient.followedMs = nowMs;
        recipient.sendAgain();
      } else if (stallsMs !== undefined && nowMs >= stallsMs) recipient.sendAgain();
    }
  }

  /** What goes onto a path now; the last frame may overshoot its room. */
  takeReliable(path: string, roomBytes: number, nowMs: number): OutgoingFrame[] {
    const out: OutgoingFrame[] = [];
    const onPath = [...this.recipients].filter(([, recipient]) => recipient.path === path);
    for (let room = roomBytes; room > 0; ) {
      const frame = this.nextFrame(onPath, nowMs);
      if (!frame) break;
      room -= frame.frame.length;
      out.push(frame);
    }
    return out;
  }

  /** Likewise of what may be lost; messages to the same recipients share a frame. */
  takeLossy(path: string, roomBytes: number): OutgoingFrame[] {
    const out: OutgoingFrame[] = [];
    let room = roomBytes;
    let shared: LossyMessage[] = [];
    let sharedTo: readonly string[] = [];
    let sharedBytes = 0;
    const close = (): void => {
      if (shared.length === 0) return;
      const frame = encodeLossy(
        this.stream,
        shared.map(({ data }) => data),
      );
      out.push({ to: sharedTo, frame, isLossy: true });
      room -= frame.length;
      for (const { message } of shared) for (const identity of sharedTo) this.given(message, identity);
      shared = [];
      sharedBytes = 0;
    };
    for (const waiting of this.lossy) {
      const to = waiting.to.filter((identity) => this.awaits(identity, waiting.message, path));
      if (to.length === 0) continue;
      const isOther = to.length !== sharedTo.length || to.some((identity, at) => identity !== sharedTo[at]);
      if (isOther || sharedBytes + waiting.data.length > LOSSY_FRAME_BYTES - HEAD_BYTES) close();
      if (room <= 0) break;
      shared.push(waiting);
      sharedTo = to;
      sharedBytes += waiting.data.length;
    }
    close();
    this.lossy = this.lossy.filter(({ message }) => this.open.has(message.number));
    this.lossyBytes = this.lossy.reduce((sum, { data }) => sum + data.length, 0);
    return out;
  }

  /** When to call `tick`. */
  get deadlineMs(): number | undefined {
    const [oldest] = this.lossy;
    let due = oldest ? oldest.sinceMs + LOSSY_WAIT_MS : Number.POSITIVE_INFINITY;
    for (const { againDueMs = due, stallsMs = due } of this.recipients.values()) {
      due = Math.min(due, againDueMs, stallsMs);
    }
    return due === Number.POSITIVE_INFINITY ? undefined : due;
  }

  private nextFrame(
    onPath: readonly (readonly [string, Recipient])[],
    nowMs: number,
  ): OutgoingFrame | undefined {
    let piece: Piece | undefined;
    for (const [, { next }] of onPath)
      if (next && !(piece && piece.seq <= next.piece.seq)) piece = next.piece;
    if (!piece) return undefined;
    const to: string[] = [];
    const before = new Map<string, number>();
    for (const [identity, recipient] of onPath) {
      const { next } = recipient;
      if (next?.piece !== piece) continue;
      recipient.taken(nowMs);
      to.push(identity);
      if (next.prev !== piece.seq - 1) before.set(identity, next.prev);
    }
    if (piece.message) for (const identity of to) this.given(piece.message, identity);
    const frame = encodeReliable(this.stream, piece.seq, before, piece.flags, piece.body);
    return { to, frame, isLossy: false };
  }

  // --- what became of messages -----------------------------------------------------------------------------

  private awaits(identity: string, message: Message, path: string): boolean {
    return this.recipients.get(identity)?.path === path && message.missing.has(identity);
  }

  private given(message: Message, identity: string): void {
    if (!message.missing.delete(identity)) return;
    message.wasGiven = true;
    this.settle(message);
  }

  /** It is handed over when whoever has a path was given it; with nobody left to give it to, too. */
  private settle(message: Message): void {
    const { number, missing, wasGiven } = message;
    if (!this.open.has(number) || !(wasGiven || missing.size === 0)) return;
    for (const identity of missing) if (this.recipients.get(identity)?.path !== undefined) return;
    this.open.delete(number);
    this.handed.push(number);
  }

  private settleAll(): void {
    for (const message of this.open.values()) this.settle(message);
  }

  private dropLossy(nowMs: number): void {
    for (let oldest = this.lossy[0]; oldest; oldest = this.lossy[0]) {
      if (this.lossyBytes <= LOSSY_BYTES_MAX && nowMs - oldest.sinceMs < LOSSY_WAIT_MS) break;
      this.lossy.shift();
      this.lossyBytes -= oldest.data.length;
      const { number, wasGiven } = oldest.message;
      if (this.open.delete(number)) (wasGiven ? this.handed : this.dropped).push(number);
    }
  }
}

/**
 * What comes from one peer: in order, once, whole.
 *
 * Owns what was delivered of the peer's stream, what is held back for its turn, the message that is not whole yet, and what
 * is owed to the sender: an acknowledgement, or the request to send again. Never sends anything.
 */

import { concat } from "../crypto/bytes";
import { ProtocolError } from "../protocol/errors";
import {
  badFrame,
  CONTINUES,
  kindOf,
  type Lossy,
  MESSAGE_BYTES_MAX,
  MORE,
  payloadOf,
  type Reliable,
  tooLarge,
  VOID,
} from "./peer-frames";

export const HELD_BYTES_MAX = 4 * 1_048_576;
/** What a frame that is held back costs beside its body. */
const HELD_COST = 64;
export const ACK_MS = 50;
const ACK_FRAMES = 32;
export const GAP_MS = 1_000;
const RETIRED_MAX = 8;

/** A whole message. */
export interface Delivered {
  readonly event: "delivered";
  readonly sender: string;
  readonly payload: unknown;
  readonly isLossy: boolean;
}

/** Nothing of the sender up to `seq` comes any more on the path this came by. */
export interface Flushed {
  readonly event: "flushed";
  readonly sender: string;
  readonly seq: number;
}

/** What came was dropped. */
export interface Bad {
  readonly event: "bad";
  readonly sender: string;
  readonly error: ProtocolError;
}

export type DeliveryEvent = Delivered | Flushed | Bad;

export class Receiving {
  readonly sender: string;
  /** That of the sender; 0: none was seen. */
  stream = 0;
  /** The last frame that was delivered. */
  last = 0;
  ackDueMs: number | undefined;
  againDueMs: number | undefined;
  private readonly retired: number[] = [];
  private unacknowledged = 0;
  private held = new Map<number, Reliable>();
  /** The numbers of what is held, rising. */
  private order: number[] = [];
  private heldBytes = 0;
  private droppedUpTo = 0;
  private pieces: Uint8Array[] | undefined;
  private piecesBytes = 0;
  private isSkipping = false;

  constructor(sender: string) {
    this.sender = sender;
  }

  /** A frame came; gives what is whole by it. */
  reliable(frame: Reliable, nowMs: number): DeliveryEvent[] {
    if (!this.follows(frame.stream)) return [];
    if (frame.seq <= this.last) {
      this.oweAck(nowMs);
      return [];
    }
    if (frame.prev > this.last) {
      this.hold(frame, nowMs);
      return [];
    }
    const events = this.deliver(frame, nowMs);
    for (let first = this.order[0]; first !== undefined; first = this.order[0]) {
      const held = this.held.get(first);
      if (held && held.seq > this.last) {
        if (held.prev > this.last) break;
        events.push(...this.deliver(held, nowMs));
      }
      this.release(first);
    }
    this.againDueMs = this.hasGap ? nowMs + GAP_MS : undefined;
    return events;
  }

  /** Lossy messages came. */
  lossy({ stream, payloads }: Lossy): DeliveryEvent[] {
    if (!this.follows(stream)) return [];
    return payloads.map(({ value }) => ({
      event: "delivered",
      sender: this.sender,
      payload: value,
      isLossy: true,
    }));
  }

  /** Whether a frame of this stream counts; one that was not seen yet begins the sender anew. */
  follows(stream: number): boolean {
    if (stream === this.stream) return true;
    if (this.retired.includes(stream)) return false;
    if (this.stream !== 0) this.retired.push(this.stream);
    if (this.retired.length > RETIRED_MAX) this.retired.shift();
    this.begin(stream);
    return true;
  }

  /** The sender was told. */
  acknowledged(): void {
    this.ackDueMs = undefined;
    this.unacknowledged = 0;
  }

  /** The sender was asked to send again. */
  asked(nowMs: number): void {
    this.againDueMs = this.hasGap ? nowMs + GAP_MS : undefined;
  }

  private get hasGap(): boolean {
    return this.held.size > 0 || this.droppedUpTo > this.last;
  }

  private begin(stream: number): void {
    this.stream = stream;
    this.last = 0;
    this.acknowledged();
    this.againDueMs = undefined;
    this.held = new Map();
    this.order = [];
    this.heldBytes = 0;
    this.droppedUpTo = 0;
    this.forgetPieces();
    this.isSkipping = false;
  }

  // --- what is not its turn yet ----------------------------------------------------------------------------

  private hold(frame: Reliable, nowMs: number): void {
    if (!this.hasGap) this.againDueMs = nowMs + GAP_MS;
    const { seq, body } = frame;
    const before = this.held.get(seq);
    if (before) {
      if (frame.prev < before.prev) {
        this.held.set(seq, frame);
        this.heldBytes += body.length - before.body.length;
      }
    } else if (this.heldBytes + body.length + HELD_COST > HELD_BYTES_MAX) {
      this.droppedUpTo = Math.max(this.droppedUpTo, seq);
    } else {
      this.held.set(seq, frame);
      this.heldBytes += body.length + HELD_COST;
      // They come in order but for what comes by two paths at once: the place is near the end.
      let at = this.order.length;
      while (at > 0 && (this.order[at - 1] as number) > seq) at -= 1;
      this.order.splice(at, 0, seq);
    }
  }

  private release(seq: number): void {
    this.order.shift();
    this.heldBytes -= (this.held.get(seq)?.body.length ?? 0) + HELD_COST;
    this.held.delete(seq);
  }

  // --- what is ----------------------------------------------------------------------------------------------

  private deliver({ seq, flags, body }: Reliable, nowMs: number): DeliveryEvent[] {
    this.last = seq;
    this.unacknowledged += 1;
    this.oweAck(nowMs);
    if ((flags & VOID) !== 0) {
      this.forgetPieces();
      this.isSkipping = true;
      return [];
    }
    const hasMore = (flags & MORE) !== 0;
    if ((flags & CONTINUES) === 0) {
      this.forgetPieces();
      this.isSkipping = false;
    } else if (!this.pieces) {
      const wasSkipping = this.isSkipping;
      this.isSkipping = hasMore;
      return wasSkipping ? [] : [this.bad(badFrame("the beginning of its message is missing"))];
    }
    this.pieces ??= [];
    this.pieces.push(body);
    this.piecesBytes += body.length;
    if (this.piecesBytes > MESSAGE_BYTES_MAX) {
      const error = tooLarge(this.piecesBytes, MESSAGE_BYTES_MAX);
      this.forgetPieces();
      this.isSkipping = hasMore;
      return [this.bad(error)];
    }
    return hasMore ? [] : [this.whole(kindOf(flags))];
  }

  private whole(kind: number): DeliveryEvent {
    const { pieces = [] } = this;
    const [first] = pieces;
    const data = first && pieces.length === 1 ? first : concat(...pieces);
    this.forgetPieces();
    try {
      return { event: "delivered", sender: this.sender, payload: payloadOf(kind, data), isLossy: false };
    } catch (error) {
      if (error instanceof ProtocolError) return this.bad(error);
      throw error;
    }
  }

  private bad(error: ProtocolError): Bad {
    return { event: "bad", sender: this.sender, error };
  }

  private forgetPieces(): void {
    this.pieces = undefined;
    this.piecesBytes = 0;
  }

  private oweAck(nowMs: number): void {
    this.ackDueMs ??= nowMs + ACK_MS;
    if (this.unacknowledged >= ACK_FRAMES) this.ackDueMs = Math.min(this.ackDueMs, nowMs);
  }
}

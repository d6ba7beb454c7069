/**
 * How far a client has read: the durable offset in its epoch, and the count of the live class in its epoch.
 *
 * Owns both cursors and says what is new. Never asks for anything. See PROTOCOL.md, sections 4 and 5.
 */

import type { ConnectedFrame, MessageFrame, ResetFrame, Resume, ServerFrame } from "../frames.gen";
import { classOf } from "./classes";

/** How many acknowledged offsets beyond the cursor are remembered. */
const MAX_OWN_AHEAD = 256;

/** Where a client stands; starts from what an earlier connection (or page) left, or from nothing. */
export class Cursors {
  epoch: string;
  offset: number;
  liveEpoch: string;
  liveSeq: number;
  order: number;
  mailUntil: number;
  private readonly ownAhead = new Set<number>();

  constructor(start?: Resume | null) {
    this.epoch = start?.epoch ?? "";
    this.offset = start?.offset ?? 0;
    this.liveEpoch = start?.live_epoch ?? "";
    this.liveSeq = start?.live_seq ?? 0;
    this.order = start?.order ?? 0;
    this.mailUntil = start?.mail_until ?? 0;
  }

  /** What `connect` says of them. */
  resume(token: string): Required<Resume> {
    return {
      token,
      epoch: this.epoch,
      offset: this.offset,
      live_epoch: this.liveEpoch,
      live_seq: this.liveSeq,
      order: this.order,
      mail_until: this.offset < this.mailUntil ? this.mailUntil : 0,
    };
  }

  /** A connection begins; what was not recovered starts where the server says. */
  joined(frame: ConnectedFrame): void {
    if (!frame.recovered) {
      this.epoch = frame.epoch;
      // Mail is pushed first, from before the head.
      this.offset = frame.mail_after ?? frame.head;
      this.mailUntil = frame.mail_after === undefined ? 0 : frame.head;
      this.ownAhead.clear();
    }
    this.liveEpoch = frame.live_epoch;
    this.liveSeq = frame.live_seq;
    this.order = frame.order;
  }

  /** The server dropped live frames and counts anew. */
  reset(frame: ResetFrame): void {
    this.liveEpoch = frame.live_epoch;
    this.liveSeq = frame.live_seq;
  }

  /** The count can't be trusted: the next resume asks for none. */
  forgetLive(): void {
    this.liveEpoch = "";
    this.liveSeq = 0;
  }

  /** Counts a frame if it is of the live class. */
  count(frame: ServerFrame): void {
    if (classOf(frame) === "live") this.liveSeq += 1;
  }

  /** Whether a pushed message is new; a durable one moves the cursor. */
  take(message: MessageFrame): boolean {
    if (message.delivery !== "durable" || message.offset === undefined) return true;
    if (message.offset <= this.offset) return false;
    this.offset = message.offset;
    this.passOwn();
    return true;
  }

  /**
   * The own message at `offset` is stored; it is never pushed to its sender.
   *
   * The cursor passes it only when nothing lies between: a message of another may still be on its way.
   */
  acked(offset: number): void {
    if (offset <= this.offset || this.ownAhead.size >= MAX_OWN_AHEAD) return;
    this.ownAhead.add(offset);
    this.passOwn();
  }

  private passOwn(): void {
    if (this.ownAhead.size === 0) return;
    while (this.ownAhead.has(this.offset + 1)) this.offset += 1;
    for (const offset of this.ownAhead) if (offset <= this.offset) this.ownAhead.delete(offset);
  }
}

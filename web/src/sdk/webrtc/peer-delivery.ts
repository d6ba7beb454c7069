/**
 * Delivery between peers, above every way there is to carry frames (PROTOCOL.md, section 16).
 *
 * Owns the whole of it for one helper: its own stream to all peers and what comes from each, acknowledgements included.
 * Reliable messages arrive once and in order per sender, whichever paths they took. Never sends, never reads a clock: the
 * shell says on which path a peer is reached, hands in frames, and asks by `take` what goes out now.
 */

import type { Bytes } from "../crypto/bytes";
import { ProtocolError } from "../protocol/errors";
import { ACK, AGAIN, decodeFrame, encodeMark, FLUSHED, type Frame, LOSSY, RELIABLE } from "./peer-frames";
import { type DeliveryEvent, Receiving } from "./peer-receiving";
import { type OutgoingFrame, Sending } from "./peer-sending";

export type { DeliveryEvent, OutgoingFrame };

/** Which messages were handed over, and which were dropped. */
export interface Settled {
  readonly handed: readonly number[];
  readonly dropped: readonly number[];
}

/** Times are milliseconds of any clock that never goes back. */
export class PeerDelivery {
  /** The own one, under which others address frames. */
  identity: string;
  private readonly sending: Sending;
  private readonly senders = new Map<string, Receiving>();
  private readonly asks = new Set<string>();

  /** `identity` is the own one; `stream` a random number from 1 to 2^32 − 1. */
  constructor(identity: string, stream: number) {
    this.identity = identity;
    this.sending = new Sending(stream);
  }

  /** How much is not acknowledged by everybody it was for. */
  get keptBytes(): number {
    return this.sending.keptBytes;
  }

  /** How many frames this peer has not acknowledged. */
  unacknowledged(peer: string): number {
    return this.sending.recipients.get(peer)?.unacknowledged ?? 0;
  }

  // --- messages --------------------------------------------------------------------------------------------

  /**
   * Takes a message of this side to these peers; its `number` comes back by `takeSettled`.
   *
   * Throws `ProtocolError`: `bad_request` (no MessagePack form), `too_large`, `queue_full`.
   */
  send(number: number, to: readonly string[], payload: unknown, isLossy: boolean, nowMs: number): void {
    if (isLossy) this.sending.sendLossy(number, to, payload, nowMs);
    else this.sending.sendReliable(number, to, payload);
  }

  /** The messages that were handed over, and those that were dropped, since it was asked before; rising. */
  takeSettled(): Settled {
    const { sending } = this;
    const rising = (numbers: number[]): number[] => numbers.sort((a, b) => a - b);
    const settled = { handed: rising(sending.handed), dropped: rising(sending.dropped) };
    sending.handed = [];
    sending.dropped = [];
    return settled;
  }

  // --- paths -----------------------------------------------------------------------------------------------

  /** The path by which a peer is reached. */
  pathOf(peer: string): string | undefined {
    return this.sending.recipients.get(peer)?.path;
  }

  /**
   * The peer is reached by `path` from now on, and what it has not acknowledged goes there once more.
   *
   * Also called when the path of this name is a new one. Undefined: there is no path.
   */
  setPath(peer: string, path: string | undefined): void {
    this.sending.setPath(peer, path);
    this.acknowledgeAgain(peer);
  }

  /** The peer is gone; what was for it, and what was known of it, is forgotten. */
  left(peer: string): void {
    this.leftAsRecipient(peer);
    this.leftAsSender(peer);
  }

  /** Nothing is kept for the peer any more; what it sent may still be under way by others. */
  leftAsRecipient(peer: string): void {
    this.sending.left(peer);
    this.asks.delete(peer);
  }

  /** Nothing that the peer has sent is under way any more. */
  leftAsSender(peer: string): void {
    this.senders.delete(peer);
  }

  /** Has the peer send again what did not arrive: the way from it was replaced, or had a gap. */
  ask(peer: string): void {
    this.asks.add(peer);
  }

  /** What goes onto a path now, given how many bytes may go there (undefined: it is not open). */
  take(
    path: string,
    nowMs: number,
    reliableRoom: number | undefined,
    lossyRoom: number | undefined,
  ): OutgoingFrame[] {
    this.tick(nowMs);
    const out: OutgoingFrame[] = [];
    if (reliableRoom !== undefined) {
      out.push(...this.marks(path, nowMs), ...this.sending.takeReliable(path, reliableRoom, nowMs));
    }
    if (lossyRoom !== undefined) out.push(...this.sending.takeLossy(path, lossyRoom));
    return out;
  }

  /** The last frame on a path that is given up. */
  flush(): Bytes {
    return encodeMark(FLUSHED, this.sending.stream, this.sending.seq);
  }

  /** Does what is due, but for what goes onto paths; `take` does it, too. */
  tick(nowMs: number): void {
    this.sending.tick(nowMs);
  }

  /** When to call `tick`, and `take` for every path. */
  get deadlineMs(): number | undefined {
    const due = [this.sending.deadlineMs];
    for (const [peer, { ackDueMs, againDueMs }] of this.senders) {
      if (this.pathOf(peer) !== undefined) due.push(ackDueMs, againDueMs);
    }
    const times = due.filter((at) => at !== undefined);
    return times.length > 0 ? Math.min(...times) : undefined;
  }

  // --- what comes in ---------------------------------------------------------------------------------------

  /** Takes a frame, from whichever path; gives what is to be told. Never throws. */
  receive(sender: string, data: Uint8Array, nowMs: number): DeliveryEvent[] {
    let frame: Frame;
    try {
      frame = decodeFrame(data, this.identity);
    } catch (error) {
      if (error instanceof ProtocolError) return [{ event: "bad", sender, error }];
      throw error;
    }
    if (frame.kind === ACK) this.sending.acknowledged(sender, frame.stream, frame.seq, nowMs);
    else if (frame.kind === AGAIN) {
      this.sending.asked(sender, frame.stream, frame.seq, nowMs);
      this.acknowledgeAgain(sender);
    } else {
      const receiving = this.receiving(sender);
      if (frame.kind === RELIABLE) return receiving.reliable(frame, nowMs);
      if (frame.kind === LOSSY) return receiving.lossy(frame);
      if (receiving.follows(frame.stream)) return [{ event: "flushed", sender, seq: frame.seq }];
    }
    return [];
  }

  // --- inside ----------------------------------------------------------------------------------------------

  private receiving(sender: string): Receiving {
    let receiving = this.senders.get(sender);
    if (!receiving) {
      receiving = new Receiving(sender);
      this.senders.set(sender, receiving);
    }
    return receiving;
  }

  /** What was sent to it may be lost, acknowledgements, too. */
  private acknowledgeAgain(peer: string): void {
    const receiving = this.senders.get(peer);
    if (receiving && receiving.last > 0) receiving.ackDueMs = 0;
  }

  /** Acknowledgements and requests that are due on a path. */
  private marks(path: string, nowMs: number): OutgoingFrame[] {
    const out: OutgoingFrame[] = [];
    const say = (peer: string, kind: typeof ACK | typeof AGAIN, stream: number, last: number): void => {
      out.push({ to: [peer], frame: encodeMark(kind, stream, last), isLossy: false });
    };
    for (const [peer, receiving] of this.senders) {
      if (this.pathOf(peer) !== path) continue;
      const { stream, last, ackDueMs, againDueMs } = receiving;
      if (ackDueMs !== undefined && nowMs >= ackDueMs) {
        say(peer, ACK, stream, last);
        receiving.acknowledged();
      }
      if (againDueMs !== undefined && nowMs >= againDueMs && !this.asks.has(peer)) {
        say(peer, AGAIN, stream, last);
        receiving.asked(nowMs);
      }
    }
    for (const peer of [...this.asks].filter((one) => this.pathOf(one) === path)) {
      this.asks.delete(peer);
      const known = this.senders.get(peer);
      say(peer, AGAIN, known?.stream ?? 0, known?.last ?? 0);
      known?.asked(nowMs);
    }
    return out;
  }
}

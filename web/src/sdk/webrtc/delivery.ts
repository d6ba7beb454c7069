/**
 * Data messages of a call: their form, and when each may go into its data channel.
 *
 * Owns the MessagePack form of `[to, payload]` and `[from, payload]`, the size limit, the queues in front of the two data
 * channels and the decision what to drop. Never touches a channel: `Outbox.take` says what goes in now.
 *
 * A data channel's own queue is kept short. What waits here can still be dropped, and a long queue inside the SCTP
 * association (RFC 8831) makes every message slow, the reliable ones too.
 */

import { ProtocolError } from "../protocol/errors";
import { encodeMessagePack, joinMessagePack, Reader } from "../protocol/messagepack";
import { checkValue } from "../protocol/values";

/** Larger messages are refused; the SFU's answer says so, too (`a=max-message-size`). */
export const MESSAGE_BYTES_MAX = 65_536;
/** A lossy message that waited for longer is dropped. */
export const LOSSY_WAIT_MS = 100;
/** How much may wait inside a data channel; one message more may overshoot it. */
export const CHANNEL_BYTES = 16_384;
/** How much may wait to be sent reliably, also before the connection stands. */
export const RELIABLE_BYTES_MAX = 4 * 1_048_576;
export const LOSSY_BYTES_MAX = 256 * 1_024;

/** A message from the SFU; without a sender it is the SFU's own, and the payload an error. */
export interface Incoming {
  readonly sender: string | null;
  readonly payload: unknown;
}

/** What is to be done with one message: hand it over, or nothing any more. */
export interface Waiting {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** True: it went into its channel. False: it was dropped. An error: it cannot be sent. */
  readonly settle: (result: boolean | Error) => void;
}

export interface Taken {
  readonly reliable: readonly Waiting[];
  readonly lossy: readonly Waiting[];
  readonly dropped: readonly Waiting[];
}

/**
 * The bytes for a payload to everyone else in the call (null), or to these identities.
 *
 * Throws `ProtocolError`: `too_large`, or `bad_request` for a payload that MessagePack has no form for.
 */
export function encodeData(to: readonly string[] | null, payload: unknown): Uint8Array<ArrayBuffer> {
  const value = payload instanceof ArrayBuffer ? new Uint8Array(payload) : payload;
  if (!(value instanceof Uint8Array)) checkValue(value);
  const bytes = joinMessagePack([encodeMessagePack(to), encodeMessagePack(value)]);
  if (bytes.length > MESSAGE_BYTES_MAX) {
    throw new ProtocolError(
      "too_large",
      `A data message has at most ${MESSAGE_BYTES_MAX} bytes with its addresses; this one has ${bytes.length}.`,
      { details: { limit_bytes: MESSAGE_BYTES_MAX, size_bytes: bytes.length } },
    );
  }
  return bytes;
}

/** Reads a message of the SFU. Throws `ProtocolError` (`bad_frame`) for anything else. */
export function decodeData(bytes: Uint8Array): Incoming {
  const reader = new Reader(bytes);
  if (reader.arrayLength() === 2) {
    const [sender, payload] = [reader.next(), reader.next()];
    const error = sender.error ?? payload.error;
    if (error) throw error;
    if (reader.isAtEnd && (sender.value === null || typeof sender.value === "string")) {
      return { sender: sender.value, payload: payload.value };
    }
  }
  throw new ProtocolError("bad_frame", "A data message could not be read.");
}

interface Dated extends Waiting {
  readonly sinceMs: number;
}

/**
 * What waits to be sent, in two queues.
 *
 * Reliable messages wait in order for as long as it takes, up to a number of bytes. Lossy ones wait at most
 * `LOSSY_WAIT_MS`, and the oldest goes first when there are too many.
 */
export class Outbox {
  private reliable: Dated[] = [];
  private lossy: Dated[] = [];
  private reliableBytes = 0;
  private lossyBytes = 0;

  /** How much waits here. */
  get waitingBytes(): number {
    return this.reliableBytes + this.lossyBytes;
  }

  /** Adds a message. Throws `ProtocolError` (`queue_full`) when too much waits already. */
  pushReliable(waiting: Waiting, nowMs: number): void {
    if (this.reliable.length > 0 && this.reliableBytes + waiting.bytes.length > RELIABLE_BYTES_MAX) {
      throw new ProtocolError(
        "queue_full",
        `${this.reliableBytes} bytes wait to be sent already; await sendData to keep pace.`,
      );
    }
    this.reliable.push({ ...waiting, sinceMs: nowMs });
    this.reliableBytes += waiting.bytes.length;
  }

  /** Adds a message that may be dropped. */
  pushLossy(waiting: Waiting, nowMs: number): void {
    this.lossy.push({ ...waiting, sinceMs: nowMs });
    this.lossyBytes += waiting.bytes.length;
  }

  /**
   * What goes into the channels now, given how many bytes wait inside each (`undefined`: it is not open).
   *
   * Lossy messages that waited too long come back as dropped; call this again at `nextExpiryMs`.
   */
  take(nowMs: number, reliableBuffered: number | undefined, lossyBuffered: number | undefined): Taken {
    const reliable = this.reliable.splice(0, fitting(this.reliable, reliableBuffered));
    this.reliableBytes -= total(reliable);
    const dropped = this.lossy.splice(0, this.tooOld(nowMs));
    this.lossyBytes -= total(dropped);
    const lossy = this.lossy.splice(0, fitting(this.lossy, lossyBuffered));
    this.lossyBytes -= total(lossy);
    return { reliable, lossy, dropped };
  }

  /** When the oldest lossy message has waited too long; `undefined` if none waits. */
  get nextExpiryMs(): number | undefined {
    const oldest = this.lossy[0];
    return oldest && oldest.sinceMs + LOSSY_WAIT_MS;
  }

  /** Forgets everything; gives what waited. */
  clear(): Waiting[] {
    const waiting = [...this.reliable, ...this.lossy];
    this.reliable = [];
    this.lossy = [];
    this.reliableBytes = 0;
    this.lossyBytes = 0;
    return waiting;
  }

  /** How many of the lossy ones have to go, from the oldest on. */
  private tooOld(nowMs: number): number {
    let bytes = this.lossyBytes;
    let count = 0;
    for (const { sinceMs, bytes: own } of this.lossy) {
      if (bytes <= LOSSY_BYTES_MAX && nowMs - sinceMs < LOSSY_WAIT_MS) break;
      bytes -= own.length;
      count += 1;
    }
    return count;
  }
}

/** How many of the first messages a channel takes. */
function fitting(messages: readonly Waiting[], buffered: number | undefined): number {
  let filled = buffered ?? Number.POSITIVE_INFINITY;
  let count = 0;
  for (const { bytes } of messages) {
    if (filled >= CHANNEL_BYTES) break;
    filled += bytes.length;
    count += 1;
  }
  return count;
}

function total(messages: readonly Waiting[]): number {
  return messages.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

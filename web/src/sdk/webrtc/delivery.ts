/**
 * Data messages of a call: their form.
 *
 * Owns the MessagePack form of `[to, payload]` and `[from, payload]`, and the size limit. Never touches a channel.
 */

import { ProtocolError } from "../protocol/errors";
import { encodeMessagePack, joinMessagePack, Reader } from "../protocol/messagepack";
import { checkValue } from "../protocol/values";

/** Larger messages are refused; the SFU's answer says so, too (`a=max-message-size`). */
export const MESSAGE_BYTES_MAX = 65_536;
/**
 * How much may wait inside a data channel; one message more may overshoot it. A long queue inside the SCTP association
 * (RFC 8831) makes every message slow, and what waits outside can still be dropped.
 */
export const CHANNEL_BYTES = 16_384;

/** A message from the SFU; without a sender it is the SFU's own, and the payload an error. */
export interface Incoming {
  readonly sender: string | null;
  readonly payload: unknown;
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

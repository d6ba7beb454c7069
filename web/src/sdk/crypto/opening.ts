/**
 * From an envelope to what is inside, for one receiver.
 *
 * Owns which envelopes are for this receiver at all. Never decides whether what was opened is new (`seal-window.ts`).
 * See PROTOCOL.md, section 13.
 */

import { ProtocolError } from "../protocol/errors";
import { type Attributes, type Inside, readAttributes, readInside } from "./inside";
import type { Context, Header, SealClass, SealingKeys } from "./sealing";

/**
 * Opens a message; `announced` is the receiver's crypto-session.
 *
 * Rejects with `ProtocolError`: `not_supported`, `wrong_key`, `tampered`, `bad_frame`, and `replayed` for a live one to
 * names that does not name this receiver.
 */
export async function openMessage(
  keys: SealingKeys,
  delivery: Exclude<SealClass, "attributes">,
  envelope: Uint8Array,
  context: Context,
  announced: Uint8Array,
): Promise<{ readonly header: Header; readonly inside: Inside }> {
  const { header, plaintext } = await keys.decrypt(delivery, envelope, context);
  const isForNames = delivery === "live" && context.to !== undefined;
  if (isForNames && !header.recipients.some((one) => isSameBytes(one, announced))) {
    throw new ProtocolError("replayed", "A message that was meant for an earlier bearer of this name.");
  }
  return { header, inside: readInside(plaintext) };
}

/** Opens private attributes of the member `sender`; rejects as `openMessage`. */
export async function openAttributes(
  keys: SealingKeys,
  envelope: Uint8Array,
  sender: string,
  announced: Uint8Array,
): Promise<{ readonly header: Header; readonly inside: Attributes }> {
  const { header, plaintext } = await keys.decrypt("attributes", envelope, { sender });
  if (!isSameBytes(header.cryptoSession, announced)) throw new ProtocolError("replayed");
  return { header, inside: readAttributes(plaintext) };
}

function isSameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

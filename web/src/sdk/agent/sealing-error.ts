/**
 * What is told instead of a message that is never shown.
 *
 * Owns the class of these errors.
 */

import { ProtocolError } from "../protocol/errors";
import type { Member, MessageFrame } from "../protocol/frames.gen";

/**
 * A message, or a member's private attributes, that could not be opened, or was moved by the server.
 *
 * `code` is `wrong_key`, `tampered`, `replayed`, `reordered`, `not_sealed`, `bad_frame` or `not_supported`. The rest is
 * what the server says of it, which may be wrong.
 */
export class SealingError extends ProtocolError {
  /** The name of whom it is said to come from. */
  readonly sender: string;
  /** `undefined` for attributes. */
  readonly delivery: MessageFrame["delivery"] | undefined;
  readonly offset: number | undefined;
  readonly messageId: string;
  readonly timeMs: number | undefined;

  constructor(cause: ProtocolError, about: MessageFrame | Member) {
    super(cause.code, cause.message);
    const message = "delivery" in about ? about : undefined;
    this.sender = message?.sender ?? (about as Member).name;
    this.delivery = message?.delivery;
    this.offset = message?.offset;
    this.messageId = message?.message_id ?? "";
    this.timeMs = message?.time_ms;
  }

  /** As of `ProtocolError`: each script of the SDK brings this class. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof ProtocolError && "sender" in value && "delivery" in value;
  }
}

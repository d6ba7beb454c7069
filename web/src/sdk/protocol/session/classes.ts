/**
 * Which of the three classes a frame of the server belongs to.
 *
 * Owns the table of PROTOCOL.md, section 4. Never counts.
 */

import type { MessageFrame, ServerFrame } from "../frames.gen";

/** The class of a frame that is sent on an established session; `undefined` for those outside the classes. */
export function classOf(frame: ServerFrame): MessageFrame["delivery"] | undefined {
  switch (frame.op) {
    case "message":
      return frame.delivery;
    case "connected":
    case "reset":
    case "pong":
    case "closing":
      return undefined;
    default:
      return "live";
  }
}

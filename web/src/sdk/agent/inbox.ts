/**
 * What comes in, sorted: messages for the user, signals of calls and groups, and what peers say to each other.
 *
 * Owns the rule. Never opens anything sealed, and tells nobody (that is `agent`).
 */

import { GROUP_AGENT, PEER_DATA_TYPE } from "../protocol/group";
import { SFU_AGENT, SIGNAL_TYPE } from "../protocol/sfu";
import { isObject } from "../protocol/shape";
import type { Message } from "./records";

/** Nobody else can bear these names. */
const SERVICES: readonly string[] = [SFU_AGENT, GROUP_AGENT];

/** The event that a message is; none, where its type was not asked for. `wanted` are those that were: all if empty. */
export function kindOf(
  message: Message,
  wanted: readonly string[],
): "signal" | "peer" | "message" | undefined {
  if (SERVICES.includes(message.sender) && message.type === SIGNAL_TYPE) return "signal";
  if (isOfPeer(message)) return "peer";
  return isWanted(message, wanted) ? "message" : undefined;
}

/** More types are pushed than were asked for. */
function isWanted({ type, customEventType }: Message, wanted: readonly string[]): boolean {
  return wanted.length === 0 || wanted.includes(type) || wanted.includes(customEventType ?? "");
}

/** Whether another member's `WebRTCHelper` says it to this one's. */
function isOfPeer({ delivery, type, content }: Message): boolean {
  if (delivery === "durable" || (type !== PEER_DATA_TYPE && type !== SIGNAL_TYPE)) return false;
  if (type === PEER_DATA_TYPE) return content instanceof Uint8Array;
  const kind = isObject(content) ? content["kind"] : undefined;
  return typeof kind === "string" && kind.startsWith("peer_");
}

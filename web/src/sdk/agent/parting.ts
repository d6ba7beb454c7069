/**
 * The moment in which the page goes, and that in which the browser shows it again after all.
 *
 * Owns what is said then. A frame on a WebSocket may not leave any more by then (in Firefox none does); browsers see to
 * it that a beacon does (PROTOCOL.md, section 9).
 */

import type { ConnectedFrame } from "../protocol/frames.gen";
import { leaveAddress } from "./address";

/** Calls when the page goes, and when it is shown again out of the browser's memory; gives what stops both. */
export function onPageGone(gone: () => void, back: () => void): () => void {
  if (typeof window === "undefined") return () => undefined;
  const shown = ({ persisted }: PageTransitionEvent): void => {
    if (persisted) back();
  };
  window.addEventListener("pagehide", gone);
  window.addEventListener("pageshow", shown);
  return () => {
    window.removeEventListener("pagehide", gone);
    window.removeEventListener("pageshow", shown);
  };
}

/** Tells the server. `mayReturn`: the token is kept, so that the page goes on with the session after a reload. */
export function part(base: string, welcome: ConnectedFrame, mayReturn: boolean): void {
  if (typeof navigator.sendBeacon !== "function") return;
  const { session_id, resume_token, correlation_id } = welcome;
  const body = JSON.stringify({ session_id, resume_token, correlation_id, may_return: mayReturn });
  // As text, which needs nobody's leave also where the server is another origin's.
  navigator.sendBeacon(leaveAddress(base), body);
}

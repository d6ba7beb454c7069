/**
 * What the SDK takes from the platform: clock, timer, chance, transports, signs of life of the network.
 *
 * Owns the seam at which tests put an emulated world in its place.
 */

import type { TransportName } from "../protocol/session/paths";
import { openLongPoll } from "./transport/longpoll";
import type { OpenTransport } from "./transport/transport";
import { openWebSocket } from "./transport/websocket";

export interface Environment {
  /** Milliseconds, whole, from any origin; never falls. */
  nowMs(): number;
  /** Numbers in [0, 1). */
  random(): number;
  /** Calls once after a delay; gives what stops it. */
  startTimer(delayMs: number, callback: () => void): () => void;
  /** Calls whenever it may be worth trying again at once; gives what stops it. */
  onWake(callback: () => void): () => void;
  readonly openTransport: Readonly<Record<TransportName, OpenTransport>>;
}

/** A timer that is set for longer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export const browserEnvironment: Environment = {
  nowMs: () => Math.floor(performance.now()),
  random: Math.random,
  startTimer(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(delayMs, LONGEST_TIMER_MS));
    return () => clearTimeout(timer);
  },
  onWake(callback) {
    if (typeof window === "undefined") return () => undefined;
    const whenSeen = (): void => {
      if (document.visibilityState === "visible") callback();
    };
    window.addEventListener("online", callback);
    document.addEventListener("visibilitychange", whenSeen);
    return () => {
      window.removeEventListener("online", callback);
      document.removeEventListener("visibilitychange", whenSeen);
    };
  },
  openTransport: { websocket: openWebSocket, longpoll: openLongPoll },
};

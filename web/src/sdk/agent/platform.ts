/**
 * What every part of the SDK takes from the platform: clock, timer, chance, signs of life of the network.
 *
 * Owns the seam at which tests put an emulated world in its place.
 */

export interface Platform {
  /** Milliseconds, whole, from any origin; never falls. */
  nowMs(): number;
  /** Numbers in [0, 1). */
  random(): number;
  /** Calls once after a delay; gives what stops it. */
  startTimer(delayMs: number, callback: () => void): () => void;
  /** Calls whenever it may be worth trying again at once; gives what stops it. */
  onWake(callback: () => void): () => void;
}

/** A timer that is set for longer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export const browserPlatform: Platform = {
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
};

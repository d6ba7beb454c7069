/**
 * Whether a guest still hears its host.
 *
 * Owns when the host was heard last, and how long a silence has to be to count. A guest that was asleep itself gives what
 * came meanwhile time to be read, before it says anything. Never reads a clock, and never decides what follows: the server
 * does, by what all guests say and by the host's lease.
 */

/** How long a silence has to be to count. */
const UNHEARD_MS = 400;
/** How often the server is told so. */
const AGAIN_MS = 300;
const LOOK_MS = 100;
/** Who looks so late was asleep itself, or has more to do than it can. */
const LATE_MS = 100;
/** And waits so long before it takes anybody for silent. */
const WAKING_MS = 250;

/** Of one host. Times are milliseconds of any clock that never goes back. */
export class HostSilence {
  private heardMs = 0;
  private lookMs: number | undefined;
  private toldMs: number | undefined;

  /** The host has welcomed this guest: from now on it says something all the time, or is silent, or the link is lost. */
  start(nowMs: number): void {
    this.heardMs = nowMs;
    this.lookMs = nowMs + LOOK_MS;
    this.toldMs = undefined;
  }

  /** Something came from the host. */
  heard(nowMs: number): void {
    this.heardMs = nowMs;
    this.toldMs = undefined;
  }

  /** When to look. */
  get deadlineMs(): number | undefined {
    return this.lookMs;
  }

  /** Looks, if it is time; whether the server is to be told, or told again. */
  isToBeTold(nowMs: number): boolean {
    if (this.lookMs === undefined || nowMs < this.lookMs) return false;
    if (nowMs - this.lookMs > LATE_MS) this.heardMs = Math.max(this.heardMs, nowMs + WAKING_MS - UNHEARD_MS);
    this.lookMs = nowMs + LOOK_MS;
    if (nowMs - this.heardMs < UNHEARD_MS) return false;
    if (this.toldMs !== undefined && nowMs - this.toldMs < AGAIN_MS) return false;
    this.toldMs = nowMs;
    return true;
  }
}

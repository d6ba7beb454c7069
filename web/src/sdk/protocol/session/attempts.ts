/**
 * When a client tries to connect again, how long an attempt may take, and when it gives up.
 *
 * Owns these times and how many attempts have failed in a row. Never decides whether to try at all (that is `client`).
 * All times are in milliseconds. See PROTOCOL.md, section 7.
 */

import type { ErrorFrame } from "../frames.gen";
import { reconnectDelayMs } from "./backoff";
import type { ClientSettings } from "./settings";

/** Those of one session. Each time has a meaning only while it is waited for. */
export class Attempts {
  private readonly settings: ClientSettings;
  private readonly jitter: () => number;
  private failed = 0;
  private stableAt = 0;
  /** When to open the next one. */
  retryAt = 0;
  /** When the present one has taken too long. */
  endsAt = 0;
  /** When it is enough; `undefined`: never, or not any more. */
  giveUpAt: number | undefined;

  /** `jitter` gives numbers in [0, 1). */
  constructor(settings: ClientSettings, jitter: () => number) {
    this.settings = settings;
    this.jitter = jitter;
  }

  /** The client wants to connect, for the first time. */
  begin(now: number): void {
    if (this.settings.giveUpAfterMs !== null) this.giveUpAt = now + this.settings.giveUpAfterMs;
  }

  /** An attempt begins. */
  opened(now: number): void {
    this.endsAt = now + this.settings.attemptTimeoutMs;
  }

  /** It has succeeded. */
  joined(now: number): void {
    this.giveUpAt = undefined;
    this.stableAt = now + this.settings.stableAfterMs;
  }

  /** It has not, or what came of it has ended; how long to wait. A session that lasted counts as a fresh start. */
  lost(error: ErrorFrame, now: number, wasOpen: boolean): number {
    if (wasOpen && now >= this.stableAt) this.failed = 0;
    const delay = this.delay(this.failed, error);
    this.failed += 1;
    this.retryAt = now + delay;
    return delay;
  }

  /** How long to wait after so many failures: as long as the error says, if it does. */
  delay(failed: number, error: ErrorFrame): number {
    return error.retry_after_ms ?? reconnectDelayMs(failed, this.jitter());
  }
}

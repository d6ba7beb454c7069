/**
 * How fast a client may send, so that a backlog does not run into the server's rate limit.
 *
 * Owns a token bucket in whole numbers, so that every language computes the same. Never reads a clock.
 */

const PER_TOKEN = 1000;

/**
 * `ratePerS` on average, and one and a half seconds' worth at once.
 *
 * The server takes a burst of two seconds' worth; the rest of it is for frames that the network held up and
 * delivered together.
 */
export class Pace {
  readonly ratePerS: number;
  private readonly full: number;
  private level: number;
  private atMs: number;

  constructor(ratePerS: number, atMs: number) {
    this.atMs = atMs;
    this.ratePerS = Math.max(1, ratePerS);
    this.full = Math.floor((this.ratePerS * PER_TOKEN * 3) / 2);
    this.level = this.full;
  }

  /** Takes one token; false if there is none. */
  take(nowMs: number): boolean {
    this.fill(nowMs);
    if (this.level < PER_TOKEN) return false;
    this.level -= PER_TOKEN;
    return true;
  }

  /** When there is a token, as of the last `take`. */
  get readyAt(): number {
    return this.atMs + Math.ceil(Math.max(0, PER_TOKEN - this.level) / this.ratePerS);
  }

  private fill(nowMs: number): void {
    if (nowMs <= this.atMs) return;
    // One token a second is one unit a millisecond.
    this.level = Math.min(this.full, this.level + (nowMs - this.atMs) * this.ratePerS);
    this.atMs = nowMs;
  }
}

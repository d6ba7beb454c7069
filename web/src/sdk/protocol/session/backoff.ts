/**
 * How long a client waits before it connects again.
 *
 * Owns the formula. Never counts attempts and never draws the random number. See PROTOCOL.md, section 7.
 */

const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 30_000;

/**
 * `random(0.5, 1) x min(30 s, 0.25 s x 2^attempt)`, rounded down; `attempt` counts from 0.
 *
 * `jitter` is a number in [0, 1) from a random source: it spreads clients that lost the same server.
 */
export function reconnectDelayMs(attempt: number, jitter: number): number {
  const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 10));
  return Math.floor(longest * (0.5 + jitter / 2));
}

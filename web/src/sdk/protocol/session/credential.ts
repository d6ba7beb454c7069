/**
 * The key a client connects with, and when a new one is to be fetched.
 *
 * Owns the key and the times of the attempts to get another. Never fetches one. See PROTOCOL.md, section 7.
 */
export class Credential {
  apiKey: string;
  /** When to ask for a new key; `undefined`: nothing is planned. */
  fetchAt: number | undefined;
  /** How often in a row no new key could be had. */
  failures = 0;
  /** How often in a row the server called a key expired. */
  refusals = 0;
  private isFetching = false;

  constructor(apiKey: string) {
    this.apiKey = apiKey;
  }

  /** A new key is needed, to be fetched at this time; no effect while a fetch is under way. */
  want(atMs: number): void {
    if (!this.isFetching) this.fetchAt = atMs;
  }

  /** Whether to fetch now; the fetch then counts as begun. */
  takeDue(nowMs: number): boolean {
    if (this.fetchAt === undefined || nowMs < this.fetchAt) return false;
    this.fetchAt = undefined;
    this.isFetching = true;
    return true;
  }

  /** There is a new key. */
  renewed(apiKey: string): void {
    this.apiKey = apiKey;
    this.fetchAt = undefined;
    this.failures = 0;
    this.isFetching = false;
  }

  /** The fetch gave no key. */
  failed(): void {
    this.failures += 1;
    this.isFetching = false;
  }
}

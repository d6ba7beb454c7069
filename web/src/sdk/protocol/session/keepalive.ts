/**
 * When a client has to say that it is there, and when it gives a silent connection up.
 *
 * Owns the two times of one connection. Never sends anything. Only protocol frames count as life. See PROTOCOL.md,
 * section 6.
 */
export class Keepalive {
  private readonly pingIntervalMs: number;
  private readonly silenceTimeoutMs: number;
  private heardMs: number;
  private sentMs: number;
  private pingedMs: number;
  private owedMs: number | undefined;

  constructor(pingIntervalMs: number, silenceTimeoutMs: number, nowMs: number) {
    this.pingIntervalMs = pingIntervalMs;
    this.silenceTimeoutMs = silenceTimeoutMs;
    this.heardMs = nowMs;
    this.sentMs = nowMs;
    this.pingedMs = nowMs;
  }

  /** Something came from the server. */
  heard(nowMs: number): void {
    this.heardMs = nowMs;
  }

  /** Something other than a ping was sent. */
  sent(nowMs: number): void {
    this.sentMs = nowMs;
  }

  /** A ping was sent. */
  pinged(nowMs: number): void {
    this.sentMs = nowMs;
    this.pingedMs = nowMs;
    this.owedMs = undefined;
  }

  /** The server is to be told by then how far the client has read. */
  owePing(atMs: number): void {
    this.owedMs ??= atMs;
  }

  /** Whether something was read that the server was not told of. */
  get isPingOwed(): boolean {
    return this.owedMs !== undefined;
  }

  /** When the next ping is due: nothing sent, or nothing heard, for an interval; or when one is owed. */
  get pingAt(): number {
    const at = Math.max(Math.min(this.heardMs, this.sentMs), this.pingedMs) + this.pingIntervalMs;
    return Math.min(at, this.owedMs ?? at);
  }

  /** When the connection counts as dead unless something comes before. */
  get silentAt(): number {
    return this.heardMs + this.silenceTimeoutMs;
  }
}

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
  }

  /** When the next ping is due: nothing sent, or nothing heard, for an interval; one ping an interval. */
  get pingAt(): number {
    return Math.max(Math.min(this.heardMs, this.sentMs), this.pingedMs) + this.pingIntervalMs;
  }

  /** When the connection counts as dead unless something comes before. */
  get silentAt(): number {
    return this.heardMs + this.silenceTimeoutMs;
  }
}

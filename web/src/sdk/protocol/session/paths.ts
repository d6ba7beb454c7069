/**
 * Which transport a client tries next: WebSocket, or HTTP long-poll where WebSockets don't get through.
 *
 * Owns the choice. Never opens anything. See PROTOCOL.md, section 7.
 */

export type TransportName = "websocket" | "longpoll";

/** How many attempts in a row may die on one transport before the other is tried. */
const PATIENCE = 2;

/**
 * Tries `allowed` in order, and stays with what worked.
 *
 * After two attempts in a row that died before the server said anything, it alternates.
 */
export class TransportChoice {
  private readonly allowed: readonly [TransportName, ...TransportName[]];
  private index = 0;
  private deaths = 0;

  constructor(allowed: readonly [TransportName, ...TransportName[]]) {
    this.allowed = allowed;
  }

  /** The transport for this attempt. */
  get current(): TransportName {
    return this.allowed[this.index] ?? this.allowed[0];
  }

  /** The server answered on this transport, be it a refusal. */
  worked(): void {
    this.deaths = 0;
  }

  /** An attempt ended before the server answered. */
  died(): void {
    this.deaths += 1;
    if (this.deaths >= PATIENCE) this.index = (this.index + 1) % this.allowed.length;
  }
}

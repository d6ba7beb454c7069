/**
 * What a client session is made with.
 *
 * Owns the options and their defaults. Never changes while the session lives.
 */

import type { ConnectFrame } from "../frames.gen";
import type { TransportName } from "./paths";

export interface ClientSettings {
  /** The connect frame; its `id` is ignored, and its `resume` is where an earlier page or process stood. */
  readonly connect: ConnectFrame;
  /** In order of preference. */
  readonly transports: readonly [TransportName, ...TransportName[]];
  /** Somebody answers `FetchCredential`. */
  readonly canRenew: boolean;
  readonly requestTimeoutMs: number;
  /** How many requests may wait for an outcome: the offline queue and what is under way together. */
  readonly maxRequests: number;
  readonly maxRequestBytes: number;
  /** From opening a transport to `connected`. */
  readonly attemptTimeoutMs: number;
  /** How long the first connect may take, all attempts together; null: for ever. Reconnecting never ends. */
  readonly giveUpAfterMs: number | null;
  /** A connection that lasted this long makes the delays start from the shortest again. */
  readonly stableAfterMs: number;
}

export function clientSettings(
  given: Partial<ClientSettings> & Pick<ClientSettings, "connect">,
): ClientSettings {
  return {
    transports: ["websocket", "longpoll"],
    canRenew: false,
    requestTimeoutMs: 30_000,
    maxRequests: 1_000,
    maxRequestBytes: 4_194_304,
    attemptTimeoutMs: 10_000,
    giveUpAfterMs: 30_000,
    stableAfterMs: 5_000,
    ...given,
  };
}

/**
 * The STUN and TURN servers of an agent, and when they are to be renewed.
 *
 * The twin of `peerbus.client.ice_servers`. Owns how long they are good, and when new ones are asked for. Never asks,
 * and never reads a clock. See PROTOCOL.md, section 17.
 */

import type { IceServer } from "../protocol/frames.gen";

const RETRY_MIN_MS = 5_000;

/** What the server told last. Times are milliseconds of one clock that never falls. */
export class IceServers {
  /** As `RTCPeerConnection` takes them. */
  servers: readonly RTCIceServer[] = [];
  /** When new ones are to be asked for; `undefined`: these do not end. */
  renewAtMs: number | undefined;
  private endsAtMs: number | undefined;

  /** The server gave new ones, that end so much later if they do. */
  told(servers: readonly IceServer[], expiresInMs: number | undefined, nowMs: number): void {
    this.servers = servers.map(({ urls, username, credential }) =>
      credential === null ? { urls: [...urls] } : { urls: [...urls], username, credential },
    );
    const ends = servers.length > 0 && expiresInMs !== undefined;
    this.endsAtMs = ends ? nowMs + expiresInMs : undefined;
    this.renewAtMs = ends ? nowMs + Math.floor(expiresInMs / 2) : undefined;
  }

  /** There were no new ones: asks again when half of the rest is over. */
  failed(nowMs: number): void {
    if (this.endsAtMs === undefined) return;
    const restMs = Math.max(0, this.endsAtMs - nowMs);
    this.renewAtMs = nowMs + Math.max(RETRY_MIN_MS, Math.floor(restMs / 2));
  }

  /** Whether there is no reason to ask for new ones. */
  areFresh(nowMs: number): boolean {
    return this.renewAtMs === undefined || nowMs < this.renewAtMs;
  }

  /** Whether they have not ended. */
  areGood(nowMs: number): boolean {
    return this.endsAtMs === undefined || nowMs < this.endsAtMs;
  }
}

/**
 * The STUN and TURN servers of an agent, kept good while it is connected.
 *
 * The twin of `peerbus.client.ice_renewal`. Owns the timer and the request that is under way; when new ones are wanted
 * says `ice-servers`. See PROTOCOL.md, section 17.
 */

import type { ConnectedFrame, IceServersReplyFrame } from "../protocol/frames.gen";
import type { Environment } from "./environment";
import { IceServers } from "./ice-servers";

/** What it needs of its agent. */
export interface IceHooks {
  /** Asks the server for new ones. */
  ask(): Promise<IceServersReplyFrame>;
  isConnected(): boolean;
  /** There are new ones. */
  told(servers: readonly RTCIceServer[]): void;
}

/** Those of one agent. */
export class IceRenewal {
  private readonly environment: Environment;
  private readonly hooks: IceHooks;
  private readonly known = new IceServers();
  private asked: Promise<readonly RTCIceServer[]> | undefined;
  private stopTimer: (() => void) | undefined;
  private isStopped = false;

  constructor(environment: Environment, hooks: IceHooks) {
    this.environment = environment;
    this.hooks = hooks;
  }

  /** As `RTCPeerConnection` takes them. */
  get servers(): readonly RTCIceServer[] {
    return this.known.servers;
  }

  /** The same, after new ones were asked for where these have less than half of their time left. */
  get(isJoined: boolean): Promise<readonly RTCIceServer[]> {
    if (isJoined && this.known.areFresh(this.environment.nowMs())) return Promise.resolve(this.servers);
    this.asked ??= this.ask();
    return this.asked;
  }

  /** The server has said which there are. */
  take(told: ConnectedFrame | IceServersReplyFrame): void {
    this.isStopped = false;
    this.known.told(told.ice_servers, told.ice_expires_in_ms, this.environment.nowMs());
    this.plan();
    this.hooks.told(this.servers);
  }

  /** The agent has disconnected; they are renewed again from the next `take` on. */
  stop(): void {
    this.isStopped = true;
    this.stopTimer?.();
  }

  private async ask(): Promise<readonly RTCIceServer[]> {
    try {
      this.take(await this.hooks.ask());
      return this.servers;
    } finally {
      this.asked = undefined;
    }
  }

  private plan(): void {
    this.stopTimer?.();
    const { renewAtMs } = this.known;
    if (renewAtMs === undefined || this.isStopped) return;
    const delayMs = Math.max(0, renewAtMs - this.environment.nowMs());
    this.stopTimer = this.environment.startTimer(delayMs, () => this.renew());
  }

  private renew(): void {
    // Without a connection they come with the next `connected`.
    if (!this.hooks.isConnected()) return;
    this.get(true).catch(() => {
      this.known.failed(this.environment.nowMs());
      this.plan();
    });
  }
}

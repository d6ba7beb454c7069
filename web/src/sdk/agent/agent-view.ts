/**
 * What one can look at of an agent, and listen to: its state, its channel, who is there, its events.
 *
 * Owns the state that is shown and the read-only properties, and nothing that acts: that is `agent`.
 */

import { type Bytes, toHex } from "../crypto/bytes";
import { isNameIdentity } from "../protocol/channel";
import type { ConnectedFrame, LimitsInfo } from "../protocol/frames.gen";
import type { State as MachineState } from "../protocol/session/outputs";
import type { Driver } from "./driver";
import { EarlyCalls } from "./early-calls";
import { Emitter } from "./emitter";
import type { AgentEvents, Callback } from "./events";
import type { IceRenewal } from "./ice-renewal";
import { type Channel, type Member, memberOf, type State, stateOf } from "./records";
import type { SealedChannel, SealingCounters } from "./sealed-channel";

/** The state of an agent that has not connected. */
export const IDLE: MachineState = {
  event: "state",
  name: "idle",
  code: "",
  why: "",
  retry_in_ms: 0,
  transport: null,
  correlation_id: "",
  details: {},
};

/** The side of `AgentConnection` that changes nothing. */
export abstract class AgentView {
  onMessage: Callback<"message"> = null;
  onConnect: Callback<"connect"> = null;
  onDisconnect: Callback<"disconnect"> = null;
  onError: Callback<"error"> = null;
  onState: Callback<"state"> = null;
  onPresence: Callback<"presence"> = null;

  protected readonly emitter = new Emitter<AgentEvents>();
  protected readonly early = new EarlyCalls();
  protected abstract readonly ice: IceRenewal;
  protected current: MachineState = IDLE;
  protected driver: Driver | undefined;
  protected sealed: SealedChannel | undefined;
  protected wantedName = "";
  protected wantsRelay = true;
  protected channelKeys: { readonly isSealed: boolean; readonly mediaKey: Bytes | undefined } | undefined;

  // --- what can be asked ---------------------------------------------------------------------------------

  /** Where the connection stands. */
  get state(): State {
    return stateOf(this.current);
  }

  get isConnected(): boolean {
    return this.current.name === "connected";
  }

  /** This agent's name: as the server took it, or as wanted before. */
  get agentName(): string {
    return this.welcome?.agent ?? this.wantedName;
  }

  /** Public; empty before the first connect. */
  get sessionId(): string {
    return this.welcome?.session_id ?? "";
  }

  /** Who this agent is, beyond the name; empty before the first connect. */
  get identity(): string {
    return this.welcome?.identity ?? "";
  }

  /** Whether the own name is claimed: nobody else can bear it here, and mail is kept for it. */
  get isClaimed(): boolean {
    return isNameIdentity(this.identity);
  }

  /** Who is in the channel, this agent included, by join order. */
  get members(): Member[] {
    return this.driver?.session.roster.members.map((member) => memberOf(member, this.privateOf)) ?? [];
  }

  /** What the server said of the channel; `undefined` before the first connect. */
  get channel(): Channel | undefined {
    const channel = this.welcome?.channel;
    return (
      channel && {
        id: toHex(channel.id),
        name: channel.name,
        // Decided by this side: what the server says does not count.
        mode: this.isSealed ? "sealed" : "open",
        scope: channel.scope,
        hasPassword: channel.has_password,
        isLocked: channel.is_locked,
      }
    );
  }

  /** Whether the channel is joined as a sealed one. Decided by this side: what the server says does not count. */
  get isSealed(): boolean {
    return this.channelKeys?.isSealed ?? false;
  }

  /** What a call's frames are sealed with; `undefined` without a password, and until the key is derived. */
  get mediaKey(): Bytes | undefined {
    return this.channelKeys?.mediaKey;
  }

  /**
   * Thirty digits that two people can read to each other: they are the same if both have the same channel and the same
   * password. Empty in an open channel.
   */
  get safetyNumber(): string {
    return this.sealed?.safetyNumber ?? "";
  }

  /** What became of sealed messages since this agent connected. */
  get sealingCounters(): SealingCounters {
    return this.sealed?.counters ?? { sealed: 0, opened: 0, refused: 0, dropped: 0 };
  }

  /** What this agent's key allows here. */
  get operations(): readonly string[] {
    return this.welcome?.operations ?? [];
  }

  /**
   * STUN and TURN servers for peer connections, with credentials that are renewed before they end.
   *
   * Empty before the first connect, and where the server has none.
   */
  get iceServers(): readonly RTCIceServer[] {
    return this.ice.servers;
  }

  /** Whether peers may be reached by the server where there is no direct way, as `connect` was told. */
  get isRelayEnabled(): boolean {
    return this.wantsRelay;
  }

  /** What the server takes; `undefined` before the first connect. */
  get limits(): LimitsInfo | undefined {
    return this.welcome?.limits;
  }

  /** How many requests wait for the connection. */
  get queuedRequests(): number {
    return (this.driver?.session.queuedRequests ?? 0) + this.early.size;
  }

  // --- events --------------------------------------------------------------------------------------------

  /** Adds a listener; gives a function that takes it away again. */
  on<K extends keyof AgentEvents>(event: K, listener: (value: AgentEvents[K]) => unknown): () => void {
    return this.emitter.on(event, listener);
  }

  /** Takes a listener away; without one, all of this event. */
  off<K extends keyof AgentEvents>(event: K, listener?: (value: AgentEvents[K]) => unknown): void {
    this.emitter.off(event, listener);
  }

  protected readonly privateOf = (sessionId: string): Readonly<Record<string, unknown>> =>
    this.sealed?.attributesOf(sessionId) ?? {};

  protected get welcome(): ConnectedFrame | undefined {
    return this.driver?.session.connected;
  }
}

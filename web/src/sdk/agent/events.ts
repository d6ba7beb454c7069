/**
 * What an agent tells.
 *
 * Owns the names of the events and the shapes that are no records of their own.
 */

import type { ProtocolError } from "../protocol/errors";
import type { Channel, Message, Presence, State } from "./records";

/** The server took this agent: at first, or again after a loss. */
export interface ConnectInfo {
  readonly agentName: string;
  readonly sessionId: string;
  /** Not a reconnect. */
  readonly isFirst: boolean;
  /** No durable message was missed. */
  readonly recovered: boolean;
  /** Nor a live one. */
  readonly liveRecovered: boolean;
}

/** The connection is lost; or over, if it will not be tried again. */
export interface DisconnectInfo {
  readonly willReconnect: boolean;
  readonly code: string;
  readonly why: string;
  readonly correlationId: string;
}

/** Messages of these classes may be missing from here on; durable ones can be read with `receive`. */
export interface Gap {
  readonly durable: boolean;
  readonly live: boolean;
}

/** Every event by its name, for `on` and `off`. */
export interface AgentEvents {
  readonly message: Message;
  /** What the server's media worker says about a call, for `WebRTCHelper`; these are no messages to `onMessage`. */
  readonly signal: Message;
  /** What other members' `WebRTCHelper` say to this one's; neither are these. */
  readonly peer: Message;
  readonly connect: ConnectInfo;
  readonly disconnect: DisconnectInfo;
  /** What nobody waits for; a `SealingError` for each message that could not be opened. */
  readonly error: ProtocolError;
  readonly state: State;
  readonly presence: Presence;
  /** The channel was locked or unlocked. */
  readonly channel: Channel;
  readonly gap: Gap;
  /** There are new ones: at each connect, and when their credentials were renewed. */
  readonly iceServers: readonly RTCIceServer[];
  /** The key ends soon, and nothing was given that renews it. */
  readonly expiring: { readonly expiresInMs: number };
}

/** What can be assigned to `onMessage` and its like. */
export type Callback<K extends keyof AgentEvents> = ((value: AgentEvents[K]) => unknown) | null;

/**
 * What the client's session machine gives out beside frames: actions for its shell, events for its user.
 *
 * Owns their shapes. Names are as in `tests/vectors/sessions`, with the tag `do` (actions) or `event` (events).
 */

import type {
  AckFrame,
  ErrorFrame,
  HistoryFrame,
  IceServersReplyFrame,
  MembersReplyFrame,
  MessageFrame,
  PresenceFrame,
} from "../frames.gen";
import type { TransportName } from "./paths";

/** What a request may get, besides an error. */
export type Reply = AckFrame | HistoryFrame | MembersReplyFrame | IceServersReplyFrame;

/** Open this transport; then `transportOpened`, or `transportLost`. */
export interface OpenTransport {
  readonly do: "open_transport";
  readonly transport: TransportName;
}

/** Close it, after the frames that are to be sent. Nothing more is reported of it, not even its end. */
export interface CloseTransport {
  readonly do: "close_transport";
  readonly close_code: number;
  readonly reason: string;
}

/** Get a new key; then `renew`, or `renewFailed`. */
export interface FetchCredential {
  readonly do: "fetch_credential";
}

export type Action = OpenTransport | CloseTransport | FetchCredential;

export type StateName = "idle" | "connecting" | "connected" | "reconnecting" | "closed";

/** Where the session stands, for people too: `why` is a sentence, `code` an error code. */
export interface State {
  readonly event: "state";
  readonly name: StateName;
  readonly code: string;
  readonly why: string;
  /** For `reconnecting`: when the next attempt begins, from this event; 0 while it runs. */
  readonly retry_in_ms: number;
  /** What it is connected by. */
  readonly transport: TransportName | null;
  /** Stands in the server's log beside the cause. */
  readonly correlation_id: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** The server took the client; the machine's `connected` holds all it said. */
export interface Joined {
  readonly event: "joined";
  readonly agent: string;
  readonly session_id: string;
  /** Not a reconnect. */
  readonly is_first: boolean;
  readonly recovered: boolean;
  readonly live_recovered: boolean;
}

/** Messages of these classes may be missing from here on; durable ones can be read with `receive`. */
export interface Gap {
  readonly event: "gap";
  readonly durable: boolean;
  readonly live: boolean;
}

/** A message was pushed. */
export interface Received {
  readonly event: "message";
  readonly message: MessageFrame;
}

/** Others came, changed or went. */
export interface MembersChanged {
  readonly event: "presence";
  readonly presence: PresenceFrame;
}

/** The channel was locked or unlocked. */
export interface ChannelChanged {
  readonly event: "channel";
  readonly is_locked: boolean;
}

/** A request was answered. */
export interface Done {
  readonly event: "done";
  readonly handle: number;
  readonly reply: Reply;
}

/** A request was refused, ran out of time, or the session ended before it was answered. */
export interface Failed {
  readonly event: "failed";
  readonly handle: number;
  readonly error: ErrorFrame;
}

/** Something went wrong that belongs to no request. */
export interface Trouble {
  readonly event: "trouble";
  readonly error: ErrorFrame;
}

/** The credential ends soon, and there is no way to renew it by itself. */
export interface Expiring {
  readonly event: "expiring";
  readonly expires_in_ms: number;
}

export type Event =
  | State
  | Joined
  | Gap
  | Received
  | MembersChanged
  | ChannelChanged
  | Done
  | Failed
  | Trouble
  | Expiring;

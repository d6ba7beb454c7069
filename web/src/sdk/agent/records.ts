/**
 * What the SDK hands out: messages, acks, pages of history, members, states.
 *
 * Owns their shapes, in which what is absent is `undefined`. Never sends anything; the wire's own shapes are in
 * `protocol/frames.gen.ts`.
 */

import { ProtocolError } from "../protocol/errors";
import type {
  AckFrame,
  ErrorFrame,
  GlobFilter,
  HistoryFrame,
  MessageFrame,
  PresenceFrame,
  Member as WireMember,
} from "../protocol/frames.gen";
import type { State as MachineState, StateName } from "../protocol/session/outputs";
import type { TransportName } from "../protocol/session/paths";
import type { OpenedHistory } from "./sealed-channel";
import type { SealingError } from "./sealing-error";

/** How a message travels: stored and replayed, ordered but only in memory, or dropped under pressure. */
export type Delivery = "durable" | "live" | "lossy";
/** What an ack promises. */
export type AckPromise = "memory" | "local-fsync" | "replicated";
/** A string is an RE2 expression that must match the whole agent name. */
export type Filter = string | GlobFilter;

/** A message that was received, pushed or as part of a history. */
export interface Message {
  /** Any JSON value, or the bytes of a binary message. */
  readonly content: unknown;
  /** The content if it is text, else an empty string. */
  readonly text: string;
  readonly type: string;
  readonly customEventType: string | undefined;
  /** The agent's name. */
  readonly sender: string;
  /** Only for live and lossy messages: the session it came from. */
  readonly senderSession: string | undefined;
  /** Who the sender is, beyond the name. */
  readonly identity: string;
  readonly delivery: Delivery;
  readonly messageId: string;
  /** Its place in the channel's log; only of durable ones. */
  readonly offset: number | undefined;
  /** The server's time, milliseconds since 1970. */
  readonly timeMs: number;
  /** The names it was sent to; `undefined` if to everyone or by a filter. */
  readonly to: readonly string[] | undefined;
  readonly filter: Filter | undefined;
  readonly replyTo: string | undefined;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly idempotencyKey: string | undefined;
  /** It came in an envelope that only members of the channel could seal and open. */
  readonly isSealed: boolean;
}

/** A request has been done; for a message it says what is promised from here on. */
export interface Ack {
  /** `local-fsync`: on the server's disk. `memory`: accepted for the sessions present. Absent: nothing (lossy). */
  readonly promise: AckPromise | undefined;
  readonly messageId: string | undefined;
  readonly offset: number | undefined;
  readonly timeMs: number | undefined;
  /** To how many sessions it went at once; absent for a duplicate. */
  readonly recipients: number | undefined;
  readonly isDuplicate: boolean;
  /** A lossy message that never left this side: no connection, or more than the server takes. */
  readonly isDropped: boolean;
}

/** A page of stored messages by rising offset. */
export interface History {
  readonly messages: readonly Message[];
  /** What stands in this range and is not among the messages, since it could not be opened; sealed channels only. */
  readonly refused: readonly SealingError[];
  /** Nothing more lies in the asked direction. */
  readonly isComplete: boolean;
  /** What to pass as `after` (or, going back, as `before`) to go on. */
  readonly next: number | undefined;
  /** The last stored offset. */
  readonly head: number;
  /** The lowest offset that is still kept. */
  readonly tail: number;
  readonly epoch: string;
}

/** One session in the channel, as the others see it. */
export interface Member {
  readonly sessionId: string;
  readonly name: string;
  /** Join order: the earlier member has the lower one. */
  readonly order: number;
  readonly identity: string;
  readonly isClaimed: boolean;
  /** `away`: the connection is lost and may yet be resumed. */
  readonly state: "present" | "away";
  readonly attributes: Readonly<Record<string, unknown>>;
  /** Those that the server cannot read. */
  readonly privateAttributes: Readonly<Record<string, unknown>>;
  readonly capabilities: readonly string[];
}

/** The private attributes of a member, by its session. */
export type PrivateAttributes = (sessionId: string) => Readonly<Record<string, unknown>>;

/** Who left, and why. */
export interface Departure {
  readonly sessionId: string;
  readonly name: string;
  readonly reason: "left" | "lost" | "replaced" | "kicked" | "expired" | "closed";
}

/** Who came, who changed, who went since the last time. */
export interface Presence {
  readonly joined: readonly Member[];
  readonly updated: readonly Member[];
  readonly left: readonly Departure[];
}

/** Where the connection stands, for people too: `why` is a sentence, `code` an error code. */
export interface State {
  readonly name: StateName;
  readonly code: string;
  readonly why: string;
  /** For `reconnecting`: when the next attempt begins, from this event; 0 while it runs. */
  readonly retryInMs: number;
  /** What it is connected by. */
  readonly transport: TransportName | undefined;
  /** Stands in the server's log beside the cause. */
  readonly correlationId: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** What everyone in a channel knows about it. */
export interface Channel {
  /** The 32 bytes that identify it, in hex: what `channelId` takes. */
  readonly id: string;
  readonly name: string;
  readonly mode: "open" | "sealed";
  readonly scope: string;
  readonly hasPassword: boolean;
  readonly isLocked: boolean;
}

export function messageOf(frame: MessageFrame): Message {
  const content = frame.binary ?? frame.content;
  return {
    content,
    text: typeof content === "string" ? content : "",
    type: frame.type,
    customEventType: frame.custom_event_type,
    sender: frame.sender,
    senderSession: frame.sender_session,
    identity: frame.identity,
    delivery: frame.delivery,
    messageId: frame.message_id,
    offset: frame.offset,
    timeMs: frame.time_ms,
    to: frame.to,
    filter: frame.filter,
    replyTo: frame.reply_to,
    metadata: frame.metadata ?? {},
    idempotencyKey: frame.idempotency_key,
    isSealed: frame.sealed !== undefined,
  };
}

export function ackOf(frame: AckFrame): Ack {
  return {
    promise: frame.promise,
    messageId: frame.message_id,
    offset: frame.offset,
    timeMs: frame.time_ms,
    recipients: frame.recipients,
    isDuplicate: frame.is_duplicate,
    isDropped: false,
  };
}

/** The ack of a lossy message, which the server does not acknowledge. */
export function lossyAck(isDropped: boolean): Ack {
  return {
    promise: undefined,
    messageId: undefined,
    offset: undefined,
    timeMs: undefined,
    recipients: undefined,
    isDuplicate: false,
    isDropped,
  };
}

export function historyOf(frame: HistoryFrame & Partial<OpenedHistory>): History {
  return {
    messages: frame.messages.map(messageOf),
    refused: frame.refused ?? [],
    isComplete: frame.is_complete,
    next: frame.next,
    head: frame.head,
    tail: frame.tail,
    epoch: frame.epoch,
  };
}

export function memberOf(member: WireMember, privateOf: PrivateAttributes): Member {
  return {
    sessionId: member.session_id,
    name: member.name,
    order: member.order,
    identity: member.identity,
    isClaimed: member.is_claimed,
    state: member.state,
    attributes: member.attributes,
    privateAttributes: privateOf(member.session_id),
    capabilities: member.capabilities,
  };
}

export function presenceOf(frame: PresenceFrame, privateOf: PrivateAttributes): Presence {
  return {
    joined: frame.joined.map((member) => memberOf(member, privateOf)),
    updated: frame.updated.map((member) => memberOf(member, privateOf)),
    left: frame.left.map(({ session_id, name, reason }) => ({ sessionId: session_id, name, reason })),
  };
}

export function stateOf(state: MachineState): State {
  return {
    name: state.name,
    code: state.code,
    why: state.why,
    retryInMs: state.retry_in_ms,
    transport: state.transport ?? undefined,
    correlationId: state.correlation_id,
    details: state.details,
  };
}

export function errorOf(frame: ErrorFrame): ProtocolError {
  return new ProtocolError(frame.code, frame.message, {
    details: frame.details,
    isRetryable: frame.is_retryable,
    correlationId: frame.correlation_id,
    ...(frame.retry_after_ms === undefined ? {} : { retryAfterMs: frame.retry_after_ms }),
  });
}

/** The error behind the state `closed`. */
export function errorOfState(state: MachineState): ProtocolError {
  return new ProtocolError(state.code, state.why, {
    details: state.details,
    correlationId: state.correlation_id,
  });
}

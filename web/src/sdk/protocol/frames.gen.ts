// Generated from schema.json by scripts/generate-protocol.mjs; do not edit.

/** Where a client stood in each class when it lost its connection. */
export interface Resume {
  readonly token: string;
  readonly epoch?: string;
  readonly offset?: number;
  readonly live_epoch?: string;
  readonly live_seq?: number;
  readonly order?: number;
  readonly mail_until?: number;
}

/** The first frame of a connection; everything secret travels in it. */
export interface ConnectFrame {
  readonly op: "connect";
  readonly id: number;
  readonly versions?: readonly number[];
  readonly api_key: string;
  readonly scope?: "private" | "public";
  readonly channel: string;
  readonly mode?: "open" | "sealed";
  readonly join_token?: Uint8Array | null;
  readonly channel_id?: Uint8Array;
  readonly agent?: string;
  readonly lineage_secret: Uint8Array;
  readonly resume?: Resume | null;
  readonly attributes?: Readonly<Record<string, unknown>>;
  readonly sealed_attributes?: Uint8Array;
  readonly crypto_session?: Uint8Array;
  readonly capabilities?: readonly string[];
  readonly auto_receive?: boolean;
  readonly types?: readonly string[];
  readonly client?: string;
}

/** Agent names by a glob: `*` any run of characters, `?` one, `[abc]` one of a set. */
export interface GlobFilter {
  readonly glob: string;
}

/** A message for everyone, for `to`, or for whom `filter` matches at this moment. */
export interface SendFrame {
  readonly op: "send";
  readonly id?: number;
  readonly type?: string;
  readonly custom_event_type?: string;
  readonly delivery?: "durable" | "live" | "lossy";
  readonly to?: readonly string[];
  readonly filter?: string | GlobFilter;
  readonly content?: unknown;
  readonly binary?: Uint8Array;
  readonly sealed?: Uint8Array;
  readonly retry_tag?: Uint8Array;
  readonly reply_to?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly idempotency_key?: string;
}

/**
 * Asks for stored messages by range. Both bounds are exclusive.
 *
 * With `after` the oldest beyond it come first; without it the newest before `before` (or the head).
 */
export interface ReceiveFrame {
  readonly op: "receive";
  readonly id: number;
  readonly after?: number;
  readonly before?: number;
  readonly limit?: number;
  readonly types?: readonly string[];
}

/** Replaces the sender's own attributes. */
export interface UpdateFrame {
  readonly op: "update";
  readonly id: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly sealed_attributes?: Uint8Array;
}

/** Asks who is here. */
export interface MembersFrame {
  readonly op: "members";
  readonly id: number;
}

/** Asks for STUN and TURN servers with credentials that have just begun. */
export interface IceServersFrame {
  readonly op: "ice_servers";
  readonly id: number;
}

/** Removes a member, by name or by session; needs the grant `kick`. */
export interface KickFrame {
  readonly op: "kick";
  readonly id: number;
  readonly agent?: string;
  readonly session_id?: string;
  readonly reason?: string;
}

/** Closes the channel to newcomers, or opens it again; needs the grant `lock`. */
export interface LockFrame {
  readonly op: "lock";
  readonly id: number;
  readonly locked: boolean;
}

/** Puts a new credential in the place of one that is about to expire. */
export interface RenewFrame {
  readonly op: "renew";
  readonly id: number;
  readonly api_key: string;
}

/** Keeps the session alive and tells how far the client has read: what is kept for it until then can go. */
export interface PingFrame {
  readonly op: "ping";
  readonly offset?: number;
  readonly live_seq?: number;
}

/** The client leaves for good: its name is free at once, and nothing is kept for it. */
export interface ByeFrame {
  readonly op: "bye";
}

/** What everyone in a channel knows about it. */
export interface ChannelInfo {
  readonly id: Uint8Array;
  readonly name: string;
  readonly mode: "open" | "sealed";
  readonly scope: string;
  readonly has_password: boolean;
  readonly is_locked: boolean;
}

/** One session in the channel, as the others see it. */
export interface Member {
  readonly session_id: string;
  readonly name: string;
  readonly order: number;
  readonly identity: string;
  readonly is_claimed: boolean;
  readonly state: "away" | "present";
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly sealed_attributes: Uint8Array;
  readonly crypto_session: Uint8Array;
  readonly capabilities: readonly string[];
}

/** The limits a client can keep to by itself; all of them are in PROTOCOL.md. */
export interface LimitsInfo {
  readonly frame_bytes: number;
  readonly message_bytes: number;
  readonly batch_frames: number;
  readonly send_rate_per_s: number;
  readonly lossy_rate_per_s: number;
  readonly recipients: number;
  readonly history_page: number;
}

/** A STUN or TURN server by several ways, in the form that `RTCPeerConnection` takes. */
export interface IceServer {
  readonly urls: readonly string[];
  readonly username: string;
  readonly credential: string | null;
}

/** The reply to `connect`. */
export interface ConnectedFrame {
  readonly op: "connected";
  readonly id: number;
  readonly version: number;
  readonly session_id: string;
  readonly resume_token: string;
  readonly agent: string;
  readonly identity: string;
  readonly order: number;
  readonly channel: ChannelInfo;
  readonly epoch: string;
  readonly head: number;
  readonly recovered: boolean;
  readonly mail_after?: number;
  readonly live_epoch: string;
  readonly live_seq: number;
  readonly live_recovered: boolean;
  readonly received_id: number;
  readonly members: readonly Member[];
  readonly operations: readonly string[];
  readonly limits: LimitsInfo;
  readonly ack_promise: "local-fsync" | "memory" | "replicated";
  readonly ping_interval_ms: number;
  readonly silence_timeout_ms: number;
  readonly resume_window_ms: number;
  readonly expires_in_ms?: number;
  readonly ice_servers: readonly IceServer[];
  readonly ice_expires_in_ms?: number;
  readonly server: string;
  readonly correlation_id: string;
}

/** A request has been done. For a message it says what is promised from here on. */
export interface AckFrame {
  readonly op: "ack";
  readonly id: number;
  readonly promise?: "local-fsync" | "memory" | "replicated";
  readonly message_id?: string;
  readonly offset?: number;
  readonly time_ms?: number;
  readonly recipients?: number;
  readonly is_duplicate: boolean;
}

/** A message, pushed or as part of a `history`. */
export interface MessageFrame {
  readonly op: "message";
  readonly delivery: "durable" | "live" | "lossy";
  readonly offset?: number;
  readonly message_id: string;
  readonly time_ms: number;
  readonly sender: string;
  readonly sender_session?: string;
  readonly identity: string;
  readonly type: string;
  readonly custom_event_type?: string;
  readonly to?: readonly string[];
  readonly filter?: string | GlobFilter;
  readonly content?: unknown;
  readonly binary?: Uint8Array;
  readonly sealed?: Uint8Array;
  readonly reply_to?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly idempotency_key?: string;
}

/** The reply to `receive`: messages by rising offset. */
export interface HistoryFrame {
  readonly op: "history";
  readonly id: number;
  readonly epoch: string;
  readonly head: number;
  readonly tail: number;
  readonly messages: readonly MessageFrame[];
  readonly is_complete: boolean;
  readonly next?: number;
}

/** The reply to `members`. */
export interface MembersReplyFrame {
  readonly op: "members_reply";
  readonly id: number;
  readonly members: readonly Member[];
}

/** The reply to `ice_servers`; the fields are those of `connected`. */
export interface IceServersReplyFrame {
  readonly op: "ice_servers_reply";
  readonly id: number;
  readonly ice_servers: readonly IceServer[];
  readonly ice_expires_in_ms?: number;
}

/** Who left, and why. */
export interface Departure {
  readonly session_id: string;
  readonly name: string;
  readonly reason: "closed" | "expired" | "kicked" | "left" | "lost" | "replaced";
}

/** Who came, who changed, who went since the last one. */
export interface PresenceFrame {
  readonly op: "presence";
  readonly joined: readonly Member[];
  readonly updated: readonly Member[];
  readonly left: readonly Departure[];
}

/** The channel was locked or unlocked. */
export interface ChannelUpdateFrame {
  readonly op: "channel";
  readonly is_locked: boolean;
}

/** A request (`id`) failed, or something without an id did. */
export interface ErrorFrame {
  readonly op: "error";
  readonly id?: number;
  readonly code: string;
  readonly message: string;
  readonly is_retryable: boolean;
  readonly retry_after_ms?: number;
  readonly correlation_id: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/**
 * Frames of the live class were dropped on an open connection: the count starts anew.
 *
 * What they would have said of the channel stands here: who is in it now, and whether it is locked.
 */
export interface ResetFrame {
  readonly op: "reset";
  readonly live_epoch: string;
  readonly live_seq: number;
  readonly live_recovered: boolean;
  readonly members?: readonly Member[];
  readonly is_locked?: boolean;
}

/** The credential ends soon; `renew` keeps the session. */
export interface ExpiringFrame {
  readonly op: "expiring";
  readonly expires_in_ms: number;
}

/** The answer to `ping`, at once. */
export interface PongFrame {
  readonly op: "pong";
}

/** The last frame before the server closes the connection. */
export interface ClosingFrame {
  readonly op: "closing";
  readonly close_code: number;
  readonly code: string;
  readonly reason: string;
  readonly is_retryable: boolean;
  readonly retry_after_ms?: number;
  readonly correlation_id: string;
}

export type ClientFrame =
  | ConnectFrame
  | SendFrame
  | ReceiveFrame
  | UpdateFrame
  | MembersFrame
  | IceServersFrame
  | KickFrame
  | LockFrame
  | RenewFrame
  | PingFrame
  | ByeFrame;

export type ServerFrame =
  | ConnectedFrame
  | AckFrame
  | MessageFrame
  | HistoryFrame
  | MembersReplyFrame
  | IceServersReplyFrame
  | PresenceFrame
  | ChannelUpdateFrame
  | ErrorFrame
  | ResetFrame
  | ExpiringFrame
  | PongFrame
  | ClosingFrame;

export type AnyFrame = ClientFrame | ServerFrame;

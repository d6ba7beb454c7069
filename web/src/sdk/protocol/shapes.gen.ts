// Generated from schema.json by scripts/generate-protocol.mjs; do not edit.

import {
  anything,
  bytes,
  flag,
  integer,
  list,
  literal,
  nullable,
  object,
  optional,
  required,
  type Shape,
  struct,
  text,
  textOr,
} from "./shape";

const Resume = struct(null, {
  token: required(text(0, 8_192)),
  epoch: optional(text(), () => ""),
  offset: optional(integer(0), () => 0),
  live_epoch: optional(text(), () => ""),
  live_seq: optional(integer(0), () => 0),
  order: optional(integer(0), () => 0),
  mail_until: optional(integer(0), () => 0),
});

const Connect = struct("connect", {
  id: required(integer(1)),
  versions: optional(list(integer())),
  api_key: required(text(0, 8_192)),
  scope: optional(literal("private", "public"), () => "private"),
  channel: required(text()),
  mode: optional(literal("open", "sealed"), () => "open"),
  join_token: optional(nullable(bytes), () => null),
  channel_id: optional(bytes, () => new Uint8Array(0)),
  agent: optional(text(), () => ""),
  lineage_secret: required(bytes),
  resume: optional(nullable(Resume), () => null),
  attributes: optional(object, () => ({})),
  sealed_attributes: optional(bytes, () => new Uint8Array(0)),
  crypto_session: optional(bytes, () => new Uint8Array(0)),
  capabilities: optional(list(text()), () => []),
  auto_receive: optional(flag, () => true),
  types: optional(list(text(1, 128)), () => []),
  client: optional(text(0, 64), () => ""),
});

const GlobFilter = struct(null, {
  glob: required(text(0, 256)),
});

const Send = struct("send", {
  id: optional(integer(1)),
  type: optional(text(1, 128), () => "chat-text"),
  custom_event_type: optional(text(1, 128)),
  delivery: optional(literal("durable", "live", "lossy"), () => "durable"),
  to: optional(list(text())),
  filter: optional(textOr(text(), GlobFilter)),
  content: optional(anything),
  binary: optional(bytes),
  sealed: optional(bytes),
  retry_tag: optional(bytes),
  reply_to: optional(text(0, 128)),
  metadata: optional(object),
  idempotency_key: optional(text(1, 128)),
});

const Receive = struct("receive", {
  id: required(integer(1)),
  after: optional(integer(0)),
  before: optional(integer(0)),
  limit: optional(integer(1, 1_000), () => 50),
  types: optional(list(text(1, 128)), () => []),
});

const Update = struct("update", {
  id: required(integer(1)),
  attributes: required(object),
  sealed_attributes: optional(bytes, () => new Uint8Array(0)),
});

const Members = struct("members", {
  id: required(integer(1)),
});

const IceServers = struct("ice_servers", {
  id: required(integer(1)),
});

const Kick = struct("kick", {
  id: required(integer(1)),
  agent: optional(text()),
  session_id: optional(text()),
  reason: optional(text(0, 256), () => ""),
});

const Lock = struct("lock", {
  id: required(integer(1)),
  locked: required(flag),
});

const Renew = struct("renew", {
  id: required(integer(1)),
  api_key: required(text(0, 8_192)),
});

const Ping = struct("ping", {
  offset: optional(integer(0), () => 0),
  live_seq: optional(integer(0), () => 0),
});

const Bye = struct("bye", {});

const ChannelInfo = struct(null, {
  id: required(bytes),
  name: required(text()),
  mode: required(literal("open", "sealed")),
  scope: required(text()),
  has_password: optional(flag, () => false),
  is_locked: optional(flag, () => false),
});

const Member = struct(null, {
  session_id: required(text()),
  name: required(text()),
  order: required(integer()),
  identity: required(text()),
  is_claimed: optional(flag, () => false),
  state: optional(literal("away", "present"), () => "present"),
  attributes: optional(object, () => ({})),
  sealed_attributes: optional(bytes, () => new Uint8Array(0)),
  crypto_session: optional(bytes, () => new Uint8Array(0)),
  capabilities: optional(list(text()), () => []),
});

const LimitsInfo = struct(null, {
  frame_bytes: required(integer()),
  message_bytes: required(integer()),
  batch_frames: required(integer()),
  send_rate_per_s: required(integer()),
  lossy_rate_per_s: required(integer()),
  recipients: required(integer()),
  history_page: required(integer()),
});

const IceServer = struct(null, {
  urls: required(list(text())),
  username: optional(text(), () => ""),
  credential: optional(nullable(text(0, 8_192)), () => null),
});

const Connected = struct("connected", {
  id: required(integer(1)),
  version: required(integer()),
  session_id: required(text()),
  resume_token: required(text(0, 8_192)),
  agent: required(text()),
  identity: required(text()),
  order: required(integer()),
  channel: required(ChannelInfo),
  epoch: required(text()),
  head: required(integer(0)),
  recovered: optional(flag, () => false),
  mail_after: optional(integer(0)),
  live_epoch: required(text()),
  live_seq: required(integer(0)),
  live_recovered: optional(flag, () => false),
  received_id: optional(integer(0), () => 0),
  members: required(list(Member)),
  operations: required(list(text())),
  limits: required(LimitsInfo),
  ack_promise: required(literal("local-fsync", "memory", "replicated")),
  ping_interval_ms: required(integer()),
  silence_timeout_ms: required(integer()),
  resume_window_ms: required(integer()),
  expires_in_ms: optional(integer()),
  ice_servers: optional(list(IceServer), () => []),
  ice_expires_in_ms: optional(integer()),
  server: required(text()),
  correlation_id: required(text()),
});

const Ack = struct("ack", {
  id: required(integer(1)),
  promise: optional(literal("local-fsync", "memory", "replicated")),
  message_id: optional(text()),
  offset: optional(integer(0)),
  time_ms: optional(integer()),
  recipients: optional(integer()),
  is_duplicate: optional(flag, () => false),
});

const Message = struct("message", {
  delivery: required(literal("durable", "live", "lossy")),
  offset: optional(integer(0)),
  message_id: required(text()),
  time_ms: required(integer()),
  sender: required(text()),
  sender_session: optional(text()),
  identity: required(text()),
  type: required(text()),
  custom_event_type: optional(text()),
  to: optional(list(text())),
  filter: optional(textOr(text(), GlobFilter)),
  content: optional(anything),
  binary: optional(bytes),
  sealed: optional(bytes),
  reply_to: optional(text()),
  metadata: optional(object),
  idempotency_key: optional(text()),
});

const History = struct("history", {
  id: required(integer(1)),
  epoch: required(text()),
  head: required(integer(0)),
  tail: required(integer(0)),
  messages: required(list(Message)),
  is_complete: required(flag),
  next: optional(integer(0)),
});

const MembersReply = struct("members_reply", {
  id: required(integer(1)),
  members: required(list(Member)),
});

const IceServersReply = struct("ice_servers_reply", {
  id: required(integer(1)),
  ice_servers: optional(list(IceServer), () => []),
  ice_expires_in_ms: optional(integer()),
});

const Departure = struct(null, {
  session_id: required(text()),
  name: required(text()),
  reason: optional(literal("closed", "expired", "kicked", "left", "lost", "replaced"), () => "left"),
});

const Presence = struct("presence", {
  joined: optional(list(Member), () => []),
  updated: optional(list(Member), () => []),
  left: optional(list(Departure), () => []),
});

const ChannelUpdate = struct("channel", {
  is_locked: required(flag),
});

const Error = struct("error", {
  id: optional(integer(1)),
  code: required(text()),
  message: required(text()),
  is_retryable: optional(flag, () => false),
  retry_after_ms: optional(integer()),
  correlation_id: optional(text(), () => ""),
  details: optional(object, () => ({})),
});

const Reset = struct("reset", {
  live_epoch: required(text()),
  live_seq: required(integer(0)),
  live_recovered: optional(flag, () => false),
  members: optional(list(Member)),
  is_locked: optional(flag),
});

const Expiring = struct("expiring", {
  expires_in_ms: required(integer()),
});

const Pong = struct("pong", {});

const Closing = struct("closing", {
  close_code: required(integer()),
  code: required(text()),
  reason: required(text()),
  is_retryable: optional(flag, () => false),
  retry_after_ms: optional(integer()),
  correlation_id: optional(text(), () => ""),
});

export const CLIENT_FRAMES: Readonly<Record<string, Shape>> = {
  connect: Connect,
  send: Send,
  receive: Receive,
  update: Update,
  members: Members,
  ice_servers: IceServers,
  kick: Kick,
  lock: Lock,
  renew: Renew,
  ping: Ping,
  bye: Bye,
};

export const SERVER_FRAMES: Readonly<Record<string, Shape>> = {
  connected: Connected,
  ack: Ack,
  message: Message,
  history: History,
  members_reply: MembersReply,
  ice_servers_reply: IceServersReply,
  presence: Presence,
  channel: ChannelUpdate,
  error: Error,
  reset: Reset,
  expiring: Expiring,
  pong: Pong,
  closing: Closing,
};

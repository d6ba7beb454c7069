/**
 * What `connect` and `sendMessage` take, and the frames that follow from it.
 *
 * Owns the names of the options, their defaults and their checks. Never connects or sends.
 */

import { fromBase64, fromHex, randomBytes, toBase64Url } from "../crypto/bytes";
import { checkAgentName, checkChannelName, sessionAddress } from "../protocol/channel";
import { ProtocolError } from "../protocol/errors";
import type { ConnectFrame, ReceiveFrame, SendFrame } from "../protocol/frames.gen";
import { PEER_DATA_TYPE } from "../protocol/group";
import { SIGNAL_TYPE } from "../protocol/sfu";
import type { Encoding } from "../protocol/shape";
import { checkFrame, checkValue } from "../protocol/values";
import type { Delivery, Filter } from "./records";

/** Asks for a key of the server's demo project, as leaving `apiKey` out does. */
export const DEMO_KEY = "demo";

/** Where `receive` once could read from. There is one source of truth here, so it changes nothing. */
export type PollSource = "AUTO" | "CACHE" | "KAFKA" | "DATABASE";
const POLL_SOURCES: readonly string[] = ["AUTO", "CACHE", "KAFKA", "DATABASE"];
const DELIVERIES: readonly string[] = ["durable", "live", "lossy"];

/** What `connect` takes. */
export interface ConnectOptions {
  readonly channelName: string;
  /** Never leaves the page: a proof derived from it does. */
  readonly channelPassword?: string | undefined;
  /**
   * Whether messages are encrypted end to end, which they are wherever there is a password. False: the password is only
   * a lock, and the server can read; that is another channel.
   */
  readonly sealed?: boolean | undefined;
  /** Left out, the server gives a label. */
  readonly agentName?: string | undefined;
  /** The server's address; by default where this script was loaded from. */
  readonly api?: string | undefined;
  /** A developer key or a token; left out, a short-lived key of the server's demo project. */
  readonly apiKey?: string | undefined;
  /** `private` (the default): the key's project. `public`: shared by all projects. */
  readonly apiKeyScope?: "private" | "public" | undefined;
  /** False: messages are not pushed, only read with `receive`. */
  readonly autoReceive?: boolean | undefined;
  /** False: only HTTP long-poll. */
  readonly useWebsocket?: boolean | undefined;
  /** False: `WebRTCHelper` reaches nobody by the server whom it can't reach directly, unless it is told to (`carry`). */
  readonly enableWebrtcRelay?: boolean | undefined;
  /** Accepted; a session id is public and resumes nothing, which happens by itself (`resumeKey`). */
  readonly sessionId?: string | null | undefined;
  /** The expected channel, as `agent.channel.id` tells it; another one is refused. */
  readonly channelId?: string | Uint8Array | null | undefined;
  /** Only messages of these types, separated by commas, are pushed. */
  readonly customEventType?: string | readonly string[] | null | undefined;
  /** The same as `customEventType`, for message types. */
  readonly types?: readonly string[] | null | undefined;
  readonly pollSource?: PollSource | undefined;
  /** What the other members see of this one. */
  readonly attributes?: Readonly<Record<string, unknown>> | undefined;
  /** The same, but sealed: the server cannot read them. Only in a sealed channel. */
  readonly privateAttributes?: Readonly<Record<string, unknown>> | undefined;
  readonly capabilities?: readonly string[] | undefined;
  /** MessagePack (the default), or JSON to read along. */
  readonly encoding?: Encoding | undefined;
  /** Gives a new key when the old one ends. */
  readonly getApiKey?: (() => string | Promise<string>) | undefined;
  /** Under which name a page remembers its session for a reload; false: not at all. */
  readonly resumeKey?: string | false | undefined;
  /** How long the first connect may take; null: for ever. */
  readonly giveUpAfterMs?: number | null | undefined;
  readonly requestTimeoutMs?: number | undefined;
}

/** What `sendMessage` takes. */
export interface MessageOptions {
  /** A JSON value, or bytes. */
  readonly content: unknown;
  /** `chat-text` by default. */
  readonly type?: string | undefined;
  readonly customEventType?: string | undefined;
  /** Agent names; everyone, if there is neither `to` nor `filter`. */
  readonly to?: string | readonly string[] | undefined;
  /** The `sessionId` of a member or `senderSession` of a message: one session, where several bear a name. Live. */
  readonly toSession?: string | undefined;
  readonly filter?: Filter | undefined;
  /** The same as `delivery: "lossy"`. */
  readonly ephemeral?: boolean | undefined;
  readonly delivery?: Delivery | undefined;
  /** The `messageId` of another message. */
  readonly replyTo?: string | undefined;
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  /** Made by the SDK for durable messages if there is none. */
  readonly idempotencyKey?: string | undefined;
  /** How long to wait for the ack; by default what `connect` was given, or 30 s. null: as long as it takes. */
  readonly timeoutMs?: number | null | undefined;
}

/** What `receive` takes; both bounds are exclusive. */
export interface ReceiveOptions {
  readonly after?: number | undefined;
  readonly before?: number | undefined;
  readonly limit?: number | undefined;
  readonly types?: readonly string[] | undefined;
  readonly customEventType?: string | readonly string[] | null | undefined;
  readonly pollSource?: PollSource | undefined;
}

/** What of a connect frame the options say; throws `ProtocolError` with the reason. */
export function describedBy(
  options: ConnectOptions,
): Omit<ConnectFrame, "id" | "api_key" | "lineage_secret"> {
  checkPollSource(options.pollSource);
  if (typeof options.channelName !== "string") {
    throw new ProtocolError("name_invalid", "connect needs `channelName`, the name of a channel.");
  }
  const frame = {
    op: "connect",
    channel: checkChannelName(options.channelName),
    agent: options.agentName ? checkAgentName(options.agentName) : "",
    scope: options.apiKeyScope ?? "private",
    mode: isSealed(options) ? "sealed" : "open",
    auto_receive: options.autoReceive ?? true,
    types: withPeers(wantedTypes(options)),
    attributes: options.attributes ?? {},
    capabilities: options.capabilities ?? [],
    ...(options.channelId ? { channel_id: channelIdOf(options.channelId) } : {}),
  } as const;
  checkFrame(frame);
  return frame;
}

/** Whether the options mean a sealed channel; throws `ProtocolError` where they contradict each other. */
function isSealed({ sealed, channelPassword, privateAttributes }: ConnectOptions): boolean {
  if (sealed && !channelPassword) {
    throw new ProtocolError(
      "bad_request",
      "A sealed channel needs `channelPassword`: its keys come from it.",
    );
  }
  const isToBe = wantsSealed({ sealed, channelPassword });
  if (!isToBe) checkNothingPrivate(privateAttributes);
  if (privateAttributes) checkValue(privateAttributes);
  return isToBe;
}

/** Whether the channel is to be a sealed one, contradictions aside. */
export function wantsSealed({
  sealed,
  channelPassword,
}: Pick<ConnectOptions, "sealed" | "channelPassword">): boolean {
  return sealed ?? Boolean(channelPassword);
}

/** Throws `ProtocolError` (`bad_request`) if there are private attributes: in an open channel none are. */
export function checkNothingPrivate(privateAttributes: object | undefined): void {
  if (Object.keys(privateAttributes ?? {}).length === 0) return;
  throw new ProtocolError(
    "bad_request",
    "Private attributes need a sealed channel; in an open one the server reads all.",
  );
}

/** The send frame that the options describe; throws `ProtocolError` with the reason. */
export function sendFrameOf(options: MessageOptions): SendFrame {
  const delivery = deliveryOf(options);
  const to = recipientsOf(options);
  const key = options.idempotencyKey ?? (delivery === "durable" ? toBase64Url(randomBytes(12)) : undefined);
  const frame: SendFrame = {
    op: "send",
    delivery,
    ...contentOf(options.content),
    ...(options.type === undefined ? {} : { type: options.type }),
    ...(options.customEventType === undefined ? {} : { custom_event_type: options.customEventType }),
    ...(to === undefined ? {} : { to }),
    ...(options.filter === undefined ? {} : { filter: options.filter }),
    ...(options.replyTo === undefined ? {} : { reply_to: options.replyTo }),
    ...(options.metadata === undefined ? {} : { metadata: options.metadata }),
    ...(key === undefined ? {} : { idempotency_key: key }),
  };
  checkFrame(frame);
  return frame;
}

/** The receive frame that the options describe; its id is given later. */
export function receiveFrameOf(options: ReceiveOptions): ReceiveFrame {
  checkPollSource(options.pollSource);
  return {
    op: "receive",
    id: 1,
    ...(options.after === undefined ? {} : { after: options.after }),
    ...(options.before === undefined ? {} : { before: options.before }),
    ...(options.limit === undefined ? {} : { limit: options.limit }),
    types: typeList(options.types, options.customEventType),
  };
}

function contentOf(content: unknown): { content: unknown } | { binary: Uint8Array } {
  if (content instanceof Uint8Array) return { binary: content };
  if (content instanceof ArrayBuffer) return { binary: new Uint8Array(content) };
  if (content === undefined) throw new ProtocolError("bad_request", "A message needs `content`.");
  return { content };
}

function recipientsOf({ to, toSession }: MessageOptions): readonly string[] | undefined {
  const names = typeof to === "string" ? [to] : to;
  return toSession === undefined ? names : [...(names ?? []), sessionAddress(toSession)];
}

function deliveryOf({ ephemeral, delivery, toSession }: MessageOptions): Delivery {
  if (ephemeral && delivery !== undefined && delivery !== "lossy") {
    throw new ProtocolError(
      "bad_request",
      `\`ephemeral\` means lossy delivery, which contradicts "${delivery}".`,
    );
  }
  if (delivery !== undefined && !DELIVERIES.includes(delivery)) {
    throw new ProtocolError("bad_request", `\`delivery\` is one of ${DELIVERIES.join(", ")}.`);
  }
  return delivery ?? (ephemeral ? "lossy" : toSession === undefined ? "durable" : "live");
}

/** The types of messages that `onMessage` is to get; empty: all. */
export function wantedTypes(options: ConnectOptions): readonly string[] {
  return typeList(options.types, options.customEventType);
}

/** What a `WebRTCHelper` needs is pushed whatever the program wants of messages. */
function withPeers(types: readonly string[]): readonly string[] {
  return types.length === 0 ? types : [...new Set([...types, SIGNAL_TYPE, PEER_DATA_TYPE])];
}

/** Types from `types: ["a", "b"]` and `customEventType: "a,b"`, without repetition. */
function typeList(...lists: readonly (string | readonly string[] | null | undefined)[]): readonly string[] {
  const names = lists.flatMap((given) => (typeof given === "string" ? given.split(",") : (given ?? [])));
  return [...new Set(names.map((name) => name.trim()).filter((name) => name !== ""))];
}

/** A channel id from its 32 bytes, from hex or from base64 (either alphabet). */
function channelIdOf(given: string | Uint8Array): Uint8Array {
  const bytes = typeof given === "string" ? decoded(given) : given;
  if (bytes?.length === 32) return bytes;
  throw new ProtocolError(
    "bad_request",
    "`channelId` has 64 hexadecimal digits; `agent.channel.id` tells it.",
  );
}

function decoded(text: string): Uint8Array | undefined {
  const padding = "=".repeat((4 - (text.length % 4)) % 4);
  try {
    return text.length === 64
      ? fromHex(text)
      : fromBase64(text.replaceAll("-", "+").replaceAll("_", "/") + padding);
  } catch {
    return undefined;
  }
}

function checkPollSource(source: string | undefined): void {
  if (source === undefined || POLL_SOURCES.includes(source.toUpperCase())) return;
  throw new ProtocolError("bad_request", `\`pollSource\` is one of ${POLL_SOURCES.join(", ")}.`);
}

/**
 * What has to be there before a session can begin: the key derived from the password, the page's memory, the settings.
 *
 * Owns the way from the options of `connect` to the settings of the session machine. Never opens a connection.
 */

import type { Bytes } from "../crypto/bytes";
import { deriveKey, joinToken, rootSecret } from "../crypto/keys";
import { SealingKeys } from "../crypto/sealing";
import { channelId } from "../protocol/channel";
import type { ConnectFrame } from "../protocol/frames.gen";
import type { TransportName } from "../protocol/session/paths";
import { type ClientSettings, clientSettings } from "../protocol/session/settings";
import { baseAddress } from "./address";
import { fetchDemoKey } from "./demo-key";
import { type ConnectOptions, DEMO_KEY, describedBy } from "./options";
import { openMemory, type PageMemory } from "./page-memory";
import { SealedChannel } from "./sealed-channel";
import type { TransportSettings } from "./transport/transport";

type Described = ReturnType<typeof describedBy>;

export interface Preparation {
  readonly settings: ClientSettings;
  readonly transport: TransportSettings;
  readonly memory: PageMemory | undefined;
  /** What a call's frames are sealed with; none without a password. */
  readonly mediaKey: Bytes | undefined;
  /** Seals and opens; none in an open channel. */
  readonly sealed: SealedChannel | undefined;
  /** Gets a new key; the session machine asks only where there is a way to get one. */
  readonly fetchKey: () => Promise<string>;
}

/**
 * Prepares a session. `lineageSecret` is used where the page remembers none.
 *
 * Gives nothing if `isWanted` says meanwhile that it is not wanted any more. Throws `ProtocolError`.
 */
export async function prepare(
  options: ConnectOptions,
  lineageSecret: Uint8Array,
  isWanted: () => boolean,
): Promise<Preparation | undefined> {
  const described = describedBy(options);
  const base = baseAddress(options.api);
  const password = options.channelPassword ?? "";
  const token = await joinToken(described.channel, password);
  const root = password === "" ? undefined : await rootSecret(described.channel, password);
  const mediaKey = root && deriveKey(root, "media");
  const sealed =
    root && described.mode === "sealed" ? sealedChannel(described.channel, root, token) : undefined;
  const memory = isWanted() ? await memoryFor(options, base, described) : undefined;
  if (!isWanted()) {
    memory?.close();
    return undefined;
  }
  const { getApiKey, encoding } = options;
  const isDemo = !options.apiKey || options.apiKey === DEMO_KEY;
  const connect: ConnectFrame = {
    ...described,
    id: 1,
    api_key: isDemo ? "" : (options.apiKey ?? ""),
    join_token: token.length > 0 ? token : null,
    ...(sealed ? { crypto_session: sealed.announced } : {}),
    lineage_secret: memory?.remembered.lineageSecret ?? lineageSecret,
    resume: memory?.remembered.resume ?? null,
    client: `peerbus-web/${__PEERBUS_VERSION__}`,
  };
  const settings = clientSettings({
    connect,
    transports: transportsOf(options),
    canRenew: isDemo || getApiKey !== undefined,
    ...(options.requestTimeoutMs === undefined ? {} : { requestTimeoutMs: options.requestTimeoutMs }),
    ...(options.giveUpAfterMs === undefined ? {} : { giveUpAfterMs: options.giveUpAfterMs }),
  });
  const fetchKey = async (): Promise<string> => (getApiKey ? getApiKey() : fetchDemoKey(base));
  const { attributes = {} } = described;
  if (options.privateAttributes) sealed?.hide(attributes, options.privateAttributes);
  const transport = { base, encoding: encoding ?? "msgpack" };
  return { settings, transport, memory, mediaKey, sealed, fetchKey };
}

/** The channel id is the one computed here, not the one that the server tells. */
function sealedChannel(name: string, root: Bytes, token: Bytes): SealedChannel {
  return new SealedChannel(new SealingKeys(deriveKey(root, "message"), channelId(name, "sealed", token)));
}

function memoryFor(
  options: ConnectOptions,
  base: string,
  { channel, scope, agent }: Described,
): Promise<PageMemory> | undefined {
  if (options.resumeKey === false || typeof sessionStorage === "undefined") return undefined;
  return openMemory(options.resumeKey ?? JSON.stringify([base, scope, channel, agent]));
}

function transportsOf(options: ConnectOptions): readonly [TransportName, ...TransportName[]] {
  return options.useWebsocket === false ? ["longpoll"] : ["websocket", "longpoll"];
}

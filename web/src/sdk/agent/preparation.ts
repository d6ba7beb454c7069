/**
 * What has to be there before a session can begin: the key derived from the password, the page's memory, the settings.
 *
 * Owns the way from the options of `connect` to the settings of the session machine. Never opens a connection.
 */

import type { Bytes } from "../crypto/bytes";
import { deriveKey, joinToken, rootSecret } from "../crypto/keys";
import type { ConnectFrame } from "../protocol/frames.gen";
import type { TransportName } from "../protocol/session/paths";
import { type ClientSettings, clientSettings } from "../protocol/session/settings";
import { baseAddress } from "./address";
import { fetchDemoKey } from "./demo-key";
import { type ConnectOptions, DEMO_KEY, describedBy } from "./options";
import { openMemory, type PageMemory } from "./page-memory";
import type { TransportSettings } from "./transport/transport";

type Described = ReturnType<typeof describedBy>;

export interface Preparation {
  readonly settings: ClientSettings;
  readonly transport: TransportSettings;
  readonly memory: PageMemory | undefined;
  /** What a call's frames are sealed with; none without a password. */
  readonly mediaKey: Bytes | undefined;
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
  const mediaKey =
    password === "" ? undefined : deriveKey(await rootSecret(described.channel, password), "media");
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
  return { settings, transport: { base, encoding: encoding ?? "msgpack" }, memory, mediaKey, fetchKey };
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

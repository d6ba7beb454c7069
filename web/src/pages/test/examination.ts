/**
 * All checks of a connection test, one after the other.
 *
 * Owns their order, and what depends on what. Never shows anything, and never says what the facts mean.
 */

import { fetchDemoKey } from "../../sdk/agent/demo-key";
import { randomBytes, toHex } from "../../sdk/crypto/bytes";
import { ProtocolError } from "../../sdk/protocol/errors";
import type { ConnectedFrame } from "../../sdk/protocol/frames.gen";
import { type Figures, tryCall } from "./call-checks";
import { tryDevice } from "./device-checks";
import type { Attempt, Facts } from "./facts";
import { tryGathering, tryServer } from "./ice-checks";
import { tryServerByHttp } from "./server-check";
import { trySignaling } from "./signaling-checks";

/** What the report names as the program. */
export const CLIENT = `peerbus-doctor/${__PEERBUS_VERSION__}`;

export interface Examination {
  readonly facts: Facts;
  /** Of the first handshake that reached the server. */
  readonly correlationId: string;
}

/**
 * `progress` hears what is known so far, and what is tried now. An empty key means one of the demo project; each attempt may
 * take `timeoutMs`.
 */
export async function examine(
  given: { readonly base: string; readonly apiKey: string; readonly timeoutMs: number },
  progress: (facts: Facts, now: string) => void,
): Promise<Examination> {
  let facts: Facts = { is_secure: globalThis.isSecureContext };
  const learn = (more: Facts, next: string): void => {
    facts = { ...facts, ...more };
    progress(facts, next);
  };
  learn({}, "The server");
  const { timeoutMs } = given;
  const server = await tryServerByHttp(given.base, timeoutMs);
  learn({ server }, server.ms === undefined ? "" : "Signaling");
  if (server.ms === undefined) return { facts, correlationId: "" };
  const channel = `connection-test-${toHex(randomBytes(6))}`;
  let apiKey = given.apiKey;
  try {
    apiKey ||= await fetchDemoKey(given.base);
  } catch (error) {
    const attempt = failureOf(error);
    learn({ websocket: attempt, longpoll: attempt }, "");
    return { facts, correlationId: error instanceof ProtocolError ? error.correlationId : "" };
  }
  const known = { base: given.base, apiKey, channel, client: CLIENT, timeoutMs };
  const websocket = await trySignaling("websocket", known);
  learn({ websocket: websocket.attempt }, "Signaling by long-poll");
  const longpoll = await trySignaling("longpoll", known);
  const connected = websocket.connected ?? longpoll.connected;
  learn({ longpoll: longpoll.attempt }, connected ? "STUN and TURN servers, and a call" : "");
  if (!connected) return { facts, correlationId: websocket.correlationId || longpoll.correlationId };
  const settings = { apiKey, channel, useWebsocket: websocket.connected !== undefined, timeoutMs };
  // At once, since in a network that swallows UDP both wait for a long time.
  const [{ iceServers, servers, ...found }, direct] = await Promise.all([
    tryIce(connected, timeoutMs),
    tryCall({ ...settings, iceServers: [], policy: "all", isMeasured: true }),
  ]);
  learn({ servers, ...found, ...figuresOf(direct) }, "A call through TURN only");
  const turn = servers.filter(({ url }) => url.startsWith("turn"));
  if (turn.length > 0) {
    const isDirect = direct.call.ms !== undefined;
    const relayed = turn.some(({ ms }) => ms !== undefined)
      ? await tryCall({ ...settings, iceServers, policy: "relay", isMeasured: !isDirect })
      : { call: { error: turn[0]?.error ?? "", code: turn[0]?.code ?? "" } };
    const { call: relay_call, ...measured } = relayed;
    learn({ relay_call, ...(isDirect ? {} : measured) }, "");
  }
  if (facts.is_secure) {
    learn({}, "Camera");
    learn({ camera: await tryDevice("camera") }, "Microphone");
    learn({ microphone: await tryDevice("microphone") }, "");
  }
  return { facts, correlationId: connected.correlation_id };
}

async function tryIce({ ice_servers }: ConnectedFrame, timeoutMs: number) {
  const iceServers: RTCIceServer[] = ice_servers.map(({ urls, username, credential }) =>
    credential === null ? { urls: [...urls] } : { urls: [...urls], username, credential },
  );
  const servers = await Promise.all(
    iceServers.flatMap((server) => [server.urls].flat().map((url) => tryServer(url, server, timeoutMs))),
  );
  const answering = servers.filter(({ url, ms }) => url.startsWith("stun") && ms !== undefined).length;
  return { iceServers, servers, ...(await tryGathering(iceServers, answering)) };
}

function figuresOf({ call, mbit_per_s, quality }: Figures): Facts {
  return {
    call,
    ...(mbit_per_s === undefined ? {} : { mbit_per_s }),
    ...(quality === undefined ? {} : { quality }),
  };
}

function failureOf(error: unknown): Attempt {
  if (!(error instanceof ProtocolError)) return { error: String(error) };
  const { code, message } = error;
  return code === "connect_failed" ? { error: message } : { error: message, code };
}

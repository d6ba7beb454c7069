/**
 * Where the server is: the base address given by the user, or the one this SDK was loaded from.
 *
 * Owns the reading of `api` and the addresses below it. Never sends a request.
 */

import { ProtocolError } from "../protocol/errors";

/** The path that the messaging platform of old had; links and pages made for it keep working. */
const FORMER_PATH = "/messaging-platform/api/v1/messaging-service";

let scriptAddress = "";

/** Notes where the SDK's own script came from. */
export function noteScriptAddress(address: string | undefined): void {
  scriptAddress = address ?? "";
}

const SECURE: Readonly<Record<string, boolean>> = {
  "http:": false,
  "ws:": false,
  "https:": true,
  "wss:": true,
};

/**
 * The base address, with http or https and without a slash at the end.
 *
 * Read are `https://host:8080`, the same with a path, with ws or wss, `host:8080`, and a path on the page's own server.
 * Throws `bad_request` for what is no address, and where none is given and none can be told.
 */
export function baseAddress(api?: string): string {
  const isTold = Boolean(api);
  const given = (api || scriptAddress).trim();
  if (given === "") {
    throw new ProtocolError("bad_request", "Where is the server? Give its address as `api`.");
  }
  let url: URL;
  try {
    url = new URL(/^[a-z]+:\/\/|^\//i.test(given) ? given : `http://${given}`, globalThis.location?.href);
  } catch {
    throw badAddress(given, "it cannot be read");
  }
  const isSecure = SECURE[url.protocol];
  if (isSecure === undefined) throw badAddress(given, "it begins with http:// or https://");
  if (url.username || (isTold && (url.search || url.hash))) {
    throw badAddress(given, "it has only a host, a port and a path; keys go into apiKey");
  }
  const path = isTold ? url.pathname.replace(/\/+$/, "") : "";
  const former = path.endsWith(FORMER_PATH) ? path.slice(0, -FORMER_PATH.length) : path;
  return `${isSecure ? "https" : "http"}://${url.host}${former}`;
}

function badAddress(given: string, reason: string): ProtocolError {
  // The text may carry a key that somebody put there by mistake, so only its harmless start is shown.
  const shown = given.split(/[?#]/)[0]?.split("@").at(-1)?.slice(0, 80);
  return new ProtocolError("bad_request", `"${shown}" is no address of a server: ${reason}.`);
}

export function webSocketAddress(base: string): string {
  return `${base.replace(/^http/, "ws")}/v1/ws`;
}

/** The address for a new long-poll session, or that of a known one. */
export function longPollAddress(base: string, sessionId?: string): string {
  return `${base}/v1/longpoll${sessionId === undefined ? "" : `/${encodeURIComponent(sessionId)}`}`;
}

/** Where a page that goes says so. */
export function leaveAddress(base: string): string {
  return `${base}/v1/leave`;
}

export function demoKeyAddress(base: string): string {
  return `${base}/v1/demo/key`;
}

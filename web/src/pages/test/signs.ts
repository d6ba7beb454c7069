/**
 * What several facts of a connection test mean together.
 *
 * Owns the signs: when UDP counts as blocked, a credential as refused, a call as lost on the network.
 */

import type { Attempt, CallAttempt, Facts, ServerAttempt } from "./facts";

/** Why a server refuses a key, or what is asked for with it. */
export const KEY_CODES: ReadonlySet<string> = new Set([
  "unauthorized",
  "expired",
  "revoked",
  "forbidden",
  "used_up",
]);
const CREDENTIAL_CODES = new Set(["401", "403", "438", "441"]);
/** Why a call failed that never came as far as the network. */
const SAID_BY_SERVER = new Set(["no_worker", ...KEY_CODES]);

/** Whether it was tried, and worked. */
export const worked = (attempt: Attempt | undefined): boolean => attempt?.ms !== undefined;

/** Whether it is to relay. */
export const isTurn = ({ url }: ServerAttempt): boolean => url.startsWith("turn");

/** Whether it is reached by UDP. */
export const isUdp = ({ url }: ServerAttempt): boolean =>
  url.startsWith("stun:") || (url.startsWith("turn:") && !url.endsWith("transport=tcp"));

/** Whether a server answers, and takes no credential. */
export const isRefused = (server: ServerAttempt): boolean =>
  !worked(server) && CREDENTIAL_CODES.has(server.code ?? "");

/** Whether a call failed on the network. */
export function isLost(call: CallAttempt | undefined): boolean {
  return call !== undefined && !worked(call) && !SAID_BY_SERVER.has(call.code ?? "");
}

/** Whether nothing that goes by UDP got through, while the server answers by other ways. */
export function isUdpBlocked(facts: Facts): boolean {
  const udp = (facts.servers ?? []).filter(isUdp);
  const isServerThere = worked(facts.websocket) || worked(facts.longpoll);
  const nobodyAnswers = udp.every((server) => !worked(server) && !isRefused(server));
  return isServerThere && isLost(facts.call) && udp.length > 0 && nobodyAnswers;
}

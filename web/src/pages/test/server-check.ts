/**
 * Whether a peerbus server answers at the address, by one plain HTTP request.
 *
 * Owns the request. Never says what a failure means (`server-findings`).
 */

import { isObject } from "../../sdk/protocol/shape";
import type { Attempt } from "./facts";

/** Asks for the server's status. */
export async function tryServerByHttp(base: string, timeoutMs: number): Promise<Attempt> {
  const began = performance.now();
  const url = `${base}/v1/status`;
  try {
    const response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(timeoutMs) });
    const status: unknown = await response.json().catch(() => undefined);
    if (!response.ok || !isObject(status) || status["name"] !== "peerbus") {
      return { error: `GET ${url}: HTTP ${response.status}`, code: "not_peerbus" };
    }
    return { ms: Math.round(performance.now() - began) };
  } catch (error) {
    const isLate = (error as Error).name === "TimeoutError";
    return { error: isLate ? `No answer within ${timeoutMs / 1000} s.` : String(error) };
  }
}

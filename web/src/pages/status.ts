/**
 * What the server says of itself.
 *
 * Owns the request. Never shows anything.
 */

import { isObject } from "../sdk/protocol/shape";

export interface ServerStatus {
  readonly version: string;
  readonly uptimeMs: number;
  readonly channels: number;
  readonly members: number;
  /** Whether the server gives demo keys to its pages. */
  readonly demo: boolean;
}

/** The status; `undefined` if the server doesn't answer. */
export async function serverStatus(): Promise<ServerStatus | undefined> {
  try {
    const response = await fetch("/v1/status", { cache: "no-store" });
    const status: unknown = response.ok ? await response.json() : undefined;
    if (!isObject(status)) return undefined;
    return {
      version: String(status["version"]),
      uptimeMs: Number(status["uptime_ms"]),
      channels: Number(status["channels"]),
      members: Number(status["members"]),
      demo: status["demo"] !== false,
    };
  } catch {
    return undefined;
  }
}

/**
 * One line of the report of a connection test.
 *
 * Owns its shape, the names that people are shown for the checks, and the three ways to make one. Never decides anything.
 */

import type { Attempt } from "./facts";

export type Status = "ok" | "warn" | "fail" | "skipped";

/** One line of the report. */
export interface Finding {
  readonly check: string;
  readonly label: string;
  readonly status: Status;
  readonly summary: string;
  readonly remedy?: string;
  /** The exact error. */
  readonly detail?: string;
  readonly ms?: number;
}

const LABELS: Readonly<Record<string, string>> = {
  server: "Server by HTTP",
  secure_context: "Secure context",
  signaling_websocket: "Signaling by WebSocket",
  signaling_longpoll: "Signaling by long-poll",
  turn: "TURN servers",
  candidates: "Own addresses",
  nat: "NAT",
  call: "Call and data channel",
  relay_call: "Call through TURN only",
  throughput: "Throughput",
  quality: "Loss, delay, jitter",
  camera: "Camera",
  microphone: "Microphone",
};

/** What people are shown for a check. */
export function labelOf(check: string): string {
  return LABELS[check] ?? check.replace(/^ice_server /, "");
}

/** What no attempt stands behind. */
export function finding(check: string, status: Status, summary: string, remedy = ""): Finding {
  return { check, label: labelOf(check), status, summary, ...(remedy ? { remedy } : {}) };
}

/** What worked. */
export function tried(check: string, { ms }: Attempt, summary: string): Finding {
  return { ...finding(check, "ok", summary), ...(ms === undefined ? {} : { ms }) };
}

/** What failed, with its exact error. */
export function failed(
  check: string,
  status: Status,
  { code, error = "" }: Attempt,
  summary: string,
  remedy: string,
): Finding {
  const detail = code ? `${code}: ${error}` : error;
  return { ...finding(check, status, summary, remedy), ...(detail ? { detail } : {}) };
}

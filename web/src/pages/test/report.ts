/**
 * The report of a connection test, as text and as JSON.
 *
 * Owns both forms; `peerbus doctor` gives the same. Never has a key or a credential in it.
 */

import type { Facts } from "./facts";
import type { Status } from "./finding";
import type { Judgement } from "./judgement";

const MARKS: Readonly<Record<Status, string>> = { ok: "ok  ", warn: "warn", fail: "FAIL", skipped: "–   " };

/** Who tested what, and when. */
export interface Circumstances {
  /** ISO 8601, in UTC. */
  readonly time: string;
  readonly api: string;
  readonly client: string;
  /** Stands in the server's log, where the test came as far as that. */
  readonly correlation_id: string;
}

/** For people. */
export function asText(
  { time, api, client, correlation_id }: Circumstances,
  { verdict, findings }: Judgement,
): string {
  const lines = [`${MARKS[verdict.status].trim()}: ${verdict.headline}`];
  for (const remedy of verdict.remedies ?? []) lines.push(`  -> ${remedy}`);
  lines.push("", `${api}, ${time}, ${client}`);
  if (correlation_id) lines.push(`correlation id ${correlation_id} (in the server's log)`);
  lines.push("");
  for (const { status, label, summary, detail } of findings) {
    lines.push(`${MARKS[status]}  ${label}: ${summary}`);
    if (detail) lines.push(`      ${detail}`);
  }
  return `${lines.join("\n")}\n`;
}

/** For programs. */
export function asJson(circumstances: Circumstances, facts: Facts, judgement: Judgement): string {
  return `${JSON.stringify({ report: 1, circumstances, ...judgement, facts }, null, 2)}\n`;
}

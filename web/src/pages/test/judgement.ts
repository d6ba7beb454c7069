/**
 * What the facts of a connection test mean, and what to do about it, in plain words.
 *
 * The twin of `peerbus.client.doctor.judgement`, as the modules on the findings are of those there; both run
 * `tests/vectors/doctor`. Owns the verdict: which of the causes is named first. Never tries anything.
 */

import { deviceFindings, headlineOfCamera } from "./device-findings";
import type { Facts } from "./facts";
import type { Finding, Status } from "./finding";
import { isLineBad, lineFindings } from "./line-findings";
import { headlinesOfTurn, networkFindings } from "./network-findings";
import { headlineOfServer, serverFindings } from "./server-findings";
import { isRefused, isUdpBlocked, worked } from "./signs";

/** The line on top. `fail`: something without which calls or messages do not work. */
export interface Verdict {
  readonly status: Status;
  readonly headline: string;
  readonly remedies?: readonly string[];
}

export interface Judgement {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
}

/** What the facts mean. */
export function judge(facts: Facts): Judgement {
  const findings = [
    ...serverFindings(facts),
    ...networkFindings(facts),
    ...lineFindings(facts),
    ...deviceFindings(facts),
  ];
  // What fails goes before what could be better.
  const failed = findings.filter(({ status }) => status === "fail");
  const causes = [...failed, ...findings.filter(({ status }) => status === "warn")];
  const status = failed.length > 0 ? "fail" : causes.length > 0 ? "warn" : "ok";
  const [headline = ""] = [
    ...headlinesOf(facts),
    ...causes.map(({ summary }) => summary),
    "Everything works.",
  ];
  const remedies = [...new Set(causes.flatMap(({ remedy }) => remedy ?? []))];
  return { verdict: { status, headline, ...(remedies.length > 0 ? { remedies } : {}) }, findings };
}

/** The causes behind several findings, the gravest first. */
function headlinesOf(facts: Facts): string[] {
  const said: string[] = [];
  if (facts.is_secure === false) {
    said.push("This page is not secure: camera, microphone and encryption are switched off by the browser.");
  }
  const noWay = headlineOfServer(facts);
  if (noWay) return [...said, noWay];
  if (isUdpBlocked(facts)) {
    said.push(
      worked(facts.relay_call)
        ? "UDP is blocked on this network: calls go through the TURN server by TCP."
        : "UDP is blocked on this network.",
    );
  }
  if ((facts.servers ?? []).some(isRefused)) said.push("The TURN server refuses the credential.");
  // What the call's own line says.
  if (facts.call && !worked(facts.call)) return said;
  said.push(...headlinesOfTurn(facts));
  const camera = headlineOfCamera(facts);
  if (camera) said.push(camera);
  if (isLineBad(facts)) said.push("The line is slow, or loses too much.");
  return said;
}

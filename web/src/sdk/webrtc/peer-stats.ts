/**
 * How each peer of the group is reached, in figures.
 *
 * Owns their shape and the way there from a browser's report. Never asks for a report.
 */

import type { Mode } from "./group-follower";
import type { PeerState } from "./records";

/** One peer. What is not known, as of a path that is no link, is `undefined`. */
export interface PeerStats {
  readonly name: string;
  readonly state: PeerState;
  /** The mode whose way the data take; absent: not reached now. */
  readonly path?: Mode | undefined;
  /** Reliable frames that it has not acknowledged. */
  readonly framesWaiting: number;
  readonly roundTripMs?: number | undefined;
  readonly bytesSent?: number | undefined;
  readonly bytesReceived?: number | undefined;
  /** Of the link: `host`, `srflx`, `prflx`, or `relay` for a TURN server. */
  readonly candidate?: string | undefined;
}

interface Entry {
  readonly type: string;
  readonly id: string;
  readonly [name: string]: unknown;
}

/** What a link's report says of its path. */
export function linkStatsOf(
  report: Iterable<Entry>,
): Pick<PeerStats, "roundTripMs" | "bytesSent" | "bytesReceived" | "candidate"> {
  const entries = [...report];
  const byId = (id: unknown): Entry | undefined => entries.find((entry) => entry.id === id);
  const transport = entries.find(({ type }) => type === "transport");
  const pair =
    byId(transport?.["selectedCandidatePairId"]) ??
    entries.find((entry) => entry.type === "candidate-pair" && entry["selected"] === true);
  const number = (name: string): number | undefined => {
    const value = pair?.[name];
    return typeof value === "number" ? value : undefined;
  };
  const roundTripS = number("currentRoundTripTime");
  const kind = byId(pair?.["localCandidateId"])?.["candidateType"];
  return {
    roundTripMs: roundTripS === undefined ? undefined : roundTripS * 1_000,
    bytesSent: number("bytesSent"),
    bytesReceived: number("bytesReceived"),
    candidate: typeof kind === "string" ? kind : undefined,
  };
}

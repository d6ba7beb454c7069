/**
 * The game in words: score, state, way.
 *
 * Owns the sentences. Never shows anything.
 */

import type { State } from "../../sdk/agent/records";
import type { CallState } from "../../sdk/webrtc/records";
import type { Match } from "./match";
import { type Seat, STEPS_PER_S } from "./rink";

const SILENT_MS = 1_500;
const WAYS: Readonly<Record<string, string>> = {
  mesh: "Direct",
  host: "Direct, by the host",
  relay: "Through the server",
  datachannel: "Through the media worker",
  sfu: "Through the media worker",
};

/** What can be chosen, as it stands in the lists. */
export const MODE_CHOICES: readonly (readonly [string, string])[] = [
  ["host", "Direct, by the host (host)"],
  ["mesh", "Direct, each to each (mesh)"],
  ["relay", "The server (relay)"],
  ["datachannel", "Media worker (datachannel)"],
  ["sfu", "Media worker, as a call (sfu)"],
  ["auto", "As the server sees fit (auto)"],
];

/** The connection in a few words. */
export function modeWords(
  agent: State,
  call: CallState,
  mode: string | undefined,
): { tone: "good" | "warn" | "bad"; words: string } {
  if (agent.name === "reconnecting") return { tone: "warn", words: "Reconnecting to the server" };
  if (call.name === "closed") return { tone: "bad", words: "Not connected" };
  if (call.name === "connected" && mode) return { tone: "good", words: WAYS[mode] ?? mode };
  return { tone: "warn", words: call.name === "reconnecting" ? "Reconnecting" : "Connecting" };
}

/** The corner: mode, who runs the game, how long the hand takes to the host and back, pictures a second, and what is simulated. */
export function pathWords(
  mode: string | undefined,
  isHost: boolean,
  isPlayer: boolean,
  delayMs: number,
  fps: number,
  simulated: string,
): string {
  const role = isHost ? "you are host" : isPlayer ? `${delayMs} ms` : "watching";
  return [mode ?? "…", role, `${fps} fps`, simulated].filter((part) => part !== "").join(" · ");
}

/** The own goals on the left; spectators see those of the first seat there. */
export function scoreWords(
  match: Match | undefined,
  seat: Seat | undefined,
): { left: string; right: string; spoken: string } {
  const [first = 0, second = 0] = match?.score ?? [];
  const [left, right] = seat === 1 ? [second, first] : [first, second];
  return { left: String(left), right: String(right), spoken: match ? `${left} to ${right}` : "" };
}

/** What happens now, in one line. */
export function statusWords(
  match: Match | undefined,
  seat: Seat | undefined,
  names: ReadonlyMap<string, string>,
  silentMs: number,
): string {
  if (!match) return "Looking for the table…";
  if (silentMs > SILENT_MS) return "Nothing comes from the host; waiting for it, or for another…";
  const nameOf = (at: Seat): string => names.get(match.seats[at] ?? "") ?? "somebody";
  switch (match.phase) {
    case "waiting":
      return match.seats.includes(null)
        ? "Waiting for a second player. Share the link."
        : "A player is away; the score is kept.";
    case "countdown": {
      const left = Math.ceil((match.servesAt - match.at) / STEPS_PER_S);
      const who = seat === undefined ? `${nameOf(0)} and ${nameOf(1)} play.` : "Ready?";
      return `${who} ${left}`;
    }
    case "over": {
      const winner: Seat = match.score[0] > match.score[1] ? 0 : 1;
      if (seat === undefined) return `${nameOf(winner)} has won.`;
      if (match.wantsRematch[seat]) return "Waiting for the other one…";
      return seat === winner ? "You have won." : `${nameOf(winner)} has won.`;
    }
    default:
      return seat === undefined ? "You are watching." : "";
  }
}

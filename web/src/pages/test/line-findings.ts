/**
 * What is said of the line: throughput, loss, delay, jitter.
 *
 * Owns these sentences, and the bounds beyond which calls suffer. Never measures anything.
 */

import type { Facts, Quality } from "./facts";
import { type Finding, finding } from "./finding";

const LOSS_PERCENT = 3;
const JITTER_MS = 30;
const RTT_MS = 300;
const MBIT_PER_S = 1;

/** The lines on what was measured. */
export function lineFindings({ mbit_per_s, quality }: Facts): Finding[] {
  return [
    ...(mbit_per_s === undefined ? [] : [ofThroughput(mbit_per_s)]),
    ...(quality ? [ofQuality(quality)] : []),
  ];
}

/** Whether calls will suffer. */
export function isLineBad({ mbit_per_s, quality }: Facts): boolean {
  const isSlow = mbit_per_s !== undefined && mbit_per_s < MBIT_PER_S;
  return isSlow || (quality !== undefined && isBad(quality));
}

function ofThroughput(mbitPerS: number): Finding {
  const text = `${mbitPerS.toFixed(1)} Mb/s by data channel.`;
  if (mbitPerS >= MBIT_PER_S) return finding("throughput", "ok", text);
  const remedy = "Too little for video: end other downloads, or send small pictures.";
  return finding("throughput", "warn", text, remedy);
}

const lostPercent = ({ sent, received }: Quality): number => (100 * (sent - received)) / Math.max(1, sent);

function isBad(quality: Quality): boolean {
  const { rtt_ms = 0, jitter_ms = 0 } = quality;
  return jitter_ms > JITTER_MS || rtt_ms > RTT_MS || lostPercent(quality) > LOSS_PERCENT;
}

function ofQuality(quality: Quality): Finding {
  const { rtt_ms = 0, jitter_ms = 0 } = quality;
  const lost = lostPercent(quality).toFixed(1);
  const text = `${lost} % lost, ${rtt_ms.toFixed(0)} ms there and back, ${jitter_ms.toFixed(0)} ms jitter.`;
  if (!isBad(quality)) return finding("quality", "ok", text);
  const remedy =
    "Calls will stutter: use a cable or stand nearer to the access point, and end other downloads.";
  return finding("quality", "warn", text, remedy);
}

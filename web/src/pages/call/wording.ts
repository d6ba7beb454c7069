/**
 * The call in words: states, refusals of devices and of the SFU, and what to do about them.
 *
 * Owns the sentences. Never shows or does anything.
 */

import type { Channel, State } from "../../sdk/agent/records";
import type { CallState, EncryptionState } from "../../sdk/webrtc/records";
import type { CallStats } from "../../sdk/webrtc/stats";
import { failureWording, listed, type PillWording, seconds } from "../channel/wording";
import type { IconName } from "../elements/icon";
import type { Wording } from "../elements/notice";
import type { Device, MediaProblem } from "./own-media";

const NAMES: Readonly<Record<Device, string>> = { camera: "camera", microphone: "microphone" };

/** Why a device is not there, and what to do; "you can join without" is true of every one. */
export function deviceWording(devices: readonly Device[], problem: MediaProblem): Wording {
  const isBoth = devices.length > 1;
  const what = devices.map((device) => NAMES[device]).join(" and ");
  const [one, are] = isBoth ? ["them", "are"] : ["it", "is"];
  const known: Readonly<Record<MediaProblem, readonly [title: string, text: string]>> = {
    insecure: [
      "No camera or microphone over plain http",
      "Browsers give them only to pages by https, or on this machine itself. Open this page by https " +
        "(the server makes a certificate with --tls self-signed), or join without them.",
    ],
    unsupported: [
      `This browser has no ${what}`,
      "It does not let pages use them at all. Try another browser, or join without.",
    ],
    denied: [
      `The ${what} ${are} blocked for this site`,
      `Click the sign left of the address, allow ${one} there, then press Try again. You can join without.`,
    ],
    missing: [
      isBoth ? "No camera or microphone was found" : `No ${what} was found`,
      `Plug ${isBoth ? "one" : "it"} in and press Try again, or join without.`,
    ],
    busy: [
      `The ${what} can’t be started`,
      `Another program may be using ${one}. Close that one and press Try again, or join without.`,
    ],
    failed: [`The ${what} can’t be started`, "The browser gives no reason. Try again, or join without."],
  };
  const [title, text] = known[problem];
  return { tone: "warn", title, text, code: `media_${problem}` };
}

/** What the SFU or the way to it says, by code. */
const CALL_FAILURES: Readonly<Record<string, readonly [title: string, text: string]>> = {
  no_worker: [
    "The call can’t be served right now",
    "This server has no media worker at the moment. It is tried again by itself; if it stays so, whoever runs the server " +
      "should look at its log.",
  ],
  room_full: ["The call is full", "{why} Wait until somebody leaves, then join again."],
  codec_not_supported: [
    "Your browser can’t send this in a format that the others can show",
    "{why} You stay in the call without it. Another browser may do better.",
  ],
  e2ee_codec: [
    "Your browser can’t send this encrypted",
    "{why} You stay in the call without it. Another browser may do better.",
  ],
  too_many_tracks: ["That is too much at once", "{why} Stop sharing something first."],
  connect_failed: [
    "Picture and sound don’t get through",
    "The media worker’s UDP port can’t be reached from here. A firewall or VPN may be in the way; it is tried again by " +
      "itself.",
  ],
  timeout: [
    "Picture and sound don’t get through",
    "The server answers, but its media worker can’t be reached from here. A firewall or VPN may be in the way; it is tried " +
      "again by itself.",
  ],
  connection_lost: [
    "The connection is lost",
    "It is tried again by itself. The others see you as away meanwhile.",
  ],
  not_supported: [
    "This browser can’t make calls",
    "{why} Try another one, or switch WebRTC on in its settings.",
  ],
  replaced: [
    "This call goes on elsewhere",
    "The same person joined in another window, and only one can be in the call.",
  ],
  kicked: ["You were removed from this call", "Ask whoever removed you, or join another channel."],
  forbidden: ["The key does not allow this", "{why} Ask for one that does."],
  unknown_recipient: ["They are not here any more", "Nothing was sent."],
};

export function callFailureWording(code: string, why: string, correlationId = ""): Wording {
  const known = CALL_FAILURES[code];
  if (!known) return failureWording(code, why, correlationId);
  const [title, text] = known;
  return { tone: "bad", title, text: text.replace("{why}", why).trim(), code, correlationId };
}

/** The connection pill; `inMs` is the time to the next attempt, as of now. */
export function callPill(agent: Pick<State, "name" | "code">, call: CallState, inMs: number): PillWording {
  if (agent.name === "closed" || call.name === "closed") {
    const code = agent.name === "closed" ? agent.code : call.code;
    return { tone: code === "closed" ? "" : "bad", words: "Not connected" };
  }
  if (call.name === "connected") {
    return agent.name === "connected"
      ? { tone: "good", words: "Connected · through the server" }
      : { tone: "warn", words: "In the call · channel reconnecting…" };
  }
  if (call.name === "reconnecting") {
    return { tone: "warn", words: inMs > 1_000 ? `Reconnecting in ${seconds(inMs)}` : "Reconnecting…" };
  }
  return { tone: "", words: "Connecting…" };
}

/** What stands above the call while something is wrong with it. */
export function callBanner(agent: State, call: CallState): Wording | undefined {
  if (agent.name === "closed") {
    return agent.code === "closed"
      ? undefined
      : callFailureWording(agent.code, agent.why, agent.correlationId);
  }
  if (call.name === "closed") {
    return call.code === "closed" ? undefined : callFailureWording(call.code, call.why);
  }
  const isTrying = call.name === "reconnecting" || (call.name === "connecting" && call.code !== "");
  if (!isTrying) return undefined;
  // A network that is away takes both connections; the cause is said once.
  const code = call.code === "restarted" || call.code === "bad_answer" ? "connection_lost" : call.code;
  return { ...callFailureWording(code, call.why), tone: "warn" };
}

/** Who can see and hear: in the head of the page, and beyond who can read. */
export interface MediaOpenness {
  readonly badge: string;
  /** The same where there is little room. */
  readonly shortBadge: string;
  /** A lock only where nobody but those in the call can see and hear. */
  readonly sign: IconName;
  readonly text: readonly string[];
}

export function mediaOpenness(
  { hasPassword }: Pick<Channel, "hasPassword">,
  isEncrypted: boolean,
): MediaOpenness {
  if (isEncrypted) {
    return {
      badge: "Encrypted end to end",
      shortBadge: "Encrypted",
      sign: "lock",
      text: [
        "Picture and sound are encrypted end to end: only who has the password can see and hear them. The server passes " +
          "them on and cannot; it sees who is in the call, who speaks, and how much is sent.",
        "Raised hands and reactions are not encrypted end to end.",
      ],
    };
  }
  return {
    badge: hasPassword ? "Locked, not encrypted end to end" : "Open, not encrypted end to end",
    shortBadge: "Not encrypted",
    sign: hasPassword ? "eye" : "lock-open",
    text: [
      "Picture and sound are encrypted from you to the server, and from there to the others, but not end to end: whoever " +
        "runs the server could see and hear them.",
    ],
  };
}

/** Why a picture or a sound that is sent is not there; empty if nothing is wrong. */
export function encryptionWords(state: EncryptionState, what: "picture" | "sound" = "picture"): string {
  const isSound = what === "sound";
  switch (state) {
    case "undecryptable":
      return isSound ? "Sound cannot be decrypted" : "Cannot be decrypted";
    case "not_sealed":
      return isSound ? "Sound is not encrypted, not played" : "Not encrypted, so not shown";
    case "not_opened":
      return isSound ? "Sound is encrypted, not opened here" : "Encrypted, not opened here";
    default:
      return "";
  }
}

/** What is said above the call of those whose picture or sound is not shown; nothing if there are none. */
export function hiddenWording(
  state: "undecryptable" | "not_sealed",
  names: readonly string[],
): Wording | undefined {
  if (names.length === 0) return undefined;
  const who = listed(names);
  if (state === "undecryptable") {
    return {
      tone: "warn",
      title: `${who} can’t be seen or heard`,
      text:
        "What they send cannot be decrypted: they have another password, or it was changed on its way. Use the same link, " +
        "all of you.",
      code: "call_undecryptable",
    };
  }
  const [do_, their] = names.length > 1 ? ["do", "Their pictures"] : ["does", "Their picture"];
  return {
    tone: "warn",
    title: `${who} ${do_} not encrypt`,
    text: `${their} and sound are not shown, since this call is encrypted end to end. They have to switch encryption on.`,
    code: "call_not_sealed",
  };
}

/** Who is in the call, for the button of the list. */
export function peopleWords(count: number): string {
  return count === 1 ? "Only you" : `${count} people`;
}

export function bitRate(bitsPerS: number): string {
  return bitsPerS >= 1_000_000
    ? `${(bitsPerS / 1_000_000).toFixed(1)} Mb/s`
    : `${Math.round(bitsPerS / 1_000)} kb/s`;
}

/** The figures of the call: what, and how it goes. */
export function figures(stats: CallStats): readonly (readonly [what: string, words: string])[] {
  const { connection, sent, received } = stats;
  const path = connection.path === "relay" ? "through a TURN relay" : "directly";
  const rows: (readonly [string, string])[] = [
    [
      "Path",
      connection.protocol ? `${path} to the server, ${connection.protocol.toUpperCase()}` : "none yet",
    ],
    [
      "Delay to the server",
      connection.roundTripMs === undefined ? "–" : `${Math.round(connection.roundTripMs)} ms`,
    ],
    ["Sending", bitRate(connection.sendBitsPerS)],
    ["Receiving", bitRate(connection.receiveBitsPerS)],
  ];
  const isEncrypted = sent.some(({ framesSealed }) => framesSealed > 0);
  const isOpened = received.some(({ encryption }) => encryption === "sealed");
  rows.push(["Encryption", isEncrypted || isOpened ? "end to end" : "up to the server"]);
  for (const one of sent) rows.push([`You · ${SOURCES[one.source]}`, streamWords(one)]);
  for (const one of received) rows.push([`${one.name} · ${SOURCES[one.source]}`, streamWords(one)]);
  return rows;
}

const SOURCES = {
  camera: "camera",
  microphone: "microphone",
  screen: "screen",
  screen_audio: "screen sound",
  other: "track",
} as const;

function streamWords(stream: CallStats["sent"][number] | CallStats["received"][number]): string {
  const parts = [bitRate(stream.bitsPerS)];
  if (stream.width && stream.height) parts.push(`${stream.width}×${stream.height}`);
  if (stream.framesPerS !== undefined) parts.push(`${Math.round(stream.framesPerS)} fps`);
  if (stream.packetsLost) parts.push(`${stream.packetsLost} packets lost`);
  if ("framesRefused" in stream && stream.framesRefused) {
    parts.push(`${stream.framesRefused} frames not decrypted`);
  }
  if ("limitedBy" in stream && stream.limitedBy && stream.limitedBy !== "none") {
    parts.push(`limited by ${stream.limitedBy === "cpu" ? "this machine" : stream.limitedBy}`);
  }
  return parts.join(" · ");
}

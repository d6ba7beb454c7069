/**
 * States and failures in words: what happened, what it means, what to do.
 *
 * Owns the sentences. Never shows or does anything.
 */

import type { Channel, Departure, Member, State } from "../../sdk/agent/records";
import type { SealingError } from "../../sdk/agent/sealing-error";
import type { IconName } from "../elements/icon";
import type { Tone, Wording } from "../elements/notice";

const TRANSPORTS = { websocket: "WebSocket", longpoll: "long-poll" } as const;

/** The connection in a few words. */
export interface PillWording {
  readonly tone: Tone | "";
  readonly words: string;
}

/** A failure by code: what happened, and what to do. `{why}` is the server's own sentence. */
type Remedy = readonly [title: string, text: string];

const REMEDIES: Readonly<Record<string, Remedy>> = {
  name_taken: [
    "The name is taken",
    "Somebody in this channel has it. Choose another one; if it was you in another window, close that one first.",
  ],
  name_invalid: ["That name doesn’t work", "{why}"],
  unauthorized: ["The key was not accepted", "{why} Check it, or leave it away to use a demo key."],
  revoked: ["The key was withdrawn", "Ask whoever gave it to you for another one."],
  used_up: ["The key was used already", "Ask whoever gave it to you for one of your own."],
  expired: ["The key has expired", "Join again; with a key of your own, enter a new one."],
  forbidden: ["The key does not allow this", "{why} Ask for one that does."],
  kicked: [
    "You were removed from this channel",
    "It does not take you back for now. Ask whoever removed you, or join another channel.",
  ],
  channel_locked: ["The channel is locked", "Nobody new may come in. Ask somebody inside to unlock it."],
  channel_full: ["The channel is full", "{why} Try again later."],
  channel_mismatch: [
    "That is another channel",
    "Name and password do not belong to the channel that was meant.",
  ],
  not_found: ["This server gives no demo keys", "Enter an API key under “Use an API key”."],
  not_supported: ["The server can’t do that", "{why}"],
  unsupported_version: [
    "This page is out of date",
    "Reload it; if that doesn’t help, the server is older than the page.",
  ],
  rate_limited: ["Too much at once", "{why} Wait a moment and try again."],
  quota_exceeded: ["The project has used up its quota", "{why} Try again later."],
  overloaded: ["The server is busy", "It has more to do than it can take. Try again in a moment."],
  connect_failed: ["The server can’t be reached", "{why} Check your network, and whether the server runs."],
  timeout: ["No answer came in time", "It may have worked all the same. Try again."],
  too_large: ["The message is too large", "{why} Shorten it, or send it in parts."],
  unknown_recipient: [
    "They are not here any more",
    "Nothing was sent. Write to everyone, or wait until they are back.",
  ],
  storage_unavailable: [
    "The message could not be stored",
    "The server has a problem with its disk. Try again.",
  ],
  queue_full: ["Too many messages wait", "Wait for the connection, then try again."],
  internal: ["The server has failed", "Its log tells more; the code below finds the place."],
  closed: ["The connection is closed", "Nothing was sent."],
};

/** A failure in words. */
export function failureWording(code: string, why: string, correlationId = ""): Wording {
  const [title, text] = REMEDIES[code] ?? ["That didn’t work", "{why}"];
  return { tone: "bad", title, text: text.replace("{why}", why).trim(), code, correlationId };
}

/** The end of a session in words; nothing if it was wanted. */
export function endWording(state: Pick<State, "code" | "why" | "correlationId">): Wording | undefined {
  const { code, why, correlationId } = state;
  const reference = { code, correlationId };
  switch (code) {
    case "closed":
      return undefined;
    case "kicked":
      return {
        tone: "bad",
        title: "You were removed from this channel",
        text: why ? `The reason given: ${why}` : "No reason was given.",
        ...reference,
      };
    case "replaced":
      return {
        tone: "warn",
        title: "This chat goes on elsewhere",
        text: "The same session was opened in another window, and only one can have it.",
        ...reference,
      };
    default:
      return failureWording(code, why, correlationId);
  }
}

/** The connection pill; `inMs` is the time to the next attempt, as of now. */
export function pillWording(state: State, inMs: number): PillWording {
  switch (state.name) {
    case "connected":
      return { tone: "good", words: `Connected · ${TRANSPORTS[state.transport ?? "websocket"]}` };
    case "reconnecting":
      return { tone: "warn", words: inMs > 0 ? `Reconnecting in ${seconds(inMs)}` : "Reconnecting…" };
    case "closed":
      return { tone: state.code === "closed" ? "" : "bad", words: "Not connected" };
    default:
      return { tone: "", words: "Connecting…" };
  }
}

/** What a screen reader says of the connection: the state, without the countdown. */
export function spokenWords(state: Pick<State, "name">): string {
  const words = { idle: "", connecting: "Connecting", connected: "Connected", closed: "Not connected" };
  return state.name === "reconnecting" ? "Connection lost, reconnecting" : words[state.name];
}

/** What stands above the messages while the connection is away; the countdown is in the pill. */
export function reconnectingWording(state: State): Wording {
  return {
    tone: "warn",
    title: "Connection lost",
    text: "It is tried again by itself. What you write meanwhile waits, and is sent then.",
    // A network that is away has no number to quote; a server that refuses has one.
    ...(state.correlationId ? { code: state.code, correlationId: state.correlationId } : {}),
  };
}

export function seconds(ms: number): string {
  return `${Math.max(1, Math.ceil(ms / 1000))} s`;
}

/** Who may come in, and who may read. */
export interface Openness {
  readonly badge: string;
  /** A lock only where nobody but the members can read. */
  readonly sign: IconName;
  readonly title: string;
  readonly text: readonly string[];
}

export function openness(channel: Pick<Channel, "mode" | "hasPassword" | "isLocked">): Openness {
  const locked = channel.isLocked
    ? ["Right now it is closed to newcomers: only who is inside may stay."]
    : [];
  if (channel.mode === "sealed") {
    return {
      badge: "Sealed",
      sign: "lock",
      title: "This channel is sealed",
      text: [
        "Only who has the password, or the link with it, can read what is written here, also what was written before. The server cannot: it sees names, times, sizes, and who is here.",
        ...locked,
      ],
    };
  }
  if (channel.hasPassword) {
    return {
      badge: "Locked, readable by the server",
      sign: "eye",
      title: "Locked, readable by the server",
      text: [
        "Only who knows the password, or has the link with it, can join this channel.",
        "The messages themselves are not encrypted end to end: whoever runs this server can read them.",
        "The password never leaves your browser. The server gets a proof derived from it.",
        ...locked,
      ],
    };
  }
  return {
    badge: "Open",
    sign: "lock-open",
    title: "This channel is open",
    text: [
      "There is no password: anybody who knows the channel’s name and has a key of this project can join and read, also what was written before.",
      "Whoever runs this server can read the messages.",
      "For a closed round, leave and join a channel with a password. That is another channel, even under the same name.",
      ...locked,
    ],
  };
}

const REFUSALS: Readonly<Record<string, string>> = {
  wrong_key: "It was sealed with another password.",
  tampered: "It, or what stands around it, was changed on its way.",
  replayed: "The server showed an older message a second time.",
  reordered: "The server showed it at another place than it was sent at.",
  not_sealed: "It was not sealed.",
  not_supported: "It needs a newer version of this page.",
};

/** The line in the place of a message that is not shown. */
export function refusedWords({ code, sender }: Pick<SealingError, "code" | "sender">): string {
  const why = REFUSALS[code] ?? "What is inside makes no sense.";
  return `A message that could not be opened, said to be from ${sender}. ${why}`;
}

const DEPARTURES: Readonly<Record<Departure["reason"], string>> = {
  left: "left",
  lost: "lost the connection and is gone",
  replaced: "connected anew",
  kicked: "was removed",
  expired: "is gone: the key has expired",
  closed: "was disconnected by the server",
};

export function departureWords({ name, reason }: Departure): string {
  return `${name} ${DEPARTURES[reason]}`;
}

/** A member's state. */
export function memberWords(member: Pick<Member, "state">, isSelf: boolean): string {
  if (isSelf) return "you";
  return member.state === "away" ? "away: connection lost" : "here";
}

export function typingWords(names: readonly string[]): string {
  if (names.length === 0) return "";
  if (names.length > 3) return `${names.length} people are typing…`;
  return `${listed(names)} ${names.length === 1 ? "is" : "are"} typing…`;
}

export function queuedWords(count: number): string {
  if (count === 0) return "";
  return count === 1 ? "1 message waits for the connection." : `${count} messages wait for the connection.`;
}

/** "a", "a and b", "a, b and c". */
export function listed(names: readonly string[]): string {
  const last = names.at(-1) ?? "";
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${last}` : last;
}

/**
 * What channels and members are called: names, modes, channel ids, lineages, identities.
 *
 * The twin of `peerbus.protocol.channel`; golden vectors hold the two together. Owns the rules for names and the
 * bytes that are hashed. Never stores a secret and never decides who may use a name.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { type Bytes, concat, toBase64Url, utf8, withLength } from "../crypto/bytes";
import { ProtocolError } from "./errors";

export const CHANNEL_NAME_MAX_CHARS = 128;
export const AGENT_NAME_MAX_CHARS = 64;
export const JOIN_TOKEN_BYTES = 32;
export const LINEAGE_SECRET_BYTES = 16;
/** Agent names that begin with it, or seem to, belong to the server's own services. */
export const SERVICE_PREFIX = "peerbus:";
/** Begins the address of one session, where a name could stand; no service is called so. */
export const SESSION_PREFIX = "peerbus:session/";

export type Mode = "open" | "sealed";

const CHANNEL_ID_LABEL = "peerbus/channel/1";
const MODE_BYTE: Record<Mode, number> = { open: 0, sealed: 1 };
const IDENTITY_HASH_BYTES = 16;
// Control characters, line and paragraph separators, characters that reorder a line of text, lone surrogates
// and the byte order mark.
const FORBIDDEN = /[\p{Cc}\u2028-\u202e\u2066-\u2069\p{Cs}\ufeff]/u;
const SEPARATORS = /[./]/;
// Marks and format characters, which one may overlook.
const UNSEEN = /[\p{M}\p{Cf}]/gu;
// Letters and colons that look like those of the prefix, after compatibility decomposition and in lower case.
const LOOKS_LIKE: ReadonlyMap<string, string> = new Map(
  Object.entries({
    p: "\u0440\u03c1\u2ca3\u1d18",
    e: "\u0435\u04bd\u212e\u0454\u1d07",
    r: "\u0433\u1d26\u0280\u2c85\uab81",
    b: "\u044c\u0432\u03b2\u0299\uab9f",
    u: "\u03c5\u057d\u1d1c\u028b",
    s: "\u0455\ua731\u01bd\uabaa",
    ":": "\ua789\u2236\u02d0\u05c3\u0589\u16ec\u0703\u0704\u02f8\ua4fd",
  }).flatMap(([latin, others]) => [...others].map((char): [string, string] => [char, latin])),
);

/** The NFC form of a channel name; throws `name_invalid` for what cannot be one. */
export function checkChannelName(name: string): string {
  return checkName(name, "channel", CHANNEL_NAME_MAX_CHARS);
}

/** The NFC form of an agent name; throws `name_invalid` for what cannot be one. */
export function checkAgentName(name: string): string {
  const checked = checkName(name, "agent", AGENT_NAME_MAX_CHARS);
  if (isServiceName(checked)) {
    throw invalid(`Agent names that begin with "${SERVICE_PREFIX}" are reserved for services.`);
  }
  return checked;
}

/** Whether an agent name is one that only the server's own services bear, or looks as if it were. */
export function isServiceName(name: string): boolean {
  const seen = [...name.normalize("NFKD").toLowerCase().replace(UNSEEN, "")];
  return seen
    .map((char) => LOOKS_LIKE.get(char) ?? char)
    .join("")
    .startsWith(SERVICE_PREFIX);
}

/**
 * The 32 bytes that identify a channel within a scope.
 *
 * Throws `name_invalid`, or `bad_request` for a join token that has neither 32 bytes nor none.
 */
export function channelId(name: string, mode: Mode, joinToken: Uint8Array): Bytes {
  if (joinToken.length !== 0 && joinToken.length !== JOIN_TOKEN_BYTES) {
    throw new ProtocolError(
      "bad_request",
      `A join token has ${JOIN_TOKEN_BYTES} bytes, or none without a password.`,
    );
  }
  const described = withLength(checkChannelName(name));
  return sha256(
    concat(utf8(CHANNEL_ID_LABEL), Uint8Array.of(MODE_BYTE[mode]), described, joinToken),
  ) as Bytes;
}

/** The public 32 bytes of a lineage, of its 16-byte secret. */
export function lineage(secret: Uint8Array): Bytes {
  if (secret.length !== LINEAGE_SECRET_BYTES) {
    throw new ProtocolError("bad_request", `A lineage secret has ${LINEAGE_SECRET_BYTES} bytes.`);
  }
  return sha256(secret) as Bytes;
}

/** Who a member without a claimed name is. */
export function lineageIdentity(lineageHash: Uint8Array): string {
  return `lineage:${toBase64Url(lineageHash.subarray(0, IDENTITY_HASH_BYTES))}`;
}

/** Whether somebody is known by a claimed name. */
export function isNameIdentity(identity: string): boolean {
  return identity.startsWith("name:");
}

/** What stands in `to` for one session alone, when several bear its name. */
export function sessionAddress(sessionId: string): string {
  return SESSION_PREFIX + sessionId;
}

function checkName(name: string, kind: "channel" | "agent", maxChars: number): string {
  // NFC shortens to a quarter at most, so what is far too long is refused without being normalised.
  const normal = name.length <= 8 * maxChars ? name.normalize("NFC") : name;
  const chars = [...normal].length;
  if (chars < 1 || chars > maxChars) {
    throw invalid(`The ${kind} name has ${chars} characters; 1 to ${maxChars} are allowed.`);
  }
  if (FORBIDDEN.test(normal)) {
    throw invalid(`The ${kind} name contains a control character or one that reorders text.`);
  }
  if (normal !== normal.trim()) throw invalid(`The ${kind} name begins or ends with white space.`);
  if (normal.split(SEPARATORS).some((segment) => segment === "*" || segment === ">")) {
    throw invalid(`A segment of the ${kind} name is "*" or ">", which stand for other names in a grant.`);
  }
  return normal;
}

function invalid(message: string): ProtocolError {
  return new ProtocolError("name_invalid", message);
}

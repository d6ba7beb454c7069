/**
 * Links to a channel: `{origin}/chat#channel=…&password=…&project=…&scope=…&mode=…`.
 *
 * The twin of `peerbus.client.link`; both run `tests/vectors/links/links.json`. Everything about the channel stands
 * in the fragment (RFC 3986, section 3.5), which a browser never sends to a server. Never opens a connection and
 * never checks the rules for channel names.
 *
 * With a password the channel is sealed, unless `mode=open` says that the password is a lock only; without one it is open.
 * Values are percent-encoded UTF-8. A plus sign is a plus sign, not a space. Parameters with an empty or default
 * value are left out, unknown ones are ignored, one that stands twice is an error.
 */

/** Longer texts are refused unread. */
export const MAX_LINK_CHARS = 4096;

/** The pages of a server that a link may name; all of them mean a channel. */
const PAGES = ["chat", "call", "games/air-hockey"] as const;
const PARAMETERS = ["channel", "password", "project", "scope", "mode"] as const;

export type Page = (typeof PAGES)[number];
export type Scope = "private" | "public";
type Parameter = (typeof PARAMETERS)[number];

export type LinkFault =
  | "not_a_link"
  | "not_a_channel_page"
  | "no_channel"
  | "secret_in_query"
  | "bad_encoding"
  | "repeated"
  | "bad_scope"
  /** A mode that does not exist, or `sealed` without a password. */
  | "bad_mode";

/** The text is not a channel link; `fault` says why, the message says it to a person. */
export class LinkError extends Error {
  readonly fault: LinkFault;

  constructor(fault: LinkFault, message: string) {
    super(message);
    this.fault = fault;
  }
}

/** One channel on one server, as a link names it. */
export interface Link {
  /** Scheme, host and port, without a slash at the end: what the SDKs call `api`. */
  readonly origin: string;
  readonly channel: string;
  readonly password: string;
  /** The project whose private channel is meant; empty if the link does not say. */
  readonly project: string;
  readonly scope: Scope;
  readonly page: Page;
  /** Whether a password seals the channel, and does not only lock it; means nothing without one. */
  readonly isSealed: boolean;
}

/** The text of a link. Throws `LinkError` for one that could not be parsed again. */
export function formatLink(link: Partial<Link> & Pick<Link, "origin" | "channel">): string {
  if (!link.channel) throw new LinkError("no_channel", "A channel link needs the name of a channel.");
  const scope = link.scope === "public" ? "public" : "";
  const values: Record<Parameter, string> = {
    channel: link.channel,
    password: link.password ?? "",
    project: link.project ?? "",
    scope,
    mode: link.password && link.isSealed === false ? "open" : "",
  };
  const pairs = PARAMETERS.filter((name) => values[name]).map((name) => `${name}=${encoded(values[name])}`);
  return `${originOf(link.origin)}/${link.page ?? "chat"}#${pairs.join("&")}`;
}

/** What a link says; white space around it is ignored. Throws `LinkError`, whose message repeats no password. */
export function parseLink(text: string): Link {
  const trimmed = text.trim();
  if (trimmed.length > MAX_LINK_CHARS) {
    throw new LinkError("not_a_link", `A channel link has at most ${MAX_LINK_CHARS} characters.`);
  }
  const hash = trimmed.indexOf("#");
  const address = hash < 0 ? trimmed : trimmed.slice(0, hash);
  const origin = originOf(address);
  if (/\?./.test(address)) {
    throw new LinkError(
      "secret_in_query",
      'A channel link has nothing behind a "?": channel and password stand behind a "#".',
    );
  }
  const page = pageOf(address);
  const values = parameters(hash < 0 ? "" : trimmed.slice(hash + 1));
  if (!values.channel)
    throw new LinkError("no_channel", 'The link names no channel: "#channel=…" is missing.');
  const { channel, password, project } = values;
  const isSealed = isSealedBy(values.mode, password);
  return { origin, channel, password, project, scope: scopeOf(values.scope), page, isSealed };
}

function originOf(address: string): string {
  try {
    // The parser of the platform forgives missing slashes and user names; a link has neither.
    if (/^https?:\/\/[^/?#@\\]+(?:[/?#]|$)/i.test(address)) return new URL(address).origin;
  } catch {
    // Said below.
  }
  throw new LinkError(
    "not_a_link",
    "That is not a channel link. One looks like http://localhost:8080/chat#channel=lobby",
  );
}

function pageOf(address: string): Page {
  const path = new URL(address).pathname.replace(/^\/+|\/+$/g, "");
  const page = PAGES.find((candidate) => candidate === path);
  if (page) return page;
  throw new LinkError(
    "not_a_channel_page",
    "The address is not that of a channel: it ends in /chat, then #channel=…",
  );
}

function parameters(fragment: string): Record<Parameter, string> {
  const values: Record<Parameter, string> = { channel: "", password: "", project: "", scope: "", mode: "" };
  const seen = new Set<string>();
  for (const pair of fragment.split("&")) {
    const equals = pair.indexOf("=");
    const key = equals < 0 ? pair : pair.slice(0, equals);
    const name = PARAMETERS.find((candidate) => candidate === key);
    if (!name) continue;
    if (seen.has(name)) throw new LinkError("repeated", `The link says "${name}" twice.`);
    seen.add(name);
    values[name] = equals < 0 ? "" : decoded(pair.slice(equals + 1), name);
  }
  return values;
}

function encoded(value: string): string {
  try {
    return encodeURIComponent(value).replace(
      /[!'()*]/g,
      (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
    );
  } catch {
    throw new LinkError("bad_encoding", "A value of the link cannot be written as UTF-8.");
  }
}

function decoded(value: string, name: Parameter): string {
  try {
    return decodeURIComponent(value);
  } catch {
    throw new LinkError("bad_encoding", `The value of "${name}" in the link has a broken % escape.`);
  }
}

function isSealedBy(mode: string, password: string): boolean {
  if (!["", "open", "sealed"].includes(mode)) {
    throw new LinkError("bad_mode", 'The mode of a link is "sealed" or "open".');
  }
  if (mode === "sealed" && !password) {
    throw new LinkError("bad_mode", "A sealed channel has a password, and the link has none.");
  }
  // Without a password there is nothing to choose, and links that mean the same are the same.
  return mode !== "open" || !password;
}

function scopeOf(value: string): Scope {
  if (value === "" || value === "private") return "private";
  if (value === "public") return "public";
  throw new LinkError("bad_scope", 'The scope of a link is "private" or "public".');
}

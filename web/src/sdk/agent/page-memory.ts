/**
 * What a page keeps of its session over a reload: resume token, lineage secret, durable cursor.
 *
 * Owns the entry in `sessionStorage` and the claim to it. A duplicated tab has a copy of the entry but not the claim:
 * it starts anew. Never leaves the tab.
 */

import { fromBase64, randomBytes, toBase64, toBase64Url } from "../crypto/bytes";
import type { Resume } from "../protocol/frames.gen";
import { isObject } from "../protocol/shape";

const PREFIX = "peerbus/session/";
/** How long an earlier page of this tab may take to let go. */
const CLAIM_MS = 400;
/** How long a live holder of a claim may take to say so, where there are no locks. */
const ANSWER_MS = 120;

/** What is remembered. */
export interface Remembered {
  readonly lineageSecret: Uint8Array;
  readonly resume: Resume | null;
}

interface Entry {
  /** The name of the claim. */
  readonly claim: string;
  readonly lineage: string;
  readonly resume: Resume | null;
}

/** The memory of one connection; made by `openMemory`. */
export class PageMemory {
  readonly remembered: Remembered;
  private readonly key: string;
  private readonly claim: string;
  private readonly release: () => void;

  constructor(key: string, claim: string, remembered: Remembered, release: () => void) {
    this.key = key;
    this.claim = claim;
    this.remembered = remembered;
    this.release = release;
  }

  /** Notes where the session stands. */
  store(resume: Resume): void {
    const lineage = toBase64(this.remembered.lineageSecret);
    write(this.key, { claim: this.claim, lineage, resume: { ...resume, live_epoch: "", live_seq: 0 } });
  }

  /** Lets the claim go: the session is over for this page, while what is stored may still be used by the next. */
  close(): void {
    this.release();
  }

  /** Forgets the session: it has ended, and there is nothing to resume. */
  forget(): void {
    write(this.key, { claim: this.claim, lineage: toBase64(this.remembered.lineageSecret), resume: null });
    this.release();
  }
}

/** The memory under a name: what an earlier page of this tab left, or, where that is still in use, a new one. */
export async function openMemory(name: string): Promise<PageMemory> {
  const key = PREFIX + name;
  const known = read(key);
  if (known) {
    const release = await takeClaim(known.claim);
    const lineageSecret = release && secretOf(known.lineage);
    if (release && lineageSecret) {
      return new PageMemory(key, known.claim, { lineageSecret, resume: known.resume }, release);
    }
  }
  const claim = `peerbus/${toBase64Url(randomBytes(12))}`;
  const release = (await takeClaim(claim)) ?? ((): void => undefined);
  return new PageMemory(key, claim, { lineageSecret: randomBytes(16), resume: null }, release);
}

/** Takes a claim for as long as this page lives; gives what releases it, or nothing if another page has it. */
function takeClaim(claim: string): Promise<(() => void) | undefined> {
  // Locks exist in secure contexts only; a phone on the local network often has plain http.
  return typeof navigator.locks === "object" ? takeLock(claim) : takeByAsking(claim);
}

function takeLock(claim: string): Promise<(() => void) | undefined> {
  return new Promise((resolve) => {
    const hold = (): Promise<void> => new Promise((release) => resolve(release));
    navigator.locks
      .request(claim, { signal: AbortSignal.timeout(CLAIM_MS) }, hold)
      .catch(() => resolve(undefined));
  });
}

async function takeByAsking(claim: string): Promise<(() => void) | undefined> {
  const channel = new BroadcastChannel(claim);
  const isHeld = await new Promise<boolean>((resolve) => {
    channel.onmessage = ({ data }) => {
      if (data === "held") resolve(true);
    };
    channel.postMessage("asking");
    setTimeout(() => resolve(false), ANSWER_MS);
  });
  if (isHeld) {
    channel.close();
    return undefined;
  }
  channel.onmessage = ({ data }) => {
    if (data === "asking") channel.postMessage("held");
  };
  return () => channel.close();
}

function read(key: string): Entry | undefined {
  try {
    const entry: unknown = JSON.parse(sessionStorage.getItem(key) ?? "null");
    if (!isObject(entry) || typeof entry["claim"] !== "string" || typeof entry["lineage"] !== "string") {
      return undefined;
    }
    const resume = isObject(entry["resume"]) ? (entry["resume"] as unknown as Resume) : null;
    return { claim: entry["claim"], lineage: entry["lineage"], resume };
  } catch {
    // Storage may be refused altogether, and what is in it may be anything.
    return undefined;
  }
}

function write(key: string, entry: Entry): void {
  try {
    sessionStorage.setItem(key, JSON.stringify(entry));
  } catch {
    // Without storage a reload is a new member; nothing else depends on it.
  }
}

function secretOf(text: string): Uint8Array | undefined {
  try {
    const secret = fromBase64(text);
    return secret.length === 16 ? secret : undefined;
  } catch {
    return undefined;
  }
}

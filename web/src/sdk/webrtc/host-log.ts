/**
 * The order of a host: which frame stands where, as far as it is kept.
 *
 * Owns the entries by their place `n`, and which frames of which sender have a place. Whoever is host gives places; its
 * successor keeps every entry, every other guest what it was sent itself, until all have it. Never decides who is told.
 */

import { ProtocolError } from "../protocol/errors";
import { ENTRY, type EntryMessage } from "./host-frames";
import { decodeFrame, RELIABLE, type Reliable } from "./peer-frames";

/** What stands at one place. */
export interface Entry {
  readonly n: number;
  /** Of the host that gave the place. */
  readonly term: number;
  /** Empty: a marker. */
  readonly sender: string;
  readonly to: readonly string[];
  readonly isForHost: boolean;
  readonly frame: Uint8Array;
  /** When it came here. */
  readonly atMs: number;
}

/** An entry as it is told under this term. */
export function entryMessage(
  { n, term, sender, to, isForHost, frame }: Entry,
  hostTerm: number,
): EntryMessage {
  return { kind: ENTRY, term: hostTerm, n, entryTerm: term, sender, to, isForHost, frame };
}

/** The entry that was told. */
export function entryOf({ n, entryTerm, sender, to, isForHost, frame }: EntryMessage, nowMs: number): Entry {
  return { n, term: entryTerm, sender, to, isForHost, frame, atMs: nowMs };
}

/** The frame read, if it is a reliable one. `prev` is of no meaning here. */
export function reliableOf(frame: Uint8Array): Reliable | undefined {
  try {
    const read = decodeFrame(frame, "");
    return read.kind === RELIABLE ? read : undefined;
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}

export class OrderLog {
  /** The highest place that was ever given, as far as is known. */
  lastN = 0;
  private readonly entries = new Map<number, Entry>();
  private places: number[] = [];
  private readonly covered = new Map<string, Set<string>>();

  /** Keeps an entry; of two at one place that of the higher term. */
  put(entry: Entry): void {
    const before = this.entries.get(entry.n);
    if (before) {
      if (before.term > entry.term) return;
      this.uncover(before);
    } else this.places.splice(this.after(entry.n), 0, entry.n);
    this.entries.set(entry.n, entry);
    this.lastN = Math.max(this.lastN, entry.n);
    this.cover(entry);
  }

  /** Those of `to` for whom this frame has no place that is kept. */
  uncovered(sender: string, { stream, seq }: Reliable, to: readonly string[]): string[] {
    const covered = this.covered.get(keyOf(sender, stream, seq));
    return to.filter((who) => !covered?.has(who));
  }

  /** The entries behind `after`, up to and with `upTo`, in order. */
  between(after: number, upTo: number): Entry[] {
    const entries: Entry[] = [];
    for (let at = this.after(after); at < this.places.length; at++) {
      const entry = this.entries.get(this.places[at] ?? 0);
      if (!entry || entry.n > upTo) break;
      entries.push(entry);
    }
    return entries;
  }

  /** Drops all that are not wanted. */
  keep(isWanted: (entry: Entry) => boolean): void {
    for (const entry of [...this.entries.values()]) {
      if (isWanted(entry)) continue;
      this.uncover(entry);
      this.entries.delete(entry.n);
    }
    if (this.places.length !== this.entries.size) {
      this.places = this.places.filter((n) => this.entries.has(n));
    }
  }

  /** The order ends at `n`. */
  cut(n: number): void {
    this.keep((entry) => entry.n <= n);
    this.lastN = n;
  }

  /** Nothing here is for it any more. */
  forgetRecipient(identity: string): void {
    for (const entry of [...this.entries.values()]) {
      if (!entry.to.includes(identity)) continue;
      this.uncover(entry);
      const changed = { ...entry, to: entry.to.filter((who) => who !== identity) };
      this.entries.set(entry.n, changed);
      this.cover(changed);
    }
  }

  /** The index of the first place behind `n`. */
  private after(n: number): number {
    let low = 0;
    let high = this.places.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.places[middle] ?? 0) <= n) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private cover(entry: Entry): void {
    const frame = entry.sender === "" ? undefined : reliableOf(entry.frame);
    if (!frame) return;
    const key = keyOf(entry.sender, frame.stream, frame.seq);
    const covered = this.covered.get(key) ?? new Set();
    for (const who of entry.to) covered.add(who);
    this.covered.set(key, covered);
  }

  private uncover(entry: Entry): void {
    const frame = entry.sender === "" ? undefined : reliableOf(entry.frame);
    if (!frame) return;
    const key = keyOf(entry.sender, frame.stream, frame.seq);
    const covered = this.covered.get(key);
    if (!covered) return;
    for (const who of entry.to) covered.delete(who);
    if (covered.size === 0) this.covered.delete(key);
  }
}

function keyOf(sender: string, stream: number, seq: number): string {
  return `${stream} ${seq} ${sender}`;
}

/**
 * Who is in the call, what they publish, and what each slot carries: from the SFU's announcements to tracks.
 *
 * Owns the versions below which an announcement is old, the way from bindings to tracks that begin and end, and how
 * many slots there should be. Never touches a track.
 */

import type { Publication, PublicationsSignal, SlotsSignal } from "../protocol/signals.gen";
import type { MediaKind, Peer, RemotePublication } from "./records";

export type SlotCounts = Readonly<Record<MediaKind, number>>;

/** With how many slots a connection begins: enough for a small call, and quickly set up. */
export const FIRST_SLOTS: SlotCounts = { video: 4, audio: 2 };
/** More than these are not offered; with more publications the SFU chooses. */
export const MOST_SLOTS: SlotCounts = { video: 32, audio: 16 };

/** A publication is received now, on the slot `mid`. */
export interface Started {
  readonly event: "started";
  readonly publication: RemotePublication;
  readonly mid: string;
}

/** One that was received already comes on another slot, perhaps of another connection. */
export interface Moved {
  readonly event: "moved";
  readonly publication: RemotePublication;
  readonly mid: string;
}

/** It is not received any more. */
export interface Ended {
  readonly event: "ended";
  readonly id: string;
}

/** Who is in the call, or what they publish, changed. */
export interface PeersChanged {
  readonly event: "peers";
}

export type ReceptionEvent = Started | Moved | Ended | PeersChanged;

export class Reception {
  private callers: readonly { readonly identity: string; readonly name: string }[] = [];
  private publications = new Map<string, RemotePublication>();
  private publicationsTerm = 0;
  private publicationsVersion = 0;
  /** Publications by mid; `undefined` until this connection has heard of them. */
  private bindings: ReadonlyMap<string, string> | undefined;
  private slotsVersion = 0;
  private wanting = 0;
  /** The slot of each publication that is received; `undefined` while a new connection has not said. */
  private received = new Map<string, string | undefined>();

  /** Everyone in the call but `ownIdentity`. */
  peers(ownIdentity: string): Peer[] {
    const names = new Map(this.callers.map(({ identity, name }) => [identity, name]));
    for (const { identity, name } of this.publications.values()) {
      if (!names.has(identity)) names.set(identity, name);
    }
    names.delete(ownIdentity);
    const all = [...this.publications.values()];
    return [...names].map(([identity, name]) => ({
      identity,
      name,
      publications: all.filter((publication) => publication.identity === identity),
    }));
  }

  /** The publication that a slot carries. */
  carriedBy(mid: string): RemotePublication | undefined {
    for (const [id, slot] of this.received) if (slot === mid) return this.publications.get(id);
    return undefined;
  }

  /** What is received now, and on which slot. */
  get carried(): readonly { readonly publication: RemotePublication; readonly mid: string }[] {
    return [...this.received].flatMap(([id, mid]) => {
      const publication = this.publications.get(id);
      return publication && mid !== undefined ? [{ publication, mid }] : [];
    });
  }

  publication(id: string): RemotePublication | undefined {
    return this.publications.get(id);
  }

  /** A new connection begins; what is received stays so until it has said what its slots carry. */
  begin(): void {
    this.bindings = undefined;
    this.slotsVersion = 0;
    this.wanting = 0;
    this.received = new Map([...this.received.keys()].map((id) => [id, undefined]));
  }

  /** The call is over on this side. */
  finish(): ReceptionEvent[] {
    const ended = [...this.received.keys()].map((id): ReceptionEvent => ({ event: "ended", id }));
    const hadPeers = this.callers.length > 0 || this.publications.size > 0;
    this.callers = [];
    this.publications.clear();
    this.bindings = undefined;
    this.received.clear();
    return hadPeers ? [...ended, { event: "peers" }] : ended;
  }

  /** Takes an announcement whose term counts. */
  published(signal: PublicationsSignal): ReceptionEvent[] {
    const isNewer = signal.term > this.publicationsTerm || signal.version > this.publicationsVersion;
    if (!isNewer) return [];
    this.publicationsTerm = signal.term;
    this.publicationsVersion = signal.version;
    this.publications = new Map(trueOf(signal).map((one) => [one.publication, remote(one)]));
    this.callers = signal.callers;
    return [{ event: "peers" }, ...this.reconcile()];
  }

  /** Takes the bindings of the connection that counts. */
  bound(signal: SlotsSignal): ReceptionEvent[] {
    if (signal.version <= this.slotsVersion) return [];
    this.slotsVersion = signal.version;
    this.wanting = signal.wanting;
    this.bindings = new Map(
      signal.bindings.flatMap(({ mid, publication }) =>
        publication === undefined ? [] : [[mid, publication] as const],
      ),
    );
    return this.reconcile();
  }

  /** How many slots there should be, given those there are: twice as many of a kind that has too few. */
  slotsWanted(slots: SlotCounts, ownIdentity: string): SlotCounts {
    if (this.wanting === 0) return slots;
    const grown = (kind: MediaKind): number => {
      const others = [...this.publications.values()].filter(
        ({ media, identity }) => media === kind && identity !== ownIdentity,
      );
      const needed = Math.min(others.length, MOST_SLOTS[kind]);
      let count = slots[kind];
      while (count < needed) count = Math.min(Math.max(1, count * 2), MOST_SLOTS[kind]);
      return count;
    };
    return { video: grown("video"), audio: grown("audio") };
  }

  /** From what is received to what the slots carry now. A track ends before another takes its slot. */
  private reconcile(): ReceptionEvent[] {
    if (!this.bindings) return [];
    const carried = new Map(
      [...this.bindings].filter(([, id]) => this.publications.has(id)).map(([mid, id]) => [id, mid]),
    );
    const events: ReceptionEvent[] = [];
    for (const id of [...this.received.keys()]) {
      if (carried.has(id)) continue;
      this.received.delete(id);
      events.push({ event: "ended", id });
    }
    for (const [id, mid] of carried) {
      const publication = this.publications.get(id);
      if (publication && this.received.get(id) !== mid) {
        events.push({ event: this.received.has(id) ? "moved" : "started", publication, mid });
      }
      this.received.set(id, mid);
    }
    return events;
  }
}

/**
 * Those that bear the names they are shown under: frames are sealed under the publisher's name and the full id, and so
 * are opened whoever the SFU says they come from.
 */
function trueOf({ callers, publications }: PublicationsSignal): Publication[] {
  const names = new Map(callers.map(({ identity, name }) => [identity, name]));
  return publications.filter(({ publication, participant, name }) => {
    if (!publication.startsWith(`${participant}/`)) return false;
    if (!names.has(participant)) names.set(participant, name);
    return names.get(participant) === name;
  });
}

function remote(one: Publication): RemotePublication {
  const { publication: id, participant: identity, name, media, source } = one;
  return { id, identity, name, media, source, isMuted: one.is_muted, isSealed: one.is_sealed };
}

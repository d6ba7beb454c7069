/**
 * What a member of a group in mode `host` knows, whether it is host or guest: it stays when the one becomes the other.
 *
 * Owns the group as the server told it last, the log, how far this member has got in the order, the newest snapshot, and
 * what is to go out. Never decides anything: `host-serving` and `host-following` do.
 */

import type { ProtocolError } from "../protocol/errors";
import {
  type Bases,
  type Done,
  encodeHostMessage,
  HOST_ROLE,
  type HostLinkMessage,
  joinHostMessages,
} from "./host-frames";
import { noteDone } from "./host-inbox";
import { type Entry, OrderLog, reliableOf } from "./host-log";
import { isNewer, type Snapshot } from "./host-state";

const BASES_MAX = 16;

/** What the server says of the group that matters here. */
export interface HostView {
  readonly version: number;
  /** Of the host. */
  readonly term: number;
  readonly host: string;
  readonly successor: string | undefined;
  /** Identities and their orders, the own one included. Under another order a member has begun anew. */
  readonly members: ReadonlyMap<string, number>;
  /** This member may have missed what the server said before this. */
  readonly hasGap: boolean;
}

export type HostOutput =
  /** Bytes for the data channel to a peer: the reliable or the lossy one. */
  | {
      readonly output: "transmit";
      readonly peer: string;
      readonly data: Uint8Array;
      readonly isLossy: boolean;
    }
  /**
   * A frame of the delivery layer, for this member. `isForHost`: this member is host, and a state holds it; `isInState`:
   * the state that a new host goes on from holds it, so that its application has it by that.
   */
  | {
      readonly output: "frame";
      readonly sender: string;
      readonly frame: Uint8Array;
      readonly isForHost: boolean;
      readonly isInState: boolean;
    }
  /** A whole message for the application of the host; `isReplayed`: it may have been given before, to the guest. */
  | {
      readonly output: "message";
      readonly sender: string;
      readonly payload: unknown;
      readonly n: number;
      readonly isReplayed: boolean;
    }
  /** There is a host, and this member is with it; `state` is the newest snapshot here. */
  | {
      readonly output: "host";
      readonly host: string;
      readonly term: number;
      readonly state: Snapshot | undefined;
    }
  /** Frames can be handed in; what the delivery layer has not acknowledged goes out once more, in order. */
  | { readonly output: "path" }
  /** Nothing of this peer comes any more: it left, and what was safe of it is delivered. */
  | { readonly output: "gone"; readonly identity: string }
  | { readonly output: "renew"; readonly term: number }
  /** Nothing comes from the host any more, though the link to it stands; for the server. */
  | { readonly output: "unheard"; readonly term: number }
  /** A peer that others count on does not answer, or does again; for the server. */
  | { readonly output: "reachable"; readonly peer: string; readonly isReachable: boolean }
  | { readonly output: "bad"; readonly peer: string; readonly error: ProtocolError };

/** How much is kept for a new host beyond what everybody has: messages to the host since its state was set last. */
const REPLAY_ENTRIES_MAX = 8_192;
const REPLAY_BYTES_MAX = 4 * 1_048_576;

export class HostRecord {
  readonly identity: string;
  view: HostView | undefined;
  readonly log = new OrderLog();
  /** The term of the host that the position is of; 0: none was ever joined. */
  positionTerm = 0;
  /** This member was given all that is for it up to here. */
  position = 0;
  /** Everybody was. */
  stable = 0;
  /** The host's application was given all that is for it up to here, as far as is known. */
  released = 0;
  snapshot: Snapshot | undefined;
  bases: Bases = [];
  /** What hosts took in of each sender that is not kept in the log any more. */
  done: Done = new Map();
  readonly links = new Set<string>();
  /** Who left, and by which version of the group, while not everything of it may have come. */
  readonly absent = new Map<string, number>();
  /** How many times the way to all others began anew. */
  paths = 0;
  /** How many messages to the host were dropped that came after its last state. */
  forgotten = 0;
  /** How many messages of an older term, or of no host, were refused. */
  stale = 0;
  outputs: HostOutput[] = [];
  private marked = 0;
  private out = new Map<string, Uint8Array[]>();

  constructor(identity: string) {
    this.identity = identity;
  }

  // --- going out -------------------------------------------------------------------------------------------

  /** On the reliable channel, with what else goes there now. */
  say(peer: string, message: HostLinkMessage): void {
    this.sayBytes(peer, encodeHostMessage(message));
  }

  sayBytes(peer: string, message: Uint8Array): void {
    if (!this.links.has(peer)) return;
    const waiting = this.out.get(peer);
    if (waiting) waiting.push(message);
    else this.out.set(peer, [message]);
  }

  sayLossy(peer: string, message: Uint8Array): void {
    if (!this.links.has(peer)) return;
    for (const data of joinHostMessages([message])) {
      this.outputs.push({ output: "transmit", peer, data, isLossy: true });
    }
  }

  /** All that was to be told since it was asked before. */
  take(): HostOutput[] {
    for (const [peer, messages] of this.out) {
      for (const data of joinHostMessages(messages)) {
        this.outputs.push({ output: "transmit", peer, data, isLossy: false });
      }
    }
    this.out = new Map();
    const { outputs } = this;
    this.outputs = [];
    return outputs;
  }

  /** The link is gone, and with it what was to go there. */
  unsay(peer: string): void {
    this.out.delete(peer);
  }

  /** There is a way to all others, which knows nothing of what was handed in before. */
  beginPath(): void {
    this.paths += 1;
    this.outputs.push({ output: "path" });
  }

  // --- the order -------------------------------------------------------------------------------------------

  /** Moves on to an entry; whether it is new to this member and for it. */
  reached(entry: Entry): boolean {
    if (entry.n <= this.position) return false;
    this.position = entry.n;
    if (!entry.to.includes(this.identity)) return false;
    if (entry.sender !== "") return true;
    this.marked = Math.max(this.marked, versionOf(entry.frame));
    this.tellGone();
    return false;
  }

  /** The server says, with this version of the group, that somebody left. */
  left(identity: string, version: number): void {
    this.absent.set(identity, version);
    this.log.forgetRecipient(identity);
    this.tellGone();
  }

  /** Drops what everybody has, but for what a new host would take in again after the newest snapshot. */
  prune(): void {
    const { stable, snapshot, log } = this;
    const floor = snapshot ? snapshot.floor : stable + 1;
    if (!snapshot) {
      for (const entry of log.between(0, stable)) {
        const frame = entry.isForHost ? reliableOf(entry.frame) : undefined;
        if (frame) noteDone(this.done, entry.sender, frame, isRole(entry));
      }
    }
    log.keep((entry) => entry.n > stable || (entry.isForHost && entry.n >= floor));
    this.boundReplay();
  }

  /** An application that sets its state once and never again has no claim to all that came since. */
  private boundReplay(): void {
    const { log, stable } = this;
    const kept = log.between(0, stable);
    let size = kept.reduce((sum, { frame }) => sum + frame.length, 0);
    if (kept.length <= REPLAY_ENTRIES_MAX && size <= REPLAY_BYTES_MAX) return;
    let first = 0;
    // A quarter more than has to, so that this is not done for each message.
    while (kept.length - first > (REPLAY_ENTRIES_MAX * 3) / 4 || size > (REPLAY_BYTES_MAX * 3) / 4) {
      size -= kept[first]?.frame.length ?? 0;
      first += 1;
    }
    const low = kept[first]?.n ?? stable + 1;
    log.keep(({ n }) => n >= low);
    this.forgotten += first;
  }

  /** Keeps it if it is the newest. */
  takeSnapshot(snapshot: Snapshot): void {
    if (this.snapshot && !isNewer(snapshot.age, this.snapshot.age)) return;
    this.snapshot = snapshot;
    this.prune();
  }

  /** A host begins: the order goes on behind the log. */
  tookOver(term: number): void {
    this.bases = [...this.bases, [term, this.log.lastN] as const].slice(-BASES_MAX);
  }

  /** How far a guest with this position has the order of `term`. */
  resumeFrom(positionTerm: number, position: number, term: number): number {
    if (positionTerm === term) return position;
    const later = this.bases.filter(([base]) => base > positionTerm).map(([, n]) => n);
    return Math.min(position, ...later);
  }

  private tellGone(): void {
    for (const [identity, version] of [...this.absent]) {
      if (version > this.marked) continue;
      this.absent.delete(identity);
      this.outputs.push({ output: "gone", identity });
    }
  }
}

/** Whether an entry is for the host by its role. */
export function isRole({ to }: Entry): boolean {
  return to.includes(HOST_ROLE);
}

/** A marker's frame: a version of the group, in eight bytes. */
export function markerOf(version: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(version));
  return bytes;
}

function versionOf(frame: Uint8Array): number {
  let version = 0;
  for (const byte of frame) version = version * 256 + byte;
  return version;
}

/**
 * The guests of a host: what each of them has been told, and what it said that it has.
 *
 * Owns who is welcome, who has to wait because it knows more of the group than the host, and what goes to whom on the links.
 * Never gives a place in the order, and never decides what is safe (`host-serving`).
 */

import { encodeHostMessage, type Hello } from "./host-frames";
import { entryMessage } from "./host-log";
import type { HostRecord, HostView } from "./host-record";
import { isNewer, piecesOf, type Snapshot, SnapshotReader, SnapshotSending } from "./host-state";

/** What the host knows of a guest, on one link. */
export class HostGuest {
  readonly hello: Hello;
  isWelcome = false;
  /** It is the successor, and is told everything. */
  isReplica = false;
  /** The last place it was told of, or passed over. */
  sent = 0;
  acked = 0;
  /** As successor: it has everything up to here. */
  safe = 0;
  readonly states: SnapshotSending;
  readonly reader = new SnapshotReader();

  constructor(hello: Hello) {
    this.hello = hello;
    this.states = new SnapshotSending([hello.stateTerm, hello.stateVersion]);
  }
}

/** For one term of one host. */
export class HostGuests {
  private readonly record: HostRecord;
  private readonly term: number;
  private readonly guests = new Map<string, HostGuest>();
  /** Who said hello with a version of the group that the host does not know yet. */
  private readonly early = new Map<string, Hello>();

  constructor(record: HostRecord, term: number) {
    this.record = record;
    this.term = term;
  }

  /** By identity, welcome or not. */
  get all(): ReadonlyMap<string, HostGuest> {
    return this.guests;
  }

  get(peer: string): HostGuest | undefined {
    return this.guests.get(peer);
  }

  // --- who they are ----------------------------------------------------------------------------------------

  /** Whether a hello is to be answered now; else it waits for a later version of the group. */
  expects(peer: string, hello: Hello, view: HostView): boolean {
    if (view.members.has(peer) && hello.version <= view.version) return true;
    this.guests.delete(peer);
    this.early.set(peer, hello);
    return false;
  }

  /** A guest is there, on a new link or anew. */
  greet(peer: string, hello: Hello): HostGuest {
    const guest = new HostGuest(hello);
    this.guests.set(peer, guest);
    return guest;
  }

  /** The group changed; gives what is to be answered now. */
  regroup(view: HostView): [peer: string, hello: Hello][] {
    for (const [peer, { hello }] of [...this.guests]) {
      if (view.members.has(peer)) continue;
      this.guests.delete(peer);
      this.early.set(peer, hello);
    }
    const waiting = [...this.early];
    this.early.clear();
    return waiting.filter(([peer, hello]) => this.expects(peer, hello, view));
  }

  /** The link is gone. */
  drop(peer: string): void {
    this.guests.delete(peer);
    this.early.delete(peer);
  }

  /** Whoever else was the successor is a guest like others. */
  onlyReplica(successor: string | undefined): void {
    for (const [peer, guest] of this.guests) if (peer !== successor) guest.isReplica = false;
  }

  // --- what they are told ----------------------------------------------------------------------------------

  /** Tells one of them, if it is welcome. */
  say(peer: string, message: Uint8Array, isLossy = false): void {
    if (!this.guests.get(peer)?.isWelcome) return;
    if (isLossy) this.record.sayLossy(peer, message);
    else this.record.sayBytes(peer, message);
  }

  /** Tells all who are welcome. */
  sayToAll(message: Uint8Array): void {
    for (const peer of this.guests.keys()) this.say(peer, message);
  }

  /**
   * What a guest has not been told: the successor of everything, others of what is released and for them. `encoded` keeps
   * what is told to many.
   */
  tell(peer: string, guest: HostGuest, released: number, encoded: Map<number, Uint8Array>): void {
    const { record, term } = this;
    const upTo = guest.isReplica ? record.log.lastN : released;
    if (!guest.isWelcome || upTo <= guest.sent) return;
    for (const entry of record.log.between(guest.sent, upTo)) {
      if (!guest.isReplica && !entry.to.includes(peer)) continue;
      const bytes = encoded.get(entry.n) ?? encodeHostMessage(entryMessage(entry, term));
      encoded.set(entry.n, bytes);
      record.sayBytes(peer, bytes);
    }
    guest.sent = upTo;
  }

  /** The newest snapshot to the successor at once, and to all others as soon as that has it. */
  pushStates(successor: string | undefined, nowMs: number): void {
    const { record } = this;
    const { snapshot } = record;
    if (!snapshot) return;
    const replica = successor === undefined ? undefined : this.guests.get(successor);
    const isSafe =
      successor === undefined || (replica !== undefined && !isNewer(snapshot.age, replica.states.has));
    let pieces: Uint8Array[] | undefined;
    for (const [peer, guest] of this.guests) {
      const isDue = guest.isReplica || (isSafe && nowMs >= guest.states.nextMs);
      if (!guest.isWelcome || !isDue || !guest.states.wants(snapshot)) continue;
      pieces ??= this.pieces(snapshot);
      this.sendState(peer, guest, snapshot, pieces, nowMs);
    }
  }

  /** Sees to it that a guest has the newest snapshot before all that it is told from now on. */
  pushStateTo(peer: string, guest: HostGuest, nowMs: number): void {
    const { snapshot } = this.record;
    const { has, underWay } = guest.states;
    if (!snapshot || !isNewer(snapshot.age, has) || (underWay && !isNewer(snapshot.age, underWay))) return;
    this.sendState(peer, guest, snapshot, this.pieces(snapshot), nowMs);
  }

  private pieces(snapshot: Snapshot): Uint8Array[] {
    return piecesOf(snapshot, this.term).map(encodeHostMessage);
  }

  private sendState(
    peer: string,
    guest: HostGuest,
    snapshot: Snapshot,
    pieces: readonly Uint8Array[],
    nowMs: number,
  ): void {
    for (const piece of pieces) this.record.sayBytes(peer, piece);
    guest.states.sent(snapshot, nowMs);
  }
}

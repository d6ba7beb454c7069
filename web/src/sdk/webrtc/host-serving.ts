/**
 * The host of a group: gives every reliable frame its place, and shows nothing to anybody before it is safe.
 *
 * Owns who of the guests has what, what is released, and the gathering of what a host before it has left. Never decides who
 * is host (the server does) and never keeps what the delivery layer keeps: frames wait here only until they were received.
 * See PROTOCOL.md, section "Host mode".
 */

import { ProtocolError } from "../protocol/errors";
import {
  ACK_ENTRIES,
  ALIVE,
  ENTRY,
  encodeHostMessage,
  FETCH,
  frameKind,
  HELLO,
  type Hello,
  HOST_ROLE,
  type HostLinkMessage,
  KNOWN,
  PASS,
  PASSED,
  SAFE,
  STATE_HAVE,
  STATE_PIECE,
  SUBMIT,
  SYNC,
  SYNCED,
  TAIL_END,
  WELCOME,
} from "./host-frames";
import { type HostGuest, HostGuests } from "./host-guests";
import { HostInbox } from "./host-inbox";
import { type Entry, entryMessage, entryOf, reliableOf } from "./host-log";
import { type HostRecord, type HostView, isRole, markerOf } from "./host-record";
import { isNewer, snapshotOf } from "./host-state";
import { FLUSHED, LOSSY, RELIABLE } from "./peer-frames";
import { ACK_MS } from "./peer-receiving";

/** How long a new host that may not have everything waits for the others. */
const GATHER_MS = 2_000;
/** How often the host says on its links that it works. */
const ALIVE_MS = 100;
/** How often guests are told what everybody has. */
const KNOWN_MS = 200;
/** How long a frame is kept for a recipient that the host does not know, or not yet. */
const GONE_MS = 3_000;
/** Likewise for a member that has no link to the host. */
const ABSENT_MS = 30_000;
/** After how much silence of the successor the server is told. */
const STALL_MS = 1_000;
/** Likewise, if it has not come yet. */
const LINK_MS = 3_000;

/** For one term. */
export class HostServing {
  readonly term: number;
  isReady = false;
  /** Everything up to here may be seen. */
  private released = 0;
  private readonly record: HostRecord;
  private view: HostView;
  private readonly lastHost: string;
  private readonly gatherUntilMs: number;
  /** What is released and not taken in yet. */
  private readonly pending: Entry[] = [];
  /** Up to here this member was given what is for it. */
  private taken = 0;
  private readonly guests: HostGuests;
  private readonly gathered = new Set<string>();
  private inbox = new HostInbox(new Map());
  private applied = 0;
  private replays = false;
  private versions = 0;
  /** The version of the state that was found too old. */
  private warned = -1;
  private aliveDueMs: number;
  private knownDueMs: number;
  private known: readonly [stable: number, taken: number] = [0, 0];
  private stalledMs: number | undefined;
  private readonly reported = new Set<string>();

  /** `isSure`: this member has all that was ever shown to anybody; then it begins at once. */
  constructor(record: HostRecord, view: HostView, isSure: boolean, lastHost: string, nowMs: number) {
    this.record = record;
    this.view = view;
    this.term = view.term;
    this.guests = new HostGuests(record, view.term);
    this.lastHost = lastHost;
    this.gatherUntilMs = isSure ? nowMs : nowMs + GATHER_MS;
    this.aliveDueMs = nowMs + ALIVE_MS;
    this.knownDueMs = nowMs + KNOWN_MS;
    this.gather(nowMs);
  }

  // --- the group -------------------------------------------------------------------------------------------

  /** The group changed, not the host. */
  regroup(view: HostView, nowMs: number): void {
    const before = this.view;
    this.view = view;
    for (const peer of [...this.reported]) if (!view.members.has(peer)) this.reported.delete(peer);
    for (const [peer, hello] of this.guests.regroup(view)) this.hello(peer, hello, nowMs);
    if (view.successor !== before.successor) {
      this.stalledMs = undefined;
      this.guests.onlyReplica(view.successor);
      this.sync(nowMs);
    }
    if (!this.isReady) this.gather(nowMs);
    // Each version: a guest may learn by a later one than others that somebody left.
    else this.mark(nowMs);
    this.advance();
  }

  /** The link to a guest is gone. */
  unlinked(peer: string): void {
    this.guests.drop(peer);
  }

  // --- frames ----------------------------------------------------------------------------------------------

  /** A frame of a guest or of the host itself: it is given a place, or passed on. */
  submit(sender: string, to: readonly string[], frame: Uint8Array, nowMs: number): void {
    const kind = frameKind(frame);
    if (kind === RELIABLE) {
      const read = reliableOf(frame);
      if (!read) return;
      if (to.includes(HOST_ROLE)) this.inbox.owe(sender, nowMs + ACK_MS);
      const fresh = this.record.log.uncovered(sender, read, to);
      if (fresh.length > 0) this.place(sender, fresh, frame, nowMs);
    } else if (kind === FLUSHED) this.place(sender, to, frame, nowMs);
    else this.passOn(sender, to, frame);
  }

  /** The application's state as it is now. Throws `ProtocolError`: `bad_request`, `too_large`. */
  setState(state: unknown, nowMs: number): void {
    const { record, view, inbox, term, taken } = this;
    const isKept = (who: string): boolean => view.members.has(who) || record.absent.has(who);
    const done = new Map([...inbox.done].filter(([who]) => isKept(who)));
    const snapshot = snapshotOf(state, [term, this.versions + 1], taken, inbox.floor(taken), done);
    this.versions += 1;
    record.takeSnapshot(snapshot);
    this.pushStates(nowMs);
  }

  /** A frame that has no place in the order. */
  private passOn(sender: string, to: readonly string[] | null, frame: Uint8Array): void {
    const { record, term, view } = this;
    const message = encodeHostMessage({ kind: PASSED, term, sender, frame });
    const everybody = [...view.members.keys()].filter((who) => who !== sender);
    for (const peer of to ?? everybody) {
      if (peer === record.identity || peer === HOST_ROLE) {
        record.outputs.push({ output: "frame", sender, frame, isForHost: false, isInState: false });
      } else this.guests.say(peer, message, frameKind(frame) === LOSSY);
    }
  }

  // --- what guests say -------------------------------------------------------------------------------------

  /** A message of a guest, under this term. */
  receive(peer: string, message: HostLinkMessage, nowMs: number): void {
    if (message.kind === HELLO) {
      if (this.guests.expects(peer, message, this.view)) this.hello(peer, message, nowMs);
      return;
    }
    const guest = this.guests.get(peer);
    if (!guest) return;
    if (this.reported.delete(peer))
      this.record.outputs.push({ output: "reachable", peer, isReachable: true });
    if (!guest.isWelcome) this.tail(peer, guest, message, nowMs);
    else this.heard(peer, guest, message, nowMs);
  }

  private heard(peer: string, guest: HostGuest, message: HostLinkMessage, nowMs: number): void {
    switch (message.kind) {
      case SUBMIT:
        this.submit(peer, message.to, message.frame, nowMs);
        break;
      case PASS:
        this.passOn(peer, message.to, message.frame);
        break;
      case ACK_ENTRIES:
        guest.acked = Math.max(guest.acked, message.n);
        break;
      case SAFE:
        if (guest.isReplica && message.n > guest.safe) {
          guest.safe = Math.min(message.n, guest.sent);
          this.stalledMs = undefined;
          this.advance();
        }
        guest.acked = Math.max(guest.acked, Math.min(message.n, guest.sent));
        break;
      case STATE_HAVE:
        guest.states.got([message.stateTerm, message.version]);
        this.pushStates(nowMs);
        break;
      default:
        break;
    }
  }

  /** Does what is due. */
  tick(nowMs: number): void {
    if (!this.isReady) {
      this.gather(nowMs);
      return;
    }
    for (const [sender, frame] of this.inbox.acks(nowMs)) this.answer(sender, frame);
    if (nowMs >= this.aliveDueMs) {
      this.aliveDueMs = nowMs + ALIVE_MS;
      this.guests.sayToAll(encodeHostMessage({ kind: ALIVE, term: this.term }));
    }
    if (nowMs >= this.knownDueMs) {
      this.knownDueMs = nowMs + KNOWN_MS;
      this.tellKnown(nowMs);
    }
    this.pushStates(nowMs);
    this.watchSuccessor(nowMs);
  }

  /** When to call `tick`. */
  get deadlineMs(): number {
    if (!this.isReady) return this.gatherUntilMs;
    return Math.min(this.aliveDueMs, this.knownDueMs, this.inbox.deadlineMs ?? this.knownDueMs);
  }

  // --- taking over -----------------------------------------------------------------------------------------

  private hello(peer: string, hello: Hello, nowMs: number): void {
    const guest = this.guests.greet(peer, hello);
    if (this.isReady) {
      this.welcome(peer, guest, nowMs);
      return;
    }
    const wantsState = isNewer([hello.stateTerm, hello.stateVersion], this.record.snapshot?.age ?? [0, 0]);
    this.record.say(peer, { kind: FETCH, term: this.term, wantsState });
  }

  private tail(peer: string, guest: HostGuest, message: HostLinkMessage, nowMs: number): void {
    const { record } = this;
    if (message.kind === ENTRY) record.log.put(entryOf(message, nowMs));
    else if (message.kind === STATE_PIECE) {
      try {
        const snapshot = guest.reader.read(message);
        if (snapshot) record.takeSnapshot(snapshot);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        record.outputs.push({ output: "bad", peer, error });
      }
    } else if (message.kind === TAIL_END) {
      record.log.lastN = Math.max(record.log.lastN, guest.hello.position);
      this.gathered.add(peer);
      this.gather(nowMs);
    }
  }

  /** Begins when everybody has said what it has, or when that takes too long. */
  private gather(nowMs: number): void {
    const { record, term } = this;
    const isAwaited = (who: string): boolean =>
      !this.gathered.has(who) && who !== record.identity && who !== this.lastHost;
    if (this.isReady) return;
    if ([...this.view.members.keys()].some(isAwaited) && nowMs < this.gatherUntilMs) return;
    this.isReady = true;
    record.log.lastN = Math.max(record.log.lastN, record.position, record.stable, record.released);
    record.tookOver(term);
    record.positionTerm = term;
    const { snapshot } = record;
    this.replays = snapshot !== undefined;
    this.inbox = new HostInbox(snapshot ? snapshot.done : record.done);
    this.applied = snapshot ? snapshot.n : record.released;
    this.released = Math.min(record.stable, snapshot ? snapshot.floor - 1 : this.applied);
    this.taken = this.released;
    record.outputs.push({ output: "host", host: record.identity, term, state: snapshot });
    record.beginPath();
    this.mark(nowMs);
    for (const [peer, guest] of this.guests.all) this.welcome(peer, guest, nowMs);
    this.advance();
  }

  private welcome(peer: string, guest: HostGuest, nowMs: number): void {
    const { positionTerm, position } = guest.hello;
    const n = this.record.resumeFrom(positionTerm, position, this.term);
    guest.isWelcome = true;
    guest.sent = n;
    guest.acked = n;
    this.record.say(peer, { kind: WELCOME, term: this.term, n });
    this.sync(nowMs);
    this.guests.tell(peer, guest, this.released, new Map());
    this.pushStates(nowMs);
  }

  /** Has the successor take in everything. */
  private sync(nowMs: number): void {
    const { record, term } = this;
    const peer = this.view.successor;
    const { replica } = this;
    if (!this.isReady || peer === undefined || !replica?.isWelcome || replica.isReplica) return;
    const done = record.snapshot ? record.done : this.inbox.done;
    record.say(peer, { kind: SYNC, term, version: this.view.version, bases: record.bases, done });
    for (const entry of record.log.between(0, record.log.lastN)) record.say(peer, entryMessage(entry, term));
    // What the snapshot holds is not in the log any more: without it, the successor would not have all.
    this.guests.pushStateTo(peer, replica, nowMs);
    record.say(peer, { kind: SYNCED, term, n: record.log.lastN });
    replica.isReplica = true;
    replica.sent = record.log.lastN;
    replica.safe = 0;
    this.pushStates(nowMs);
  }

  private get replica(): HostGuest | undefined {
    const { successor } = this.view;
    return successor === undefined ? undefined : this.guests.get(successor);
  }

  // --- the order -------------------------------------------------------------------------------------------

  private place(sender: string, to: readonly string[], frame: Uint8Array, nowMs: number): void {
    const { record, term } = this;
    const n = record.log.lastN + 1;
    const isForHost = to.includes(HOST_ROLE) || to.includes(record.identity);
    record.log.put({ n, term, sender, to, isForHost, frame, atMs: nowMs });
    this.advance();
  }

  /** All of this version of the group is behind what came before: who is gone sends nothing more. */
  private mark(nowMs: number): void {
    this.place("", [...this.view.members.keys()], markerOf(this.view.version), nowMs);
  }

  /** Replicates, releases what is safe, and tells it to whom it is for. */
  private advance(): void {
    if (!this.isReady) return;
    const encoded = new Map<number, Uint8Array>();
    const { successor } = this.view;
    const { replica } = this;
    if (successor !== undefined && replica?.isReplica)
      this.guests.tell(successor, replica, this.released, encoded);
    const safe = successor === undefined ? this.record.log.lastN : (replica?.safe ?? 0);
    if (safe <= this.released) return;
    const entries = this.record.log.between(this.released, safe);
    this.released = safe;
    for (const [peer, guest] of this.guests.all) this.guests.tell(peer, guest, this.released, encoded);
    this.pending.push(...entries);
  }

  /** Takes in the next entry that is released, if there is one: one by one, so that a state is at its place. */
  takeIn(nowMs: number): boolean {
    const entry = this.pending.shift();
    if (!entry) {
      this.taken = this.released;
      return false;
    }
    this.taken = entry.n;
    this.takeInOne(entry, nowMs);
    return true;
  }

  private takeInOne(entry: Entry, nowMs: number): void {
    const { record, inbox } = this;
    const { n, sender, frame, isForHost } = entry;
    const isNew = record.reached(entry);
    const read = sender === "" ? undefined : reliableOf(frame);
    if (!read) {
      if (isNew) record.outputs.push({ output: "frame", sender, frame, isForHost: false, isInState: false });
      return;
    }
    const events = isForHost ? inbox.feed(n, sender, read, nowMs, isRole(entry)) : [];
    if (isRole(entry)) inbox.owe(sender, nowMs + ACK_MS);
    else if (isNew) {
      const isInState = this.replays && isForHost && n <= this.applied;
      record.outputs.push({ output: "frame", sender, frame, isForHost: isForHost && !isInState, isInState });
      return;
    } else if (!this.replays) return;
    if (n <= this.applied) return;
    const isReplayed = entry.term !== this.term;
    for (const event of events) {
      if (event.event !== "delivered") continue;
      record.outputs.push({ output: "message", sender, payload: event.payload, n, isReplayed });
    }
  }

  /** An acknowledgement of the host's role. */
  private answer(sender: string, frame: Uint8Array): void {
    const { record, term } = this;
    if (sender === record.identity) {
      record.outputs.push({ output: "frame", sender: HOST_ROLE, frame, isForHost: false, isInState: false });
    } else this.guests.say(sender, encodeHostMessage({ kind: PASSED, term, sender: HOST_ROLE, frame }));
  }

  // --- what is due -----------------------------------------------------------------------------------------

  private tellKnown(nowMs: number): void {
    const { record, term, taken } = this;
    let { stable } = record;
    let isWhole = true;
    for (const entry of record.log.between(stable, taken)) {
      isWhole = entry.to.every((peer) => this.has(peer, entry, nowMs));
      if (!isWhole) break;
      stable = entry.n;
    }
    if (isWhole) stable = Math.max(stable, taken);
    record.stable = stable;
    record.released = taken;
    if (stable === this.known[0] && taken === this.known[1]) return;
    this.known = [stable, taken];
    record.prune();
    this.tellForgotten();
    this.guests.sayToAll(encodeHostMessage({ kind: KNOWN, term, stable, released: taken }));
  }

  /** Once for a state. */
  private tellForgotten(): void {
    const { record } = this;
    if (record.forgotten > 0 && this.warned !== this.versions) {
      this.warned = this.versions;
      const text = "The state was set too long ago: a new host would not be given all messages since then.";
      const error = new ProtocolError("queue_full", text);
      record.outputs.push({ output: "bad", peer: record.identity, error });
    }
    record.forgotten = 0;
  }

  private has(peer: string, entry: Entry, nowMs: number): boolean {
    if (peer === this.record.identity || peer === HOST_ROLE) return true;
    const guest = this.guests.get(peer);
    if (guest) return guest.acked >= entry.n;
    // Who can't come to the host gets it from the sender, which keeps it.
    return nowMs >= entry.atMs + (this.view.members.has(peer) ? ABSENT_MS : GONE_MS);
  }

  private pushStates(nowMs: number): void {
    this.guests.pushStates(this.view.successor, nowMs);
  }

  /** A successor that does not answer holds everybody up: the server is told, and names another. */
  private watchSuccessor(nowMs: number): void {
    const { successor } = this.view;
    const { replica } = this;
    if (successor === undefined) return;
    const isLinked = replica?.isReplica === true;
    if (replica?.isReplica && replica.safe >= this.record.log.lastN) this.stalledMs = undefined;
    else if (this.stalledMs === undefined) this.stalledMs = nowMs;
    else if (nowMs - this.stalledMs >= (isLinked ? STALL_MS : LINK_MS) && !this.reported.has(successor)) {
      this.reported.add(successor);
      this.record.outputs.push({ output: "reachable", peer: successor, isReachable: false });
    }
  }
}

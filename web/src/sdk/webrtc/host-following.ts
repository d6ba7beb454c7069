/**
 * A guest of a host: says hello, takes its place in the order, and keeps what the host needs it to keep.
 *
 * Owns whether the host has this guest, and whether this guest, as successor, has everything. Never takes a message of any
 * other host or term than the server names. See PROTOCOL.md, section "Host mode".
 */

import { ProtocolError } from "../protocol/errors";
import {
  ACK_ENTRIES,
  ENTRY,
  type EntryMessage,
  encodeHostMessage,
  FETCH,
  frameKind,
  HELLO,
  type HostLinkMessage,
  KNOWN,
  PASS,
  PASSED,
  SAFE,
  STATE_HAVE,
  STATE_PIECE,
  type StatePiece,
  SUBMIT,
  SYNC,
  SYNCED,
  TAIL_END,
  WELCOME,
} from "./host-frames";
import { entryMessage, entryOf } from "./host-log";
import type { HostRecord, HostView } from "./host-record";
import { HostSilence } from "./host-silence";
import { piecesOf, SnapshotReader } from "./host-state";
import { FLUSHED, LOSSY, RELIABLE } from "./peer-frames";
import { ACK_MS } from "./peer-receiving";

const ACK_FRAMES = 32;

/** For one host under one term. */
export class HostFollowing {
  readonly host: string;
  readonly term: number;
  isGreeted = false;
  private readonly record: HostRecord;
  private hasSaidHello = false;
  private wasGreeted = false;
  /** The last version of the group by which it was not the successor, or may have been none before. */
  private unnamedVersion: number;
  /** The version by which the host told it everything. */
  private syncVersion = 0;
  private comingVersion = 0;
  private wasSynced = false;
  private synced: Set<number> | undefined;
  private reader = new SnapshotReader();
  private ackDueMs: number | undefined;
  private unacknowledged = 0;
  private readonly silence = new HostSilence();

  constructor(record: HostRecord, { host, term, successor, version }: HostView) {
    this.unnamedVersion = successor === record.identity ? 0 : version;
    this.record = record;
    this.host = host;
    this.term = term;
    this.greet();
  }

  /** Whether it was told everything, as the successor that the server has named ever since. */
  get hasAll(): boolean {
    return this.syncVersion > this.unnamedVersion;
  }

  /** Says hello, once for a link. */
  greet(): void {
    const { record, term } = this;
    if (this.hasSaidHello || !record.links.has(this.host)) return;
    this.hasSaidHello = true;
    // What is said between hello and welcome counts for nothing: the host may let the guest wait.
    this.isGreeted = false;
    const [stateTerm, stateVersion] = record.snapshot?.age ?? [0, 0];
    const { positionTerm, position, view } = record;
    const version = view?.version ?? 0;
    record.say(this.host, { kind: HELLO, term, version, positionTerm, position, stateTerm, stateVersion });
  }

  /** The link to the host is gone. */
  unlinked(): void {
    this.isGreeted = false;
    this.hasSaidHello = false;
    this.synced = undefined;
    this.reader = new SnapshotReader();
    this.ackDueMs = undefined;
  }

  /** The group changed, not the host. */
  regroup(view: HostView): void {
    const isNamed = view.successor === this.record.identity;
    // After a gap another successor may have been named in between: all once more.
    if (!isNamed) this.unnamedVersion = view.version;
    else if (view.hasGap) this.unnamedVersion = view.version - 1;
    if (isNamed && !this.hasAll && this.wasSynced && this.isGreeted) {
      this.wasSynced = false;
      this.hasSaidHello = false;
      this.greet();
    }
  }

  // --- what this member sends --------------------------------------------------------------------------------

  /** Hands a frame to the host; false if it has no way there. */
  submit(to: readonly string[], frame: Uint8Array): boolean {
    if (!this.isGreeted) return false;
    const { record, host, term } = this;
    const kind = frameKind(frame);
    if (kind === RELIABLE || kind === FLUSHED) record.say(host, { kind: SUBMIT, term, to, frame });
    else if (kind === LOSSY) record.sayLossy(host, encodeHostMessage({ kind: PASS, term, to, frame }));
    else record.say(host, { kind: PASS, term, to, frame });
    return true;
  }

  // --- what the host says ------------------------------------------------------------------------------------

  /** A message of the host, under its term. */
  receive(message: HostLinkMessage, nowMs: number): void {
    const { record } = this;
    this.silence.heard(nowMs);
    // It was said to this guest as it was before its hello.
    if (!this.isGreeted && message.kind !== WELCOME && message.kind !== FETCH) return;
    switch (message.kind) {
      case ENTRY:
        this.entry(message, nowMs);
        break;
      case PASSED: {
        const { sender, frame } = message;
        record.outputs.push({ output: "frame", sender, frame, isForHost: false, isInState: false });
        break;
      }
      case WELCOME:
        this.welcome(message.n, nowMs);
        break;
      case KNOWN:
        record.stable = message.stable;
        record.released = message.released;
        record.prune();
        break;
      case SYNC:
        record.bases = message.bases;
        record.done = new Map(message.done);
        this.synced = new Set();
        this.comingVersion = message.version;
        break;
      case SYNCED:
        this.syncEnds(message.n);
        break;
      case STATE_PIECE:
        this.state(message);
        break;
      case FETCH:
        this.tellAll(message.wantsState);
        break;
      default:
        break;
    }
  }

  /** Acknowledges what is due, and notices a host that is silent. */
  tick(nowMs: number): void {
    if (this.silence.isToBeTold(nowMs)) this.record.outputs.push({ output: "unheard", term: this.term });
    if (this.ackDueMs === undefined || nowMs < this.ackDueMs) return;
    this.ackDueMs = undefined;
    this.unacknowledged = 0;
    const { record, term } = this;
    if (this.hasAll) record.say(this.host, { kind: SAFE, term, n: record.log.lastN });
    else record.say(this.host, { kind: ACK_ENTRIES, term, n: record.position });
  }

  /** When to call `tick`. */
  get deadlineMs(): number | undefined {
    const { ackDueMs, silence } = this;
    if (ackDueMs === undefined || silence.deadlineMs === undefined) return ackDueMs ?? silence.deadlineMs;
    return Math.min(ackDueMs, silence.deadlineMs);
  }

  private welcome(n: number, nowMs: number): void {
    const { record, host, term } = this;
    record.positionTerm = term;
    record.position = n;
    record.stable = Math.min(record.stable, n);
    record.released = Math.min(record.released, n);
    record.log.cut(n);
    this.isGreeted = true;
    this.silence.start(nowMs);
    if (!this.wasGreeted) {
      this.wasGreeted = true;
      record.outputs.push({ output: "host", host, term, state: record.snapshot });
    }
    record.beginPath();
  }

  private entry(message: EntryMessage, nowMs: number): void {
    const { record } = this;
    const entry = entryOf(message, nowMs);
    record.log.put(entry);
    this.synced?.add(entry.n);
    if (record.reached(entry)) {
      const { sender, frame } = entry;
      record.outputs.push({ output: "frame", sender, frame, isForHost: false, isInState: false });
    }
    this.unacknowledged += 1;
    const isUrgent = this.hasAll || this.unacknowledged >= ACK_FRAMES;
    const dueMs = isUrgent ? nowMs : nowMs + ACK_MS;
    this.ackDueMs = Math.min(dueMs, this.ackDueMs ?? dueMs);
  }

  private syncEnds(n: number): void {
    const told = this.synced;
    this.synced = undefined;
    if (!told) return;
    const { record, term } = this;
    record.log.keep((entry) => told.has(entry.n));
    record.log.lastN = n;
    this.syncVersion = this.comingVersion;
    this.wasSynced = true;
    record.say(this.host, { kind: SAFE, term, n });
  }

  private state(piece: StatePiece): void {
    const { record, host, term } = this;
    try {
      const snapshot = this.reader.read(piece);
      if (!snapshot) return;
      record.takeSnapshot(snapshot);
      const [stateTerm, version] = snapshot.age;
      record.say(host, { kind: STATE_HAVE, term, stateTerm, version });
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      record.outputs.push({ output: "bad", peer: host, error });
    }
  }

  private tellAll(wantsState: boolean): void {
    const { record, host, term } = this;
    for (const entry of record.log.between(0, record.log.lastN)) record.say(host, entryMessage(entry, term));
    if (wantsState && record.snapshot) {
      for (const piece of piecesOf(record.snapshot, term)) record.say(host, piece);
    }
    record.say(host, { kind: TAIL_END, term });
  }
}

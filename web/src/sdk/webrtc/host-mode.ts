/**
 * One member of a group in mode `host`: a star around one host, through which everything passes in one order.
 *
 * The twin of `peerbus.client.webrtc.host_mode`, whose head has the whole of it; PROTOCOL.md, section "Host mode". Owns which
 * of the two this member is, by what the server says, and what of the links is of use. Never opens a link, never talks to the
 * server, never reads a clock: links, messages and the group come in, and `take` says what follows.
 */

import { ProtocolError } from "../protocol/errors";
import { HostFollowing } from "./host-following";
import { decodeHostMessages, HELLO, type Hello, type HostLinkMessage } from "./host-frames";
import { type HostOutput, HostRecord, type HostView } from "./host-record";
import { HostServing } from "./host-serving";

/** How often a host renews its lease, from its own work loop. */
const HOST_RENEW_MS = 300;

/** Times are milliseconds of any clock that never goes back. */
export class HostMode {
  private readonly record: HostRecord;
  private readonly early = new Map<string, Hello>();
  private following: HostFollowing | undefined;
  private serving: HostServing | undefined;
  private renewDueMs: number | undefined;

  constructor(identity: string) {
    this.record = new HostRecord(identity);
  }

  // --- what one can look at --------------------------------------------------------------------------------

  /** Whether this member is host, by what the server said last. */
  get isHost(): boolean {
    return this.serving !== undefined;
  }

  /** Whether frames can be handed in. */
  get isReady(): boolean {
    return this.serving ? this.serving.isReady : this.following?.isGreeted === true;
  }

  /** Who is host, by what the server said last. */
  get host(): string | undefined {
    return this.record.view?.host;
  }

  /** The number of the way that frames go now; under another number all that is not acknowledged goes again. */
  get path(): number | undefined {
    return this.isReady ? this.record.paths : undefined;
  }

  /** The host's; 0 before there is one. */
  get term(): number {
    return this.record.view?.term ?? 0;
  }

  /** How many messages were refused because they came from no host, or under an older term. */
  get stale(): number {
    return this.record.stale;
  }

  /** The peers to have a link to: the host and its successor to all, all others to these two. */
  get wantedLinks(): ReadonlySet<string> {
    const { view, identity } = this.record;
    if (!view) return new Set();
    const centre = view.successor === undefined ? [view.host] : [view.host, view.successor];
    const wanted = centre.includes(identity) ? [...view.members.keys()] : centre;
    return new Set(wanted.filter((peer) => peer !== identity && view.members.has(peer)));
  }

  // --- inputs ----------------------------------------------------------------------------------------------

  /** What the server says now. Older versions than the last mean nothing. */
  follow(view: HostView, nowMs: number): void {
    const { record } = this;
    const before = record.view;
    if (before && view.version <= before.version) return;
    record.view = view;
    for (const [identity, order] of before?.members ?? []) {
      if (identity !== record.identity && view.members.get(identity) !== order) {
        record.left(identity, view.version);
      }
    }
    if (view.host === record.identity) this.serve(before, view, nowMs);
    else this.followHost(view);
  }

  /** A link to a peer works; if there was another before, that is gone. */
  linkUp(peer: string): void {
    this.linkDown(peer);
    this.record.links.add(peer);
    if (this.following?.host === peer) this.following.greet();
  }

  /** The link to a peer is gone. */
  linkDown(peer: string): void {
    this.record.links.delete(peer);
    this.record.unsay(peer);
    this.early.delete(peer);
    if (this.following?.host === peer) this.following.unlinked();
    this.serving?.unlinked(peer);
  }

  /** Bytes of a data channel. Never throws: what can't be read is told by `bad`. */
  receive(peer: string, data: Uint8Array, nowMs: number): void {
    let messages: HostLinkMessage[];
    try {
      messages = decodeHostMessages(data);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.record.outputs.push({ output: "bad", peer, error });
      return;
    }
    for (const message of messages) {
      if (message.kind === HELLO && message.term > this.term) this.early.set(peer, message);
      else if (message.term !== this.term) this.record.stale += 1;
      else if (this.serving) this.serving.receive(peer, message, nowMs);
      else if (this.following?.host === peer) this.following.receive(message, nowMs);
      else this.record.stale += 1;
    }
  }

  /** A frame of this member's delivery layer; false, and it is not kept, while there is no way. */
  submit(to: readonly string[], frame: Uint8Array, nowMs: number): boolean {
    if (!this.serving) return this.following?.submit(to, frame) === true;
    if (this.serving.isReady) this.serving.submit(this.record.identity, to, frame, nowMs);
    return this.serving.isReady;
  }

  /**
   * The state of the host's application, with all messages in it that it was given so far.
   *
   * Throws `ProtocolError`: `forbidden` (this member is not host), `bad_request` (no MessagePack form), `too_large` (4 MiB).
   */
  setState(state: unknown, nowMs: number): void {
    if (!this.serving?.isReady) throw new ProtocolError("forbidden", "Only the host keeps the state.");
    this.serving.setState(state, nowMs);
  }

  /** Does what is due. */
  tick(nowMs: number): void {
    if (this.serving) {
      if (this.renewDueMs === undefined || nowMs >= this.renewDueMs) {
        this.renewDueMs = nowMs + HOST_RENEW_MS;
        this.record.outputs.push({ output: "renew", term: this.serving.term });
      }
      this.serving.tick(nowMs);
    }
    this.following?.tick(nowMs);
  }

  /**
   * What is to be done now; asked again until there is nothing. All inputs of a moment go before.
   *
   * What the host's application is given comes one by one, so that a state that it sets is one at that place.
   */
  take(nowMs: number): HostOutput[] {
    let outputs = this.record.take();
    while (outputs.length === 0 && this.serving?.takeIn(nowMs)) outputs = this.record.take();
    return outputs;
  }

  /** When to call `tick`. */
  get deadlineMs(): number | undefined {
    const due = [
      this.following?.deadlineMs,
      this.serving?.deadlineMs,
      this.serving ? this.renewDueMs : undefined,
    ].filter((at) => at !== undefined);
    return due.length > 0 ? Math.min(...due) : undefined;
  }

  // --- inside ----------------------------------------------------------------------------------------------

  private serve(before: HostView | undefined, view: HostView, nowMs: number): void {
    if (this.serving?.term === view.term) {
      this.serving.regroup(view, nowMs);
      return;
    }
    const { record, following } = this;
    const wasSuccessor = following?.hasAll === true && before?.successor === record.identity;
    const isSure = (this.serving?.isReady === true || wasSuccessor) && before !== undefined && !view.hasGap;
    this.following = undefined;
    this.serving = new HostServing(record, view, isSure, before?.host ?? "", nowMs);
    this.renewDueMs = nowMs;
    for (const [peer, hello] of [...this.early]) {
      if (hello.term !== view.term) continue;
      this.early.delete(peer);
      this.serving.receive(peer, hello, nowMs);
    }
  }

  private followHost(view: HostView): void {
    this.serving = undefined;
    if (this.following?.host === view.host && this.following.term === view.term) this.following.regroup(view);
    else this.following = new HostFollowing(this.record, view);
  }
}

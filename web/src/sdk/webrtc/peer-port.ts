/**
 * The messages between this member and the others, whichever ways there are at the moment.
 *
 * Owns the delivery layer's clock, the outcomes of those who wait, and which peer is reached by which route. Never opens a
 * connection and never decides about modes, which is `peer-group`'s task.
 */

import type { Platform } from "../agent/platform";
import type { ProtocolError } from "../protocol/errors";
import { PeerDelivery } from "./peer-delivery";
import type { Route } from "./peer-path";
import { KEPT_BYTES_MAX } from "./peer-sending";
import type { DataStats } from "./stats";

/** What is due while its route has no room is looked at no sooner than that. */
const SOONEST_MS = 5;

/** Whoever hears what comes. */
export interface PortListener {
  data(sender: string, payload: unknown, isLossy: boolean): void;
  /** Nothing of this sender comes any more by the path that the frame came by. */
  flushed(sender: string): void;
  failed(error: ProtocolError): void;
}

type Settle = (result: boolean | Error) => void;

export class PeerPort {
  private readonly platform: Platform;
  private readonly listener: PortListener;
  private readonly delivery: PeerDelivery;
  private readonly routes = new Map<string, Route>();
  private readonly waiting = new Map<number, Settle>();
  /** Handed over, but so much is kept that whoever waits is to wait on. */
  private held: Settle[] = [];
  private lastNumber = 0;
  private isPumping = false;
  private stopTimer: (() => void) | undefined;
  private isClosed = false;
  private figures = { messagesSent: 0, messagesReceived: 0, messagesDropped: 0 };

  constructor(stream: number, platform: Platform, listener: PortListener) {
    this.delivery = new PeerDelivery("", stream);
    this.platform = platform;
    this.listener = listener;
  }

  get stats(): DataStats {
    return { ...this.figures, waitingBytes: this.delivery.keptBytes };
  }

  /** How many frames a peer has not acknowledged. */
  unacknowledged(peer: string): number {
    return this.delivery.unacknowledged(peer);
  }

  /** By which route a peer is reached. */
  routeOf(peer: string): Route | undefined {
    return this.routes.get(peer);
  }

  // --- messages --------------------------------------------------------------------------------------------

  /** Takes a message. Throws `ProtocolError`: `too_large`, `bad_request`, `queue_full`. */
  send(to: readonly string[], payload: unknown, isLossy: boolean, settle: Settle): void {
    this.lastNumber += 1;
    this.delivery.send(this.lastNumber, to, payload, isLossy, this.platform.nowMs());
    this.waiting.set(this.lastNumber, settle);
    this.wake();
  }

  /** A frame came, by whichever path. What is known already is acknowledged, and not told. */
  receive(sender: string, frame: Uint8Array, isKnown = false): void {
    if (this.isClosed) return;
    for (const event of this.delivery.receive(sender, frame, this.platform.nowMs())) {
      if (event.event === "delivered" && isKnown) continue;
      if (event.event === "delivered") {
        this.figures.messagesReceived += 1;
        this.listener.data(sender, event.payload, event.isLossy);
      } else if (event.event === "flushed") this.listener.flushed(sender);
      else this.listener.failed(event.error);
    }
    this.wake();
  }

  // --- peers and their routes ------------------------------------------------------------------------------

  /** The own identity, under which others address frames. */
  become(identity: string): void {
    this.delivery.identity = identity;
  }

  /** The peer is reached so from now on; whether that is otherwise than before. */
  assign(peer: string, route: Route | undefined): boolean {
    const before = this.routes.get(peer);
    if (before?.name === route?.name) return false;
    if (route) this.routes.set(peer, route);
    else this.routes.delete(peer);
    this.delivery.setPath(peer, route?.name);
    // Through a server the other side does not notice that what it had sent here is lost.
    if (before && route && kindOf(before) === kindOf(route)) this.delivery.ask(peer);
    this.wake();
    return true;
  }

  left(peer: string): void {
    this.routes.delete(peer);
    this.delivery.left(peer);
    this.wake();
  }

  /** The peer is gone, and what it sent may still come by others. */
  leftAsRecipient(peer: string): void {
    this.routes.delete(peer);
    this.delivery.leftAsRecipient(peer);
    this.wake();
  }

  /** Nothing more comes of the peer, which is gone. */
  leftAsSender(peer: string): void {
    this.delivery.leftAsSender(peer);
  }

  /** What the peer has sent may be lost, and what was sent to it. */
  renew(peer: string): void {
    const route = this.routes.get(peer);
    if (!route) return;
    this.delivery.setPath(peer, route.name);
    this.delivery.ask(peer);
    this.wake();
  }

  /** Tells a peer that nothing more comes by a route. */
  flush(route: Route, peer: string): void {
    if (route.room(false) === undefined) return;
    route.send([{ to: [peer], frame: this.delivery.flush(), isLossy: false }]);
  }

  /** Something may go out, once what runs now has said all. */
  wake(): void {
    if (this.isPumping || this.isClosed) return;
    this.isPumping = true;
    queueMicrotask(() => {
      this.isPumping = false;
      this.pump();
    });
  }

  /** Nothing is sent any more; whoever waits hears it. */
  close(error: ProtocolError): void {
    this.isClosed = true;
    this.stopTimer?.();
    for (const settle of [...this.waiting.values(), ...this.held]) settle(error);
    this.waiting.clear();
    this.held = [];
  }

  // --- inside ----------------------------------------------------------------------------------------------

  private pump(): void {
    if (this.isClosed) return;
    const nowMs = this.platform.nowMs();
    this.delivery.tick(nowMs);
    const routes = new Map([...this.routes.values()].map((route) => [route.name, route]));
    for (const [name, route] of routes) {
      const frames = this.delivery.take(name, nowMs, route.room(false), route.room(true));
      if (frames.length > 0) route.send(frames);
    }
    this.settle();
    this.stopTimer?.();
    this.stopTimer = undefined;
    const { deadlineMs } = this.delivery;
    if (deadlineMs === undefined) return;
    const delayMs = Math.max(SOONEST_MS, deadlineMs - nowMs);
    this.stopTimer = this.platform.startTimer(delayMs, () => this.pump());
  }

  private settle(): void {
    const { handed, dropped } = this.delivery.takeSettled();
    this.figures.messagesSent += handed.length;
    this.figures.messagesDropped += dropped.length;
    for (const number of dropped) this.take(number)?.(false);
    for (const number of handed) {
      const settle = this.take(number);
      if (settle) this.held.push(settle);
    }
    // So that whoever awaits one message before the next never hears that too many wait.
    if (this.delivery.keptBytes >= KEPT_BYTES_MAX) return;
    for (const settle of this.held.splice(0)) settle(true);
  }

  private take(number: number): Settle | undefined {
    const settle = this.waiting.get(number);
    this.waiting.delete(number);
    return settle;
  }
}

function kindOf({ name }: Route): string {
  return name.split("/", 1)[0] ?? "";
}

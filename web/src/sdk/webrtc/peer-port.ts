/**
 * The messages between this member and the others, whichever ways there are at the moment.
 *
 * Owns the delivery layer's clock, the outcomes of those who wait, which peer is reached by which route, and the network that
 * is simulated between delivery and routes. Never opens a connection and never decides about modes, which is `peer-group`'s
 * task.
 */

import type { Platform } from "../agent/platform";
import type { ProtocolError } from "../protocol/errors";
import { LANE_BYTES, NetworkSimulator, type Simulation } from "./network-simulator";
import { type OutgoingFrame, PeerDelivery } from "./peer-delivery";
import { isLossyFrame } from "./peer-frames";
import type { Path, Route } from "./peer-path";
import { KEPT_BYTES_MAX } from "./peer-sending";
import type { DataStats } from "./stats";

/** What is due while its route has no room is looked at no sooner than that. */
const SOONEST_MS = 5;

/** Whoever hears what comes. */
export interface PortListener {
  data(sender: string, payload: unknown, isLossy: boolean): void;
  /** Nothing of this sender comes any more by this path. */
  flushed(sender: string, by: Path | undefined): void;
  failed(error: ProtocolError): void;
}

type Settle = (result: boolean | Error) => void;

/** A frame that comes, or is to come. */
interface Arrival {
  readonly sender: string;
  readonly frame: Uint8Array;
  readonly isKnown: boolean;
  readonly by: Path | undefined;
}

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
  /** By route. */
  private readonly outbound: NetworkSimulator<OutgoingFrame>;
  /** By sender. */
  private readonly inbound: NetworkSimulator<Arrival>;
  /** Those on which something is under way, by name. */
  private readonly laneRoutes = new Map<string, Route>();
  private figures = { messagesSent: 0, messagesReceived: 0, messagesDropped: 0 };

  constructor(stream: number, platform: Platform, listener: PortListener) {
    this.delivery = new PeerDelivery("", stream);
    this.outbound = new NetworkSimulator(stream);
    this.inbound = new NetworkSimulator(~stream);
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
  receive(sender: string, frame: Uint8Array, by: Path | undefined, isKnown = false): void {
    if (this.isClosed) return;
    const arrival = { sender, frame, isKnown, by };
    if (this.inbound.isClear(sender)) this.arrived(arrival);
    else {
      const parcel = { item: arrival, sizeBytes: frame.length, isLossy: isLossyFrame(frame) };
      this.inbound.put(sender, [parcel], this.platform.nowMs());
    }
    this.wake();
  }

  /** The network between the peers is like this from now on. Throws `ProtocolError` (`bad_request`). */
  simulate(simulation: Simulation): void {
    this.outbound.become(simulation);
    this.inbound.become(simulation);
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
    this.inbound.forget(peer);
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
    this.inbound.forget(peer);
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
    const frame = { to: [peer], frame: this.delivery.flush(), isLossy: false };
    this.handOver(route, [frame], this.platform.nowMs());
    this.wake();
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
    for (const sender of this.inbound.lanes) {
      for (const arrival of this.inbound.take(sender, nowMs, LANE_BYTES, LANE_BYTES)) this.arrived(arrival);
    }
    this.delivery.tick(nowMs);
    const routes = new Map([...this.routes.values()].map((route) => [route.name, route]));
    for (const [name, route] of routes) {
      const hasRoom = this.outbound.roomBytes(name) > 0;
      const [room, lossyRoom] = hasRoom ? [route.room(false), route.room(true)] : [];
      this.handOver(route, this.delivery.take(name, nowMs, room, lossyRoom), nowMs);
    }
    this.sendArrived(routes, nowMs);
    this.settle();
    this.stopTimer?.();
    this.stopTimer = undefined;
    const deadlines = [this.delivery, this.inbound, this.outbound].flatMap(
      ({ deadlineMs }) => deadlineMs ?? [],
    );
    if (deadlines.length === 0) return;
    const delayMs = Math.max(SOONEST_MS, Math.min(...deadlines) - nowMs);
    this.stopTimer = this.platform.startTimer(delayMs, () => this.pump());
  }

  /** Onto its route, or into what is simulated before it. */
  private handOver(route: Route, frames: readonly OutgoingFrame[], nowMs: number): void {
    if (frames.length === 0) return;
    if (this.outbound.isClear(route.name)) {
      route.send(frames);
      return;
    }
    this.laneRoutes.set(route.name, route);
    const parcels = frames.map((item) => ({
      item,
      sizeBytes: item.frame.length,
      isLossy: item.isLossy,
    }));
    this.outbound.put(route.name, parcels, nowMs);
  }

  /** What has been under way for as long as is simulated goes onto its route. */
  private sendArrived(routes: ReadonlyMap<string, Route>, nowMs: number): void {
    for (const [name, route] of this.laneRoutes) {
      const [room, lossyRoom] = [route.room(false), route.room(true)];
      const frames = this.outbound.take(name, nowMs, room, lossyRoom);
      if (frames.length > 0) route.send(frames);
      // There is no such route any more; what was on it goes by another.
      else if (!routes.has(name) && room === undefined && lossyRoom === undefined) this.outbound.forget(name);
    }
    const lanes = new Set(this.outbound.lanes);
    for (const name of [...this.laneRoutes.keys()]) if (!lanes.has(name)) this.laneRoutes.delete(name);
  }

  private arrived({ sender, frame, isKnown, by }: Arrival): void {
    for (const event of this.delivery.receive(sender, frame, this.platform.nowMs())) {
      if (event.event === "delivered" && isKnown) continue;
      if (event.event === "delivered") {
        this.figures.messagesReceived += 1;
        this.listener.data(sender, event.payload, event.isLossy);
      } else if (event.event === "flushed") this.listener.flushed(sender, by);
      else this.listener.failed(event.error);
    }
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

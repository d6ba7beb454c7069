/**
 * Mode `host`: links between the host and its guests, with the successor's ready beside them.
 *
 * Owns the clock of the host machine, and what its outputs are on links. Never decides anything (`host-mode`), and never
 * makes a link itself: those are a mesh's (`mesh-path`), of the members that the machine wants.
 */

import { ProtocolError } from "../protocol/errors";
import type { GroupMember } from "../protocol/groups.gen";
import { HOST_ROLE } from "./host-frames";
import { HostMode } from "./host-mode";
import type { HostOutput, HostView } from "./host-record";
import { type Snapshot, stateOf } from "./host-state";
import { MeshPath, type MeshSettings } from "./mesh-path";
import type { OutgoingFrame } from "./peer-delivery";
import type { Path, PathListener, Route } from "./peer-path";

/** Begins the ids of links of this mode: those of a mesh beside it are others. */
export const LINK_SCOPE = "host:";
const ROOM_BYTES = 65_536;
/** How late the machine's clock may be in a hidden page; a host says so often that it works. */
const BEAT_MS = 100;

/** Whoever is told what happens in mode `host`. */
export interface HostListener extends PathListener {
  reachable(identity: string, isReachable: boolean): void;
  /** There is a host, under this term; the newest state here. */
  hostChanged(host: string, term: number, state: unknown): void;
  /** A message for whoever is host. */
  message(sender: string, payload: unknown): void;
  /** A frame that is in the state which the application goes on from: to be acknowledged, and not told. */
  known(sender: string, frame: Uint8Array): void;
  /** Nothing more comes of this member, which has left. */
  gone(identity: string): void;
  renew(term: number): void;
  /** Nothing comes from the host under this term any more. */
  unheard(term: number): void;
  failed(error: ProtocolError): void;
}

export class HostPath implements Path {
  private readonly settings: MeshSettings;
  private readonly listener: HostListener;
  private readonly identity: string;
  private readonly machine: HostMode;
  private readonly links: MeshPath;
  private members: ReadonlyMap<string, GroupMember> = new Map();
  /** The link to each peer that has one, by its name. */
  private readonly up = new Map<string, string>();
  private isWoken = false;
  private stopTimer: (() => void) | undefined;
  private readonly stopMetronome: () => void;
  private isClosed = false;

  constructor(settings: Omit<MeshSettings, "scope">, listener: HostListener) {
    this.settings = { ...settings, publications: new Set(), scope: LINK_SCOPE };
    this.listener = listener;
    this.identity = settings.agent.identity;
    this.machine = new HostMode(this.identity);
    this.links = new MeshPath(this.settings, {
      received: (peer, data) => this.came(peer, data),
      routesChanged: () => this.linksChanged(),
      writable: () => listener.writable(),
      reachable: (peer, isReachable) => listener.reachable(peer, isReachable),
      tracksChanged: () => undefined,
    });
    this.stopMetronome = this.settings.environment.startMetronome(BEAT_MS, () => this.beat());
  }

  // --- the host --------------------------------------------------------------------------------------------

  /** Whether this member is host, and serves. */
  get isHost(): boolean {
    return this.machine.isHost && this.machine.isReady;
  }

  /** What the server says of the host. */
  told(view: HostView): void {
    if (this.isClosed) return;
    this.machine.follow(view, this.settings.environment.nowMs());
    this.relink();
    this.wake();
  }

  /** Throws `ProtocolError`: `forbidden`, `bad_request`, `too_large`. */
  setState(state: unknown): void {
    this.machine.setState(state, this.settings.environment.nowMs());
    this.wake();
  }

  // --- the path --------------------------------------------------------------------------------------------

  follow(members: ReadonlyMap<string, GroupMember>): void {
    if (this.isClosed) return;
    this.members = members;
    this.relink();
  }

  /** The same for all, whoever has a link. */
  routeTo(identity: string): Route | undefined {
    const { path } = this.machine;
    if (path === undefined || !(this.members.has(identity) || identity === HOST_ROLE)) return undefined;
    return {
      name: `host/${path}`,
      room: (isLossy) => this.room(path, isLossy),
      send: (frames) => this.send(frames),
    };
  }

  /** Only who can't reach the host gets to the others another way. */
  isUnreachable(): boolean {
    const { host, isReady } = this.machine;
    return host !== undefined && host !== this.identity && !isReady && this.links.isUnreachable(host);
  }

  retire(): void {
    this.links.retire();
  }

  close(reason: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.stopTimer?.();
    this.stopMetronome();
    this.links.close(reason);
  }

  // --- inside ----------------------------------------------------------------------------------------------

  private room(path: number, isLossy: boolean): number | undefined {
    const { machine } = this;
    if (machine.path !== path || machine.host === undefined) return undefined;
    if (machine.isHost) return ROOM_BYTES;
    return this.links.routeTo(machine.host)?.room(isLossy);
  }

  private send(frames: readonly OutgoingFrame[]): void {
    const nowMs = this.settings.environment.nowMs();
    for (const { to, frame } of frames) this.machine.submit(to, frame, nowMs);
    this.wake();
  }

  private relink(): void {
    const wanted = this.machine.wantedLinks;
    this.links.follow(new Map([...this.members].filter(([identity]) => wanted.has(identity))));
    this.linksChanged();
  }

  private linksChanged(): void {
    if (this.isClosed) return;
    let isOther = false;
    for (const peer of new Set([...this.members.keys(), ...this.up.keys()])) {
      const name = this.links.routeTo(peer)?.name;
      if (name === this.up.get(peer)) continue;
      isOther = true;
      if (this.up.delete(peer)) this.machine.linkDown(peer);
      if (name === undefined) continue;
      this.up.set(peer, name);
      this.machine.linkUp(peer);
    }
    if (!isOther) return;
    this.wake();
    this.listener.routesChanged();
  }

  private came(peer: string, data: Uint8Array): void {
    if (!this.up.has(peer)) this.linksChanged();
    this.machine.receive(peer, data, this.settings.environment.nowMs());
    this.wake();
  }

  /** A timer that this page's browser holds back is done all the same. */
  private beat(): void {
    const { deadlineMs } = this.machine;
    if (deadlineMs !== undefined && this.settings.environment.nowMs() >= deadlineMs) this.wake();
  }

  /** What has come in by then is answered together: the more a host has to do, the less each message costs. */
  private wake(): void {
    if (this.isWoken || this.isClosed) return;
    this.isWoken = true;
    this.settings.environment.soon(() => this.turn());
  }

  private turn(): void {
    this.isWoken = false;
    if (this.isClosed) return;
    const { environment } = this.settings;
    const { path } = this.machine;
    let hasSent = false;
    this.machine.tick(environment.nowMs());
    for (;;) {
      const outputs = this.machine.take(environment.nowMs());
      for (const output of outputs) this.obey(output);
      hasSent ||= outputs.some(({ output }) => output === "transmit");
      if (outputs.length === 0 || this.isClosed) break;
    }
    if (this.isClosed) return;
    if (path !== this.machine.path) this.listener.routesChanged();
    else if (hasSent && this.machine.isHost) this.listener.writable();
    this.stopTimer?.();
    this.stopTimer = undefined;
    const { deadlineMs } = this.machine;
    if (deadlineMs === undefined) return;
    this.stopTimer = environment.startTimer(Math.max(1, deadlineMs - environment.nowMs()), () => this.wake());
  }

  private obey(output: HostOutput): void {
    const { listener } = this;
    switch (output.output) {
      case "transmit":
        this.transmit(output.peer, output.data, output.isLossy);
        break;
      case "frame":
        if (output.isInState) listener.known(output.sender, output.frame);
        else listener.received(output.sender, output.frame);
        break;
      case "message":
        listener.message(output.sender, output.payload);
        break;
      case "host":
        listener.hostChanged(output.host, output.term, this.read(output.state));
        break;
      case "path":
        listener.routesChanged();
        break;
      case "gone":
        listener.gone(output.identity);
        break;
      case "renew":
        listener.renew(output.term);
        break;
      case "unheard":
        listener.unheard(output.term);
        break;
      case "reachable":
        listener.reachable(output.peer, output.isReachable);
        break;
      case "bad":
        listener.failed(output.error);
    }
  }

  private read(snapshot: Snapshot | undefined): unknown {
    try {
      return snapshot ? stateOf(snapshot) : null;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.listener.failed(error);
      return null;
    }
  }

  private transmit(peer: string, data: Uint8Array, isLossy: boolean): void {
    const route = this.links.routeTo(peer);
    if (!route || route.name !== this.up.get(peer)) return;
    if (isLossy && (route.room(true) ?? 0) <= 0) return;
    route.send([{ to: [peer], frame: data as OutgoingFrame["frame"], isLossy }]);
  }
}

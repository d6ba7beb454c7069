/**
 * Mode `mesh`: a link to every other member.
 *
 * Owns the links, and the order in which what `mesh` says is done to each. Never decides anything about them.
 */

import type { AgentConnection } from "../agent/agent";
import type { MessageOptions } from "../agent/options";
import type { Message } from "../agent/records";
import { sessionAddress } from "../protocol/channel";
import { ProtocolError } from "../protocol/errors";
import { PEER_SIGNALS } from "../protocol/group-shapes.gen";
import type { GroupMember, PeerSignal } from "../protocol/groups.gen";
import { SIGNAL_TYPE } from "../protocol/sfu";
import type { OfferedTrack } from "../protocol/signals.gen";
import type { CallEnvironment } from "./environment";
import { type LinkPath, MeshLink, type MeshStep } from "./mesh";
import { PeerLink, type ReceivedTrack } from "./peer-link";
import type { Path, PathListener, Route } from "./peer-path";
import type { Local } from "./publications";
import type { MediaKind } from "./records";

/** Whoever is told what happens in the mesh. */
export interface MeshListener extends PathListener {
  /** A member can't be reached by a link, or can again. */
  reachable(identity: string, isReachable: boolean): void;
  /** What a member sends by its link is this now. */
  tracksChanged(identity: string, tracks: readonly ReceivedTrack[]): void;
}

/** What the mesh needs to know and to use. */
export interface MeshSettings {
  readonly agent: AgentConnection;
  readonly environment: CallEnvironment;
  readonly configuration: () => RTCConfiguration;
  readonly publications: ReadonlySet<Local>;
  /** The own order in the group. */
  readonly ownOrder: () => number;
  /** Begins the ids of its links, which those of another way to the same peers don't. */
  readonly scope: string;
}

/** One peer, and the link to it as it comes and goes. */
interface Spoke {
  readonly member: GroupMember;
  readonly machine: MeshLink;
  link: PeerLink | undefined;
  /** What the other side wants to send, for which offers have room. */
  expected: readonly MediaKind[];
  /** What was said of it last. */
  said: readonly OfferedTrack[];
  /** What is done to the connection, one thing after the other. */
  work: Promise<void>;
  /** Signals that the server refused for their rate, and those behind them. */
  readonly refused: MessageOptions[];
  stopTimer: (() => void) | undefined;
  /** Since when there is no link that stands. */
  downSinceMs: number | undefined;
}

/** A peer to which no link stands for so long is carried another way, where that is allowed, until one does. */
export const CARRY_AFTER_MS = 2_000;
/** When a signal that the server refused for its rate is sent again, where the server does not say. */
const SAY_AGAIN_MS = 100;

export class MeshPath implements Path {
  private readonly settings: MeshSettings;
  private readonly listener: MeshListener;
  private readonly spokes = new Map<string, Spoke>();
  private readonly stops: (() => void)[];
  private isRetired = false;
  private isAnnounced = false;
  private isClosed = false;

  constructor(settings: MeshSettings, listener: MeshListener) {
    this.settings = settings;
    this.listener = listener;
    const { agent, environment } = settings;
    this.stops = [
      agent.on("peer", (message) => this.heard(message)),
      environment.onWake(() => {
        for (const spoke of this.spokes.values()) this.obey(spoke, spoke.machine.wake(environment.nowMs()));
      }),
    ];
  }

  // --- the path --------------------------------------------------------------------------------------------

  follow(members: ReadonlyMap<string, GroupMember>): void {
    for (const [identity, spoke] of this.spokes) {
      if (members.get(identity)?.order === spoke.member.order) continue;
      this.spokes.delete(identity);
      this.end(spoke, "left");
    }
    for (const [identity, member] of members) if (!this.spokes.has(identity)) this.begin(member);
  }

  routeTo(identity: string): Route | undefined {
    const spoke = this.spokes.get(identity);
    return spoke?.machine.isUp && spoke.link?.isOpen ? spoke.link : undefined;
  }

  isUnreachable(identity: string): boolean {
    const spoke = this.spokes.get(identity);
    if (!spoke || this.routeTo(identity)) return false;
    const { downSinceMs } = spoke;
    const isSlow =
      downSinceMs !== undefined && this.settings.environment.nowMs() >= downSinceMs + CARRY_AFTER_MS;
    return isSlow || spoke.machine.isUnreachable;
  }

  /** What stands stays for now, and nothing is made or mended any more. */
  retire(): void {
    this.isRetired = true;
  }

  close(reason: string): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const stop of this.stops.splice(0)) stop();
    for (const spoke of this.spokes.values()) this.end(spoke, reason);
    this.spokes.clear();
  }

  // --- media -----------------------------------------------------------------------------------------------

  /** What comes by the links takes the place of what comes another way. */
  announce(): void {
    this.isAnnounced = true;
    for (const spoke of this.spokes.values()) {
      if (spoke.link && spoke.said.length > 0) this.tell(spoke, spoke.link);
    }
  }

  /** What this side publishes is other than before. */
  publicationsChanged(): void {
    for (const spoke of this.spokes.values()) {
      if (spoke.link?.publish(this.settings.publications)) this.renegotiate(spoke);
    }
  }

  /** A publication sends another track, or was muted; the others are told by the next description. */
  attach(local: Local): void {
    for (const spoke of this.spokes.values()) {
      spoke.link?.attach(local);
      if (spoke.link) this.renegotiate(spoke);
    }
  }

  private renegotiate(spoke: Spoke): void {
    const media = [...this.settings.publications].map((local) => local.media);
    this.obey(spoke, spoke.machine.want(media));
  }

  /** The links that stand, by the identity of the other side. */
  get links(): ReadonlyMap<string, PeerLink> {
    const links = new Map<string, PeerLink>();
    for (const [identity, { link }] of this.spokes) if (link) links.set(identity, link);
    return links;
  }

  // --- links -----------------------------------------------------------------------------------------------

  private begin(member: GroupMember): void {
    const { environment, ownOrder } = this.settings;
    const machine = new MeshLink({
      isOfferer: ownOrder() < member.order,
      canRestart: true,
      newId: () => environment.newId(),
    });
    const spoke: Spoke = {
      member,
      machine,
      link: undefined,
      expected: [],
      said: [],
      work: Promise.resolve(),
      refused: [],
      stopTimer: undefined,
      downSinceMs: undefined,
    };
    this.spokes.set(member.identity, spoke);
    this.obey(spoke, machine.begin(environment.nowMs()));
  }

  private end(spoke: Spoke, reason: string): void {
    this.obey(spoke, spoke.machine.close(reason));
    spoke.stopTimer?.();
  }

  private heard({ type, content, identity }: Message): void {
    const spoke = this.spokes.get(identity);
    if (type !== SIGNAL_TYPE || !spoke || this.isRetired) return;
    const { kind } = content as { readonly kind: string };
    const shape = PEER_SIGNALS[kind];
    if (!shape) return;
    try {
      const signal = shape.read(content, "signal", "json") as PeerSignal;
      const own = unscoped(signal, this.settings.scope);
      if (own) this.obey(spoke, spoke.machine.signalled(own, this.settings.environment.nowMs()));
    } catch (error) {
      // A peer that speaks otherwise is one that can't be reached so.
      if (!(error instanceof ProtocolError)) throw error;
    }
  }

  /** Does what is to be done for one link, and sees to its deadline. */
  private obey(spoke: Spoke, steps: readonly MeshStep[]): void {
    if (this.isRetired && !this.isClosed) return;
    for (const step of steps) this.take(spoke, step);
    this.watch(spoke);
    spoke.stopTimer?.();
    spoke.stopTimer = undefined;
    const { deadlineMs } = spoke.machine;
    if (deadlineMs === undefined || this.isClosed) return;
    const { environment } = this.settings;
    spoke.stopTimer = environment.startTimer(Math.max(0, deadlineMs - environment.nowMs()), () =>
      this.obey(spoke, spoke.machine.timePassed(environment.nowMs())),
    );
  }

  /** Notes since when there is no link, and tells when that has been too long. */
  private watch(spoke: Spoke): void {
    const { environment } = this.settings;
    if (spoke.machine.isUp) spoke.downSinceMs = undefined;
    else if (spoke.downSinceMs === undefined) {
      const since = environment.nowMs();
      spoke.downSinceMs = since;
      environment.startTimer(CARRY_AFTER_MS, () => {
        if (spoke.downSinceMs === since && !this.isClosed) this.listener.routesChanged();
      });
    }
  }

  private take(spoke: Spoke, step: MeshStep): void {
    const { identity } = spoke.member;
    switch (step.step) {
      case "open":
        this.open(spoke, step.link);
        break;
      case "close":
        this.drop(spoke);
        break;
      case "send":
        this.say(spoke, step.signal);
        break;
      case "reachable":
        this.listener.reachable(identity, step.isReachable);
        this.listener.routesChanged();
        break;
      case "expect":
        spoke.expected = step.media;
        this.work(spoke, (link) => Promise.resolve(link.expect(step.media)));
        break;
      case "offer":
        this.work(spoke, async (link, id) => {
          const sdp = await link.offer(step.isRestart);
          this.obey(spoke, spoke.machine.described(id, sdp, link.tracks, step.isRestart));
        });
        break;
      case "answer":
        this.work(spoke, async (link, id) => {
          const sdp = await link.answer(step.offer.sdp, step.offer.tracks);
          this.obey(spoke, spoke.machine.described(id, sdp, link.tracks, false));
          this.obey(spoke, spoke.machine.applied(id));
          this.told(spoke, link, step.offer.tracks);
          if (link.isShort) this.renegotiate(spoke);
        });
        break;
      case "apply":
        this.work(spoke, async (link, id) => {
          await link.apply(step.answer.sdp);
          this.obey(spoke, spoke.machine.applied(id));
          this.told(spoke, link, step.answer.tracks);
        });
        break;
      case "candidate":
        this.work(spoke, (link) => {
          const { candidate, mid, line } = step.candidate;
          return link.add(candidate, mid, line);
        });
    }
  }

  private open(spoke: Spoke, id: string): void {
    this.drop(spoke);
    const { environment, configuration, publications } = this.settings;
    const isCurrent = (): boolean => spoke.link === link;
    let link: PeerLink | undefined;
    try {
      link = new PeerLink(`mesh/${id}`, spoke.machine.isOfferer, environment, configuration(), {
        pathChanged: (path) => isCurrent() && this.pathIs(spoke, id, path),
        found: (candidate) => isCurrent() && this.obey(spoke, spoke.machine.found(id, candidate)),
        received: (frame) => isCurrent() && this.listener.received(spoke.member.identity, frame),
        writable: () => isCurrent() && this.listener.writable(),
      });
    } catch {
      // No WebRTC here: the deadline finds it.
      return;
    }
    spoke.link = link;
    link.publish(publications);
    link.expect(spoke.expected);
  }

  private pathIs(spoke: Spoke, id: string, path: LinkPath): void {
    this.obey(spoke, spoke.machine.pathIs(id, path, this.settings.environment.nowMs()));
    this.listener.routesChanged();
  }

  private drop(spoke: Spoke): void {
    const { link } = spoke;
    spoke.link = undefined;
    if (!link) return;
    link.close();
    this.told(spoke, link, []);
    this.listener.routesChanged();
  }

  /** Does something to the link that counts now, after what was to be done before. */
  private work(spoke: Spoke, task: (link: PeerLink, id: string) => Promise<void>): void {
    const { link } = spoke;
    const id = spoke.machine.link;
    const isCurrent = (): boolean => spoke.link === link && !this.isClosed;
    spoke.work = spoke.work
      .then(() => (link && isCurrent() ? task(link, id) : undefined))
      .catch(() => {
        // The browser refused a description: the link counts as broken.
        if (isCurrent()) this.obey(spoke, spoke.machine.broke(id, this.settings.environment.nowMs()));
      });
  }

  private told(spoke: Spoke, link: PeerLink, said: readonly OfferedTrack[]): void {
    if (said.length === 0 && spoke.said.length === 0) return;
    spoke.said = said;
    if (this.isAnnounced) this.tell(spoke, link);
  }

  private tell({ member, said }: Spoke, link: PeerLink): void {
    this.listener.tracksChanged(member.identity, said.length === 0 ? [] : link.received(said));
  }

  private say(spoke: Spoke, signal: PeerSignal): void {
    const { member } = spoke;
    const { agent, scope } = this.settings;
    const to = agent.members
      .filter(({ identity }) => identity === member.identity)
      .map(({ sessionId }) => sessionAddress(sessionId));
    if (to.length === 0) return;
    const content = scope === "" ? signal : { ...signal, link: scope + (signal.link ?? "") };
    const message = { content, type: SIGNAL_TYPE, to, delivery: "live", timeoutMs: null } as const;
    if (spoke.refused.length > 0) spoke.refused.push(message);
    else this.transmit(spoke, message);
  }

  /** What comes too fast for the server is sent again; what is lost otherwise is found by the deadline of the link. */
  private transmit(spoke: Spoke, message: MessageOptions): void {
    const { agent, environment } = this.settings;
    agent.sendMessage(message).catch((error: unknown) => {
      if (!(error instanceof ProtocolError) || error.code !== "rate_limited" || this.isClosed) return;
      spoke.refused.push(message);
      if (spoke.refused.length > 1) return;
      environment.startTimer(error.retryAfterMs || SAY_AGAIN_MS, () => {
        for (const again of spoke.refused.splice(0)) if (!this.isClosed) this.transmit(spoke, again);
      });
    });
  }
}

/** The signal, if it is of a link of this scope. */
function unscoped(signal: PeerSignal, scope: string): PeerSignal | undefined {
  const told = signal.link ?? "";
  const at = told.lastIndexOf(":") + 1;
  if (told.slice(0, at) !== scope) return undefined;
  const link = told.slice(at);
  if (signal.kind !== "peer_wanted" || link !== "") return { ...signal, link };
  const { link: _, ...anyLink } = signal;
  return anyLink;
}

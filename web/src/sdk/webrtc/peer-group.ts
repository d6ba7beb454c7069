/**
 * This member's part in the group of a channel: it follows the mode that the server says, on one path after the other.
 *
 * Owns the present path and the one that is built beside it for a proposal; when it is ready for a proposal and when it
 * vetoes; what is said to the server. Decides nothing about links (`mesh`), calls (`call`) or the
 * order of messages (`peer-delivery`).
 */

import type { AgentConnection } from "../agent/agent";
import type { Message } from "../agent/records";
import { ProtocolError } from "../protocol/errors";
import { GROUP_AGENT, READY_WITHIN_MS } from "../protocol/group";
import { GROUP_SIGNALS } from "../protocol/group-shapes.gen";
import type {
  GroupProposal,
  GroupSignal,
  GroupStateSignal,
  ProposalEndedSignal,
} from "../protocol/groups.gen";
import type { Call } from "./call";
import type { Incoming } from "./delivery";
import type { CallEnvironment } from "./environment";
import { GivenUpPaths } from "./given-up-paths";
import { type GroupChange, GroupFollower, type Mode, type WantedMode } from "./group-follower";
import { GroupSpeech } from "./group-speech";
import { HOST_ROLE } from "./host-frames";
import { HostPath } from "./host-path";
import { MeshPath } from "./mesh-path";
import { ModeSwitch } from "./mode-switch";
import { isFrame } from "./peer-frames";
import type { ReceivedTrack } from "./peer-link";
import type { Path } from "./peer-path";
import { PeerPort } from "./peer-port";
import type { Local } from "./publications";
import type { PeerState } from "./records";
import { RelayPath } from "./relay-path";
import { WorkerPath } from "./worker-path";

const RETRY_MS = 500;
/** Who comes into a mode through a worker waits so long for one: to be started anew takes less. */
const NO_WORKER_MS = 4_000;
/** What these are for the relay can do in their place; it is neither a host nor does it take media. */
const CARRIED_MODES: readonly Mode[] = ["mesh", "datachannel"];

/** What the group needs to know and to use. */
export interface GroupSettings {
  readonly agent: AgentConnection;
  readonly environment: CallEnvironment;
  readonly mode: WantedMode;
  /** A peer to which no link can be made is reached by the server meanwhile. */
  readonly carry: () => boolean;
  readonly configuration: () => RTCConfiguration;
  readonly publications: ReadonlySet<Local>;
  /** A random number from 1 to 2^32 − 1. */
  readonly stream: number;
  readonly openCall: () => Call;
}

/** Whoever is told what happens in the group. */
export interface GroupListener {
  /** It may stand otherwise than before. */
  changed(): void;
  peersChanged(): void;
  data(sender: string, payload: unknown, isLossy: boolean): void;
  modeChanged(mode: Mode, reason: string): void;
  peerState(identity: string, name: string, state: PeerState): void;
  /** There is a host, in mode `host`; the newest state here, or null. */
  hostChanged(host: string, term: number, state: unknown): void;
  /** What comes by the call takes the place of what comes another way. */
  callTaken(): void;
  /** What a member sends by its link is this now. */
  tracksChanged(identity: string, tracks: readonly ReceivedTrack[]): void;
  failed(error: ProtocolError): void;
}

interface Way {
  readonly mode: Mode;
  readonly path: Path;
}

/** A path for a proposal. */
interface Building extends Way {
  readonly term: number;
  readonly stopTimer: () => void;
  isAnswered: boolean;
}

export class PeerGroup {
  readonly follower = new GroupFollower();
  readonly port: PeerPort;
  /** Why it is over. */
  ended: ProtocolError | undefined;
  private readonly settings: GroupSettings;
  private readonly listener: GroupListener;
  private readonly relay: RelayPath;
  private readonly stops: (() => void)[];
  private current: Way | undefined;
  private building: Building | undefined;
  private readonly givenUp: GivenUpPaths;
  private worker: WorkerPath | undefined;
  private readonly peerStates = new Map<string, PeerState>();
  private readonly speech: GroupSpeech;
  private readonly modeSwitch: ModeSwitch;
  /** What was asked for before the group was known. */
  private early: (() => void)[] = [];
  /** Who has left while what it sent may still come, in the host's order. */
  private readonly leaving = new Set<string>();
  /** What the server said may be missing. */
  private hasGap = false;
  /** What is told of the host as soon as the mode holds. */
  private hostNews: (() => void) | undefined;
  private isEntering = false;
  private wasOpen = false;
  /** The call stood once. */
  private wasCalled = false;
  private stopHope: (() => void) | undefined;
  private isRefreshing = false;
  /** Something changed since everything was brought in line. */
  private isStale = false;

  constructor(settings: GroupSettings, listener: GroupListener) {
    this.settings = settings;
    this.listener = listener;
    const { agent, environment, stream } = settings;
    this.port = new PeerPort(stream, environment, {
      data: (sender, payload, isLossy) => listener.data(sender, payload, isLossy),
      flushed: (sender, by) => this.flushed(sender, by),
      failed: (error) => listener.failed(error),
    });
    this.speech = new GroupSpeech(agent, (error) => listener.failed(error));
    this.modeSwitch = new ModeSwitch(this.speech, this.follower, environment);
    this.givenUp = new GivenUpPaths(this.port, environment, () => this.refresh());
    this.relay = new RelayPath(
      agent,
      environment,
      this.pathListener(() => this.relay),
    );
    this.stops = [
      agent.on("signal", (message) => this.signalled(message)),
      agent.on("connect", ({ isFirst, liveRecovered }) => this.connected(isFirst || !liveRecovered)),
      agent.on("gap", ({ live }) => live && this.connected(true)),
      agent.on("state", ({ name, code, why }) => {
        if (name === "closed") this.end(code || "closed", why || "The agent was disconnected.");
        else this.refresh();
      }),
      // Else the others would take this side for one that lost its network, and wait (Firefox sends nothing by then).
      environment.onPageHide(() => this.pageHid()),
      // A page that comes back out of the browser's cache enters again.
      environment.onWake(() => agent.isConnected && this.connected(false)),
    ];
    queueMicrotask(() => agent.isConnected && this.connected(true));
    // So that its connection is set up by the time the group is known.
    if (settings.mode === "sfu") this.openWorker();
  }

  // --- what can be asked -----------------------------------------------------------------------------------

  get mode(): Mode | undefined {
    return this.current?.mode;
  }

  /** The call through the media worker, while there is one. */
  get call(): Call | undefined {
    return this.worker?.call;
  }

  /** The mesh that counts, or is to be. */
  get mesh(): MeshPath | undefined {
    for (const way of [this.current, this.building]) if (way?.path instanceof MeshPath) return way.path;
    return undefined;
  }

  /** Whether the present path stands, as far as this side can tell. */
  get isConnected(): boolean {
    const { current, settings } = this;
    if (!current || this.ended) return false;
    if (current.path instanceof WorkerPath) return current.path.call.isOpen;
    return current.path !== this.relay || settings.agent.isConnected;
  }

  /** The path of mode `host`, where that holds. */
  get star(): HostPath | undefined {
    return this.current?.path instanceof HostPath ? this.current.path : undefined;
  }

  stateOf(identity: string): PeerState | undefined {
    return this.peerStates.get(identity);
  }

  // --- what the helper asks for ----------------------------------------------------------------------------

  /** Sends to these members, or to everybody else; waits where the group is not known yet. */
  send(
    to: readonly string[] | undefined,
    payload: unknown,
    isLossy: boolean,
    settle: (result: boolean | Error) => void,
  ): void {
    if (this.ended) throw this.ended;
    if (!this.current) {
      this.early.push(() => {
        try {
          this.send(to, payload, isLossy, settle);
        } catch (error) {
          settle(error as Error);
        }
      });
      return;
    }
    const { others } = this.follower;
    if (to?.length === 1 && to[0] === HOST_ROLE && this.star) {
      this.port.send(to, payload, isLossy, settle);
      return;
    }
    const missing = to?.filter((identity) => !others.has(identity)) ?? [];
    if (missing.length > 0) {
      const text = "Somebody whom this is for is in the channel, but has no WebRTCHelper there.";
      throw new ProtocolError("unknown_recipient", text, { details: { missing } });
    }
    this.port.send(to ?? [...others.keys()], payload, isLossy, settle);
  }

  /** Asks for another mode; settles when it holds for all, or is rolled back. */
  switchMode(mode: WantedMode): Promise<void> {
    return new Promise((done, failed) => {
      if (this.ended) throw this.ended;
      const begin = (): void => {
        this.modeSwitch.begin(mode, done, failed);
      };
      if (this.current) begin();
      else this.early.push(begin);
    });
  }

  /** What is published is other than before. */
  publicationsChanged(): void {
    this.mesh?.publicationsChanged();
    if (this.current) this.enter();
    this.refresh();
  }

  /** The page goes, for all that is known: a closed tab is no lost connection. */
  private pageHid(): void {
    if (!this.follower.state) return;
    if (this.settings.agent.isConnected) this.speech.say({ kind: "exit" });
    this.obey(this.follower.out());
  }

  close(): void {
    if (this.ended) return;
    if (this.follower.state && this.settings.agent.isConnected) this.speech.say({ kind: "exit" });
    this.end("closed", "The helper was closed by this side.");
  }

  // --- the server ------------------------------------------------------------------------------------------

  /** `isAnew`: live messages may be missing, of the server and of peers. */
  private connected(isAnew: boolean): void {
    if (this.ended) return;
    if (isAnew) this.hasGap = true;
    if (isAnew || !this.follower.state) {
      this.enter();
      for (const identity of this.follower.others.keys()) {
        if (this.port.routeOf(identity) === this.relay) this.port.renew(identity);
      }
    }
    this.refresh();
  }

  private enter(): void {
    if (this.isEntering || this.ended) return;
    this.isEntering = true;
    queueMicrotask(() => {
      this.isEntering = false;
      const { seen } = this.follower;
      const { mode, publications, environment } = this.settings;
      const modes: Mode[] = environment.hasPeerConnections
        ? ["mesh", "host", "relay", "datachannel", "sfu"]
        : ["relay"];
      const has_media = publications.size > 0;
      this.speech
        .ask({ kind: "enter", mode, modes, has_media, ...(seen ? { seen } : {}) })
        .catch(({ code, message, isRetryable, retryAfterMs }: ProtocolError) => {
          if (code === "unknown_recipient") {
            this.end("not_supported", `This server has no groups: there is no mode "${mode}".`);
          } else if (code === "closed" || this.ended) return;
          else if (isRetryable) environment.startTimer(retryAfterMs || RETRY_MS, () => this.connected(true));
          else this.end(code, message);
        });
    });
  }

  private signalled({ sender, content }: Message): void {
    const kind = (content as { readonly kind?: unknown } | null)?.kind;
    if (sender !== GROUP_AGENT || typeof kind !== "string" || this.ended) return;
    // A newer server may say things that are not known here.
    const shape = Object.hasOwn(GROUP_SIGNALS, kind) ? GROUP_SIGNALS[kind] : undefined;
    if (!shape) return;
    try {
      const signal = shape.read(content, "signal", "json") as GroupSignal;
      if (signal.kind === "group") {
        this.obey(this.follower.told(signal, this.settings.agent.identity));
        this.tellStar(signal);
      } else if (signal.kind === "proposal_ended") this.obey(this.follower.ended(signal));
      else this.end(signal.code, signal.message);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.listener.failed(error);
    }
  }

  /** Tells the paths of mode `host` who is host, or is to be. */
  private tellStar(signal: GroupStateSignal): void {
    if (this.follower.state?.version !== signal.version || this.ended) return;
    const { hasGap } = this;
    this.hasGap = false;
    const { proposal, version } = signal;
    const isProposed = signal.mode !== "host" && proposal?.mode === "host";
    const host = signal.mode === "host" ? signal.host : isProposed ? proposal.host : undefined;
    if (!host) return;
    const members = new Map<string, number>();
    for (const [identity, { order }] of this.follower.others) members.set(identity, order);
    for (const { identity, order } of signal.members) members.set(identity, order);
    const { identity, term, successor } = host;
    for (const way of [this.current, this.building]) {
      if (way?.path instanceof HostPath) {
        way.path.told({ version, term, host: identity, successor, members, hasGap });
      }
    }
  }

  // --- what the group says ---------------------------------------------------------------------------------

  private obey(changes: readonly GroupChange[]): void {
    for (const change of changes) this.take(change);
    if (changes.length > 0) this.refresh();
  }

  private take(change: GroupChange): void {
    switch (change.change) {
      case "entered":
        this.port.become(this.settings.agent.identity);
        break;
      case "joined":
        this.listener.peersChanged();
        break;
      case "left":
        this.gone(change.member.identity, change.member.name);
        break;
      case "mode":
        this.holds(change.mode, change.term, change.reason);
        break;
      case "proposed":
        this.build(change.proposal);
        break;
      case "ended":
        this.rollBack(change.why);
        break;
      case "host":
        break;
    }
  }

  private gone(identity: string, name: string): void {
    if (this.star) {
      // In a host's order what it sent may still come: the host says when nothing does.
      this.port.leftAsRecipient(identity);
      this.leaving.add(identity);
    } else this.port.left(identity);
    this.givenUp.left(identity);
    this.peerStates.delete(identity);
    this.listener.peerState(identity, name, "left");
    this.listener.peersChanged();
  }

  private holds(mode: Mode, term: number, reason: string): void {
    const { building, current } = this;
    if (current?.mode === mode && !building) return;
    const isBuilt = building?.term === term;
    if (building && !isBuilt) this.drop(building);
    building?.stopTimer();
    this.building = undefined;
    const path = isBuilt ? building.path : this.openPath(mode);
    this.current = { mode, path };
    if (path instanceof MeshPath) path.announce();
    else this.listener.callTaken();
    if (current && current.path !== path) {
      if (current.path instanceof HostPath) this.leaveStar();
      this.giveUp(current.path);
    }
    if (current?.mode === mode) return;
    this.listener.modeChanged(mode, reason);
    this.tellHost();
    this.modeSwitch.holds(mode);
    for (const action of this.early.splice(0)) action();
  }

  /** Makes the path of a proposed mode, beside the present one. */
  private build({ mode, term }: GroupProposal): void {
    const { environment } = this.settings;
    const stopTimer = environment.startTimer(READY_WITHIN_MS, () => this.decide(term));
    this.building = { mode, term, path: this.openPath(mode), stopTimer, isAnswered: false };
  }

  /** The time is up: with whom the path does not reach it goes another way, or not at all. */
  private decide(term: number): void {
    const { building } = this;
    if (building?.term !== term || building.isAnswered) return;
    building.isAnswered = true;
    if (this.settings.carry() && CARRIED_MODES.includes(building.mode))
      this.speech.say({ kind: "ready", term });
    else {
      const missing = this.unreached(building.path).map((identity) => this.nameOf(identity));
      const reason = `No way in mode ${building.mode} to ${missing.join(", ")}.`;
      this.speech.say({ kind: "veto", term, reason: reason.slice(0, 200) });
    }
  }

  private rollBack(why: ProposalEndedSignal | undefined): void {
    const { building } = this;
    this.building = undefined;
    if (building) this.drop(building);
    // What came by the call that was built takes its place no longer.
    if (this.current?.path instanceof MeshPath) this.current.path.announce();
    this.modeSwitch.rolledBack(why);
  }

  private drop({ path, stopTimer }: Building): void {
    stopTimer();
    if (path instanceof MeshPath || path instanceof HostPath) path.close("rolled back");
  }

  // --- paths -----------------------------------------------------------------------------------------------

  private openPath(mode: Mode): Path {
    if (mode === "relay") return this.relay;
    if (mode !== "mesh" && mode !== "host") return this.openWorker();
    const { agent, environment, configuration, publications } = this.settings;
    const ownOrder = (): number => this.follower.ownOrder;
    if (mode === "host") return this.openStar();
    const path: MeshPath = new MeshPath(
      { agent, environment, configuration, publications, ownOrder, scope: "" },
      {
        ...this.pathListener(() => path),
        reachable: (peer, is_reachable) => this.speech.say({ kind: "report", peer, is_reachable }),
        tracksChanged: (identity, tracks) => this.listener.tracksChanged(identity, tracks),
      },
    );
    return path;
  }

  private openStar(): HostPath {
    const { agent, environment, configuration, publications } = this.settings;
    const ownOrder = (): number => this.follower.ownOrder;
    const path: HostPath = new HostPath(
      { agent, environment, configuration, publications, ownOrder },
      {
        ...this.pathListener(() => path),
        reachable: (peer, is_reachable) => this.speech.say({ kind: "report", peer, is_reachable }),
        hostChanged: (host, term, state) => {
          this.hostNews = () => this.listener.hostChanged(host, term, state);
          this.tellHost();
        },
        message: (sender, payload) => this.listener.data(sender, payload, false),
        known: (sender, frame) => this.port.receive(sender, frame, path, true),
        gone: (identity) => this.leaving.delete(identity) && this.port.leftAsSender(identity),
        renew: (term) => this.speech.sayLossy({ kind: "renew", term }),
        unheard: (term) => this.speech.sayLossy({ kind: "unheard", term }),
        failed: (error) => this.listener.failed(error),
      },
    );
    return path;
  }

  /** What is said of the host while its mode is only proposed waits. */
  private tellHost(): void {
    if (!this.star) return;
    const news = this.hostNews;
    this.hostNews = undefined;
    news?.();
  }

  private leaveStar(): void {
    this.port.left(HOST_ROLE);
    for (const identity of this.leaving) this.port.leftAsSender(identity);
    this.leaving.clear();
  }

  private openWorker(): WorkerPath {
    if (this.worker) return this.worker;
    const { agent, environment, openCall } = this.settings;
    const path = (): Path => worker;
    const worker = new WorkerPath(openCall(), () => agent.identity, environment, this.pathListener(path));
    this.worker = worker;
    return this.worker;
  }

  private pathListener(path: () => Path) {
    return {
      received: (sender: string, frame: Uint8Array) => this.port.receive(sender, frame, path()),
      routesChanged: () => this.refresh(),
      writable: () => this.port.wake(),
    };
  }

  /** A path is left once all others have said that nothing more comes by it. */
  private giveUp(path: Path): void {
    if (path === this.relay) return;
    if (path instanceof MeshPath || path instanceof HostPath) path.retire();
    this.givenUp.add(path, this.follower.others.keys());
  }

  private flushed(sender: string, by: Path | undefined): void {
    this.givenUp.flushed(sender, by);
    this.refresh();
  }

  private endDrained(): void {
    for (const path of this.givenUp.takeDrained()) {
      if (path instanceof MeshPath || path instanceof HostPath) path.close("switched");
    }
    if (this.needsWorker) this.openWorker();
    else if (this.worker) {
      const { worker } = this;
      this.worker = undefined;
      worker.close();
    }
  }

  private get needsWorker(): boolean {
    const paths = [this.current?.path, this.building?.path, ...this.givenUp.paths];
    if (paths.some((path) => path instanceof WorkerPath)) return true;
    // In the modes that carry no media these go through the media worker.
    const { state } = this.follower;
    if (!this.current) return this.settings.mode === "sfu";
    if (this.current.mode === "mesh") return false;
    return state?.members.some((member) => member.has_media) ?? false;
  }

  // --- who is reached how ----------------------------------------------------------------------------------

  /** Brings everything in line with what is true now. */
  private refresh(): void {
    if (this.ended) return;
    this.isStale = true;
    if (this.isRefreshing) return;
    this.isRefreshing = true;
    while (this.isStale && !this.ended) {
      this.isStale = false;
      this.bringInLine();
    }
    this.isRefreshing = false;
    this.port.wake();
    this.listener.changed();
  }

  private bringInLine(): void {
    const { current, building } = this;
    const { others } = this.follower;
    for (const way of [current, building]) way?.path.follow(others);
    if (current) for (const identity of others.keys()) this.assign(identity, current.path);
    if (this.star) this.port.assign(HOST_ROLE, this.star.routeTo(HOST_ROLE));
    if (building && !building.isAnswered && this.unreached(building.path).length === 0) {
      building.isAnswered = true;
      this.speech.say({ kind: "ready", term: building.term });
    }
    // The links have it from the moment on in which it is published.
    if (current?.path instanceof MeshPath) {
      for (const local of this.settings.publications) if (!local.isPublished) local.taken();
    }
    this.endDrained();
  }

  private assign(identity: string, path: Path): void {
    let route = path.routeTo(identity);
    let state: PeerState = route ? "connected" : "connecting";
    if (!route && this.settings.carry() && path.isUnreachable(identity)) {
      route = this.relay;
      state = "carried";
    }
    this.port.assign(identity, route);
    if (this.peerStates.get(identity) === state) return;
    this.peerStates.set(identity, state);
    this.listener.peerState(identity, this.nameOf(identity), state);
  }

  private unreached(path: Path): string[] {
    return [...this.follower.others.keys()].filter((identity) => !path.routeTo(identity));
  }

  private nameOf(identity: string): string {
    return this.follower.others.get(identity)?.name ?? identity;
  }

  // --- the call --------------------------------------------------------------------------------------------

  /** The call stands otherwise than before. */
  callChanged(): void {
    const { code = "", why = "", name } = this.call?.state ?? {};
    const isCalled = this.current ? this.current.path instanceof WorkerPath : this.settings.mode === "sfu";
    if (name === "closed" && isCalled && !this.follower.state?.is_auto) this.end(code, why);
    this.wasOpen = this.call?.isOpen ?? false;
    if (this.wasOpen) this.wasCalled = true;
    const isHopeless = this.call?.state.code === "no_worker" && !this.wasCalled;
    if (isHopeless && !this.stopHope) {
      this.stopHope = this.settings.environment.startTimer(NO_WORKER_MS, () => this.giveUpHope());
    }
    this.refresh();
  }

  /** A mode through a worker was asked for, and there is none: only `auto` goes another way then. */
  private giveUpHope(): void {
    this.stopHope = undefined;
    const { current, follower, wasCalled } = this;
    if (wasCalled || follower.state?.is_auto || !(current?.path instanceof WorkerPath)) return;
    const { code, why } = current.path.call.state;
    if (code === "no_worker") this.end(code, why);
  }

  /** A data channel of the call opened, or has room again. */
  callWritable(): void {
    const isOpen = this.call?.isOpen ?? false;
    if (isOpen && !this.wasOpen) this.refresh();
    else this.port.wake();
    this.wasOpen = isOpen;
  }

  /** What came by the call: frames of members, or what somebody sends who is in the call only. */
  callData({ sender, payload }: Incoming, isLossy: boolean): void {
    if (sender === null) return;
    if (payload instanceof Uint8Array && isFrame(payload)) {
      this.port.receive(sender, payload, this.worker);
    } else this.listener.data(sender, payload, isLossy);
  }

  // --- the end ---------------------------------------------------------------------------------------------

  private end(code: string, why: string): void {
    if (this.ended) return;
    const error = new ProtocolError(code, why);
    this.ended = error;
    for (const stop of this.stops.splice(0)) stop();
    this.port.close(error);
    this.modeSwitch.end(error);
    for (const action of this.early.splice(0)) action();
    this.building?.stopTimer();
    this.stopHope?.();
    for (const way of [this.current, this.building]) way?.path.close("left");
    this.givenUp.close("left");
    this.worker?.close();
    this.relay.close();
    for (const change of this.follower.out()) {
      if (change.change === "left")
        this.listener.peerState(change.member.identity, change.member.name, "left");
    }
    this.listener.changed();
  }
}

/**
 * `WebRTCHelper`: media and data with everyone in the agent's channel.
 *
 * Owns what users of the SDK see: methods, events, properties. Never decides anything about connections: `PeerGroup` does
 * about the ways between peers, `Call` about the one through the media worker.
 *
 *     const webrtc = new WebRTCHelper(agent, { mode: "mesh" });
 *     webrtc.onTrack = (track, { stream }) => { video.srcObject = stream; };
 *     webrtc.onDataReceived = (data, name) => console.log(name, data);
 *     webrtc.publish(await navigator.mediaDevices.getUserMedia({ audio: true, video: true }));
 *     webrtc.sendData({ position: { x: 10, y: 20 } });
 */

import type { AgentConnection } from "../agent/agent";
import { Emitter } from "../agent/emitter";
import { Outcome } from "../agent/outcome";
import { ProtocolError } from "../protocol/errors";
import { isObject } from "../protocol/shape";
import { Call } from "./call";
import type { Incoming } from "./delivery";
import { browserCallEnvironment, type CallEnvironment } from "./environment";
import type { Mode, WantedMode } from "./group-follower";
import { HelperFigures } from "./helper-figures";
import { type DataOptions, MODES, type WebRTCEvents, type WebRTCOptions } from "./helper-options";
import { HOST_ROLE } from "./host-frames";
import type { Simulation } from "./network-simulator";
import { PeerGroup } from "./peer-group";
import { isScreen, type LocalPublication, type PublishOptions, sourceOf } from "./publications";
import { Publishing } from "./publishing";
import { ReceivedTracks } from "./received-tracks";
import type { ReceptionEvent } from "./reception";
import type {
  ActiveSpeaker,
  CallState,
  DataEvent,
  EncryptionState,
  Peer,
  PeerState,
  RemotePublication,
  TrackEvent,
  TrackInfo,
} from "./records";
import type { HelperStats } from "./stats";

export type { DataOptions, HostEvent, WebRTCEvents, WebRTCOptions } from "./helper-options";

type TrackCallback = ((track: MediaStreamTrack, info: TrackInfo) => unknown) | null;

/** The call of one agent. It begins by itself as soon as the agent connects, and comes back by itself. */
export class WebRTCHelper {
  onTrack: ((track: MediaStreamTrack, info: TrackInfo) => unknown) | null = null;
  onTrackEnded: ((track: MediaStreamTrack, info: TrackInfo) => unknown) | null = null;
  onDataReceived: ((data: unknown, peerName: string, peer: Peer) => unknown) | null = null;
  onActiveSpeaker: ((speakers: readonly ActiveSpeaker[]) => unknown) | null = null;
  onPeers: ((peers: readonly Peer[]) => unknown) | null = null;
  onState: ((state: CallState) => unknown) | null = null;
  onEncryptionState: ((state: EncryptionState, publication: RemotePublication) => unknown) | null = null;
  onModeChange: ((mode: Mode, reason: string) => unknown) | null = null;
  onHostChange: ((host: Peer, term: number, state: unknown) => unknown) | null = null;
  onPeerState: ((peer: Peer, state: PeerState) => unknown) | null = null;
  onError: ((error: ProtocolError) => unknown) | null = null;

  private readonly agent: AgentConnection;
  private readonly environment: CallEnvironment;
  private readonly emitter = new Emitter<WebRTCEvents>();
  private readonly configuration: RTCConfiguration;
  private readonly e2ee: boolean | undefined;
  private readonly publishing: Publishing;
  private readonly received: ReceivedTracks;
  private readonly group: PeerGroup;
  private told = "idle  ";
  private wasConnected = false;
  private readonly figures: HelperFigures;

  /** Throws `PeerbusError` (`not_supported`) for a mode that there is not. */
  constructor(
    agent: AgentConnection,
    options: WebRTCOptions = {},
    environment: CallEnvironment = browserCallEnvironment,
  ) {
    const { mode = "auto", iceServers, iceTransportPolicy, e2ee, carry, simulate } = options;
    if (!MODES.includes(mode)) {
      throw new ProtocolError("not_supported", `There is no mode "${String(mode)}": ${MODES.join(", ")}.`);
    }
    this.agent = agent;
    this.environment = environment;
    this.e2ee = e2ee;
    this.configuration = {
      ...(iceServers ? { iceServers: [...iceServers] } : {}),
      ...(iceTransportPolicy ? { iceTransportPolicy } : {}),
    };
    this.publishing = new Publishing(
      () => this.call,
      () => this.group,
      () => this.publicationsChanged(),
    );
    this.received = new ReceivedTracks(() => environment.makeStream(), {
      began: (event) => this.trackEvent("track", event, this.onTrack),
      ended: (event) => this.trackEvent("trackEnded", event, this.onTrackEnded),
    });
    this.group = this.enterGroup(mode, carry);
    this.figures = new HelperFigures(agent, this.group);
    if (simulate) this.simulate(simulate);
  }

  private openCall(): Call {
    const { agent, environment, configuration, e2ee } = this;
    return new Call(agent, environment, configuration, e2ee, this.publishing.all, {
      stateChanged: () => this.group.callChanged(),
      received: (events) => {
        this.happened(events);
        this.group.callChanged();
      },
      speakersChanged: (speakers) => {
        const named = speakers.map(({ participant, level }) => ({
          identity: participant,
          name: participant === agent.identity ? agent.agentName : this.peerOf(participant).name,
          level,
        }));
        this.emitter.emit("activeSpeaker", named, this.onActiveSpeaker);
      },
      data: (message, isLossy) => this.arrived(message, isLossy),
      encryptionChanged: (id, state) => this.encryptionChanged(id, state),
      failed: (error) => this.fail(error),
      writable: () => this.group.callWritable(),
    });
  }

  private enterGroup(mode: WantedMode, carry: boolean | undefined): PeerGroup {
    const { agent, environment } = this;
    const settings = {
      agent,
      environment,
      mode,
      carry: () => carry ?? agent.isRelayEnabled,
      configuration: () => ({ iceServers: [...agent.iceServers], ...this.configuration }),
      publications: this.publishing.all,
      stream: 1 + Math.floor(environment.random() * (2 ** 32 - 1)),
      openCall: () => this.openCall(),
    };
    return new PeerGroup(settings, {
      changed: () => this.groupChanged(),
      peersChanged: () => this.emitter.emit("peers", this.peers, this.onPeers),
      data: (sender, payload, isLossy) => this.heard(sender, payload, isLossy),
      modeChanged: (now, reason) => {
        const assigned = this.onModeChange;
        this.emitter.emit("mode", { mode: now, reason }, assigned && (() => assigned(now, reason)));
      },
      peerState: (identity, name, state) => {
        const peer = { ...this.peerOf(identity), name };
        const assigned = this.onPeerState;
        this.emitter.emit("peerState", { peer, state }, assigned && (() => assigned(peer, state)));
      },
      callTaken: () => {
        for (const { publication, mid } of this.call?.reception.carried ?? [])
          this.trackBegan(publication, mid);
      },
      hostChanged: (identity, term, state) => {
        const isOwn = identity === agent.identity;
        const host = isOwn ? { ...this.peerOf(identity), name: agent.agentName } : this.peerOf(identity);
        const assigned = this.onHostChange;
        this.emitter.emit("host", { host, term, state }, assigned && (() => assigned(host, term, state)));
      },
      tracksChanged: (identity, tracks) => {
        this.received.link(this.peerOf(identity), tracks);
        this.emitter.emit("peers", this.peers, this.onPeers);
      },
      failed: (error) => this.fail(error),
    });
  }

  // --- what can be asked ---------------------------------------------------------------------------------

  /** Where the call stands. */
  get state(): CallState {
    const { group } = this;
    const told = { code: "", why: "", retryInMs: 0 };
    if (group.ended) return { ...told, name: "closed", code: group.ended.code, why: group.ended.message };
    const { name } = this.agent.state;
    if (name === "idle") return { ...told, name: "idle" };
    if (group.isConnected) return { ...told, name: "connected" };
    const state = group.call?.state;
    if (state?.name === "connecting" || state?.name === "reconnecting") return state;
    return { ...told, name: this.wasConnected ? "reconnecting" : "connecting" };
  }

  /** Whether the call stands, or with a name or an identity: whether this peer can be reached. */
  isConnected(peer?: string): boolean {
    const isUp = this.state.name === "connected";
    if (peer === undefined || !isUp) return isUp;
    const { group } = this;
    return this.peers.some(
      ({ identity, name }) =>
        (identity === peer || name === peer) && group.port.routeOf(identity) !== undefined,
    );
  }

  /** How data and media travel now; `undefined` before the group is known. */
  get mode(): Mode | undefined {
    return this.group.mode;
  }

  /** The identity of the group's host; `undefined` in all modes but `host`. */
  get host(): string | undefined {
    return this.group.follower.state?.host?.identity;
  }

  /** Whether what is sent is end-to-end encrypted, and nothing else is shown. */
  get isEncrypted(): boolean {
    return this.call?.encryption.isOn ?? this.agent.isSealed;
  }

  /** How the end-to-end encryption of somebody's publication stands; only of `open` and `sealed` ones anything comes. */
  encryptionOf(publication: RemotePublication): EncryptionState {
    return this.call?.encryption.stateOf(publication) ?? "open";
  }

  /** Everybody else in the call. */
  get peers(): readonly Peer[] {
    const inCall = this.call?.reception.peers(this.agent.identity) ?? [];
    const { others } = this.group.follower;
    const members = [...others.values()].map(({ identity, name }) => {
      const linked = this.received.linkedOf(identity);
      const called = inCall.find((peer) => peer.identity === identity)?.publications ?? [];
      const isLinked = ({ id }: RemotePublication): boolean => linked.some((one) => one.id === id);
      return { identity, name, publications: [...linked, ...called.filter((one) => !isLinked(one))] };
    });
    return [...members, ...inCall.filter(({ identity }) => !others.has(identity))];
  }

  /** What this side publishes, or is about to. */
  get publications(): readonly LocalPublication[] {
    return [...this.publishing.all];
  }

  /** The tracks that are received now. */
  get tracks(): readonly TrackEvent[] {
    return this.received.events;
  }

  // --- events --------------------------------------------------------------------------------------------

  /** Adds a listener; gives a function that takes it away again. */
  on<K extends keyof WebRTCEvents>(event: K, listener: (value: WebRTCEvents[K]) => unknown): () => void {
    return this.emitter.on(event, listener);
  }

  /** Takes a listener away; without one, all of this event. */
  off<K extends keyof WebRTCEvents>(event: K, listener?: (value: WebRTCEvents[K]) => unknown): void {
    this.emitter.off(event, listener);
  }

  // --- publishing ----------------------------------------------------------------------------------------

  /**
   * Sends a track, or all tracks of a stream, to everybody in the call.
   *
   * Need not be awaited: settles once the others can have it. Rejects with a `PeerbusError` (`codec_not_supported`,
   * `forbidden`, `too_many_tracks`, `closed`). A track that ends by itself is unpublished.
   */
  publish(media: MediaStreamTrack, options?: PublishOptions): Promise<LocalPublication>;
  publish(media: MediaStream, options?: PublishOptions): Promise<LocalPublication[]>;
  publish(
    media: MediaStreamTrack | MediaStream,
    options: PublishOptions = {},
  ): Promise<LocalPublication | LocalPublication[]> {
    if (!("getTracks" in media)) return this.publishTrack(media, options);
    const tracks = media.getTracks();
    const isWithScreen = tracks.some(isScreen);
    return this.outcome((done, failed) => {
      const all = tracks.map((track) =>
        this.publishTrack(track, { ...options, source: options.source ?? sourceOf(track, isWithScreen) }),
      );
      Promise.all(all).then(done, failed);
    });
  }

  /** Ends a publication. Its track goes on; stop it where the device is to be released. */
  unpublish(publication: LocalPublication): void {
    this.publishing.end(publication);
  }

  /** Sends nothing on a publication for a while; the others are told. */
  mute(publication: LocalPublication, isMuted = true): void {
    this.publishing.mute(publication, isMuted);
  }

  /** Sends another track in a publication's place, such as that of another camera. */
  replaceTrack(publication: LocalPublication, track: MediaStreamTrack): void {
    this.publishing.replaceTrack(publication, track);
  }

  // --- data ----------------------------------------------------------------------------------------------

  /**
   * Sends a payload (JSON-shaped, text or bytes) to everyone else, or to some: names or identities.
   *
   * Need not be awaited, and may be called before the connection stands: it waits then. True: it is on its way; false: a
   * lossy message was dropped. Rejects with a `PeerbusError`: `too_large`, `queue_full`, `unknown_recipient`,
   * `bad_request`, `closed`. A reliable message has at most 64 MiB, one that is not at most 16,000 bytes.
   * `sendData(payload, { to, lossy })` does the same.
   */
  sendData(
    payload: unknown,
    to?: string | readonly string[] | DataOptions | null,
    options: DataOptions = {},
  ): Promise<boolean> {
    const isPlain = typeof to === "object" && to !== null && !isList(to);
    const { reliable, lossy, ...rest } = isPlain ? to : { to: to ?? undefined, ...options };
    return this.transmit(payload, rest.to, lossy ?? !(reliable ?? true));
  }

  /** Sends a payload to everyone else. */
  broadcast(payload: unknown, options: Omit<DataOptions, "to"> = {}): Promise<boolean> {
    return this.sendData(payload, null, options);
  }

  // --- modes ---------------------------------------------------------------------------------------------

  /** Whether this side is host now, in mode `host`: it keeps the state, and messages to `peerbus:host` come to it. */
  get isHost(): boolean {
    return this.group.star?.isHost === true;
  }

  /**
   * The state of the host's application as it is now: JSON, text or bytes, at most 4 MiB.
   *
   * Kept by the successor at once, and by the others soon after. Whoever becomes host is given the newest by
   * `onHostChange`, and then once more every message for the host that came after it. Throws `PeerbusError`: `forbidden`
   * (this side is not host), `bad_request`, `too_large`.
   */
  setHostState(state: unknown): void {
    const star = this.group.star;
    if (!star) throw new ProtocolError("forbidden", "Only the host keeps a state, in mode host.");
    star.setState(state);
  }

  /**
   * Has everybody move to another mode, or has the server choose from now on (`auto`).
   *
   * Settles once it holds for all. Nothing reliable is lost, doubled or reordered meanwhile. Rejects with a `PeerbusError`
   * where it was rolled back: `vetoed`, `timeout`, `not_supported`, `no_worker`, `proposal_pending`.
   */
  switchMode(mode: WantedMode): Promise<void> {
    return this.outcome((done, failed) => {
      if (!MODES.includes(mode)) throw new ProtocolError("not_supported", `There is no mode "${mode}".`);
      this.group.switchMode(mode).then(done, failed);
    });
  }

  /**
   * Has data go as through a network like this from now on, in whatever mode; without an argument as it is.
   *
   * Both what is sent and what is received is later by `delayMs` (up to `jitterMs` more), so that a round trip takes twice
   * that. Lossy messages get lost; reliable ones then come later by the time of a resend, never out of order. Picture and sound are as
   * they were. Throws `PeerbusError` (`bad_request`) for what is not in its range.
   */
  simulate(simulation: Simulation = {}): void {
    this.group.port.simulate(simulation);
  }

  // --- the rest ------------------------------------------------------------------------------------------

  /** How the call goes, in figures; rates are those since the last time. */
  stats(): Promise<HelperStats> {
    return this.figures.take({ state: this.state.name, peers: this.peers });
  }

  /** Ends the waiting for the next attempt to reconnect. */
  reconnectNow(): void {
    this.call?.reconnectNow();
  }

  /** Leaves the call for good. The agent stays in its channel, and the published tracks go on. */
  close(): void {
    this.group.close();
    const error = new ProtocolError("closed", "The call was closed by this side.");
    this.publishing.endAll(error);
  }

  // --- inside --------------------------------------------------------------------------------------------

  private publishTrack(track: MediaStreamTrack, options: PublishOptions): Promise<LocalPublication> {
    return this.outcome((done, failed) => {
      if (this.state.name === "closed") throw new ProtocolError("closed", "The call is over.");
      this.publishing.begin(track, options, done, failed);
    });
  }

  private get call(): Call | undefined {
    return this.group.call;
  }

  private transmit(
    payload: unknown,
    to: string | readonly string[] | undefined,
    isLossy: boolean,
  ): Promise<boolean> {
    return this.outcome((done, failed) => {
      if (this.state.name === "closed") throw new ProtocolError("closed", "The call is over.");
      const identities = to === undefined ? undefined : this.identitiesOf(to);
      this.group.send(identities, payload, isLossy, (result) => {
        if (result instanceof Error) failed(result);
        else done(result);
      });
    });
  }

  private groupChanged(): void {
    const { state } = this;
    const mark = [state.name, state.code, state.why].join(" ");
    if (mark === this.told) return;
    this.told = mark;
    if (state.name === "connected") this.wasConnected = true;
    if (state.name === "closed") this.publishing.endAll(new ProtocolError(state.code, state.why));
    this.emitter.emit("state", state, this.onState);
  }

  private publicationsChanged(): void {
    this.emitter.emit("publications", this.publications);
  }

  private identitiesOf(to: string | readonly string[]): string[] {
    if (to === HOST_ROLE && this.group.star) return [HOST_ROLE];
    const known = [...this.peers, ...this.agent.members];
    const names = typeof to === "string" ? [to] : to;
    const missing: string[] = [];
    const found = names.flatMap((name) => {
      const matching = known.filter((one) => one.identity === name || one.name === name);
      if (matching.length === 0) missing.push(name);
      return matching.map(({ identity }) => identity);
    });
    if (missing.length > 0) {
      throw new ProtocolError("unknown_recipient", `Nobody here is called ${missing.join(", ")}.`, {
        details: { missing },
      });
    }
    return [...new Set(found)];
  }

  /** Somebody in the call; one who has just left, or is only in the channel, is known by name at least. */
  private peerOf(identity: string): Peer {
    const peer = this.peers.find((one) => one.identity === identity);
    const member = this.agent.members.find((one) => one.identity === identity);
    return peer ?? { identity, name: member?.name ?? "", publications: [] };
  }

  private arrived(message: Incoming, isLossy: boolean): void {
    const { sender, payload } = message;
    if (sender === null) {
      const { code, message: text, details } = isObject(payload) ? payload : {};
      // Whoever has just left is known by the group.
      if (code === "unknown_recipient") return;
      const extras = isObject(details) ? { details } : {};
      this.fail(new ProtocolError(String(code ?? "internal"), String(text ?? ""), extras));
    } else this.group.callData(message, isLossy);
  }

  private heard(sender: string, payload: unknown, isLossy: boolean): void {
    const peer = this.peerOf(sender);
    const assigned = this.onDataReceived;
    this.emitter.emit(
      "data",
      { data: payload, peer, isLossy },
      assigned && (({ data }: DataEvent) => assigned(data, peer.name, peer)),
    );
  }

  private happened(events: readonly ReceptionEvent[]): void {
    for (const event of events) {
      if (event.event === "peers") this.emitter.emit("peers", this.peers, this.onPeers);
      else if (event.event === "ended") this.received.ended(event.id, "call");
      else this.trackBegan(event.publication, event.mid);
    }
  }

  private trackBegan(publication: RemotePublication, mid: string): void {
    const track = this.call?.connection?.trackOf(mid);
    if (track) this.received.began(publication, track, "call", this.peerOf(publication.identity));
  }

  private trackEvent(name: "track" | "trackEnded", event: TrackEvent, assigned: TrackCallback): void {
    this.emitter.emit(name, event, assigned && (() => assigned(event.track, event.info)));
  }

  private encryptionChanged(id: string, state: EncryptionState): void {
    const publication = this.call?.reception.publication(id);
    if (!publication) return;
    const assigned = this.onEncryptionState;
    const event = { publication, state };
    this.emitter.emit("encryptionState", event, assigned && (() => assigned(state, publication)));
  }

  private fail(error: ProtocolError): void {
    this.emitter.emit("error", error, this.onError);
  }

  /** A promise whose failure goes to `onError` if nobody looks at it. */
  private outcome<T>(begin: (done: (value: T) => void, failed: (error: Error) => void) => void): Promise<T> {
    const settle = (done: (value: T) => void, failed: (error: Error) => void): void => {
      try {
        begin(done, failed);
      } catch (error) {
        failed(error as Error);
      }
    };
    return Outcome.of<T>(settle, (error) => {
      // Whoever closed the call knows what became of the rest.
      if (!(error instanceof ProtocolError) || error.code !== "closed") this.fail(error as ProtocolError);
    });
  }
}

function isList(value: object): value is readonly string[] {
  return Array.isArray(value);
}

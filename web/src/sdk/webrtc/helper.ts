/**
 * `WebRTCHelper`: media and data with everyone in the agent's channel.
 *
 * Owns what users of the SDK see: methods, events, properties. Never decides anything about the connection.
 *
 *     const webrtc = new WebRTCHelper(agent);
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
import { encodeData, type Incoming } from "./delivery";
import { browserCallEnvironment, type CallEnvironment } from "./environment";
import { isScreen, Local, type LocalPublication, type PublishOptions, sourceOf } from "./publications";
import type { ReceptionEvent } from "./reception";
import type {
  ActiveSpeaker,
  CallState,
  DataEvent,
  EncryptionEvent,
  EncryptionState,
  Peer,
  RemotePublication,
  TrackEvent,
  TrackInfo,
} from "./records";
import { type CallStats, type Counters, type DataStats, type StatsSubject, statsOf } from "./stats";
import { Streams } from "./streams";

/** What the constructor takes. */
export interface WebRTCOptions {
  /** `sfu`: everything goes through the server's media worker. */
  readonly mode?: "sfu" | undefined;
  /** STUN and TURN servers, instead of those that the server hands out. */
  readonly iceServers?: readonly RTCIceServer[] | undefined;
  /** `relay`: through a TURN server only. */
  readonly iceTransportPolicy?: RTCIceTransportPolicy | undefined;
  /**
   * Whether frames are end-to-end encrypted, so that the server cannot see or hear them. By default they are if the channel
   * is sealed. False switches it off: who has it on is not seen or heard then, and sees and hears nothing of this side.
   * True asks for it in an open channel, which has to have a password.
   */
  readonly e2ee?: boolean | undefined;
}

/** What `sendData` takes besides the payload. */
export interface DataOptions {
  /** Names or identities; everyone else in the call if it is left out. */
  readonly to?: string | readonly string[] | undefined;
  /** May be lost, comes in no order, and waits for nothing. */
  readonly lossy?: boolean | undefined;
}

/** Every event by its name, for `on` and `off`. */
export interface WebRTCEvents {
  readonly track: TrackEvent;
  readonly trackEnded: TrackEvent;
  /** Somebody came or went, published, unpublished or muted. */
  readonly peers: readonly Peer[];
  /** Who speaks now, the loudest first; empty: nobody. */
  readonly activeSpeaker: readonly ActiveSpeaker[];
  readonly data: DataEvent;
  readonly state: CallState;
  /** The encryption of a received publication stands otherwise than before. */
  readonly encryptionState: EncryptionEvent;
  /** The own publications changed: one was taken, refused or has ended. */
  readonly publications: readonly LocalPublication[];
  readonly error: ProtocolError;
}

interface Received {
  readonly publication: RemotePublication;
  readonly event: TrackEvent;
}

/** The call of one agent. It begins by itself as soon as the agent connects, and comes back by itself. */
export class WebRTCHelper {
  onTrack: ((track: MediaStreamTrack, info: TrackInfo) => unknown) | null = null;
  onTrackEnded: ((track: MediaStreamTrack, info: TrackInfo) => unknown) | null = null;
  onDataReceived: ((data: unknown, peerName: string, peer: Peer) => unknown) | null = null;
  onActiveSpeaker: ((speakers: readonly ActiveSpeaker[]) => unknown) | null = null;
  onPeers: ((peers: readonly Peer[]) => unknown) | null = null;
  onState: ((state: CallState) => unknown) | null = null;
  onEncryptionState: ((state: EncryptionState, publication: RemotePublication) => unknown) | null = null;
  onError: ((error: ProtocolError) => unknown) | null = null;

  private readonly agent: AgentConnection;
  private readonly environment: CallEnvironment;
  private readonly emitter = new Emitter<WebRTCEvents>();
  private readonly call: Call;
  private readonly streams: Streams;
  private readonly received = new Map<string, Received>();
  private lastId = 0;
  private counters: Counters = new Map();
  private figures = { messagesSent: 0, messagesReceived: 0, messagesDropped: 0 };

  /** Throws `PeerbusError` (`not_supported`) for a mode that there is not. */
  constructor(
    agent: AgentConnection,
    options: WebRTCOptions = {},
    environment: CallEnvironment = browserCallEnvironment,
  ) {
    const { mode = "sfu", iceServers, iceTransportPolicy, e2ee } = options;
    if (mode !== "sfu") {
      throw new ProtocolError("not_supported", `There is no mode "${String(mode)}" here; "sfu" is the one.`);
    }
    this.agent = agent;
    this.environment = environment;
    this.streams = new Streams(() => environment.makeStream());
    const configuration = {
      ...(iceServers ? { iceServers: [...iceServers] } : {}),
      ...(iceTransportPolicy ? { iceTransportPolicy } : {}),
    };
    this.call = new Call(agent, environment, configuration, e2ee, {
      stateChanged: (state) => this.emitter.emit("state", state, this.onState),
      received: (events) => this.happened(events),
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
    });
  }

  // --- what can be asked ---------------------------------------------------------------------------------

  /** Where the call stands. */
  get state(): CallState {
    return this.call.state;
  }

  get isConnected(): boolean {
    return this.state.name === "connected";
  }

  /** Whether what is sent is end-to-end encrypted, and nothing else is shown. */
  get isEncrypted(): boolean {
    return this.call.encryption.isOn;
  }

  /** How the end-to-end encryption of somebody's publication stands; only of `open` and `sealed` ones anything comes. */
  encryptionOf(publication: RemotePublication): EncryptionState {
    return this.call.encryption.stateOf(publication);
  }

  /** Everybody else in the call. */
  get peers(): readonly Peer[] {
    return this.call.reception.peers(this.agent.identity);
  }

  /** What this side publishes, or is about to. */
  get publications(): readonly LocalPublication[] {
    return [...this.call.publications];
  }

  /** The tracks that are received now. */
  get tracks(): readonly TrackEvent[] {
    return [...this.received.values()].map(({ event }) => event);
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
    const local = this.own(publication);
    if (!local) return;
    this.call.unpublish(local);
    this.publicationsChanged();
  }

  /** Sends nothing on a publication for a while; the others are told. */
  mute(publication: LocalPublication, isMuted = true): void {
    const local = this.own(publication);
    if (!local || local.isMuted === isMuted) return;
    local.isMuted = isMuted;
    this.call.mute(local);
    this.publicationsChanged();
  }

  /** Sends another track in a publication's place, such as that of another camera. */
  replaceTrack(publication: LocalPublication, track: MediaStreamTrack): void {
    const local = this.own(publication);
    if (!local) return;
    if (track.kind !== local.media) {
      throw new ProtocolError("bad_request", `The publication is ${local.media}, the track ${track.kind}.`);
    }
    local.track = track;
    this.watch(local);
    this.call.connection?.attach(local);
  }

  // --- data ----------------------------------------------------------------------------------------------

  /**
   * Sends a payload (JSON-shaped, or bytes) to everyone else in the call, or to some.
   *
   * Need not be awaited, and may be called before the connection stands: it waits then. True: it is on its way; false: a
   * lossy message was dropped. Rejects with a `PeerbusError`: `too_large`, `queue_full`, `unknown_recipient`,
   * `bad_request`, `closed`.
   */
  sendData(payload: unknown, options: DataOptions = {}): Promise<boolean> {
    return this.outcome((done, failed) => {
      if (this.state.name === "closed") throw new ProtocolError("closed", "The call is over.");
      const bytes = encodeData(options.to === undefined ? null : this.identitiesOf(options.to), payload);
      const settle = (result: boolean | Error): void => {
        if (result instanceof Error) failed(result);
        else {
          this.figures[result ? "messagesSent" : "messagesDropped"] += 1;
          done(result);
        }
      };
      const nowMs = this.environment.nowMs();
      if (options.lossy) this.call.outbox.pushLossy({ bytes, settle }, nowMs);
      else this.call.outbox.pushReliable({ bytes, settle }, nowMs);
      this.call.flush();
    });
  }

  // --- the rest ------------------------------------------------------------------------------------------

  /** How the call goes, in figures; rates are those since the last time. */
  async stats(): Promise<CallStats> {
    const { connection } = this.call;
    const report = new Map<string, { id: string; type: string }>();
    for (const entry of (await connection?.report())?.values() ?? []) report.set(entry.id, entry);
    const frames = await this.call.encryption.counts();
    const data: DataStats = { ...this.figures, waitingBytes: this.call.outbox.waitingBytes };
    const { identity, agentName: name } = this.agent;
    const { stats, counters } = statsOf(
      report.values(),
      {
        timeMs: Date.now(),
        state: this.state.name,
        data,
        sentOn: (mid): StatsSubject | undefined => {
          const local = connection?.publicationOn(mid);
          return local && { id: local.id, source: local.source, isMuted: local.isMuted, identity, name };
        },
        receivedOn: (mid) => this.call.reception.carriedBy(mid),
        framesSealedOn: (mid) => frames?.sealed.get(connection?.sealingTransformOn(mid) ?? 0) ?? 0,
        encryptionOf: (id) => {
          const publication = this.call.reception.publication(id);
          const state = publication ? this.encryptionOf(publication) : "open";
          const { opened = 0, refused = 0 } = frames?.received.get(id) ?? {};
          return { state, opened, refused };
        },
      },
      this.counters,
    );
    this.counters = counters;
    return stats;
  }

  /** Ends the waiting for the next attempt to reconnect. */
  reconnectNow(): void {
    this.call.reconnectNow();
  }

  /** Leaves the call for good. The agent stays in its channel, and the published tracks go on. */
  close(): void {
    this.call.close();
  }

  // --- inside --------------------------------------------------------------------------------------------

  private publishTrack(track: MediaStreamTrack, options: PublishOptions): Promise<LocalPublication> {
    return this.outcome((done, failed) => {
      if (this.state.name === "closed") throw new ProtocolError("closed", "The call is over.");
      this.lastId += 1;
      const source = options.source ?? sourceOf(track);
      const local = new Local(`${source}-${this.lastId}`, track, source, options, (error) => {
        if (error) failed(error);
        else done(local);
        this.publicationsChanged();
      });
      if (source === "screen" && track.contentHint === "") track.contentHint = "detail";
      this.watch(local);
      this.call.publish(local);
      this.publicationsChanged();
    });
  }

  /** A device that is unplugged, or a screen that is no longer shared, ends its publication. */
  private watch(local: Local): void {
    const { track } = local;
    track.addEventListener("ended", () => {
      if (local.track === track) this.unpublish(local);
    });
  }

  private own(publication: LocalPublication): Local | undefined {
    for (const local of this.call.publications) if (local === publication) return local;
    return undefined;
  }

  private publicationsChanged(): void {
    this.emitter.emit("publications", this.publications);
  }

  private identitiesOf(to: string | readonly string[]): string[] {
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

  private arrived({ sender, payload }: Incoming, isLossy: boolean): void {
    if (sender === null) {
      const { code, message, details } = isObject(payload) ? payload : {};
      const extras = isObject(details) ? { details } : {};
      this.fail(new ProtocolError(String(code ?? "internal"), String(message ?? ""), extras));
      return;
    }
    this.figures.messagesReceived += 1;
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
      else if (event.event === "ended") this.trackEnded(event.id);
      else this.trackBegan(event.publication, event.mid);
    }
  }

  private trackBegan(publication: RemotePublication, mid: string): void {
    const track = this.call.connection?.trackOf(mid);
    if (!track) return;
    const before = this.received.get(publication.id);
    const stream = this.streams.add(publication, track);
    if (before) this.trackEnded(publication.id);
    const info = { publication, peer: this.peerOf(publication.identity), stream };
    this.received.set(publication.id, { publication, event: { track, info } });
    const assigned = this.onTrack;
    this.emitter.emit("track", { track, info }, assigned && (() => assigned(track, info)));
  }

  private trackEnded(id: string): void {
    const received = this.received.get(id);
    if (!received) return;
    this.received.delete(id);
    const { track, info } = received.event;
    this.streams.remove(received.publication, track);
    const assigned = this.onTrackEnded;
    this.emitter.emit("trackEnded", { track, info }, assigned && (() => assigned(track, info)));
  }

  private encryptionChanged(id: string, state: EncryptionState): void {
    const publication = this.call.reception.publication(id);
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

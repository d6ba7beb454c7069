/** Peer connections, tracks and streams as far as a call uses them; the other end is the test. */
import type { CallEnvironment } from "../../src/sdk/webrtc/environment";
import type { Order, Report, TransformOptions } from "../../src/sdk/webrtc/frame-kernel";
import type { FrameWorkerPort } from "../../src/sdk/webrtc/frame-worker";
import { FakeWorld, settle } from "../agent/fake-world";

export class FakeTrack extends EventTarget {
  readonly kind: string;
  readonly id: string;
  contentHint = "";
  enabled = true;
  private readonly settings: object;

  constructor(kind: string, id = kind, settings: object = {}) {
    super();
    this.kind = kind;
    this.id = id;
    this.settings = settings;
  }

  getSettings(): object {
    return this.settings;
  }

  end(): void {
    this.dispatchEvent(new Event("ended"));
  }

  get native(): MediaStreamTrack {
    return this as unknown as MediaStreamTrack;
  }
}

export class FakeStream {
  tracks: FakeTrack[];

  constructor(...tracks: FakeTrack[]) {
    this.tracks = tracks;
  }

  addTrack(track: FakeTrack): void {
    this.tracks.push(track);
  }

  removeTrack(track: FakeTrack): void {
    this.tracks = this.tracks.filter((one) => one !== track);
  }

  getTracks(): FakeTrack[] {
    return this.tracks;
  }

  get native(): MediaStream {
    return this as unknown as MediaStream;
  }
}

export class FakeTransceiver {
  mid: string | null = null;
  direction: string;
  currentDirection: string | null = null;
  readonly kind: string;
  readonly options: Record<string, unknown>;
  readonly receiver: { readonly track: FakeTrack; transform?: TransformOptions };
  readonly sender: {
    track: FakeTrack | null;
    transform?: TransformOptions;
    replaceTrack: (track: FakeTrack | null) => Promise<void>;
  };
  codecs: string[] = [];
  isStopped = false;

  constructor(what: FakeTrack | string, options: Record<string, unknown>, count: number) {
    this.kind = typeof what === "string" ? what : what.kind;
    this.options = options;
    this.direction = String(options["direction"]);
    this.receiver = { track: new FakeTrack(this.kind, `slot-${count}`) };
    const sender = {
      track: typeof what === "string" ? null : what,
      replaceTrack: (track: FakeTrack | null): Promise<void> => {
        sender.track = track;
        return Promise.resolve();
      },
    };
    this.sender = sender;
  }

  setCodecPreferences(codecs: readonly { readonly mimeType: string }[]): void {
    this.codecs = codecs.map(({ mimeType }) => mimeType);
  }

  stop(): void {
    this.isStopped = true;
  }
}

export class FakeChannel {
  readonly label: string;
  readonly options: unknown;
  readyState = "connecting";
  bufferedAmount = 0;
  readonly sent: Uint8Array[] = [];
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onbufferedamountlow: (() => void) | null = null;

  constructor(label: string, options: unknown) {
    this.label = label;
    this.options = options;
  }

  send(bytes: Uint8Array): void {
    this.sent.push(bytes);
    this.bufferedAmount += bytes.length;
  }

  open(): void {
    this.readyState = "open";
    this.onopen?.();
  }

  drain(): void {
    this.bufferedAmount = 0;
    this.onbufferedamountlow?.();
  }

  close(): void {
    this.readyState = "closed";
    this.onclose?.();
  }
}

export class FakePeerConnection {
  configuration: RTCConfiguration;
  readonly transceivers: FakeTransceiver[] = [];
  readonly channels: FakeChannel[] = [];
  readonly restarts: boolean[] = [];
  /** What `setRemoteDescription` got. */
  readonly answers: string[] = [];
  /** The kinds of track that answers reject. */
  rejects: string[] = [];
  refusesAnswers = false;
  signalingState = "stable";
  connectionState = "new";
  iceConnectionState = "new";
  localDescription: { sdp: string } | null = null;
  onconnectionstatechange: (() => void) | null = null;
  onicecandidate: ((event: { candidate: RTCIceCandidate | null }) => void) | null = null;
  /** What `addIceCandidate` got. */
  readonly candidates: RTCIceCandidateInit[] = [];
  isClosed = false;
  report = new Map<string, unknown>();
  private readonly withMid: FakeTransceiver[] = [];

  constructor(configuration: RTCConfiguration) {
    this.configuration = configuration;
  }

  setConfiguration(configuration: RTCConfiguration): void {
    this.configuration = configuration;
  }

  addTransceiver(what: FakeTrack | string, options: Record<string, unknown>): FakeTransceiver {
    const transceiver = new FakeTransceiver(what, options, this.transceivers.length);
    this.transceivers.push(transceiver);
    return transceiver;
  }

  createDataChannel(label: string, options: unknown): FakeChannel {
    const channel = new FakeChannel(label, options);
    this.channels.push(channel);
    return channel;
  }

  createOffer({ iceRestart }: { iceRestart: boolean }): Promise<{ type: string; sdp: string }> {
    this.restarts.push(iceRestart);
    return Promise.resolve({ type: "offer", sdp: `offer ${this.restarts.length}` });
  }

  createAnswer(): Promise<{ type: string; sdp: string }> {
    return Promise.resolve({ type: "answer", sdp: `answer ${this.answers.length}` });
  }

  addIceCandidate(candidate: RTCIceCandidateInit): Promise<void> {
    this.candidates.push(candidate);
    return Promise.resolve();
  }

  getTransceivers(): FakeTransceiver[] {
    return this.transceivers;
  }

  setLocalDescription(description: { type: string; sdp: string }): Promise<void> {
    if (description.type === "rollback") {
      this.signalingState = "stable";
      return Promise.resolve();
    }
    this.signalingState = description.type === "offer" ? "have-local-offer" : "stable";
    this.localDescription = description;
    for (const transceiver of this.transceivers) {
      if (transceiver.mid !== null || transceiver.isStopped) continue;
      transceiver.mid = String(this.withMid.length);
      this.withMid.push(transceiver);
    }
    return Promise.resolve();
  }

  setRemoteDescription({ sdp }: { sdp: string }): Promise<void> {
    if (this.refusesAnswers) return Promise.reject(new Error("No such answer."));
    this.answers.push(sdp);
    this.signalingState = "stable";
    for (const transceiver of this.withMid) {
      transceiver.currentDirection = this.rejects.includes(transceiver.kind)
        ? "inactive"
        : transceiver.direction;
    }
    return Promise.resolve();
  }

  getStats(): Promise<Map<string, unknown>> {
    return Promise.resolve(this.report);
  }

  close(): void {
    this.isClosed = true;
    for (const channel of this.channels) channel.close();
  }

  become(connectionState: string, iceConnectionState = connectionState): void {
    this.connectionState = connectionState;
    this.iceConnectionState = iceConnectionState;
    this.onconnectionstatechange?.();
  }

  channel(label: string): FakeChannel {
    const channel = this.channels.find((one) => one.label === label);
    if (!channel) throw new Error(`There is no channel ${label}.`);
    return channel;
  }

  /** The connection stands, with its channels. */
  open(): void {
    this.become("connected");
    for (const channel of this.channels) channel.open();
  }
}

/** A worker that only notes what it is told; the test reports in its name. */
export class FakeFrameWorker implements FrameWorkerPort {
  readonly orders: Order[] = [];
  isTerminated = false;
  onmessage: ((event: MessageEvent<Report>) => void) | null = null;
  onerror: ((event: ErrorEvent) => void) | null = null;

  postMessage(order: Order): void {
    this.orders.push(structuredClone(order));
  }

  terminate(): void {
    this.isTerminated = true;
  }

  say(report: Report): void {
    this.onmessage?.({ data: report } as MessageEvent<Report>);
  }

  /** The newest orders of a kind, by transform. */
  last(kind: "send" | "carry"): Map<number, unknown> {
    const orders = this.orders.flatMap((one) =>
      one.order === kind ? [[one.id, "origin" in one ? one.origin : one.carried] as const] : [],
    );
    return new Map(orders);
  }
}

/** The emulated world of the agent, with peer connections. */
export class FakeCallWorld extends FakeWorld implements CallEnvironment {
  readonly peers: FakePeerConnection[] = [];
  readonly frameWorkers: FakeFrameWorker[] = [];
  hasPeerConnections = true;
  private readonly hiders = new Set<() => void>();
  private lastId = 0;

  onPageHide(callback: () => void): () => void {
    this.hiders.add(callback);
    return () => this.hiders.delete(callback);
  }

  hidePage(): void {
    for (const hider of this.hiders) hider();
  }

  newId(): string {
    this.lastId += 1;
    return `c${this.lastId}`;
  }

  openPeerConnection(configuration: RTCConfiguration): RTCPeerConnection {
    const peer = new FakePeerConnection(configuration);
    this.peers.push(peer);
    return peer as unknown as RTCPeerConnection;
  }

  soon(callback: () => void): void {
    queueMicrotask(callback);
  }

  startMetronome(): () => void {
    return () => undefined;
  }

  startFrameWorker(): FrameWorkerPort {
    const worker = new FakeFrameWorker();
    this.frameWorkers.push(worker);
    return worker;
  }

  makeTransform(_worker: FrameWorkerPort, options: TransformOptions): RTCRtpScriptTransform {
    return options as unknown as RTCRtpScriptTransform;
  }

  codecs(media: "audio" | "video"): readonly RTCRtpCodec[] {
    const names = media === "audio" ? ["opus", "red", "PCMU"] : ["H264", "VP8", "rtx", "VP9", "ulpfec"];
    return names.map((name) => ({ mimeType: `${media}/${name}`, clockRate: 90_000 }));
  }

  /** The newest worker for frames. */
  get frameWorker(): FakeFrameWorker {
    const worker = this.frameWorkers.at(-1);
    if (!worker) throw new Error("No worker for frames was started.");
    return worker;
  }

  makeStream(): MediaStream {
    return new FakeStream().native;
  }

  /** The newest one. */
  get peer(): FakePeerConnection {
    const peer = this.peers.at(-1);
    if (!peer) throw new Error("No peer connection was opened.");
    return peer;
  }
}

/** Answers the newest request to enter the group: it has this mode, and these members beside Alice. */
export async function enterGroup(
  world: FakeCallWorld,
  { mode = "sfu", others = [] }: { mode?: string; others?: readonly Record<string, unknown>[] } = {},
): Promise<void> {
  await settle();
  const requests = world.connection.received.filter(
    (frame) => frame.op === "send" && frame.to?.[0] === GROUP,
  );
  const asked = requests.at(-1);
  if (asked?.op !== "send") throw new Error("Nobody wants to enter.");
  world.connection.say({ op: "ack", id: asked.id, promise: "memory", message_id: "g", time_ms: 1 });
  const modes = ["mesh", "host", "relay", "datachannel", "sfu"];
  const members = [{ identity: "lineage:alice", name: "alice", order: 1, modes }, ...others];
  groupVersion += 1;
  world.connection.say({
    op: "message",
    delivery: "lossy",
    message_id: `g${groupVersion}`,
    time_ms: 7,
    sender: GROUP,
    identity: "service",
    type: "signal",
    content: { kind: "group", version: groupVersion, term: 5, mode, reason: "first", members },
  });
  await settle();
}

const GROUP = "peerbus:group";
let groupVersion = 0;

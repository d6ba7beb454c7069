/**
 * One `RTCPeerConnection` to one peer: its data channels, its candidates, the tracks of both.
 *
 * Owns the browser's object for one link of the mesh. Never decides when to offer or to give up, which is `mesh`'s task.
 * Both data channels are negotiated beforehand, so that neither side waits for the other's (RFC 8832 is not needed).
 */

import type { OfferedTrack } from "../protocol/signals.gen";
import type { CallEnvironment } from "./environment";
import type { LinkPath } from "./mesh";
import type { OutgoingFrame } from "./peer-delivery";
import type { Route } from "./peer-path";
import type { Local } from "./publications";
import type { MediaKind } from "./records";

/** How much may wait inside a data channel; what waits outside can still go another way. */
const CHANNEL_BYTES = 65_536;

/** Whoever is told what happens to the link. */
export interface LinkListener {
  pathChanged(path: LinkPath): void;
  found(candidate: RTCIceCandidateInit | null): void;
  received(frame: Uint8Array): void;
  writable(): void;
}

/** A track of the other side, and what that says of it. */
export interface ReceivedTrack {
  readonly said: OfferedTrack;
  readonly media: MediaKind;
  readonly track: MediaStreamTrack;
}

export class PeerLink implements Route {
  readonly name: string;
  private readonly isOfferer: boolean;
  private readonly native: RTCPeerConnection;
  private readonly listener: LinkListener;
  private readonly reliable: RTCDataChannel;
  private readonly lossy: RTCDataChannel;
  private readonly senders = new Map<Local, RTCRtpTransceiver>();
  /** What is to be sent as soon as an offer has room for it. */
  private waiting = new Set<Local>();
  private isClosed = false;
  private hasIce = false;
  /** Frames that came before this browser said that the connection stands; the other one may know earlier. */
  private early: Uint8Array[] = [];

  constructor(
    name: string,
    isOfferer: boolean,
    environment: CallEnvironment,
    configuration: RTCConfiguration,
    listener: LinkListener,
  ) {
    this.name = name;
    this.isOfferer = isOfferer;
    this.listener = listener;
    const native = environment.openPeerConnection({ bundlePolicy: "max-bundle", ...configuration });
    this.native = native;
    native.onconnectionstatechange = () => this.stateChanged();
    native.onicecandidate = ({ candidate }) => {
      // An empty candidate is the browser's end of one generation; null the end of all.
      if (candidate?.candidate !== "") listener.found(candidate?.toJSON() ?? null);
    };
    this.reliable = native.createDataChannel("peerbus", { negotiated: true, id: 0, ordered: true });
    this.lossy = native.createDataChannel("peerbus-lossy", {
      negotiated: true,
      id: 1,
      ordered: false,
      maxRetransmits: 0,
    });
    this.wire(this.reliable);
    this.wire(this.lossy);
  }

  /** Frames go both ways. */
  get isOpen(): boolean {
    return this.hasIce && this.reliable.readyState === "open" && this.lossy.readyState === "open";
  }

  // --- descriptions ----------------------------------------------------------------------------------------

  async offer(isRestart: boolean): Promise<string> {
    await this.native.setLocalDescription(await this.native.createOffer({ iceRestart: isRestart }));
    return this.native.localDescription?.sdp ?? "";
  }

  /** `said` is what the offer sends; what it does not is room for what this side sends. */
  async answer(sdp: string, said: readonly OfferedTrack[]): Promise<string> {
    await this.native.setRemoteDescription({ type: "offer", sdp });
    for (const transceiver of this.native.getTransceivers()) this.fill(transceiver, said);
    await this.native.setLocalDescription(await this.native.createAnswer());
    return this.native.localDescription?.sdp ?? "";
  }

  async apply(sdp: string): Promise<void> {
    await this.native.setRemoteDescription({ type: "answer", sdp });
  }

  async add(candidate: string | null, mid: string | null, line: number | null): Promise<void> {
    // That there are no more need not be told: no check waits for it.
    if (candidate === null) return;
    // A candidate that this browser can't use is one way less.
    await this.native.addIceCandidate({ candidate, sdpMid: mid, sdpMLineIndex: line }).catch(() => undefined);
  }

  // --- frames ----------------------------------------------------------------------------------------------

  room(isLossy: boolean): number | undefined {
    const { readyState, bufferedAmount } = isLossy ? this.lossy : this.reliable;
    if (readyState !== "open" || this.isClosed || bufferedAmount >= CHANNEL_BYTES) return undefined;
    return CHANNEL_BYTES - bufferedAmount;
  }

  send(frames: readonly OutgoingFrame[]): void {
    for (const { frame, isLossy } of frames) {
      try {
        (isLossy ? this.lossy : this.reliable).send(frame);
      } catch {
        // It closed just now; the delivery keeps what is reliable for the next link.
      }
    }
  }

  // --- media -----------------------------------------------------------------------------------------------

  /** Sends these publications and no others; whether a description has to tell of it. */
  publish(publications: Iterable<Local>): boolean {
    const wanted = new Set(publications);
    let isChanged = false;
    for (const [local, transceiver] of this.senders) {
      if (wanted.has(local)) continue;
      this.senders.delete(local);
      transceiver.sender.replaceTrack(null).catch(() => undefined);
      transceiver.direction = "inactive";
      isChanged = true;
    }
    this.waiting = new Set([...this.waiting].filter((local) => wanted.has(local)));
    for (const local of wanted) {
      if (this.senders.has(local) || this.waiting.has(local)) continue;
      isChanged = true;
      // The other side makes the sections, and knows of none yet.
      if (!this.isOfferer) this.waiting.add(local);
      else this.senders.set(local, this.transceiverFor(local));
    }
    return isChanged;
  }

  /** Whether the offers so far had no room for all that is to be sent. */
  get isShort(): boolean {
    return this.waiting.size > 0;
  }

  /** Makes room for what the other side sends: one section for each. */
  expect(media: readonly MediaKind[]): void {
    const own = new Set(this.senders.values());
    for (const kind of ["audio", "video"] as const) {
      const wanted = media.filter((one) => one === kind).length;
      const there = this.native
        .getTransceivers()
        .filter((one) => !own.has(one) && one.receiver.track.kind === kind && one.direction === "recvonly");
      for (let count = there.length; count < wanted; count++) {
        this.native.addTransceiver(kind, { direction: "recvonly" });
      }
    }
  }

  private transceiverFor({ track, media, isMuted, maxBitsPerS }: Local): RTCRtpTransceiver {
    return this.native.addTransceiver(isMuted ? media : track, {
      direction: "sendonly",
      ...(maxBitsPerS === undefined ? {} : { sendEncodings: [{ maxBitrate: maxBitsPerS }] }),
    });
  }

  /** Sends what waits on a section that the offer has for it. */
  private fill(transceiver: RTCRtpTransceiver, said: readonly OfferedTrack[]): void {
    const { mid, receiver, sender } = transceiver;
    const isTaken = [...this.senders.values()].includes(transceiver) || said.some((one) => one.mid === mid);
    const local = [...this.waiting].find(({ media }) => media === receiver.track.kind);
    if (isTaken || !local) return;
    this.waiting.delete(local);
    this.senders.set(local, transceiver);
    transceiver.direction = "sendonly";
    sender.replaceTrack(local.isMuted ? null : local.track).catch(() => undefined);
    const parameters = sender.getParameters();
    const [encoding] = parameters.encodings;
    if (!encoding || local.maxBitsPerS === undefined) return;
    encoding.maxBitrate = local.maxBitsPerS;
    // It is a bound, not a condition: without it the picture goes as well.
    sender.setParameters(parameters).catch(() => undefined);
  }

  /** Sends a publication's track as it is now, or nothing while it is muted. */
  attach(local: Local): void {
    const sender = this.senders.get(local)?.sender;
    sender?.replaceTrack(local.isMuted ? null : local.track).catch(() => undefined);
  }

  /** What the own description says of the tracks in it. */
  get tracks(): OfferedTrack[] {
    return [...this.senders].flatMap(([{ id, source, isMuted }, { mid }]) =>
      mid === null ? [] : [{ mid, publication: id, source, is_muted: isMuted, is_sealed: false }],
    );
  }

  /** The tracks of what the other side says that it sends. */
  received(said: readonly OfferedTrack[]): ReceivedTrack[] {
    return this.native.getTransceivers().flatMap((transceiver) => {
      const one = said.find(({ mid }) => mid === transceiver.mid);
      const { track } = transceiver.receiver;
      return one ? [{ said: one, media: track.kind === "audio" ? "audio" : "video", track }] : [];
    });
  }

  // --- the rest --------------------------------------------------------------------------------------------

  report(): Promise<RTCStatsReport> {
    return this.native.getStats();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.native.onconnectionstatechange = null;
    this.native.onicecandidate = null;
    this.native.close();
  }

  private stateChanged(): void {
    const { connectionState } = this.native;
    if (connectionState === "connected") {
      this.hasIce = true;
      this.opened();
    } else if (connectionState === "disconnected") this.listener.pathChanged("unsure");
    else if (connectionState === "failed" || connectionState === "closed") this.listener.pathChanged("down");
  }

  /** Up is a link once it carries frames. */
  private opened(): void {
    if (!this.isOpen || this.isClosed) return;
    this.listener.pathChanged("up");
    for (const frame of this.early.splice(0)) this.listener.received(frame);
  }

  private wire(channel: RTCDataChannel): void {
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = CHANNEL_BYTES / 4;
    channel.onopen = () => this.opened();
    channel.onbufferedamountlow = () => this.listener.writable();
    channel.onclose = () => {
      if (!this.isClosed) this.listener.pathChanged("down");
    };
    channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (this.isClosed || !(data instanceof ArrayBuffer)) return;
      const frame = new Uint8Array(data);
      if (this.isOpen) this.listener.received(frame);
      else this.early.push(frame);
    };
  }
}

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
  private readonly native: RTCPeerConnection;
  private readonly listener: LinkListener;
  private readonly reliable: RTCDataChannel;
  private readonly lossy: RTCDataChannel;
  private readonly senders = new Map<Local, RTCRtpTransceiver>();
  private isClosed = false;
  private hasIce = false;

  constructor(
    name: string,
    environment: CallEnvironment,
    configuration: RTCConfiguration,
    listener: LinkListener,
  ) {
    this.name = name;
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

  async answer(sdp: string): Promise<string> {
    await this.native.setRemoteDescription({ type: "offer", sdp });
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
    for (const local of wanted) {
      if (this.senders.has(local)) continue;
      const { track, media, isMuted, maxBitsPerS } = local;
      this.senders.set(
        local,
        this.native.addTransceiver(isMuted ? media : track, {
          direction: "sendonly",
          ...(maxBitsPerS === undefined ? {} : { sendEncodings: [{ maxBitrate: maxBitsPerS }] }),
        }),
      );
      isChanged = true;
    }
    return isChanged;
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
    if (this.isOpen && !this.isClosed) this.listener.pathChanged("up");
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
      if (!this.isClosed && data instanceof ArrayBuffer) this.listener.received(new Uint8Array(data));
    };
  }
}

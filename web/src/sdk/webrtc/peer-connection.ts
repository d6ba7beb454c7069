/**
 * One `RTCPeerConnection` to the SFU: its m-lines, its data channels, its path.
 *
 * Owns the browser's object from the first offer to the end. Never decides when to offer, to restart or to give up.
 * Candidates are not waited for: the SFU learns the browser's addresses from its checks (RFC 8445, section 7.3.1.3).
 */

import type { OfferedTrack } from "../protocol/signals.gen";
import { CHANNEL_BYTES } from "./delivery";
import type { CallEnvironment } from "./environment";
import type { FrameWorker } from "./frame-worker";
import type { Described } from "./negotiation";
import type { Local } from "./publications";
import type { SlotCounts } from "./reception";
import type { MediaKind, RemotePublication } from "./records";
import type { Path } from "./recovery";

/** Whoever is told what happens to the connection. */
export interface ConnectionListener {
  pathChanged(path: Path): void;
  /** The other side closed it, or the handshake failed: nothing can bring it back. */
  broken(): void;
  /** A data channel opened, or has room again. */
  writable(): void;
  received(bytes: Uint8Array, isLossy: boolean): void;
}

const PATHS: Readonly<Partial<Record<RTCPeerConnectionState, Path>>> = {
  connected: "up",
  disconnected: "unsure",
  failed: "down",
};

/** An m-line that sends or receives. */
interface Line {
  readonly media: MediaKind;
  readonly transceiver: RTCRtpTransceiver;
  /** Its transform in the worker, if its frames are end-to-end encrypted. */
  readonly transform: number | undefined;
}

export class PeerConnection {
  private readonly native: RTCPeerConnection;
  private readonly listener: ConnectionListener;
  /** What frames go through, if they are end-to-end encrypted. */
  private readonly frames: FrameWorker | undefined;
  private readonly reliable: RTCDataChannel;
  private readonly lossy: RTCDataChannel;
  private readonly senders = new Map<Local, Line>();
  /** What the last offer named. */
  private offered = new Set<Local>();
  /** What is sealed under a name. */
  private readonly named = new Set<Local>();
  private readonly slots: Line[] = [];
  /** M-lines whose publication ended; each may carry another of its kind. */
  private readonly free: Line[] = [];
  private readonly configuration: RTCConfiguration;
  private iceServers: readonly RTCIceServer[] = [];
  private isClosed = false;

  /** The m-lines come in this order: publications, slots, data. */
  constructor(
    environment: CallEnvironment,
    configuration: RTCConfiguration,
    publications: Iterable<Local>,
    slots: SlotCounts,
    frames: FrameWorker | undefined,
    listener: ConnectionListener,
  ) {
    this.listener = listener;
    this.frames = frames;
    this.configuration = { bundlePolicy: "max-bundle", ...configuration };
    this.native = environment.openPeerConnection(this.configuration);
    this.native.onconnectionstatechange = () => this.stateChanged();
    for (const publication of publications) this.send(publication);
    this.addSlots(slots);
    this.reliable = this.native.createDataChannel("reliable", { ordered: true });
    this.lossy = this.native.createDataChannel("lossy", { ordered: false, maxRetransmits: 0 });
    this.wire(this.reliable, false);
    this.wire(this.lossy, true);
  }

  /** For what is gathered from now on: by the first offer, and by one that restarts ICE. */
  useIceServers(servers: readonly RTCIceServer[]): void {
    if (servers === this.iceServers || (servers.length === 0 && this.iceServers.length === 0)) return;
    this.iceServers = servers;
    this.native.setConfiguration({ ...this.configuration, iceServers: [...servers] });
  }

  // --- descriptions ----------------------------------------------------------------------------------------

  /** Makes the next offer and takes it as the local description. */
  async offer(isIceRestart: boolean): Promise<Described> {
    await this.native.setLocalDescription(await this.native.createOffer({ iceRestart: isIceRestart }));
    const tracks: OfferedTrack[] = [];
    this.offered = new Set();
    for (const [publication, { transceiver, transform }] of this.senders) {
      const { mid } = transceiver;
      const { id, source, isMuted } = publication;
      if (mid === null) continue;
      const is_sealed = transform !== undefined;
      tracks.push({ mid, publication: id, source, is_muted: isMuted, ...(is_sealed ? { is_sealed } : {}) });
      this.offered.add(publication);
    }
    const slots = this.slots.flatMap(({ transceiver: { mid } }) => (mid === null ? [] : [mid]));
    return { sdp: this.native.localDescription?.sdp ?? "", tracks, slots };
  }

  /** Has what is sent sealed under these names, and not before; `isAnew`: also what was sealed under others. */
  sealAs(sender: string, identity: string, isAnew: boolean): void {
    for (const [publication, { transform }] of this.senders) {
      if (transform === undefined || (this.named.has(publication) && !isAnew)) continue;
      this.named.add(publication);
      this.frames?.send(transform, { sender, publication: `${identity}/${publication.id}` });
    }
  }

  /** Applies the answer to the last offer; gives the publications that it takes, and those that it does not. */
  async answer(sdp: string): Promise<{ readonly taken: Local[]; readonly rejected: Local[] }> {
    await this.native.setRemoteDescription({ type: "answer", sdp });
    const taken: Local[] = [];
    const rejected: Local[] = [];
    for (const publication of this.offered) {
      const direction = this.senders.get(publication)?.transceiver.currentDirection;
      if (direction) (direction === "sendonly" ? taken : rejected).push(publication);
    }
    return { taken, rejected };
  }

  /** Whether the SFU has been told of it. */
  hasOffered(publication: Local): boolean {
    return this.offered.has(publication);
  }

  /** The last offer was refused: as before it. */
  async rollBack(): Promise<void> {
    if (this.native.signalingState === "have-local-offer") {
      await this.native.setLocalDescription({ type: "rollback" });
    }
  }

  // --- what is sent ----------------------------------------------------------------------------------------

  /** Gives a publication an m-line; the next offer tells of it. */
  send(publication: Local): void {
    const { track, media, isMuted, maxBitsPerS } = publication;
    const at = this.free.findIndex((slot) => slot.media === media);
    const used = at < 0 ? undefined : this.free.splice(at, 1)[0];
    if (used) {
      used.transceiver.direction = "sendonly";
      this.senders.set(publication, used);
      this.attach(publication);
      return;
    }
    const transceiver = this.native.addTransceiver(isMuted ? media : track, {
      direction: "sendonly",
      ...(maxBitsPerS === undefined ? {} : { sendEncodings: [{ maxBitrate: maxBitsPerS }] }),
    });
    this.senders.set(publication, {
      media,
      transceiver,
      transform: this.frames?.sealing(transceiver, media),
    });
  }

  /** Sends the publication's track as it is now, or nothing while it is muted. */
  attach(publication: Local): void {
    const sender = this.senders.get(publication)?.transceiver.sender;
    // A connection that was closed meanwhile refuses; it has nothing to send any more.
    sender?.replaceTrack(publication.isMuted ? null : publication.track).catch(() => undefined);
  }

  /** Takes the m-line from a publication. */
  retire(publication: Local): void {
    const line = this.senders.get(publication);
    this.senders.delete(publication);
    this.offered.delete(publication);
    this.named.delete(publication);
    if (!line || this.isClosed) return;
    const { transceiver, transform } = line;
    if (transform !== undefined) this.frames?.send(transform, undefined);
    transceiver.sender.replaceTrack(null).catch(() => undefined);
    if (transceiver.mid === null) transceiver.stop();
    else {
      transceiver.direction = "inactive";
      this.free.push(line);
    }
  }

  // --- what is received ------------------------------------------------------------------------------------

  get slotCounts(): SlotCounts {
    const count = (wanted: MediaKind): number => this.slots.filter(({ media }) => media === wanted).length;
    return { video: count("video"), audio: count("audio") };
  }

  /** Adds slots until there are so many; the next offer tells of them. */
  addSlots(wanted: SlotCounts): void {
    for (const media of ["video", "audio"] as const) {
      for (let count = this.slotCounts[media]; count < wanted[media]; count++) {
        const transceiver = this.native.addTransceiver(media, { direction: "recvonly" });
        this.slots.push({ media, transceiver, transform: this.frames?.opening(transceiver, media) });
      }
    }
  }

  /** The track of a slot. */
  trackOf(mid: string): MediaStreamTrack | undefined {
    return this.slots.find(({ transceiver }) => transceiver.mid === mid)?.transceiver.receiver.track;
  }

  /** Says what each slot carries, so that its frames are opened as that. */
  announce(carriedBy: (mid: string) => RemotePublication | undefined): void {
    for (const { transceiver, transform } of this.slots) {
      const carried = transceiver.mid === null ? undefined : carriedBy(transceiver.mid);
      if (transform === undefined) {
        // What is sealed would be noise.
        if (carried) transceiver.receiver.track.enabled = !carried.isSealed;
      } else {
        this.frames?.carry(
          transform,
          carried && { sender: carried.name, publication: carried.id, isSealed: carried.isSealed },
        );
      }
    }
  }

  // --- data ------------------------------------------------------------------------------------------------

  /** How many bytes wait in a channel; `undefined` while it is not open. */
  buffered(isLossy: boolean): number | undefined {
    const channel = isLossy ? this.lossy : this.reliable;
    return channel.readyState === "open" ? channel.bufferedAmount : undefined;
  }

  sendData(isLossy: boolean, bytes: Uint8Array<ArrayBuffer>): void {
    (isLossy ? this.lossy : this.reliable).send(bytes);
  }

  // --- the rest --------------------------------------------------------------------------------------------

  /** Which publication an m-line sends. */
  publicationOn(mid: string): Local | undefined {
    for (const [publication, { transceiver }] of this.senders) {
      if (transceiver.mid === mid) return publication;
    }
    return undefined;
  }

  /** The transform of an m-line that sends. */
  sealingTransformOn(mid: string): number | undefined {
    const lines = [...this.senders.values()];
    return lines.find(({ transceiver }) => transceiver.mid === mid)?.transform;
  }

  get state(): RTCPeerConnectionState {
    return this.native.connectionState;
  }

  report(): Promise<RTCStatsReport> {
    return this.native.getStats();
  }

  close(): void {
    this.isClosed = true;
    this.native.onconnectionstatechange = null;
    this.native.close();
  }

  private stateChanged(): void {
    const { connectionState, iceConnectionState } = this.native;
    const hasIce = iceConnectionState === "connected" || iceConnectionState === "completed";
    const path = PATHS[connectionState];
    if (path === "down" && hasIce) this.listener.broken();
    else if (path) this.listener.pathChanged(path);
  }

  private wire(channel: RTCDataChannel, isLossy: boolean): void {
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = CHANNEL_BYTES / 2;
    channel.onopen = () => this.listener.writable();
    channel.onbufferedamountlow = () => this.listener.writable();
    channel.onclose = () => {
      if (!this.isClosed) this.listener.broken();
    };
    channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (!this.isClosed && data instanceof ArrayBuffer)
        this.listener.received(new Uint8Array(data), isLossy);
    };
  }
}

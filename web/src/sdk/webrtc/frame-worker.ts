/**
 * The page's side of the worker through which a call's frames go.
 *
 * Owns the worker, which transform belongs to which m-line, and what the worker reported. Never sees a frame. The worker
 * is made from a Blob of the kernel's own source text: the SDK may come from another origin than the page, and a worker
 * may not.
 */

import frameKernel from "factory:./frame-kernel";
import type { Bytes } from "../crypto/bytes";
import { ProtocolError } from "../protocol/errors";
import type { Carried, Order, ReceivedCounts, Report, TransformOptions } from "./frame-kernel";
import type { EncryptionState, FrameOrigin } from "./frame-sealing";

/** As much of a worker as is used here. */
export interface FrameWorkerPort {
  postMessage(order: Order): void;
  onmessage: ((event: MessageEvent<Report>) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
  terminate(): void;
}

/** Where tests put something else in the place of worker and transform. */
export interface FrameWorkerMaker {
  /** Throws `ProtocolError` (`not_supported`) where there can be none. */
  startFrameWorker(): FrameWorkerPort;
  makeTransform(worker: FrameWorkerPort, options: TransformOptions): RTCRtpScriptTransform;
  /** All that the browser has. */
  codecs(media: "audio" | "video"): readonly RTCRtpCodec[];
}

export interface FrameCounts {
  readonly sealed: ReadonlyMap<number, number>;
  readonly received: ReadonlyMap<string, ReceivedCounts>;
}

const NOTHING_COUNTED: FrameCounts = { sealed: new Map(), received: new Map() };
const CODECS: readonly string[] = ["video/vp8", "video/rtx", "audio/opus"];
const COUNTED_WITHIN_MS = 500;

/** The text of the worker's program. */
export function workerSource(): string {
  return `(${frameKernel})().serve(self);`;
}

export const browserFrameWorkerMaker: FrameWorkerMaker = {
  startFrameWorker() {
    if (typeof RTCRtpScriptTransform === "undefined" || typeof Worker === "undefined") {
      throw new ProtocolError(
        "not_supported",
        "This browser cannot encrypt calls end to end, which this channel asks for. A newer one can.",
      );
    }
    if (!globalThis.isSecureContext) {
      throw new ProtocolError(
        "not_supported",
        "This channel's calls are encrypted end to end, which browsers can do only on pages by https.",
      );
    }
    const address = URL.createObjectURL(new Blob([workerSource()], { type: "text/javascript" }));
    try {
      return new Worker(address) as FrameWorkerPort;
    } catch {
      throw new ProtocolError("not_supported", REFUSED_WORKER);
    } finally {
      // The worker has its program, or asks for it before this is heard.
      setTimeout(() => URL.revokeObjectURL(address), 10_000);
    }
  },
  makeTransform: (worker, options) => new RTCRtpScriptTransform(worker as unknown as Worker, options),
  codecs: (media) => RTCRtpReceiver.getCapabilities(media)?.codecs ?? [],
};

const REFUSED_WORKER =
  "This page does not allow the worker that encrypts calls end to end. " +
  "Add blob: to the worker-src of its Content-Security-Policy.";

/** Whoever is told what the worker reports. */
export interface FrameWorkerListener {
  stateChanged(publication: string, state: EncryptionState): void;
  failed(error: ProtocolError): void;
}

export class FrameWorker {
  private readonly maker: FrameWorkerMaker;
  private readonly port: FrameWorkerPort;
  private readonly states = new Map<string, EncryptionState>();
  private readonly carried = new Map<number, string>();
  private readonly waiting = new Map<number, (counts: FrameCounts) => void>();
  private lastId = 0;
  private lastRequest = 0;

  /** Throws `ProtocolError` (`not_supported`). */
  constructor(maker: FrameWorkerMaker, { stateChanged, failed }: FrameWorkerListener) {
    this.maker = maker;
    this.port = maker.startFrameWorker();
    this.port.onerror = (event) => {
      event.preventDefault();
      failed(new ProtocolError("not_supported", REFUSED_WORKER));
    };
    this.port.onmessage = ({ data }) => {
      if (data.report === "state") {
        this.states.set(data.publication, data.state);
        stateChanged(data.publication, data.state);
        return;
      }
      this.waiting.get(data.request)?.(data);
      this.waiting.delete(data.request);
    };
  }

  /** What everything is sealed with; frames wait for it. */
  useKey(mediaKey: Bytes): void {
    this.port.postMessage({ order: "key", mediaKey });
  }

  /** Seals all that a new m-line will send, as soon as it is said as what; before its first description. */
  sealing(transceiver: RTCRtpTransceiver, media: "audio" | "video"): number {
    const id = this.newId(transceiver, media);
    transceiver.sender.transform = this.maker.makeTransform(this.port, { id, direction: "send", media });
    return id;
  }

  /** Opens all that a new m-line will receive; before its first description. */
  opening(transceiver: RTCRtpTransceiver, media: "audio" | "video"): number {
    const id = this.newId(transceiver, media);
    transceiver.receiver.transform = this.maker.makeTransform(this.port, { id, direction: "receive", media });
    return id;
  }

  /** What a transform sends from now on; nothing. */
  send(id: number, origin: FrameOrigin | undefined): void {
    this.port.postMessage({ order: "send", id, origin });
  }

  /** What a transform receives from now on. */
  carry(id: number, carried: Carried | undefined): void {
    const mark = JSON.stringify(carried) ?? "";
    if ((this.carried.get(id) ?? "") === mark) return;
    this.carried.set(id, mark);
    this.port.postMessage({ order: "carry", id, carried });
  }

  stateOf(publication: string): EncryptionState | undefined {
    return this.states.get(publication);
  }

  /** What was counted so far; a worker that does not answer has counted nothing. */
  counts(): Promise<FrameCounts> {
    this.lastRequest += 1;
    const request = this.lastRequest;
    return new Promise((done) => {
      this.waiting.set(request, done);
      setTimeout(() => done(NOTHING_COUNTED), COUNTED_WITHIN_MS);
      this.port.postMessage({ order: "count", request });
    });
  }

  close(): void {
    this.port.onmessage = null;
    this.port.onerror = null;
    this.port.terminate();
  }

  private newId(transceiver: RTCRtpTransceiver, media: "audio" | "video"): number {
    const codecs = this.maker.codecs(media);
    transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => CODECS.includes(mimeType.toLowerCase())));
    this.lastId += 1;
    return this.lastId;
  }
}

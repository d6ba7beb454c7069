/**
 * The program of the worker through which a call's frames go: seals those that are sent, opens those that come.
 *
 * Owns the transforms and what is known of each: the publication it carries, and how that stands. Never lets a frame
 * through as it is. The build wraps its bundle in a function whose text becomes the worker; see `frame-worker.ts` and
 * W3C WebRTC Encoded Transform.
 */

import type { Bytes } from "../crypto/bytes";
import {
  codecOf,
  type EncryptionState,
  EncryptionWatch,
  type FrameCodec,
  FrameOpener,
  type FrameOrigin,
  FrameSealer,
  importMediaKey,
  KEY_ID_BYTES,
} from "./frame-sealing";

/** What a transform is made with. */
export interface TransformOptions {
  readonly id: number;
  readonly direction: "send" | "receive";
  readonly media: "audio" | "video";
}

/** The publication that a receiving transform carries. */
export interface Carried extends FrameOrigin {
  readonly isSealed: boolean;
}

/** What the page says. */
export type Order =
  | { readonly order: "key"; readonly mediaKey: Bytes }
  /** Without an origin nothing is sent any more. */
  | { readonly order: "send"; readonly id: number; readonly origin: FrameOrigin | undefined }
  | { readonly order: "carry"; readonly id: number; readonly carried: Carried | undefined }
  | { readonly order: "count"; readonly request: number };

export interface ReceivedCounts {
  readonly state: EncryptionState;
  readonly opened: number;
  readonly refused: number;
}

/** What the worker says. */
export type Report =
  | { readonly report: "state"; readonly publication: string; readonly state: EncryptionState }
  | {
      readonly report: "counts";
      readonly request: number;
      /** Sealed frames by transform. */
      readonly sealed: ReadonlyMap<number, number>;
      /** By publication. */
      readonly received: ReadonlyMap<string, ReceivedCounts>;
    };

/** As much of an encoded frame as is used here. */
export interface EncodedFrame {
  data: ArrayBuffer;
  readonly getMetadata?: () => { readonly mimeType?: string | undefined };
}

/** As much of `RTCRtpScriptTransformer` as is used here. */
export interface Transformer {
  readonly options: TransformOptions;
  readonly readable: ReadableStream<EncodedFrame>;
  readonly writable: WritableStream<EncodedFrame>;
  readonly sendKeyFrameRequest?: () => Promise<void>;
}

/** As much of a worker's global as is used here. */
export interface WorkerScope {
  postMessage(report: Report): void;
  onmessage: ((event: { readonly data: Order }) => void) | null;
  onrtctransform: ((event: { readonly transformer: Transformer }) => void) | null;
}

/** How long a frame waits for the announcement of what it belongs to, which comes on another way. */
export const ANNOUNCED_WITHIN_MS = 500;
/** A transform waits no more often than that: a sender of nonsense holds nothing up. */
const WAITS_EVERY_MS = 2_000;

/** Serves the page that started this worker. */
export function serve(scope: WorkerScope): void {
  const worker = new FrameWorker((report) => scope.postMessage(report));
  scope.onmessage = ({ data }) => worker.follow(data);
  scope.onrtctransform = ({ transformer }) => worker.begin(transformer);
}

/** Something that one can wait for to change. */
class Changing<T> {
  private current: T | undefined;
  private waiting: (() => void)[] = [];

  get value(): T | undefined {
    return this.current;
  }

  set(value: T | undefined): void {
    this.current = value;
    for (const go of this.waiting.splice(0)) go();
  }

  /** Until it is set, or for so long. */
  change(withinMs?: number): Promise<void> {
    return new Promise((go) => {
      this.waiting.push(go);
      if (withinMs !== undefined) setTimeout(go, withinMs);
    });
  }
}

class Sending {
  readonly origin = new Changing<FrameOrigin | "ended">();
  sealer: Promise<FrameSealer> | undefined;
  sealed = 0;
}

class Receiving {
  readonly carried = new Changing<Carried>();
  waitsFromMs = 0;
  hasDropped = false;
}

class FrameWorker {
  private readonly report: (report: Report) => void;
  private readonly mediaKey = new Changing<Promise<CryptoKey>>();
  private readonly sending = new Map<number, Sending>();
  private readonly receiving = new Map<number, Receiving>();
  private readonly watches = new Map<string, EncryptionWatch & { saysSealed?: boolean }>();
  private opener: Promise<FrameOpener> | undefined;

  constructor(report: (report: Report) => void) {
    this.report = report;
  }

  follow(order: Order): void {
    switch (order.order) {
      case "key":
        this.mediaKey.set(importMediaKey(order.mediaKey));
        break;
      case "send": {
        const sending = this.sendingOf(order.id);
        const { origin } = order;
        sending.sealer = origin && this.sealer(origin);
        sending.origin.set(origin ?? "ended");
        break;
      }
      case "carry":
        if (order.carried) this.watchOf(order.carried);
        this.receivingOf(order.id).waitsFromMs = 0;
        this.receivingOf(order.id).carried.set(order.carried);
        break;
      case "count":
        this.report({
          report: "counts",
          request: order.request,
          sealed: new Map([...this.sending].map(([id, { sealed }]) => [id, sealed])),
          received: new Map(
            [...this.watches].map(([id, { state, opened, refused }]) => [id, { state, opened, refused }]),
          ),
        });
    }
  }

  begin(transformer: Transformer): void {
    const { options, readable, writable } = transformer;
    const { id, direction, media } = options;
    const usual: FrameCodec = media === "video" ? "vp8" : "opus";
    const request = (): void => void transformer.sendKeyFrameRequest?.().catch(() => undefined);
    const transform = async (
      frame: EncodedFrame,
      controller: TransformStreamDefaultController<EncodedFrame>,
    ): Promise<void> => {
      const mimeType = frame.getMetadata?.().mimeType;
      const codec = mimeType ? codecOf(mimeType) : usual;
      const data = new Uint8Array(frame.data);
      const made =
        direction === "send"
          ? await this.seal(this.sendingOf(id), codec, data)
          : await this.open(this.receivingOf(id), codec, data, media === "video" ? request : undefined);
      if (!made) return;
      frame.data = made.buffer;
      controller.enqueue(frame);
    };
    // A stream that breaks was closed with its connection.
    readable
      .pipeThrough(new TransformStream({ transform }))
      .pipeTo(writable)
      .catch(() => undefined);
  }

  // --- sending -----------------------------------------------------------------------------------------------

  private async seal(
    sending: Sending,
    codec: FrameCodec | undefined,
    frame: Uint8Array<ArrayBuffer>,
  ): Promise<Bytes | undefined> {
    if (!sending.origin.value) await sending.origin.change();
    const { sealer } = sending;
    if (!sealer || !codec) return undefined;
    sending.sealed += 1;
    return (await sealer).seal(codec, frame);
  }

  private async sealer(origin: FrameOrigin): Promise<FrameSealer> {
    const newKeyId = (): Uint8Array => crypto.getRandomValues(new Uint8Array(KEY_ID_BYTES));
    return new FrameSealer(await this.key(), newKeyId, origin);
  }

  // --- receiving ---------------------------------------------------------------------------------------------

  private async open(
    receiving: Receiving,
    codec: FrameCodec | undefined,
    sealed: Uint8Array<ArrayBuffer>,
    requestKeyframe: (() => void) | undefined,
  ): Promise<Bytes | undefined> {
    const frame = await this.tryToOpen(receiving, codec, sealed);
    if (!frame) receiving.hasDropped = true;
    else if (receiving.hasDropped) {
      receiving.hasDropped = false;
      // The picture before it may be missing; a keyframe needs none.
      if (((frame[0] ?? 0) & 1) === 1) requestKeyframe?.();
    }
    return frame;
  }

  private async tryToOpen(
    receiving: Receiving,
    codec: FrameCodec | undefined,
    sealed: Uint8Array<ArrayBuffer>,
  ): Promise<Bytes | undefined> {
    if (!receiving.carried.value) await this.announcement(receiving);
    for (;;) {
      const carried = receiving.carried.value;
      if (!carried) return undefined;
      const watch = this.watchOf(carried);
      const opened =
        codec && watch.isOpening
          ? await (await this.openerOf()).open(codec, sealed, carried)
          : ({ refused: "undecryptable" } as const);
      if ("frame" in opened) {
        if (watch.frameOpened()) this.tell(carried, watch);
        return opened.frame;
      }
      // It may be of what the slot carries next.
      const mayWait = opened.refused === "undecryptable" && (await this.announcement(receiving));
      if (mayWait && receiving.carried.value !== carried) continue;
      if (watch.frameRefused(opened.refused)) this.tell(carried, watch);
      return undefined;
    }
  }

  /** Waits until something else is announced, for a while, and not too often; whether it waited. */
  private async announcement(receiving: Receiving): Promise<boolean> {
    const now = performance.now();
    if (now < receiving.waitsFromMs) return false;
    receiving.waitsFromMs = now + WAITS_EVERY_MS;
    await receiving.carried.change(ANNOUNCED_WITHIN_MS);
    return true;
  }

  private openerOf(): Promise<FrameOpener> {
    this.opener ??= this.key().then((key) => new FrameOpener(key));
    return this.opener;
  }

  private watchOf({ publication, isSealed }: Carried): EncryptionWatch {
    const known = this.watches.get(publication);
    if (known?.saysSealed === isSealed) return known;
    const watch = Object.assign(new EncryptionWatch(isSealed, true), { saysSealed: isSealed });
    this.watches.set(publication, watch);
    this.report({ report: "state", publication, state: watch.state });
    return watch;
  }

  private tell({ publication }: Carried, { state }: EncryptionWatch): void {
    this.report({ report: "state", publication, state });
  }

  // --- both --------------------------------------------------------------------------------------------------

  private async key(): Promise<CryptoKey> {
    while (!this.mediaKey.value) await this.mediaKey.change();
    return this.mediaKey.value;
  }

  private sendingOf(id: number): Sending {
    const known = this.sending.get(id) ?? new Sending();
    this.sending.set(id, known);
    return known;
  }

  private receivingOf(id: number): Receiving {
    const known = this.receiving.get(id) ?? new Receiving();
    this.receiving.set(id, known);
    return known;
  }
}

/** The worker's program between emulated streams of frames: what goes through, as what, and what it reports. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Bytes, utf8 } from "../../src/sdk/crypto/bytes";
import {
  ANNOUNCED_WITHIN_MS,
  type Carried,
  type EncodedFrame,
  type Order,
  type Report,
  serve,
  type TransformOptions,
  type WorkerScope,
} from "../../src/sdk/webrtc/frame-kernel";
import { workerSource } from "../../src/sdk/webrtc/frame-worker";

const KEY = new Uint8Array(32).fill(1);
const CAM: Carried = { sender: "ann", publication: "id/cam", isSealed: true };
const DELTA = Uint8Array.of(1, 2, 3, 4, 5, 6);
const PATIENCE_MS = 10_000;
const A_WHILE_MS = 150;
const KEYFRAME = Uint8Array.of(0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);

/** One transform: frames go in at one end and come out at the other. */
class Pipe {
  readonly out: Bytes[] = [];
  requests = 0;
  private readonly writer: WritableStreamDefaultWriter<EncodedFrame>;

  constructor(scope: WorkerScope, options: TransformOptions) {
    const into = new TransformStream<EncodedFrame, EncodedFrame>();
    this.writer = into.writable.getWriter();
    const writable = new WritableStream<EncodedFrame>({
      write: ({ data }) => void this.out.push(new Uint8Array(data)),
    });
    const sendKeyFrameRequest = (): Promise<void> => {
      this.requests += 1;
      return Promise.reject(new Error("Nobody minds."));
    };
    scope.onrtctransform?.({
      transformer: { options, readable: into.readable, writable, sendKeyFrameRequest },
    });
  }

  put(bytes: Bytes, mimeType?: string): void {
    void this.writer.write({ data: bytes.slice().buffer, getMetadata: () => ({ mimeType }) });
  }
}

class Worker implements WorkerScope {
  readonly reports: Report[] = [];
  onmessage: WorkerScope["onmessage"] = null;
  onrtctransform: WorkerScope["onrtctransform"] = null;
  private lastId = 0;

  constructor(mediaKey: Bytes | null = KEY) {
    serve(this);
    if (mediaKey) this.order({ order: "key", mediaKey });
  }

  postMessage(report: Report): void {
    this.reports.push(report);
  }

  order(order: Order): void {
    this.onmessage?.({ data: order });
  }

  pipe(direction: "send" | "receive", media: "audio" | "video" = "video"): Pipe & { id: number } {
    this.lastId += 1;
    const options = { id: this.lastId, direction, media };
    return Object.assign(new Pipe(this, options), { id: this.lastId });
  }

  /** A pipe that seals. */
  sending(origin = CAM): Pipe {
    const pipe = this.pipe("send");
    this.order({ order: "send", id: pipe.id, origin });
    return pipe;
  }

  get states(): string[] {
    return this.reports.flatMap((one) => (one.report === "state" ? [`${one.publication} ${one.state}`] : []));
  }

  counts(): Report | undefined {
    this.order({ order: "count", request: 7 });
    return this.reports.at(-1);
  }
}

/** The platform's cipher works in threads of its own, and takes as long as they do. */
async function until(isSo: () => boolean): Promise<void> {
  const patience = Date.now() + PATIENCE_MS;
  while (!isSo()) {
    if (Date.now() > patience) throw new Error("It did not happen.");
    await new Promise((go) => setImmediate(go));
  }
}

/** Long enough for everything that is not held back, the cipher's threads included. */
async function aWhile(): Promise<void> {
  const over = Date.now() + A_WHILE_MS;
  while (Date.now() < over) await new Promise((go) => setImmediate(go));
}

/** So many frames, sealed. */
async function sealed(count: number, mediaKey: Bytes = KEY, frame: Bytes = DELTA): Promise<Bytes[]> {
  const pipe = new Worker(mediaKey).sending();
  for (let number = 0; number < count; number++) pipe.put(frame);
  await until(() => pipe.out.length === count);
  return pipe.out;
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "performance"] });
});

afterEach(() => {
  vi.useRealTimers();
});

describe("what is sent", () => {
  test("waits until it is said as what, and is never clear", async () => {
    const worker = new Worker(null);
    const pipe = worker.pipe("send");
    pipe.put(KEYFRAME);
    await aWhile();
    worker.order({ order: "send", id: pipe.id, origin: CAM });
    await aWhile();
    expect(pipe.out).toEqual([]);
    worker.order({ order: "key", mediaKey: KEY });
    await until(() => pipe.out.length === 1);
    expect(pipe.out[0]?.length).toBe(KEYFRAME.length + 28);
    expect(pipe.out[0]?.subarray(0, 10)).toEqual(KEYFRAME.subarray(0, 10));
    expect(worker.counts()).toMatchObject({ sealed: new Map([[1, 1]]) });
  });

  test("ends with its publication, and begins with a new key id", async () => {
    const worker = new Worker();
    const pipe = worker.sending();
    pipe.put(DELTA);
    await until(() => pipe.out.length === 1);
    worker.order({ order: "send", id: 1, origin: undefined });
    pipe.put(DELTA);
    await aWhile();
    expect(pipe.out).toHaveLength(1);
    worker.order({ order: "send", id: 1, origin: { ...CAM, publication: "id/screen" } });
    pipe.put(DELTA);
    await until(() => pipe.out.length === 2);
    const [first, second] = pipe.out.map((frame) => frame.subarray(-12));
    expect(second?.subarray(0, 4)).toEqual(first?.subarray(0, 4));
    expect(second?.subarray(4)).not.toEqual(first?.subarray(4));
  });

  test("is not sent in a codec that cannot be sealed", async () => {
    const pipe = new Worker().sending();
    pipe.put(DELTA, "video/H264");
    pipe.put(DELTA, "video/VP8");
    await until(() => pipe.out.length === 1);
    await aWhile();
    expect(pipe.out).toHaveLength(1);
  });
});

describe("what comes", () => {
  test("is opened as what is announced, also if the announcement comes later", async () => {
    const worker = new Worker();
    const pipe = worker.pipe("receive");
    for (const frame of await sealed(2)) pipe.put(frame);
    await aWhile();
    expect(pipe.out).toEqual([]);
    worker.order({ order: "carry", id: 1, carried: { ...CAM, publication: "id/other" } });
    await aWhile();
    worker.order({ order: "carry", id: 1, carried: CAM });
    await until(() => pipe.out.length === 2);
    expect(pipe.out).toEqual([DELTA, DELTA]);
    expect(worker.states).toEqual(["id/other waiting", "id/cam waiting", "id/cam sealed"]);
  });

  test("waits for an announcement for a while, and then no more", async () => {
    const worker = new Worker();
    const pipe = worker.pipe("receive");
    const [first, second, third] = await sealed(3);
    if (!first || !second || !third) throw new Error("no frames");
    pipe.put(first);
    pipe.put(second);
    await aWhile();
    await vi.advanceTimersByTimeAsync(ANNOUNCED_WITHIN_MS);
    await aWhile();
    worker.order({ order: "carry", id: 1, carried: CAM });
    pipe.put(third);
    await until(() => pipe.out.length === 1);
    // What was dropped may be missing to the pictures that follow.
    expect(pipe.requests).toBe(1);
    expect(worker.counts()).toMatchObject({
      received: new Map([["id/cam", { state: "sealed", opened: 1, refused: 0 }]]),
    });
  });

  test("is never shown if it does not open, and the state says so until frames open again", async () => {
    const worker = new Worker();
    const pipe = worker.pipe("receive");
    worker.order({ order: "carry", id: 1, carried: CAM });
    for (const frame of await sealed(10, new Uint8Array(32).fill(9))) pipe.put(frame);
    await aWhile();
    expect(worker.states).toEqual(["id/cam waiting"]);
    await vi.advanceTimersByTimeAsync(ANNOUNCED_WITHIN_MS);
    await until(() => worker.states.length === 2);
    const [good] = await sealed(1, KEY, KEYFRAME);
    if (!good) throw new Error("no frame");
    pipe.put(good);
    pipe.put(good);
    await until(() => worker.states.length === 3);
    await aWhile();
    expect(worker.states).toEqual(["id/cam waiting", "id/cam undecryptable", "id/cam sealed"]);
    expect(pipe.out).toEqual([KEYFRAME]);
    expect(pipe.requests).toBe(0);
    expect(worker.counts()).toMatchObject({
      received: new Map([["id/cam", { state: "sealed", opened: 1, refused: 11 }]]),
    });
  });

  test("is refused unseen if its sender does not encrypt, until it does", async () => {
    const worker = new Worker();
    const pipe = worker.pipe("receive", "audio");
    worker.order({ order: "carry", id: 1, carried: { ...CAM, isSealed: false } });
    pipe.put(utf8("a clear frame, which is long enough to be a sealed one"));
    await vi.advanceTimersByTimeAsync(ANNOUNCED_WITHIN_MS);
    await aWhile();
    expect(pipe.out).toEqual([]);
    worker.order({ order: "carry", id: 1, carried: CAM });
    expect(worker.states).toEqual(["id/cam not_sealed", "id/cam waiting"]);
  });

  test("in a codec that is not sealed is refused", async () => {
    const worker = new Worker();
    const pipe = worker.pipe("receive");
    worker.order({ order: "carry", id: 1, carried: CAM });
    const [frame, next] = await sealed(2);
    if (!frame || !next) throw new Error("no frames");
    pipe.put(frame, "video/H264");
    pipe.put(next, "video/VP8");
    await vi.advanceTimersByTimeAsync(ANNOUNCED_WITHIN_MS);
    await until(() => pipe.out.length === 1);
    expect(worker.counts()).toMatchObject({
      received: new Map([["id/cam", { state: "sealed", opened: 1, refused: 1 }]]),
    });
  });
});

test("the worker's program needs nothing from outside, and no eval", () => {
  expect(workerSource()).not.toMatch(/\bimport\b|\brequire\(|\beval\(|new Function\(/);
});

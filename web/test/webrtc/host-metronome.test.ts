/** The beat for hidden pages: each is asked for when the one before was heard, and where there is no worker there is none. */

import { afterEach, expect, test, vi } from "vitest";
import { browserMetronomeMaker } from "../../src/sdk/webrtc/host-metronome";

class FakeWorker {
  static readonly made: FakeWorker[] = [];
  readonly asked: number[] = [];
  isEnded = false;
  onmessage: (() => void) | null = null;
  onerror: ((event: Event) => void) | null = null;

  constructor() {
    FakeWorker.made.push(this);
  }

  postMessage(everyMs: number): void {
    this.asked.push(everyMs);
  }

  terminate(): void {
    this.isEnded = true;
  }
}

afterEach(() => {
  vi.unstubAllGlobals();
  FakeWorker.made.length = 0;
});

function workerOf(beat: () => void): [worker: FakeWorker, stop: () => void] {
  vi.stubGlobal("Worker", FakeWorker);
  const stop = browserMetronomeMaker.startMetronome(100, beat);
  return [FakeWorker.made[0] as FakeWorker, stop];
}

test("each beat is asked for when the one before was heard", () => {
  let beats = 0;
  const [worker, stop] = workerOf(() => {
    beats += 1;
  });
  expect([beats, worker.asked]).toEqual([0, [100]]);
  worker.onmessage?.();
  worker.onmessage?.();
  expect([beats, worker.asked]).toEqual([2, [100, 100, 100]]);
  stop();
  expect(worker.isEnded).toBe(true);
});

test("a worker that the page refuses ends without a word", () => {
  const [worker] = workerOf(() => undefined);
  const event = new Event("error", { cancelable: true });
  worker.onerror?.(event);
  expect([worker.isEnded, event.defaultPrevented]).toEqual([true, true]);
});

test("without workers there are no beats, and nothing else", () => {
  vi.stubGlobal("Worker", undefined);
  browserMetronomeMaker.startMetronome(100, () => undefined)();
  class Refused {
    constructor() {
      throw new Error("not on this page");
    }
  }
  vi.stubGlobal("Worker", Refused);
  browserMetronomeMaker.startMetronome(100, () => undefined)();
});

/** Runs `tests/vectors/sealing/windows.json`: what a receiver takes, and in which order. */
import { expect, test } from "vitest";
import { utf8 } from "../../src/sdk/crypto/bytes";
import { MAX_SESSIONS, SealWindows, type Verdict } from "../../src/sdk/crypto/seal-window";
import type { SealClass } from "../../src/sdk/crypto/sealing";
import { vector } from "../vectors";

interface Step {
  readonly crypto_session: string;
  readonly epoch?: string;
  readonly offset?: number;
  readonly counter: number;
  readonly verdict: Verdict;
  /** So often, with offset and counter one higher each time. */
  readonly times?: number;
}

interface Case {
  readonly why: string;
  readonly class: SealClass;
  readonly steps: readonly Step[];
}

const { cases } = vector<{ cases: Case[] }>("sealing/windows.json");

function judge(windows: SealWindows, sealClass: SealClass, step: Step): Verdict {
  const session = utf8(step.crypto_session);
  if (sealClass === "durable") {
    return windows.durable(session, step.epoch ?? "e", step.offset ?? 0, step.counter);
  }
  return windows[sealClass](session, step.counter);
}

test.each(cases)("$why", ({ class: sealClass, steps }) => {
  const windows = new SealWindows();
  for (const [at, step] of steps.entries()) {
    for (let more = 0; more < (step.times ?? 1); more++) {
      const moved = { ...step, offset: (step.offset ?? 0) + more, counter: step.counter + more };
      expect([at, more, judge(windows, sealClass, moved)]).toEqual([at, more, step.verdict]);
    }
  }
});

test("offsets mean something within their epoch only", () => {
  const windows = new SealWindows();
  const session = utf8("a");
  expect(windows.durable(session, "e1", 5, 1)).toBe("ok");
  expect(windows.durable(session, "e1", 6, 1)).toBe("replayed");
  expect(windows.durable(session, "e2", 6, 1)).toBe("ok");
});

test("the crypto-session that spoke least recently is forgotten first", () => {
  const windows = new SealWindows();
  const session = (number: number): Uint8Array => utf8(`session ${number}`);
  for (let number = 0; number < MAX_SESSIONS; number++) windows.live(session(number), 5);
  expect(windows.live(session(0), 5)).toBe("dropped");
  windows.live(session(MAX_SESSIONS), 5);
  expect(windows.live(session(0), 5)).toBe("dropped");
  expect(windows.live(session(1), 5)).toBe("ok");
});

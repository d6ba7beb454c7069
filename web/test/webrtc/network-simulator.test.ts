/** The simulated network: what both SDKs do for one seed, and what makes no sense. */
import { describe, expect, test } from "vitest";
import { LANE_BYTES, NetworkSimulator } from "../../src/sdk/webrtc/network-simulator";
import { encodeLossy, encodeMark, encodeReliable, isLossyFrame } from "../../src/sdk/webrtc/peer-frames";
import { vector } from "../vectors";

interface Step {
  readonly at: number;
  readonly do: "become" | "put" | "take" | "forget";
  readonly simulation?: { delay_ms?: number; jitter_ms?: number; loss?: number };
  readonly lane: string;
  readonly items: readonly [string, number, boolean][];
  readonly room: number | null;
  readonly lossy_room: number | null;
  readonly out?: readonly string[];
  readonly deadline: number | null;
}

interface Transcript {
  readonly name: string;
  readonly seed: number;
  readonly steps: readonly Step[];
}

function play(simulator: NetworkSimulator<string>, step: Step): readonly string[] | undefined {
  switch (step.do) {
    case "become": {
      const { delay_ms: delayMs, jitter_ms: jitterMs, loss } = step.simulation ?? {};
      simulator.become({ delayMs, jitterMs, loss });
      return undefined;
    }
    case "put": {
      const parcels = step.items.map(([item, sizeBytes, isLossy]) => ({ item, sizeBytes, isLossy }));
      simulator.put(step.lane, parcels, step.at);
      return undefined;
    }
    case "take":
      return simulator.take(step.lane, step.at, step.room ?? undefined, step.lossy_room ?? undefined);
    case "forget":
      simulator.forget(step.lane);
      return undefined;
  }
}

describe("a simulated network", () => {
  test.each(vector<Transcript[]>("peers/network.json"))("$name", ({ seed, steps }) => {
    const simulator = new NetworkSimulator<string>(seed);
    for (const step of steps) {
      expect(play(simulator, step)).toEqual(step.out);
      const { deadlineMs } = simulator;
      expect(deadlineMs === undefined ? null : Math.round(deadlineMs * 1_000) / 1_000).toBe(step.deadline);
    }
  });

  test("a lane that is full says so, and an empty one is clear when all is well again", () => {
    const simulator = new NetworkSimulator<string>(1);
    expect(simulator.isClear("a")).toBe(true);
    simulator.become({ delayMs: 100 });
    expect(simulator.isClear("a")).toBe(false);
    simulator.put("a", [{ item: "big", sizeBytes: LANE_BYTES, isLossy: false }], 0);
    expect(simulator.roomBytes("a")).toBe(0);
    expect(simulator.roomBytes("b")).toBe(LANE_BYTES);
    simulator.become({});
    expect([simulator.isClear("b"), simulator.isClear("a")]).toEqual([true, false]);
    expect(simulator.take("a", 100, 1, 1)).toEqual(["big"]);
    expect(simulator.isClear("a")).toBe(true);
  });

  test.each([{ delayMs: -1 }, { jitterMs: 10_001 }, { loss: 1 }, { loss: Number.NaN }])(
    "%o is none",
    (wrong) => {
      const error = expect.objectContaining({ code: "bad_request" });
      expect(() => new NetworkSimulator(1).become(wrong)).toThrowError(error);
    },
  );

  test("lossy frames are told from the others by their first bytes", () => {
    for (const count of [1, 13, 14, 70_000]) {
      const values = Array.from({ length: count }, () => Uint8Array.of(1));
      expect(isLossyFrame(encodeLossy(0xffffffff, values))).toBe(true);
    }
    const reliable = encodeReliable(1, 1, new Map(), 0, new Uint8Array());
    const others = [reliable, encodeMark(2, 1, 1), new Uint8Array(), Uint8Array.of(0xdc)];
    expect(others.some(isLossyFrame)).toBe(false);
  });
});

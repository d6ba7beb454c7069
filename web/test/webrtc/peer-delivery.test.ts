/** Delivery between peers: the transcripts that both SDKs share, and what holds whatever the paths do. */
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../src/sdk/crypto/bytes";
import { ProtocolError } from "../../src/sdk/protocol/errors";
import { PeerDelivery } from "../../src/sdk/webrtc/peer-delivery";
import { PIECE_BYTES } from "../../src/sdk/webrtc/peer-frames";
import type { DeliveryEvent } from "../../src/sdk/webrtc/peer-receiving";
import { KEPT_BYTES_MAX } from "../../src/sdk/webrtc/peer-sending";
import { vector, vectorNames } from "../vectors";

interface Step {
  readonly at: number;
  readonly do: string;
  readonly [input: string]: unknown;
}

interface Transcript {
  readonly name: string;
  readonly identity: string;
  readonly stream: number;
  readonly steps: readonly Step[];
}

const OUTPUTS = ["out", "raises", "events", "handed", "dropped", "deadline"];

function payloadOf(step: Step): unknown {
  if ("text" in step) return step["text"];
  if ("binary" in step) return fromHex(step["binary"] as string);
  if ("filled" in step) {
    const [byte, count] = step["filled"] as [number, number];
    return new Uint8Array(count).fill(byte);
  }
  return step["value"];
}

/** A payload as the transcripts write it, long binaries by their fill. */
function written(payload: unknown): Record<string, unknown> {
  if (typeof payload === "string") return { text: payload };
  if (!(payload instanceof Uint8Array)) return { value: payload };
  const [first = 0] = payload;
  const isFilled = payload.length > 64 && payload.every((byte) => byte === first);
  return isFilled ? { filled: [first, payload.length] } : { binary: toHex(payload) };
}

function eventOf(event: DeliveryEvent): unknown {
  if (event.event === "delivered")
    return { delivered: [event.sender, written(event.payload), event.isLossy] };
  if (event.event === "flushed") return { flushed: [event.sender, event.seq] };
  return { bad: [event.sender, event.error.code] };
}

function play(delivery: PeerDelivery, step: Step): Record<string, unknown> {
  const peer = step["peer"] as string;
  const room = (name: string): number | undefined => (step[name] as number | null) ?? undefined;
  switch (step.do) {
    case "send":
      try {
        const isLossy = step["is_lossy"] === true;
        delivery.send(step["number"] as number, step["to"] as string[], payloadOf(step), isLossy, step.at);
      } catch (error) {
        if (error instanceof ProtocolError) return { raises: error.code };
        throw error;
      }
      return {};
    case "set_path":
      delivery.setPath(peer, (step["path"] as string | null) ?? undefined);
      return {};
    case "take": {
      const path = step["path"] as string;
      const out = delivery.take(path, step.at, room("reliable_room"), room("lossy_room"));
      return { out: out.map(({ to, frame, isLossy }) => [to, toHex(frame), isLossy]) };
    }
    case "receive": {
      const events = delivery.receive(step["sender"] as string, fromHex(step["frame"] as string), step.at);
      return { events: events.map(eventOf) };
    }
    case "ask":
      delivery.ask(peer);
      return {};
    case "flush":
      return { out: toHex(delivery.flush()) };
    case "tick":
      delivery.tick(step.at);
      return {};
    case "left":
      delivery.left(peer);
      return {};
    default:
      throw new Error(`Nobody knows how to ${step.do}.`);
  }
}

const isSomething = (value: unknown): boolean =>
  value !== undefined && value !== null && !(Array.isArray(value) && value.length === 0);

describe("the transcripts", () => {
  const all = vectorNames("peers")
    .filter((name) => name.startsWith("delivery"))
    .flatMap((name) => vector<Transcript[]>(`peers/${name}`));
  test.each(all)("$name", ({ identity, stream, steps }) => {
    const delivery = new PeerDelivery(identity, stream);
    for (const step of steps) {
      const came = play(delivery, step);
      const seen = { ...came, ...delivery.takeSettled(), deadline: delivery.deadlineMs };
      const expected = Object.entries(step).filter(([key]) => OUTPUTS.includes(key));
      const told = Object.entries(seen).filter(([, value]) => isSomething(value));
      expect(Object.fromEntries(told), JSON.stringify(step)).toEqual(
        Object.fromEntries(expected.filter(([, value]) => isSomething(value))),
      );
    }
  });
});

describe("whatever the paths do", () => {
  /** Numbers that are the same in every run. */
  function chance(seed: number): (below: number) => number {
    let state = seed;
    return (below) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
  }

  const gist = (payload: unknown): unknown =>
    payload instanceof Uint8Array ? `${payload.length} times ${[...new Set(payload)]}` : payload;

  test.each([1, 2, 3, 4, 5, 6, 7, 8])("all comes once and in order, seed %i", (seed) => {
    const pick = chance(seed);
    const ann = new PeerDelivery("ann", 7);
    const readers = ["bob", "cyd"].map((identity, at) => new PeerDelivery(identity, 8 + at));
    const got = new Map<string, unknown[]>(readers.map(({ identity }) => [identity, []]));
    const wanted = new Map<string, unknown[]>(readers.map(({ identity }) => [identity, []]));
    let now = 0;
    let path = 0;
    const carry = (isLost: () => boolean): void => {
      for (const { to, frame, isLossy } of ann.take(`p${path}`, now, 1 + pick(60_000), undefined)) {
        expect(isLossy).toBe(false);
        for (const reader of readers.filter(({ identity }) => to.includes(identity) && !isLost())) {
          for (const event of reader.receive("ann", frame, now)) {
            if (event.event !== "delivered") throw new Error(`There was ${event.event}.`);
            got.get(reader.identity)?.push(gist(event.payload));
          }
        }
      }
      for (const reader of readers) {
        reader.setPath("ann", reader.pathOf("ann") ?? "back");
        for (const { frame } of reader.take("back", now, 1_000, undefined)) {
          if (!isLost()) ann.receive(reader.identity, frame, now);
        }
      }
    };
    for (const { identity } of readers) ann.setPath(identity, "p0");
    for (let number = 1; number <= 200; number++) {
      now += pick(40);
      const to = [["bob"], ["cyd"], ["bob", "cyd"]][pick(3)] ?? [];
      const payload = pick(10) === 0 ? new Uint8Array(PIECE_BYTES + pick(PIECE_BYTES)).fill(number) : number;
      ann.send(number, to, payload, false, now);
      for (const identity of to) wanted.get(identity)?.push(gist(payload));
      // A path that is given up loses what is on it; the next one begins with what was not acknowledged.
      const isBroken = pick(8) === 0;
      carry(() => isBroken && pick(2) === 0);
      if (!isBroken) continue;
      path += 1;
      for (const { identity } of readers) ann.setPath(identity, `p${path}`);
    }
    for (let count = 0; count < 2_000 && ann.keptBytes > 0; count++) {
      now += 60;
      carry(() => false);
    }
    expect(ann.keptBytes).toBe(0);
    for (const { identity } of readers) expect(got.get(identity)).toEqual(wanted.get(identity));
  });

  test("more than can be kept is refused, and taken again once some of it has come", () => {
    const ann = new PeerDelivery("ann", 7);
    ann.setPath("bob", "p");
    ann.send(1, ["bob"], new Uint8Array(KEPT_BYTES_MAX), false, 0);
    expect(() => ann.send(2, ["bob"], 1, false, 0)).toThrowError(
      expect.objectContaining({ code: "queue_full" }),
    );
    const bob = new PeerDelivery("bob", 8);
    bob.setPath("ann", "p");
    for (const { frame } of ann.take("p", 0, Number.POSITIVE_INFINITY, undefined))
      bob.receive("ann", frame, 0);
    for (const { frame } of bob.take("p", 0, 1_000, undefined)) ann.receive("bob", frame, 0);
    expect(ann.keptBytes).toBe(0);
    ann.send(2, ["bob"], 1, false, 0);
    expect(ann.unacknowledged("bob")).toBe(1);
  });
});

/** Runs `tests/vectors/messages` through the codec, and what only this side does. */
import { describe, expect, test } from "vitest";
import { fromHex } from "../../src/sdk/crypto/bytes";
import {
  type Codec,
  clientCodec,
  MAX_BATCH_FRAMES,
  Rejected,
  serverCodec,
} from "../../src/sdk/protocol/codec";
import type { AnyFrame, ServerFrame } from "../../src/sdk/protocol/frames.gen";
import type { Encoding } from "../../src/sdk/protocol/shape";
import { vector } from "../vectors";

type Json = Record<string, unknown>;
type Direction = "client" | "server";

interface FrameCase {
  readonly name: string;
  readonly direction: Direction;
  readonly value: Json;
  readonly json: string;
  readonly msgpack: string;
}

interface WireCase {
  readonly name: string;
  readonly direction: Direction;
  readonly encoding: Encoding;
  readonly wire: string;
  readonly value?: Json;
  readonly code?: string;
  readonly id?: number;
  readonly max_bytes?: number;
  readonly frames?: readonly { readonly value?: Json; readonly code?: string; readonly id?: number }[];
}

const MAX_BYTES = 1_048_576;
const ENCODINGS: readonly Encoding[] = ["json", "msgpack"];

function reader(direction: Direction, encoding: Encoding, maxBytes = MAX_BYTES): Codec<AnyFrame> {
  return direction === "client" ? serverCodec(encoding, maxBytes) : clientCodec(encoding, maxBytes);
}

function wireOf(encoding: Encoding, text: string): string | Uint8Array {
  return encoding === "json" ? text : fromHex(text);
}

/** A decoded frame in its JSON form, or the code and saved id of one that was refused. */
function shown(item: AnyFrame | Rejected): Json {
  if (!(item instanceof Rejected)) {
    return { value: JSON.parse(clientCodec("json", MAX_BYTES).encode(item) as string) as Json };
  }
  return { code: item.error.code, ...(item.id === undefined ? {} : { id: item.id }) };
}

describe("message vectors", () => {
  for (const { name, direction, value, json, msgpack } of vector<FrameCase[]>("messages/frames.json")) {
    test(`frame: ${name}`, () => {
      const written = { json, msgpack };
      for (const encoding of ENCODINGS) {
        const codec = reader(direction, encoding);
        const [frame, ...more] = codec.decode(wireOf(encoding, written[encoding]));
        if (!frame || frame instanceof Rejected) throw frame?.error ?? new Error("nothing was decoded");
        expect(more).toEqual([]);
        expect(shown(frame)).toEqual({ value });
        expect(codec.decode(codec.encode(frame)), encoding).toEqual([frame]);
      }
    });
  }

  for (const { name, direction, encoding, wire, value } of vector<WireCase[]>("messages/accepted.json")) {
    test(`accepted: ${name} (${encoding})`, () => {
      expect(reader(direction, encoding).decode(wireOf(encoding, wire)).map(shown)).toEqual([{ value }]);
    });
  }

  for (const one of vector<WireCase[]>("messages/rejected.json")) {
    const { name, direction, encoding, wire, code, id, max_bytes } = one;
    test(`rejected: ${name} (${encoding})`, () => {
      const items = reader(direction, encoding, max_bytes).decode(wireOf(encoding, wire));
      expect(items.map(shown)).toEqual([{ code, ...(id === undefined ? {} : { id }) }]);
    });
  }

  for (const { name, direction, encoding, wire, frames } of vector<WireCase[]>("messages/batches.json")) {
    test(`batch: ${name} (${encoding})`, () => {
      expect(reader(direction, encoding).decode(wireOf(encoding, wire)).map(shown)).toEqual(frames);
    });
  }
});

describe("what a page may hand in and receive", () => {
  const message = {
    op: "message",
    delivery: "live",
    message_id: "m",
    time_ms: 1,
    sender: "a",
    identity: "i",
  };

  test.each(ENCODINGS)("%s joins frames into a batch that is read again", (encoding) => {
    const codec = serverCodec(encoding, MAX_BYTES);
    const frames = [{ op: "ping", offset: 1, live_seq: 2 } as const, { op: "bye" } as const];
    expect(codec.decode(codec.join(frames.map((frame) => codec.encode(frame))))).toEqual(frames);
  });

  test.each(ENCODINGS)("%s carries __proto__ as a key like any other", (encoding) => {
    const content: unknown = JSON.parse('{"__proto__": {"polluted": true}, "a": 1}');
    const codec = clientCodec(encoding, MAX_BYTES);
    const frame = { ...message, type: "t", content } as ServerFrame;
    const [decoded] = codec.decode(codec.encode(frame));
    expect(decoded).toEqual(frame);
    expect(Object.hasOwn((decoded as { content: object }).content, "__proto__")).toBe(true);
    expect(({} as Json)["polluted"]).toBeUndefined();
  });

  test.each([
    ["a date", new Date(0)],
    ["a map", new Map()],
    ["a function", () => 1],
    ["half a surrogate pair", "\ud800"],
    ["a large integer", 2 ** 60],
    ["NaN", Number.NaN],
    ["a big integer", 1n],
  ])("%s is not JSON-shaped", (_, content) => {
    const codec = serverCodec("msgpack", MAX_BYTES);
    const item = codec.readFrame({ op: "send", id: 1, content });
    expect(item).toBeInstanceOf(Rejected);
    expect((item as Rejected).error.code).toBe("bad_request");
  });

  test.each([
    ["a float without digits to lose", 1e300],
    ["a class-less object", Object.create(null)],
  ])("%s is", (_, content) => {
    const codec = serverCodec("json", MAX_BYTES);
    expect(codec.readFrame({ op: "send", id: 1, content })).not.toBeInstanceOf(Rejected);
  });

  test.each(ENCODINGS)("%s refuses a batch with too many frames", (encoding) => {
    const codec = serverCodec(encoding, MAX_BYTES);
    const frames = Array.from({ length: MAX_BATCH_FRAMES + 1 }, () => codec.encode({ op: "ping" }));
    expect(codec.decode(codec.join(frames)).map(shown)).toEqual([{ code: "too_large" }]);
    expect(codec.decode(codec.join(frames.slice(1)))).toHaveLength(MAX_BATCH_FRAMES);
  });
});

/** Runs `tests/vectors/media`: sealed frames, windows and states, as in Python. */
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../src/sdk/crypto/bytes";
import {
  COUNTER_LIMIT,
  clearBytes,
  codecOf,
  EncryptionWatch,
  type FrameCodec,
  FrameOpener,
  FrameSealer,
  importMediaKey,
  type RefusalReason,
  Window,
} from "../../src/sdk/webrtc/frame-sealing";
import { vector } from "../vectors";

interface Case {
  readonly why: string;
  readonly codec: FrameCodec;
  readonly sender: string;
  readonly publication: string;
  readonly sealed_hex: string;
}

interface FrameCase extends Case {
  readonly key_id_hex: string;
  readonly counter: number;
  readonly frame_hex: string;
  readonly clear_bytes: number;
}

interface Vectors<T> {
  readonly media_key_hex: string;
  readonly cases: T[];
}

interface Sequence {
  readonly why: string;
  readonly steps: readonly { publication: string; sealed_hex: string; outcome: string }[];
}

interface StateCase {
  readonly why: string;
  readonly is_sealed: boolean;
  readonly is_on: boolean;
  readonly begins: string;
  readonly outcomes: readonly (RefusalReason | "opened")[];
  readonly ends: string;
  readonly opened: number;
  readonly refused: number;
}

const frames = vector<Vectors<FrameCase>>("media/frames.json");
const refused = vector<Vectors<Case>>("media/refused.json");
const sequences = vector<Vectors<Sequence> & { sender: string; codec: FrameCodec }>("media/sequences.json");
const states = vector<{ cases: StateCase[] }>("media/states.json");

const keyOf = ({ media_key_hex }: Vectors<unknown>): Promise<CryptoKey> =>
  importMediaKey(fromHex(media_key_hex));

test.each(frames.cases)("a frame: $why", async (one) => {
  const key = await keyOf(frames);
  const frame = fromHex(one.frame_hex);
  expect(clearBytes(one.codec, frame)).toBe(one.clear_bytes);
  const sealer = new FrameSealer(key, () => fromHex(one.key_id_hex), one, one.counter);
  expect(toHex(await sealer.seal(one.codec, frame))).toBe(one.sealed_hex);
  const opened = await new FrameOpener(key).open(one.codec, fromHex(one.sealed_hex), one);
  expect(opened).toEqual({ frame });
});

test.each(refused.cases)("refused: $why", async (one) => {
  const opener = new FrameOpener(await keyOf(refused));
  expect(await opener.open(one.codec, fromHex(one.sealed_hex), one)).toEqual({ refused: "undecryptable" });
});

test.each(sequences.cases)("one after the other: $why", async ({ steps }) => {
  const opener = new FrameOpener(await keyOf(sequences));
  const outcomes: string[] = [];
  for (const { publication, sealed_hex } of steps) {
    const origin = { sender: sequences.sender, publication };
    const opened = await opener.open(sequences.codec, fromHex(sealed_hex), origin);
    outcomes.push("refused" in opened ? opened.refused : "opened");
  }
  expect(outcomes).toEqual(steps.map(({ outcome }) => outcome));
});

test.each(states.cases)("a track: $why", ({ is_sealed, is_on, begins, outcomes, ends, ...counts }) => {
  const watch = new EncryptionWatch(is_sealed, is_on);
  expect(watch.state).toBe(begins);
  for (const outcome of outcomes) {
    const before = watch.state;
    const hasChanged = outcome === "opened" ? watch.frameOpened() : watch.frameRefused(outcome);
    expect(hasChanged).toBe(watch.state !== before);
  }
  expect(watch).toMatchObject({ state: ends, opened: counts.opened, refused: counts.refused });
});

describe("beyond the vectors", () => {
  test("every changed bit is refused", async () => {
    const [first] = frames.cases;
    if (!first) throw new Error("no vectors");
    const opener = new FrameOpener(await keyOf(frames));
    const sealed = fromHex(first.sealed_hex);
    for (let at = 0; at < sealed.length; at++) {
      const changed = sealed.slice();
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      expect(await opener.open(first.codec, changed, first)).toEqual({ refused: "undecryptable" });
    }
  });

  test("a key id that is used up is followed by another", async () => {
    const key = await keyOf(frames);
    let last = 0;
    const newKeyId = (): Uint8Array => new Uint8Array(8).fill(++last);
    const origin = { sender: "ann", publication: "id/cam" };
    const sealer = new FrameSealer(key, newKeyId, origin, COUNTER_LIMIT - 1);
    const opener = new FrameOpener(key);
    const trailers: string[] = [];
    for (let count = 0; count < 3; count++) {
      const sealed = await sealer.seal("opus", Uint8Array.of(count));
      expect(await opener.open("opus", sealed, origin)).toEqual({ frame: Uint8Array.of(count) });
      trailers.push(toHex(sealed.subarray(-12)));
    }
    expect(trailers).toEqual([
      "3fffffff0101010101010101",
      "000000000202020202020202",
      "000000010202020202020202",
    ]);
  });

  test("two frames of one key id at once share its window", async () => {
    const key = await keyOf(frames);
    const origin = { sender: "ann", publication: "id/cam" };
    const sealed = await new FrameSealer(key, () => new Uint8Array(8), origin).seal("opus", Uint8Array.of(1));
    const opener = new FrameOpener(key);
    const both = await Promise.all([
      opener.open("opus", sealed, origin),
      opener.open("opus", sealed, origin),
    ]);
    expect(both).toEqual([{ frame: Uint8Array.of(1) }, { refused: "replayed" }]);
  });

  test("the window agrees with a list of all that were seen", () => {
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return seed % below;
    };
    const window = new Window();
    const seen = new Set<number>();
    for (let count = 0; count < 3_000; count++) {
      const counter = random(2) ? random(6_000) : count;
      const isNew = !seen.has(counter) && counter > Math.max(...seen, counter) - 1_024;
      expect(window.takes(counter)).toBe(isNew);
      if (isNew) seen.add(counter);
    }
  });

  test("codecs by name", () => {
    expect(["video/VP8", "opus", "audio/opus", "video/H264", ""].map(codecOf)).toEqual([
      "vp8",
      "opus",
      "opus",
      undefined,
      undefined,
    ]);
  });
});

/** Our MessagePack against a library that shares no code with it. */
import { decode, encode } from "@msgpack/msgpack";
import { describe, expect, test } from "vitest";
import { encodeMessagePack, Reader } from "../../src/sdk/protocol/messagepack";

const LENGTHS = [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536];
const INTEGERS = [0, 1, 31, 32, 127, 128, 255, 256, 32_767, 32_768, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1];
const WIDE = [2 ** 32, 2 ** 40, Number.MAX_SAFE_INTEGER];
const NUMBERS = [...INTEGERS, ...WIDE].flatMap((value) => [value, -value - 1]);

const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0.5,
  -1.5e300,
  Number.MIN_VALUE,
  ...NUMBERS.filter(Number.isSafeInteger),
  ...LENGTHS.map((length) => "x".repeat(length)),
  ...LENGTHS.map((length) => new Uint8Array(length).fill(7)),
  ...LENGTHS.map((length) => new Array<number>(length).fill(1)),
  ...LENGTHS.map((length) => Object.fromEntries(Array.from({ length }, (_, index) => [`k${index}`, index]))),
  "grüße ∀ 𝄞",
  { nested: [{ deep: [null, { er: new Uint8Array([0, 255]) }] }] },
];

function describeValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 40 ? `${text.slice(0, 40)}… (${text.length})` : text;
}

describe("MessagePack", () => {
  test.each(VALUES.map((value) => [describeValue(value), value]))(
    "%s is as the library has it",
    (_, value) => {
      expect(decode(encodeMessagePack(value))).toEqual(value);
      expect(new Reader(encode(value)).next()).toEqual({ value });
    },
  );

  test("32-bit floats are read", () => {
    expect(new Reader(encode(1.5, { forceFloat32: true })).next()).toEqual({ value: 1.5 });
  });

  test("members that are undefined are left out", () => {
    expect(decode(encodeMessagePack({ a: 1, b: undefined }))).toEqual({ a: 1 });
  });

  test("every shortened form is refused, and none is read beyond its end", () => {
    const bytes = encode({ a: [1, 2.5, "text", new Uint8Array(3)], b: { c: 2 ** 40 } });
    for (let length = 0; length < bytes.length; length++) {
      expect(() => new Reader(bytes.subarray(0, length)).next(), `${length} bytes`).toThrow("The bytes end");
    }
  });

  test("a length that cannot be true costs no memory", () => {
    for (const head of [0xdd, 0xdf]) {
      expect(() => new Reader(Uint8Array.of(head, 255, 255, 255, 255)).next()).toThrow("The bytes end");
    }
  });

  test("deep nesting is an error, not an overflow", () => {
    expect(() => new Reader(new Uint8Array(100_000).fill(0x91)).next()).toThrow("nests too deep");
  });

  test("what cannot be taken does not hide what follows", () => {
    const reader = new Reader(Uint8Array.of(0xa1, 0xff, 0x05));
    expect(reader.next().error?.code).toBe("bad_frame");
    expect(reader.next()).toEqual({ value: 5 });
    expect(reader.isAtEnd).toBe(true);
  });
});

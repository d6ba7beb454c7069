/** The form of data messages. */
import { decode, encode } from "@msgpack/msgpack";
import { describe, expect, test } from "vitest";
import { decodeData, encodeData, MESSAGE_BYTES_MAX } from "../../src/sdk/webrtc/delivery";

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return "";
}

describe("the form", () => {
  test("is what another MessagePack reads", () => {
    const payload = { type: "move", position: [1, 2.5, -3], name: "é", none: null };
    expect(decode(encodeData(["a", "b"], payload))).toEqual([["a", "b"], payload]);
    expect(decode(encodeData(null, new Uint8Array([1, 2])))).toEqual([null, new Uint8Array([1, 2])]);
    expect(decode(encodeData(null, new Uint8Array([7]).buffer))).toEqual([null, new Uint8Array([7])]);
  });

  test("is read as another MessagePack writes it", () => {
    expect(decodeData(encode(["ann", { x: 1 }]))).toEqual({ sender: "ann", payload: { x: 1 } });
    expect(decodeData(encode([null, { code: "forbidden" }])).sender).toBeNull();
  });

  test("is refused where it is something else", () => {
    const wrong = [{}, ["ann"], [1, 2], ["ann", 1, 2], "ann"].map((value) => encode(value));
    for (const bytes of [
      ...wrong,
      new Uint8Array(0),
      new Uint8Array([0x92, 0xa1]),
      encode(["a", 1]).slice(0, 3),
    ]) {
      expect(codeOf(() => decodeData(bytes))).toBe("bad_frame");
    }
    expect(codeOf(() => decodeData(new Uint8Array([...encode(["a", 1]), 0])))).toBe("bad_frame");
  });

  test("has a limit, and no place for what JSON cannot say", () => {
    const overhead = encodeData(null, "x".repeat(60_000)).length - 60_000;
    const most = MESSAGE_BYTES_MAX - overhead;
    expect(encodeData(null, "x".repeat(most)).length).toBe(MESSAGE_BYTES_MAX);
    expect(codeOf(() => encodeData(null, "x".repeat(most + 1)))).toBe("too_large");
    for (const value of [undefined, Number.NaN, new Date(0), () => 1]) {
      expect(codeOf(() => encodeData(null, value))).toBe("bad_request");
    }
  });
});

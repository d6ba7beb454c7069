/** The form of data messages, and the queues in front of the channels. */
import { decode, encode } from "@msgpack/msgpack";
import { beforeEach, describe, expect, test } from "vitest";
import {
  CHANNEL_BYTES,
  decodeData,
  encodeData,
  LOSSY_BYTES_MAX,
  LOSSY_WAIT_MS,
  MESSAGE_BYTES_MAX,
  Outbox,
  RELIABLE_BYTES_MAX,
  type Waiting,
} from "../../src/sdk/webrtc/delivery";

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

describe("the queues", () => {
  let outbox: Outbox;

  beforeEach(() => {
    outbox = new Outbox();
  });

  const message = (length: number): Waiting => ({ bytes: new Uint8Array(length), settle: () => undefined });
  const lengths = (waiting: readonly Waiting[]): number[] => waiting.map(({ bytes }) => bytes.length);

  test("keep reliable messages in order until their channel is open", () => {
    outbox.pushReliable(message(1), 0);
    outbox.pushReliable(message(2), 0);
    expect(outbox.take(60_000, undefined, 0).reliable).toEqual([]);
    expect(outbox.waitingBytes).toBe(3);
    expect(lengths(outbox.take(60_000, 0, 0).reliable)).toEqual([1, 2]);
    expect(outbox.waitingBytes).toBe(0);
  });

  test("fill a channel only so far", () => {
    for (let count = 0; count < 4; count++) outbox.pushReliable(message(CHANNEL_BYTES / 2), 0);
    expect(outbox.take(0, CHANNEL_BYTES, 0).reliable).toHaveLength(0);
    expect(outbox.take(0, CHANNEL_BYTES / 2 + 1, 0).reliable).toHaveLength(1);
    expect(outbox.take(0, 0, 0).reliable).toHaveLength(2);
    expect(outbox.take(0, 0, 0).reliable).toHaveLength(1);
  });

  test("take only so many reliable messages, but one in any case", () => {
    outbox.pushReliable(message(RELIABLE_BYTES_MAX + 1), 0);
    expect(codeOf(() => outbox.pushReliable(message(1), 0))).toBe("queue_full");
    outbox.take(0, 0, 0);
    outbox.pushReliable(message(1), 0);
    expect(outbox.waitingBytes).toBe(1);
  });

  test("drop lossy messages that waited too long", () => {
    outbox.pushLossy(message(1), 1_000);
    outbox.pushLossy(message(2), 1_050);
    expect(outbox.nextExpiryMs).toBe(1_000 + LOSSY_WAIT_MS);
    expect(outbox.take(1_000 + LOSSY_WAIT_MS - 1, 0, CHANNEL_BYTES).dropped).toEqual([]);
    const taken = outbox.take(1_000 + LOSSY_WAIT_MS, 0, 0);
    expect([lengths(taken.dropped), lengths(taken.lossy)]).toEqual([[1], [2]]);
    expect(outbox.nextExpiryMs).toBeUndefined();
  });

  test("drop the oldest lossy messages when there are too many", () => {
    for (let count = 0; count < 9; count++) outbox.pushLossy(message(LOSSY_BYTES_MAX / 8), 0);
    expect(outbox.take(0, 0, undefined).dropped).toHaveLength(1);
    expect(outbox.waitingBytes).toBe(LOSSY_BYTES_MAX);
  });

  test("forget everything at the end", () => {
    outbox.pushReliable(message(1), 0);
    outbox.pushLossy(message(2), 0);
    expect(lengths(outbox.clear())).toEqual([1, 2]);
    expect(outbox.waitingBytes).toBe(0);
  });
});

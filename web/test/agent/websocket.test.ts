/** The WebSocket transport against a socket of the test's own. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { Transport } from "../../src/sdk/agent/transport/transport";
import { openWebSocket } from "../../src/sdk/agent/transport/websocket";
import { Rejected } from "../../src/sdk/protocol/codec";
import type { ClientFrame } from "../../src/sdk/protocol/frames.gen";
import type { Encoding } from "../../src/sdk/protocol/shape";

class FakeSocket {
  static last: FakeSocket;
  readonly address: string;
  readonly offered: string;
  readonly sent: (string | Uint8Array)[] = [];
  protocol = "";
  binaryType = "";
  closedWith: unknown[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string; wasClean: boolean }) => void) | null = null;

  constructor(address: string, offered: string) {
    this.address = address;
    this.offered = offered;
    FakeSocket.last = this;
  }

  send(packet: string | Uint8Array): void {
    this.sent.push(packet);
  }

  close(...args: unknown[]): void {
    this.closedWith = args;
  }
}

const BOUNDS = { bytes: 400, frames: 3 };
let told: string[];

function open(encoding: Encoding = "json"): Transport {
  return openWebSocket(
    { base: "https://bus.example", encoding },
    {
      opened: () => told.push("opened"),
      received: (frames) =>
        told.push(...frames.map((frame) => (frame instanceof Rejected ? frame.error.code : frame.op))),
      heard: () => told.push("heard"),
      lost: (code, reason) => told.push(`lost ${code} ${reason}`),
    },
  );
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  told = [];
  return () => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  };
});

describe("WebSocket", () => {
  test("offers its encoding, and speaks JSON to a server that names none", () => {
    const transport = open("msgpack");
    const socket = FakeSocket.last;
    expect([socket.address, socket.offered]).toEqual(["wss://bus.example/v1/ws", "peerbus.v1.msgpack"]);
    socket.onopen?.();
    transport.send([{ op: "bye" }], BOUNDS);
    expect(socket.sent).toEqual(['{"op":"bye"}']);
  });

  test("speaks what the server chose", () => {
    const transport = open("msgpack");
    FakeSocket.last.protocol = "peerbus.v1.msgpack";
    FakeSocket.last.onopen?.();
    transport.send([{ op: "bye" }], BOUNDS);
    expect(FakeSocket.last.sent[0]).toBeInstanceOf(Uint8Array);
    FakeSocket.last.onmessage?.({
      data: Uint8Array.of(0x81, 0xa2, 0x6f, 0x70, 0xa4, 0x70, 0x6f, 0x6e, 0x67).buffer,
    });
    expect(told).toEqual(["opened", "pong"]);
  });

  test("packs frames into batches within the bounds", () => {
    const transport = open();
    FakeSocket.last.onopen?.();
    const small: ClientFrame = { op: "members", id: 1 };
    const large: ClientFrame = { op: "send", id: 2, content: "x".repeat(500) };
    transport.send([small, small, small, small, large, small], BOUNDS);
    const sizes = FakeSocket.last.sent.map((packet) => {
      const frames: unknown = JSON.parse(packet as string);
      return Array.isArray(frames) ? frames.length : 1;
    });
    expect(sizes).toEqual([3, 1, 1, 1]);
  });

  test("reads batches, and says what it can't read", () => {
    open();
    FakeSocket.last.onmessage?.({ data: '[{"op":"pong"},{"op":"dance"}]' });
    expect(told).toEqual(["pong", "bad_frame"]);
  });

  test.each([
    [{ code: 1006, reason: "", wasClean: false }, "lost undefined "],
    [{ code: 1005, reason: "", wasClean: true }, "lost undefined "],
    [{ code: 3512, reason: "kicked", wasClean: true }, "lost 3512 kicked"],
  ])("tells its end: %o", (event, words) => {
    open();
    FakeSocket.last.onclose?.(event);
    vi.runAllTimers();
    expect(told).toEqual([words]);
  });

  test("does not take the end of a page for the word of the server", () => {
    open();
    FakeSocket.last.onclose?.({ code: 1000, reason: "", wasClean: true });
    expect(told).toEqual([]);
  });

  test("is silent once closed", () => {
    const transport = open();
    const socket = FakeSocket.last;
    socket.onclose?.({ code: 1000, reason: "", wasClean: true });
    transport.close(1000, "bye");
    socket.onmessage?.({ data: '{"op":"pong"}' });
    vi.runAllTimers();
    expect(told).toEqual([]);
    expect(socket.closedWith).toEqual([1000, "bye"]);
  });

  test("one that can't even be made is lost", async () => {
    vi.stubGlobal(
      "WebSocket",
      class {
        constructor() {
          throw new DOMException("insecure", "SecurityError");
        }
      },
    );
    const transport = open();
    transport.send([{ op: "bye" }], BOUNDS);
    await Promise.resolve();
    expect(told).toEqual(["lost undefined insecure"]);
  });
});

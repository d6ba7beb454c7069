/** The long-poll transport against a server of the test's own, reached by `fetch`. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import { openLongPoll } from "../../src/sdk/agent/transport/longpoll";
import type { Transport } from "../../src/sdk/agent/transport/transport";
import { Rejected } from "../../src/sdk/protocol/codec";
import type { ClientFrame } from "../../src/sdk/protocol/frames.gen";

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly frames: readonly { readonly op: string }[];
  readonly answer: (response: Response) => void;
  readonly cut: () => void;
}

const CONNECT: ClientFrame = {
  op: "connect",
  id: 1,
  api_key: "k",
  channel: "lobby",
  lineage_secret: new Uint8Array(16),
};

const CONNECTED = {
  op: "connected",
  id: 1,
  version: 1,
  session_id: "s/1",
  resume_token: "secret",
  agent: "a",
  identity: "i",
  order: 1,
  channel: { id: "", name: "lobby", mode: "open", scope: "private:demo" },
  epoch: "e",
  head: 0,
  live_epoch: "L",
  live_seq: 0,
  members: [],
  operations: [],
  limits: {
    frame_bytes: 1,
    message_bytes: 1,
    batch_frames: 1,
    send_rate_per_s: 1,
    lossy_rate_per_s: 1,
    recipients: 1,
    history_page: 1,
  },
  ack_promise: "memory",
  ping_interval_ms: 1,
  silence_timeout_ms: 1,
  resume_window_ms: 1,
  server: "s",
  correlation_id: "c",
};

let asked: Asked[];
let told: string[];
let transport: Transport;
const BOUNDS = { bytes: 65_536, frames: 256 };

function fakeFetch(address: string, init: RequestInit = {}): Promise<Response> {
  return new Promise((resolve, reject) => {
    init.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
    const body =
      typeof init.body === "string" ? (JSON.parse(init.body) as { op: string } | { op: string }[]) : [];
    asked.push({
      method: init.method ?? "GET",
      path: address.replace("http://server", ""),
      headers: init.headers as Record<string, string>,
      frames: Array.isArray(body) ? body : [body],
      answer: resolve,
      cut: () => reject(new TypeError("Failed to fetch")),
    });
  });
}

function frames(n: number, ...list: object[]): Response {
  return new Response(JSON.stringify({ n, frames: list }));
}

function problem(status: number, code: string): Response {
  const body = { title: "t", detail: "It is so.", code, is_retryable: false, correlation_id: "c9" };
  return new Response(JSON.stringify(body), { status });
}

/** Waits for the request with this number, counted from 0. */
async function request(index: number): Promise<Asked> {
  await vi.waitFor(() => expect(asked.length).toBeGreaterThan(index), { interval: 1 });
  return asked[index] as Asked;
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"], shouldAdvanceTime: true });
  asked = [];
  told = [];
  vi.stubGlobal("fetch", fakeFetch);
  transport = openLongPoll(
    { base: "http://server", encoding: "json" },
    {
      opened: () => told.push("opened"),
      received: (list) =>
        told.push(...list.map((frame) => (frame instanceof Rejected ? `bad ${frame.error.code}` : frame.op))),
      heard: () => told.push("heard"),
      lost: (code, reason) => told.push(`lost ${code} ${reason}`),
    },
  );
  return () => {
    transport.close(1000, "");
    vi.useRealTimers();
    vi.unstubAllGlobals();
  };
});

/** A transport whose session exists; its first poll is request 1. */
async function connected(): Promise<void> {
  await vi.waitFor(() => expect(told).toEqual(["opened"]), { interval: 1 });
  transport.send([CONNECT], BOUNDS);
  (await request(0)).answer(frames(1, CONNECTED));
  await request(1);
}

describe("long-poll", () => {
  test("connects by a post, then polls with the token in the header only", async () => {
    await connected();
    expect(asked[0]).toMatchObject({ method: "POST", path: "/v1/longpoll" });
    expect(asked[0]?.frames.map(({ op }) => op)).toEqual(["connect"]);
    expect(asked[1]).toMatchObject({ method: "GET", path: "/v1/longpoll/s%2F1?ack=1" });
    expect(asked[1]?.headers).toMatchObject({ Authorization: "Bearer secret", Accept: "application/json" });
    expect(asked.map(({ path }) => path).join()).not.toContain("secret");
    expect(told).toEqual(["opened", "connected"]);
  });

  test("acknowledges by the next poll, and an empty response is a sign of life", async () => {
    await connected();
    asked[1]?.answer(frames(2, { op: "pong" }));
    expect((await request(2)).path).toContain("ack=2");
    asked[2]?.answer(frames(2));
    expect((await request(3)).path).toContain("ack=2");
    asked[3]?.answer(frames(0));
    expect((await request(4)).path).toContain("ack=2");
    expect(told.slice(2)).toEqual(["pong", "heard", "heard"]);
  });

  test("numbers its posts and sends one after the other", async () => {
    await connected();
    transport.send([{ op: "ping" }], BOUNDS);
    transport.send([{ op: "members", id: 2 }, { op: "ping" }], BOUNDS);
    const first = await request(2);
    expect(first).toMatchObject({ method: "POST", path: "/v1/longpoll/s%2F1?post=1" });
    expect(asked).toHaveLength(3);
    first.answer(new Response(null, { status: 204 }));
    const second = await request(3);
    expect(second.path).toContain("post=2");
    expect(second.frames.map(({ op }) => op)).toEqual(["members", "ping"]);
    // That a post was taken is no sign of life: the poll may be half-open all the same.
    expect(told.slice(2)).toEqual([]);
  });

  test("repeats a request that the network lost, under the same number", async () => {
    await connected();
    transport.send([{ op: "ping" }], BOUNDS);
    (await request(2)).cut();
    await vi.advanceTimersByTimeAsync(500);
    expect((await request(3)).path).toContain("post=1");
    asked[1]?.cut();
    await vi.advanceTimersByTimeAsync(500);
    expect((await request(4)).path).toContain("ack=1");
    expect(told.slice(2)).toEqual([]);
  });

  test("gives up after several losses in a row", async () => {
    await connected();
    for (let index = 1; index <= 4; index++) {
      (await request(index)).cut();
      await vi.advanceTimersByTimeAsync(2_000);
    }
    expect(told.slice(2)).toEqual(["lost undefined "]);
  });

  test("reports a session that the server no longer knows", async () => {
    await connected();
    asked[1]?.answer(problem(404, "session_unknown"));
    await vi.waitFor(() => expect(told.slice(2)).toEqual(["lost 3004 It is so."]));
  });

  test("reports a refused handshake as the error that it is", async () => {
    await vi.waitFor(() => expect(told).toEqual(["opened"]));
    transport.send([CONNECT], BOUNDS);
    (await request(0)).answer(problem(409, "name_taken"));
    await vi.waitFor(() => expect(told).toEqual(["opened", "error"]));
  });

  test("reports what is no answer of the server as a loss", async () => {
    await vi.waitFor(() => expect(told).toEqual(["opened"]));
    transport.send([CONNECT], BOUNDS);
    (await request(0)).answer(new Response("<h1>Bad gateway</h1>", { status: 502 }));
    await vi.waitFor(() => expect(told[1]).toMatch(/^lost undefined .*HTTP 502/));
  });

  test("reports a response that can't be read", async () => {
    await connected();
    asked[1]?.answer(new Response("[]"));
    await vi.waitFor(() => expect(told.slice(2)).toEqual(["bad bad_frame"]));
  });

  test("is silent once closed, but lets the last post go", async () => {
    await connected();
    transport.send([{ op: "bye" }], BOUNDS);
    transport.close(1000, "bye");
    const bye = await request(2);
    expect(bye.frames.map(({ op }) => op)).toEqual(["bye"]);
    bye.answer(new Response(null, { status: 204 }));
    await vi.advanceTimersByTimeAsync(5_000);
    expect(told.slice(2)).toEqual([]);
    expect(asked).toHaveLength(3);
  });
});

/** When a connection is opened, restarted, replaced. */
import { beforeEach, describe, expect, test } from "vitest";
import { OPEN_TIMEOUT_MS, RESTART_TIMEOUT_MS, Recovery, UNSURE_MS } from "../../src/sdk/webrtc/recovery";

let recovery: Recovery;
let chance: number;

beforeEach(() => {
  chance = 0.5;
  recovery = new Recovery(() => chance);
});

function up(): void {
  recovery.begin();
  recovery.offered(0);
  recovery.pathIs("up", 10);
}

const name = (nowMs = 0) => recovery.state(nowMs).name;

/** How long it waits before the next attempt. */
function waits(): number {
  recovery.lost("connection_lost", "", 0);
  const { retryInMs } = recovery.state(0);
  expect(recovery.timePassed(retryInMs)).toBe("open");
  return retryInMs;
}

describe("opening", () => {
  test("begins once", () => {
    expect(name()).toBe("idle");
    expect(recovery.begin()).toBe("open");
    expect(recovery.begin()).toBeUndefined();
    expect(name()).toBe("connecting");
    recovery.offered(0);
    expect(recovery.pathIs("up", 100)).toBeUndefined();
    expect(name()).toBe("connected");
    expect(recovery.deadlineMs).toBeUndefined();
  });

  test("takes as long as the offer needs to the SFU, then only so long", () => {
    recovery.begin();
    expect(recovery.deadlineMs).toBeUndefined();
    recovery.offered(50_000);
    expect(recovery.deadlineMs).toBe(50_000 + OPEN_TIMEOUT_MS);
    expect(recovery.timePassed(50_000 + OPEN_TIMEOUT_MS - 1)).toBeUndefined();
    expect(recovery.timePassed(50_000 + OPEN_TIMEOUT_MS)).toBeUndefined();
    expect(recovery.state(50_000 + OPEN_TIMEOUT_MS)).toMatchObject({
      name: "connecting",
      code: "timeout",
      retryInMs: 125,
    });
  });

  test("is tried again where the worker cannot be reached", () => {
    recovery.begin();
    recovery.pathIs("unsure", 5);
    expect(name()).toBe("connecting");
    recovery.pathIs("down", 10);
    expect(recovery.state(10)).toMatchObject({ name: "connecting", code: "connect_failed", retryInMs: 125 });
    expect(recovery.timePassed(135)).toBe("open");
  });
});

describe("a lost path", () => {
  test("that comes back by itself is no matter", () => {
    up();
    recovery.pathIs("unsure", 1_000);
    expect(name()).toBe("connected");
    recovery.pathIs("up", 1_500);
    expect(recovery.deadlineMs).toBeUndefined();
    expect(recovery.timePassed(99_000)).toBeUndefined();
  });

  test("is sought anew on the same connection", () => {
    up();
    recovery.pathIs("unsure", 1_000);
    expect(recovery.timePassed(1_000 + UNSURE_MS - 1)).toBeUndefined();
    expect(recovery.timePassed(1_000 + UNSURE_MS)).toBe("restart_ice");
    expect(recovery.state(0)).toMatchObject({ name: "reconnecting", code: "connection_lost", retryInMs: 0 });
    recovery.offered(3_000);
    recovery.pathIs("up", 3_200);
    expect(recovery.state(0)).toMatchObject({ name: "connected", code: "" });
    expect(recovery.deadlineMs).toBeUndefined();
  });

  test("is sought at once when it is down, or when the network is back", () => {
    up();
    expect(recovery.pathIs("down", 1_000)).toBe("restart_ice");
    expect(recovery.pathIs("down", 1_100)).toBeUndefined();
    recovery.pathIs("up", 1_200);
    recovery.pathIs("unsure", 2_000);
    expect(recovery.wake()).toBe("restart_ice");
    expect(recovery.wake()).toBeUndefined();
  });

  test("that is not found again costs a new connection", () => {
    up();
    recovery.pathIs("down", 1_000);
    expect(recovery.deadlineMs).toBeUndefined();
    recovery.offered(2_000);
    expect(recovery.timePassed(2_000 + RESTART_TIMEOUT_MS)).toBeUndefined();
    expect(name()).toBe("reconnecting");
    expect(recovery.timePassed(2_000 + RESTART_TIMEOUT_MS + 125)).toBe("open");
    recovery.offered(8_000);
    recovery.pathIs("up", 8_100);
    expect(name()).toBe("connected");
  });
});

describe("attempts", () => {
  test("wait up to 250 ms at first, then twice as long each time, and no longer than 10 s", () => {
    up();
    const waited = Array.from({ length: 9 }, () => waits());
    expect(waited).toEqual([125, 375, 750, 1_500, 3_000, 6_000, 7_500, 7_500, 7_500]);
    recovery.pathIs("up", 0);
    expect(waits()).toBe(125);
  });

  test("are spread by chance", () => {
    up();
    chance = 0;
    expect([waits(), waits()]).toEqual([0, 250]);
  });

  test("wait at least as long as the server asks", () => {
    up();
    recovery.lost("rate_limited", "", 0, 3_000);
    expect(recovery.state(1_000).retryInMs).toBe(2_000);
  });

  test("are made at once when it may be worth it", () => {
    up();
    recovery.lost("no_worker", "", 0);
    expect(recovery.wake()).toBe("open");
  });
});

test("the end is final", () => {
  up();
  recovery.finish("kicked", "Out.");
  recovery.finish("closed", "");
  expect(recovery.isOver).toBe(true);
  expect(recovery.state(0)).toEqual({ name: "closed", code: "kicked", why: "Out.", retryInMs: 0 });
  expect([recovery.begin(), recovery.pathIs("up", 0), recovery.lost("x", "", 0), recovery.wake()]).toEqual(
    Array.from({ length: 4 }),
  );
  expect(name()).toBe("closed");
});

test("nothing is lost before it began", () => {
  recovery.lost("x", "", 0);
  expect(name()).toBe("idle");
});

/** Raised hands and reactions as messages of the call. */
import { beforeEach, expect, test } from "vitest";
import { Gestures } from "../../../src/pages/call/gestures";
import type { DataOptions, WebRTCHelper } from "../../../src/sdk/webrtc/helper";

type Listener = (value: unknown) => void;

/** As much of a helper as gestures need. */
class Helper {
  readonly sent: [payload: unknown, options: DataOptions | undefined][] = [];
  private readonly listeners = new Map<string, Listener>();

  on(event: string, listener: Listener): void {
    this.listeners.set(event, listener);
  }

  sendData(payload: unknown, options?: DataOptions): Promise<boolean> {
    this.sent.push([payload, options]);
    return Promise.reject(new Error("Nobody misses it."));
  }

  hear(data: unknown, identity: string): void {
    this.listeners.get("data")?.({ data, peer: { identity } });
  }

  connected(): void {
    this.listeners.get("state")?.({ name: "connected" });
  }

  here(...identities: string[]): void {
    this.listeners.get("peers")?.(identities.map((identity) => ({ identity })));
  }
}

let helper: Helper;
let gestures: Gestures;
let reactions: string[];
let changes: number;

beforeEach(() => {
  helper = new Helper();
  reactions = [];
  changes = 0;
  gestures = new Gestures(helper as unknown as WebRTCHelper, () => "me", {
    handsChanged: () => {
      changes += 1;
    },
    reacted: (identity, reaction) => reactions.push(`${identity} ${reaction}`),
  });
});

test("a hand is raised for all, and told to whoever asks", () => {
  helper.connected();
  gestures.raise(true);
  expect(gestures.isOwnHandUp).toBe(true);
  helper.hear({ type: "call-hand", isUp: false, asks: true }, "bob");
  helper.hear({ type: "call-hand", isUp: true }, "ann");
  helper.connected();
  gestures.raise(false);
  helper.hear({ type: "call-hand", isUp: false, asks: true }, "bob");
  const type = "call-hand";
  expect(helper.sent).toEqual([
    [{ type, isUp: false, asks: true }, {}],
    [{ type, isUp: true }, {}],
    [{ type, isUp: true }, { to: "bob" }],
    [{ type, isUp: true, asks: true }, {}],
    [{ type, isUp: false }, {}],
  ]);
});

test("the hands of others go up and down, and are gone with them", () => {
  helper.here("ann", "bob");
  helper.hear({ type: "call-hand", isUp: true }, "ann");
  helper.hear({ type: "call-hand", isUp: true }, "bob");
  helper.hear({ type: "call-hand", isUp: false }, "bob");
  expect([...gestures.handsUp]).toEqual(["ann"]);
  helper.here("bob");
  expect([...gestures.handsUp]).toEqual([]);
  expect(changes).toBe(4);
});

test("a reaction may be lost, and is seen by oneself, too", () => {
  gestures.react("heart");
  helper.hear({ type: "call-reaction", reaction: "smile" }, "ann");
  expect(helper.sent).toEqual([[{ type: "call-reaction", reaction: "heart" }, { lossy: true }]]);
  expect(reactions).toEqual(["me heart", "ann smile"]);
});

test("what others send beside it means nothing here", () => {
  for (const data of [
    null,
    7,
    "call-hand",
    [],
    { type: "call-hand", isUp: "yes" },
    { type: "call-reaction", reaction: "<b>" },
  ]) {
    helper.hear(data, "ann");
  }
  expect([gestures.handsUp.size, reactions, changes]).toEqual([0, [], 0]);
});

/** States and failures in words. */
import { describe, expect, test } from "vitest";
import {
  departureWords,
  endWording,
  failureWording,
  listed,
  openness,
  pillWording,
  queuedWords,
  reconnectingWording,
  refusedWords,
  spokenWords,
  typingWords,
} from "../../src/pages/channel/wording";
import { duration } from "../../src/pages/duration";
import type { State } from "../../src/sdk/agent/records";
import { ERROR_CODES } from "../../src/sdk/protocol/errors";

function state(changes: Partial<State>): State {
  return {
    name: "connected",
    code: "",
    why: "",
    retryInMs: 0,
    transport: undefined,
    correlationId: "",
    details: {},
    ...changes,
  };
}

describe("the connection", () => {
  test.each([
    [state({ name: "connected", transport: "websocket" }), 0, "Connected · WebSocket"],
    [state({ name: "connected", transport: "longpoll" }), 0, "Connected · long-poll"],
    [state({ name: "connecting" }), 0, "Connecting…"],
    [state({ name: "reconnecting" }), 2_001, "Reconnecting in 3 s"],
    [state({ name: "reconnecting" }), -5, "Reconnecting…"],
    [state({ name: "closed", code: "kicked" }), 0, "Not connected"],
  ])("%o in %d ms", (given, inMs, words) => {
    expect(pillWording(given, inMs).words).toBe(words);
  });

  test("that is lost says what happens to what one writes, and has a reference only where a server gave one", () => {
    const lost = state({ name: "reconnecting", code: "connect_failed", why: "x" });
    expect(reconnectingWording(lost).text).toContain("waits, and is sent then");
    expect(reconnectingWording(lost)).not.toHaveProperty("code");
    const refused = state({ name: "reconnecting", code: "overloaded", correlationId: "c1" });
    expect(reconnectingWording(refused)).toMatchObject({ code: "overloaded", correlationId: "c1" });
  });

  test("is spoken of without its countdown", () => {
    expect(spokenWords({ name: "reconnecting" })).toBe("Connection lost, reconnecting");
    expect(spokenWords({ name: "connected" })).toBe("Connected");
  });

  test("that was ended on purpose needs no words", () => {
    expect(endWording(state({ code: "closed" }))).toBeUndefined();
  });

  test.each([
    ["kicked", "spam", "You were removed from this channel", "The reason given: spam"],
    ["kicked", "", "You were removed from this channel", "No reason was given."],
    ["replaced", "", "This chat goes on elsewhere", "The same session was opened in another window"],
    ["expired", "", "The key has expired", "Join again"],
  ])("%s (%s)", (code, why, title, text) => {
    const wording = endWording(state({ name: "closed", code, why, correlationId: "c1" }));
    expect(wording).toMatchObject({ title, text: expect.stringContaining(text), code, correlationId: "c1" });
  });
});

describe("a failure", () => {
  test.each(ERROR_CODES)("%s has a title, and no gap in its text", (code) => {
    const { title, text } = failureWording(code, "Because.", "c1");
    expect(title).toMatch(/^[A-Z].*[^.]$/);
    expect(text).not.toContain("{");
  });

  test("of a newer server says what the server says", () => {
    expect(failureWording("brand_new", "The moon is full.")).toMatchObject({ text: "The moon is full." });
  });
});

describe("openness", () => {
  const channel = { mode: "open", hasPassword: false, isLocked: false } as const;

  test.each([
    [channel, "Open"],
    [{ ...channel, hasPassword: true }, "Locked, readable by the server"],
    [{ ...channel, mode: "sealed" as const }, "Sealed"],
  ])("%o", (given, badge) => {
    expect(openness(given).badge).toBe(badge);
  });

  test("says who can read", () => {
    expect(openness({ ...channel, hasPassword: true }).text.join(" ")).toContain("can read them");
    expect(openness({ ...channel, isLocked: true }).text.join(" ")).toContain("closed to newcomers");
  });
});

test("a message that is not shown is a line that says why", () => {
  const codes = [
    "wrong_key",
    "tampered",
    "replayed",
    "reordered",
    "not_sealed",
    "not_supported",
    "bad_frame",
  ];
  const lines = codes.map((code) => refusedWords({ code, sender: "bob" }));
  expect(new Set(lines).size).toBe(codes.length);
  expect(lines[0]).toBe(
    "A message that could not be opened, said to be from bob. It was sealed with another password.",
  );
});

test("people in words", () => {
  expect(listed([])).toBe("");
  expect(listed(["a"])).toBe("a");
  expect(listed(["a", "b", "c"])).toBe("a, b and c");
  expect(typingWords([])).toBe("");
  expect(typingWords(["a"])).toBe("a is typing…");
  expect(typingWords(["a", "b"])).toBe("a and b are typing…");
  expect(typingWords(["a", "b", "c", "d"])).toBe("4 people are typing…");
  expect(queuedWords(0)).toBe("");
  expect(queuedWords(1)).toBe("1 message waits for the connection.");
  expect(queuedWords(2)).toBe("2 messages wait for the connection.");
  expect(departureWords({ sessionId: "s", name: "a", reason: "lost" })).toBe(
    "a lost the connection and is gone",
  );
});

test.each([
  [0, "0 s"],
  [999, "0 s"],
  [65_000, "1 min 5 s"],
  [3_600_000, "1 h 0 min"],
  [273_600_000, "3 d 4 h"],
])("%d ms is %s", (ms, words) => {
  expect(duration(ms)).toBe(words);
});

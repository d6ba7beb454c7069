/** What is said about who comes, goes and is away. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { PresenceLines } from "../../src/pages/chat/presence-lines";
import type { Departure, Member } from "../../src/sdk/agent/records";

function member(sessionId: string, name: string, state: Member["state"] = "present"): Member {
  return {
    sessionId,
    name,
    order: 1,
    identity: name,
    isClaimed: false,
    state,
    attributes: {},
    privateAttributes: {},
    capabilities: [],
  };
}

function gone(sessionId: string, name: string, reason: Departure["reason"] = "left"): Departure {
  return { sessionId, name, reason };
}

const NOTHING = { joined: [], updated: [], left: [] };

let company: { sessionId: string; members: Member[] };
let said: string[];
let lines: PresenceLines;

beforeEach(() => {
  vi.useFakeTimers();
  company = { sessionId: "s1", members: [] };
  said = [];
  lines = new PresenceLines(company, (text) => said.push(text));
});

afterEach(() => {
  lines.close();
  vi.useRealTimers();
});

describe("the lines", () => {
  test("name who comes together, and do not speak of oneself", () => {
    lines.changed({ ...NOTHING, joined: [member("s1", "me"), member("s2", "bob"), member("s3", "eve")] });
    expect(said).toEqual(["bob and eve joined"]);
  });

  test("say how somebody went", () => {
    lines.changed({ ...NOTHING, left: [gone("s2", "bob"), gone("s3", "eve", "kicked"), gone("s1", "me")] });
    expect(said).toEqual(["bob left", "eve was removed"]);
  });

  test("speak of an absence when it lasts, and of its end", () => {
    lines.changed({ ...NOTHING, updated: [member("s2", "bob", "away")] });
    vi.advanceTimersByTime(3_999);
    expect(said).toEqual([]);
    vi.advanceTimersByTime(1);
    lines.changed({ ...NOTHING, updated: [member("s2", "bob", "away")] });
    lines.changed({ ...NOTHING, updated: [member("s2", "bob")] });
    expect(said).toEqual(["bob lost the connection and may come back", "bob is back"]);
  });

  test("do not speak of a short one, as a reload is", () => {
    lines.changed({ ...NOTHING, updated: [member("s2", "bob", "away")] });
    vi.advanceTimersByTime(2_000);
    lines.changed({ ...NOTHING, updated: [member("s2", "bob")] });
    vi.advanceTimersByTime(10_000);
    expect(said).toEqual([]);
  });

  test("do not speak of changed attributes", () => {
    lines.changed({ ...NOTHING, updated: [member("s2", "bob")] });
    expect(said).toEqual([]);
  });

  test("know who was away before one came", () => {
    company.members = [member("s2", "bob", "away")];
    lines.entered();
    lines.changed({ ...NOTHING, updated: [member("s2", "bob")] });
    expect(said).toEqual(["bob is back"]);
  });

  test("do not speak of a return under a new session, in whichever order it is told", () => {
    company.members = [member("s3", "bob")];
    lines.changed({ ...NOTHING, joined: [member("s3", "bob")], left: [gone("s2", "bob", "replaced")] });
    lines.changed({ ...NOTHING, left: [gone("s2", "bob", "lost")] });
    expect(said).toEqual([]);
  });

  test("are silent once closed", () => {
    lines.changed({ ...NOTHING, updated: [member("s2", "bob", "away")] });
    lines.close();
    vi.advanceTimersByTime(10_000);
    expect(said).toEqual([]);
  });
});

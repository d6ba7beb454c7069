/** What the room shows, without a page. */
import { describe, expect, test } from "vitest";
import { type Calendar, type Row, Transcript } from "../../src/pages/chat/transcript";
import type { Message } from "../../src/sdk/agent/records";

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const calendar: Calendar = {
  day: (timeMs) => String(Math.floor(timeMs / DAY_MS)),
  minute: (timeMs) => String(Math.floor(timeMs / MINUTE_MS)),
};

function message(offset: number, changes: Partial<Message> = {}): Message {
  return {
    content: `text ${offset}`,
    text: `text ${offset}`,
    type: "chat-text",
    customEventType: undefined,
    sender: "bob",
    senderSession: undefined,
    identity: "lineage:bob",
    delivery: "durable",
    messageId: `m${offset}`,
    offset,
    timeMs: 1_000,
    to: undefined,
    filter: undefined,
    replyTo: undefined,
    metadata: {},
    idempotencyKey: undefined,
    isSealed: false,
    ...changes,
  };
}

function own(transcript: Transcript, content: string, isWaiting = false): string {
  const identity = "lineage:me";
  return transcript.own({ timeMs: 1_000, sender: "me", identity, content, to: undefined, isWaiting });
}

/** The rows in short: days, system lines, and texts with a mark for the first of a group. */
function shown(rows: readonly Row[]): string[] {
  return rows.map((row) => {
    if (row.kind === "day") return `day ${Math.floor(row.timeMs / DAY_MS)}`;
    if (row.kind === "system") return `- ${row.entry.text}`;
    const { entry, isFirst, showsStatus } = row;
    return `${isFirst ? `${entry.sender}: ` : ""}${entry.content}${showsStatus ? ` (${entry.status})` : ""}`;
  });
}

describe("the transcript", () => {
  test("groups by sender and minute, within a day", () => {
    const transcript = new Transcript(calendar);
    transcript.received(message(1), false);
    transcript.received(message(2), false);
    transcript.received(message(3, { timeMs: MINUTE_MS + 1 }), false);
    transcript.received(message(4, { timeMs: MINUTE_MS + 2, identity: "x", sender: "carol" }), false);
    transcript.received(
      message(5, { timeMs: MINUTE_MS + 3, identity: "x", sender: "carol", to: ["me"] }),
      false,
    );
    transcript.received(message(6, { timeMs: DAY_MS + 1, identity: "x", sender: "carol" }), false);
    expect(shown(transcript.rows())).toEqual([
      "day 0",
      "bob: text 1",
      "text 2",
      "bob: text 3",
      "carol: text 4",
      "carol: text 5",
      "day 1",
      "carol: text 6",
    ]);
  });

  test("takes a message once, however it comes", () => {
    const transcript = new Transcript(calendar);
    expect(transcript.received(message(3), false)).toBe(true);
    expect(transcript.received(message(3), false)).toBe(false);
    expect(transcript.older([message(2), message(3)], () => false)).toBe(1);
    expect(shown(transcript.rows())).toEqual(["day 0", "bob: text 2", "text 3"]);
    expect(transcript.firstOffset).toBe(2);
  });

  test("puts own messages where the log has them", () => {
    const transcript = new Transcript(calendar);
    const first = own(transcript, "mine 1");
    const second = own(transcript, "mine 2");
    transcript.received(message(11), false);
    transcript.stored(second, { offset: 12, timeMs: 1_000, messageId: "m12" });
    transcript.stored(first, { offset: 10, timeMs: 1_000, messageId: "m10" });
    expect(shown(transcript.rows())).toEqual(["day 0", "me: mine 1", "bob: text 11", "me: mine 2 (stored)"]);
  });

  test("does not double an own message that came back with the history", () => {
    const transcript = new Transcript(calendar);
    const key = own(transcript, "mine");
    transcript.older([message(7, { content: "mine", identity: "lineage:me", sender: "me" })], () => true);
    transcript.stored(key, { offset: 7, timeMs: 1_000, messageId: "m7" });
    expect(shown(transcript.rows())).toEqual(["day 0", "me: mine (stored)"]);
  });

  test("says of each own message what became of it, and of stored ones only of the last", () => {
    const transcript = new Transcript(calendar);
    const [first, second, third] = [own(transcript, "1"), own(transcript, "2"), own(transcript, "3", true)];
    transcript.stored(first, { offset: 1, timeMs: 1_000, messageId: "m1" });
    transcript.failed(second, { code: "too_large", why: "…", correlationId: "" });
    expect(shown(transcript.rows())).toEqual(["day 0", "me: 1", "2 (failed)", "3 (waiting)"]);
    expect(transcript.waiting).toBe(1);
    transcript.retried(second, false);
    transcript.connectionChanged(true);
    expect(transcript.find(third)?.status).toBe("sending");
    expect(transcript.find(second)).toMatchObject({ status: "sending", failure: undefined });
    transcript.connectionChanged(false);
    expect(transcript.waiting).toBe(2);
  });

  test("keeps what happened in its place, and messages without an outcome below it", () => {
    const transcript = new Transcript(calendar);
    transcript.received(message(1), false);
    own(transcript, "mine");
    transcript.happened("carol joined", 1_000);
    transcript.received(message(2), false);
    expect(shown(transcript.rows())).toEqual([
      "day 0",
      "bob: text 1",
      "- carol joined",
      "bob: text 2",
      "me: mine (sending)",
    ]);
  });

  test("reads stored messages anew, and keeps the others", () => {
    const transcript = new Transcript(calendar);
    transcript.received(message(1), false);
    own(transcript, "mine");
    transcript.forgetStored();
    expect(transcript.older([message(1)], () => false)).toBe(1);
    expect(shown(transcript.rows())).toEqual(["day 0", "bob: text 1", "me: mine (sending)"]);
  });
});

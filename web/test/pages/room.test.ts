// @vitest-environment happy-dom
/** The room in an emulated page, with a real agent in an emulated world. */
import { beforeEach, describe, expect, test } from "vitest";
import "../../src/pages/elements/copy";
import { Room } from "../../src/pages/chat/room";
import { AgentConnection } from "../../src/sdk/agent/agent";
import type { ConnectOptions } from "../../src/sdk/agent/options";
import { type FakeConnection, FakeWorld, settle } from "../agent/fake-world";
import { openChatPage, part, parts, texts } from "./chat-page";

const BOB = { session_id: "s2", name: "bob", order: 2, identity: "lineage:bob" };
const MESSAGE = {
  op: "message",
  delivery: "durable",
  sender: "bob",
  identity: "lineage:bob",
  type: "chat-text",
};

let world: FakeWorld;
let agent: AgentConnection;
let room: Room;
let left: string[];

beforeEach(() => {
  openChatPage();
  world = new FakeWorld();
  agent = new AgentConnection(world);
  left = [];
  return () => room.close();
});

async function enter(
  changes: Record<string, unknown> = {},
  options: Partial<ConnectOptions> = {},
): Promise<FakeConnection> {
  room = new Room(agent, {
    link: () => "http://localhost:8080/chat#channel=lobby",
    leave: () => left.push("leave"),
    rejoin: () => left.push("rejoin"),
  });
  agent.onState = (state) => room.stateChanged(state);
  const connecting = agent.connect({
    channelName: "lobby",
    agentName: "alice",
    api: "http://localhost:8080",
    apiKey: "k",
    resumeKey: false,
    ...options,
  });
  await expect.poll(() => world.connections.length, { timeout: 20_000 }).toBe(1);
  world.connection.open();
  world.connection.welcome(changes);
  await connecting;
  room.entered();
  await settle();
  return world.connection;
}

function giveHistory(connection: FakeConnection, messages: object[], isComplete = true): void {
  const { id } = connection.last("receive");
  connection.say({ op: "history", id, epoch: "e1", head: 41, tail: 1, is_complete: isComplete, messages });
}

function said(offset: number, content: unknown, changes: object = {}): Record<string, unknown> {
  return { ...MESSAGE, message_id: `m${offset}`, offset, time_ms: 1_700_000_000_000, content, ...changes };
}

function write(text: string): void {
  const field = part<HTMLTextAreaElement>("text");
  field.value = text;
  field.dispatchEvent(new Event("input"));
  field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", cancelable: true }));
}

function people(): string[] {
  const words = [...document.querySelectorAll(".person-words")];
  return words.map(({ children }) => [...children].map(({ textContent }) => textContent).join(": "));
}

function bubbles(): string[] {
  return [...document.querySelectorAll(".bubble")].map((bubble) => bubble.textContent ?? "");
}

describe("the room", () => {
  test("says where one is, with whom, and that nothing was said", async () => {
    const connection = await enter();
    expect(part("channel-name").textContent).toBe("lobby");
    expect(part("openness").textContent).toBe("Open");
    expect(part("connection").textContent).toBe("Connected · WebSocket");
    expect(part("empty").hidden).toBe(true);
    giveHistory(connection, []);
    await settle();
    expect(part("empty").hidden).toBe(false);
    expect(people()).toEqual(["alice: you"]);
  });

  test("tells a password channel from a sealed one", async () => {
    const channel = { id: "", name: "lobby", mode: "open", scope: "private:demo", has_password: true };
    await enter({ channel });
    expect(part("openness").textContent).toBe("Locked, readable by the server");
  });

  test("says that a channel is sealed, whatever the server says, and shows the number to compare", async () => {
    const channel = { id: "", name: "lobby", mode: "open", scope: "private:demo", has_password: true };
    await enter({ channel }, { channelPassword: "a password" });
    expect(part("openness").textContent).toBe("Sealed");
    expect(part("openness").className).toContain("tone-good");
    part("openness").click();
    const number = part("safety-number");
    expect([...number.children].map(({ textContent }) => textContent).join(" ")).toBe(agent.safetyNumber);
    expect(document.getElementById("openness-title")?.textContent).toBe("This channel is sealed");
  });

  test("asks whether the password is right where nobody is, and nothing was said", async () => {
    const channel = { id: "", name: "lobby", mode: "sealed", scope: "private:demo", has_password: true };
    const connection = await enter({ channel }, { channelPassword: "a password" });
    giveHistory(connection, []);
    await settle();
    expect(document.getElementById("empty-password")?.hidden).toBe(false);
  });

  test("has a quiet line in the place of a message that could not be opened", async () => {
    const connection = await enter({}, { channelPassword: "a password" });
    giveHistory(connection, [said(1, "from the server"), said(2, "and again")]);
    await expect.poll(() => texts("system").length).toBe(2);
    expect(bubbles()).toEqual([]);
    expect(texts("system")[0]).toContain("said to be from bob. It was not sealed.");
    connection.say(said(42, "pushed"));
    const { offset: _, ...lossy } = said(0, true, { delivery: "lossy", type: "typing" });
    connection.say(lossy);
    await expect.poll(() => texts("system").length).toBe(3);
    // No notice, which would have to be dismissed.
    expect(document.querySelectorAll("[data-testid=notice]")).toHaveLength(0);
  });

  test("shows what was said, as text and nothing else", async () => {
    const connection = await enter();
    const evil = '<img src=x onerror="alert(1)">';
    giveHistory(connection, [
      said(1, evil, { sender: evil }),
      said(2, { hp: 1 }),
      { ...said(3, undefined), binary: "AQID" },
    ]);
    connection.say(said(42, "see https://a.example."));
    await settle();
    expect(bubbles()).toEqual([evil, '{\n  "hp": 1\n}', "3 bytes of binary data", "see https://a.example."]);
    expect(document.querySelectorAll(".messages img")).toHaveLength(0);
    expect(document.querySelector(".message-sender")?.textContent).toBe(evil);
    const link = document.querySelector<HTMLAnchorElement>(".messages a");
    expect([link?.getAttribute("href"), link?.rel]).toEqual(["https://a.example", "noopener noreferrer"]);
  });

  test("sends by Enter and says what became of it", async () => {
    const connection = await enter();
    giveHistory(connection, []);
    write("hello");
    await settle();
    expect(connection.last("send")).toMatchObject({ content: "hello", type: "chat-text" });
    expect(part<HTMLTextAreaElement>("text").value).toBe("");
    expect(texts("status")).toEqual(["Sending…"]);
    const element = part("message");
    connection.say({
      op: "ack",
      id: connection.last("send").id,
      offset: 42,
      message_id: "m42",
      time_ms: Date.now(),
    });
    await settle();
    expect(texts("status")).toEqual(["Stored"]);
    expect(part("message")).toBe(element);
    expect(element.dataset).toMatchObject({ own: "true", status: "stored", offset: "42" });
  });

  test("does not send nothing, nor while a character is composed", async () => {
    const connection = await enter();
    write("   ");
    const field = part<HTMLTextAreaElement>("text");
    field.value = "か";
    field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", isComposing: true, cancelable: true }));
    field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", shiftKey: true, cancelable: true }));
    await settle();
    expect(connection.received.map(({ op }) => op)).not.toContain("send");
  });

  test("offers a refused message again", async () => {
    const connection = await enter();
    write("hello");
    await settle();
    const { id } = connection.last("send");
    connection.say({ op: "error", id, code: "storage_unavailable", message: "Full.", correlation_id: "c5" });
    await settle();
    expect(texts("status")[0]).toMatch(
      /^Not sent\. The message could not be stored\..*storage_unavailable · c5/,
    );
    part("retry").click();
    await settle();
    expect(texts("status")).toEqual(["Sending…"]);
    expect(connection.last("send").id).not.toBe(id);
  });

  test("refuses what is too long before it is sent, and keeps the text", async () => {
    const connection = await enter();
    write("é".repeat(131_073));
    await settle();
    expect(part("notice").textContent).toContain("262,146 bytes");
    expect(part<HTMLTextAreaElement>("text").value).toHaveLength(131_073);
    expect(parts("message")).toEqual([]);
    expect(connection.last("send").type).toBe("typing-indicator");
  });

  test("keeps messages while the connection is away, and says so", async () => {
    const connection = await enter();
    connection.lose();
    write("later");
    await settle();
    expect(texts("status")).toEqual(["Waits for the connection"]);
    expect(part("queued").textContent).toBe("1 message waits for the connection.");
    expect(part("connection").textContent).toMatch(/^Reconnecting in \d+ s$/);
    const notice = part("notice");
    expect(notice.textContent).toContain("Connection lost");
    world.wake();
    world.connection.lose();
    await settle();
    expect(part("notice")).toBe(notice);
    world.wake();
    world.connection.open();
    world.connection.welcome({ recovered: true, live_recovered: true });
    await settle();
    expect(texts("status")).toEqual(["Sending…"]);
    expect(part("queued").textContent).toBe("");
    expect(parts("notice")).toEqual([]);
  });

  test("shows who comes, goes and types", async () => {
    const connection = await enter();
    connection.say({ op: "presence", joined: [BOB] });
    const typing = {
      ...MESSAGE,
      delivery: "lossy",
      type: "typing-indicator",
      message_id: "t",
      time_ms: 1,
      content: true,
    };
    connection.say(typing);
    await settle();
    expect(part("typing").textContent).toBe("bob is typing…");
    expect(people()).toEqual(["alice: you", "bob: here"]);
    connection.say(said(42, "done"));
    connection.say({ op: "presence", left: [{ session_id: "s2", name: "bob" }] });
    await settle();
    expect(part("typing").textContent).toBe("");
    expect(texts("system")).toEqual(["bob joined", "bob left"]);
    expect(bubbles()).toEqual(["done"]);
  });

  test("does not speak of somebody who is back at once under a new session", async () => {
    const connection = await enter({ members: [BOB] });
    const left = [{ session_id: "s2", name: "bob", reason: "replaced" }];
    connection.say({ op: "presence", joined: [{ ...BOB, session_id: "s3" }], left });
    await settle();
    expect(texts("system")).toEqual([]);
    expect(people()).toEqual(["bob: here"]);
  });

  test("keeps the order when a message finds its place above others", async () => {
    const connection = await enter();
    giveHistory(connection, []);
    for (const text of ["one", "two", "three"]) write(text);
    await settle();
    const [first, second, third] = connection.received.filter((frame) => frame.op === "send" && frame.id);
    const stored = (frame: typeof first, offset: number): void => {
      const { id } = frame as { id: number };
      connection.say({
        op: "ack",
        id,
        offset,
        message_id: `m${offset}`,
        time_ms: 1_700_000_000_000 + offset,
      });
    };
    connection.say(said(43, "between", { time_ms: 1_700_000_000_043 }));
    stored(third, 45);
    await settle();
    stored(first, 42);
    await settle();
    stored(second, 44);
    await settle();
    expect(bubbles()).toEqual(["one", "between", "two", "three"]);
  });

  test("says that one is typing, but not all the time", async () => {
    const connection = await enter();
    const field = part<HTMLTextAreaElement>("text");
    for (const text of ["h", "he", "hel"]) {
      field.value = text;
      field.dispatchEvent(new Event("input"));
    }
    await settle();
    const sent = connection.received.filter((frame) => frame.op === "send");
    expect(sent).toEqual([{ op: "send", delivery: "lossy", type: "typing-indicator", content: true }]);
  });

  test("writes to one person alone", async () => {
    const connection = await enter();
    connection.say({ op: "presence", joined: [BOB] });
    await settle();
    document.querySelector<HTMLButtonElement>('[data-name="bob"] button')?.click();
    expect(part("direct-name").textContent).toBe("bob");
    write("psst");
    await settle();
    expect(connection.last("send")).toMatchObject({ content: "psst", to: ["bob"] });
    expect(part("message").dataset["direct"]).toBe("true");
    expect(part("message").textContent).toContain("only to bob");
    part("text").dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", cancelable: true }));
    write("all");
    await settle();
    expect(connection.last("send").to).toBeUndefined();
  });

  test("offers removing and locking only to whom the key allows it", async () => {
    const members = [{ ...BOB, session_id: "s1", name: "alice", order: 1, identity: "lineage:alice" }, BOB];
    const connection = await enter({ members, operations: ["kick", "lock"] });
    expect(document.querySelector('[aria-label="Remove bob from the channel"]')).not.toBeNull();
    part("lock").click();
    await settle();
    expect(connection.last("lock")).toMatchObject({ locked: true });
    connection.say({ op: "channel", is_locked: true });
    await settle();
    expect(part("openness").textContent).toBe("Open · closed to newcomers");
  });

  test("does not offer it to others", async () => {
    await enter({ members: [BOB] });
    expect(document.querySelector('[aria-label="Remove bob from the channel"]')).toBeNull();
    expect(document.getElementById("channel-lock")?.hidden).toBe(true);
  });

  test("says why it is over, and what to do", async () => {
    const connection = await enter();
    connection.say({ op: "closing", close_code: 3511, code: "replaced", reason: "x", correlation_id: "c8" });
    await settle();
    expect(part("notice").textContent).toContain("This chat goes on elsewhere");
    expect(part("error-reference").textContent).toBe("replaced · c8");
    expect(part<HTMLTextAreaElement>("text").disabled).toBe(true);
    const [again, back] = part("notice").querySelectorAll<HTMLButtonElement>(".actions button");
    again?.click();
    back?.click();
    expect(left).toEqual(["rejoin", "leave"]);
  });

  test("loads what was said before, above the rest", async () => {
    const connection = await enter();
    giveHistory(connection, [said(40, "forty"), said(41, "forty-one")], false);
    await settle();
    part("earlier").click();
    await settle();
    expect(connection.last("receive")).toMatchObject({ before: 40, types: ["chat-text"] });
    giveHistory(connection, [said(39, "thirty-nine")]);
    await settle();
    expect(bubbles()).toEqual(["thirty-nine", "forty", "forty-one"]);
    expect(part("earlier").hidden).toBe(true);
  });

  test("reads anew what the server can't say was missed", async () => {
    const connection = await enter();
    giveHistory(connection, [said(41, "old")]);
    await settle();
    connection.lose();
    world.wake();
    world.connection.open();
    world.connection.welcome({ epoch: "e2", head: 3 });
    await settle();
    giveHistory(world.connection, [said(3, "restored")]);
    await settle();
    expect(bubbles()).toEqual(["restored"]);
    expect(texts("system").join()).toContain("could not say what was missed");
  });
});

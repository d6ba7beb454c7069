/** Two agents in a sealed channel, against an emulated server that passes on what it gets. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AgentConnection } from "../../src/sdk/agent/agent";
import type { ConnectOptions } from "../../src/sdk/agent/options";
import type { Message } from "../../src/sdk/agent/records";
import { SealingError } from "../../src/sdk/agent/sealing-error";
import { toBase64 } from "../../src/sdk/crypto/bytes";
import type { ProtocolError } from "../../src/sdk/protocol/errors";
import type { SendFrame } from "../../src/sdk/protocol/frames.gen";
import { type FakeConnection, FakeWorld, settle } from "./fake-world";

const CHANNEL = {
  channelName: "lobby",
  channelPassword: "correct horse battery staple",
  api: "http://localhost:8080",
  apiKey: "pb_k_s",
} as const;
const PATIENCE = { timeout: 20_000 };

/** An agent, and the server's end of its connection. */
class Side {
  readonly world = new FakeWorld();
  readonly agent = new AgentConnection(this.world);
  readonly messages: Message[] = [];
  readonly errors: ProtocolError[] = [];
  readonly name: string;

  constructor(name: string) {
    this.name = name;
    this.agent.onMessage = (message) => this.messages.push(message);
    this.agent.onError = (error) => this.errors.push(error);
  }

  get connection(): FakeConnection {
    return this.world.connection;
  }

  get texts(): string[] {
    return this.messages.map(({ text }) => text);
  }

  get codes(): string[] {
    return this.errors.map(({ code }) => code);
  }

  async connects(
    options: Partial<ConnectOptions> = {},
    welcome: Record<string, unknown> = {},
  ): Promise<void> {
    const connecting = this.agent.connect({ ...CHANNEL, agentName: this.name, ...options });
    await expect.poll(() => this.world.connections.length, PATIENCE).toBe(1);
    this.connection.open();
    await this.knocks();
    this.connection.welcome(welcome);
    await connecting;
  }

  /** Waits for the connect frame, which may have to be sealed. */
  async knocks(): Promise<void> {
    await expect.poll(() => this.connection.received.some(({ op }) => op === "connect")).toBe(true);
  }

  /** The sends that reached the server, once there are so many. */
  async sent(count: number): Promise<SendFrame[]> {
    const sends = (): SendFrame[] => this.connection.received.filter((frame) => frame.op === "send");
    await expect.poll(() => sends().length, PATIENCE).toBe(count);
    return sends();
  }

  /** Another member as the server lists it. */
  listed(): Record<string, unknown> {
    const { crypto_session, sealed_attributes } = this.connection.last("connect");
    return {
      session_id: `session of ${this.name}`,
      name: this.name,
      order: 2,
      identity: `lineage:${this.name}`,
      crypto_session: toBase64(crypto_session ?? new Uint8Array()),
      sealed_attributes: toBase64(sealed_attributes ?? new Uint8Array()),
    };
  }
}

let alice: Side;
let bob: Side;

beforeEach(() => {
  alice = new Side("alice");
  bob = new Side("bob");
});

afterEach(() => {
  vi.unstubAllGlobals();
});

/** What the server makes of a message of alice. */
function passedOn(frame: SendFrame, changes: Record<string, unknown> = {}): Record<string, unknown> {
  const { op: _, id: __, retry_tag: ___, sealed, ...around } = frame;
  return {
    op: "message",
    message_id: `m${frame.id}`,
    time_ms: 7,
    sender: "alice",
    identity: "lineage:alice",
    ...around,
    ...(sealed ? { sealed: toBase64(sealed) } : {}),
    ...(frame.delivery === "durable" ? { offset: 41 + (frame.id ?? 0) } : {}),
    ...changes,
  };
}

function counterOf({ sealed }: SendFrame): number {
  return Number(new DataView(sealed?.buffer ?? new ArrayBuffer(29)).getBigUint64(21));
}

describe("a password", () => {
  test("makes a channel sealed; false makes it a lock", async () => {
    await alice.connects();
    expect(alice.connection.last("connect")).toMatchObject({ mode: "sealed" });
    expect(alice.connection.last("connect").crypto_session).toHaveLength(16);
    expect(alice.agent.isSealed).toBe(true);
    // Whatever the server says of it.
    expect(alice.agent.channel?.mode).toBe("sealed");
    await bob.connects({ sealed: false });
    expect(bob.connection.last("connect")).toMatchObject({ mode: "open" });
    expect(bob.connection.last("connect")).not.toHaveProperty("crypto_session");
    expect(bob.agent.safetyNumber).toBe("");
    bob.agent.sendTextMessage("readable");
    await settle();
    expect(bob.connection.last("send").content).toBe("readable");
  });

  test("is needed for a sealed channel, and for private attributes", async () => {
    const connecting = alice.agent.connect({ channelName: "lobby", sealed: true });
    await expect(connecting).rejects.toMatchObject({ code: "bad_request" });
    const open = alice.agent.connect({ channelName: "lobby", privateAttributes: { mood: "calm" } });
    await expect(open).rejects.toMatchObject({ code: "bad_request" });
  });

  test("gives both the same number to compare", async () => {
    await Promise.all([alice.connects(), bob.connects()]);
    expect(alice.agent.safetyNumber).toMatch(/^\d{5}( \d{5}){5}$/);
    expect(bob.agent.safetyNumber).toBe(alice.agent.safetyNumber);
    const connects = [alice, bob].map((side) => side.connection.last("connect").crypto_session);
    expect(connects[0]).not.toEqual(connects[1]);
  });
});

describe("a message", () => {
  test("is readable for members and nobody else", async () => {
    await Promise.all([alice.connects(), bob.connects()]);
    void alice.agent.sendMessage({ content: { secret: "canary" }, metadata: { mark: "canary" }, type: "t" });
    const [frame] = await alice.sent(1);
    expect(frame).not.toHaveProperty("content");
    expect(frame).not.toHaveProperty("metadata");
    expect(frame?.retry_tag).toHaveLength(16);
    expect(new TextDecoder().decode(frame?.sealed)).not.toContain("canary");
    bob.connection.say(passedOn(frame as SendFrame));
    await expect.poll(() => bob.messages.length).toBe(1);
    expect(bob.messages[0]).toMatchObject({
      content: { secret: "canary" },
      metadata: { mark: "canary" },
      sender: "alice",
      type: "t",
      isSealed: true,
    });
  });

  test("on a page from plain http is the same, without WebCrypto", async () => {
    await bob.connects();
    vi.stubGlobal("crypto", { getRandomValues: crypto.getRandomValues.bind(crypto) });
    await alice.connects();
    void alice.agent.sendTextMessage("hi");
    const [frame] = await alice.sent(1);
    vi.unstubAllGlobals();
    bob.connection.say(passedOn(frame as SendFrame));
    await expect.poll(() => bob.texts).toEqual(["hi"]);
  });

  test("keeps its place among others, large or small, sealed or not, whatever takes how long", async () => {
    await Promise.all([alice.connects(), bob.connects()]);
    const texts = Array.from({ length: 30 }, (_, at) => `${at} ${"x".repeat(at % 7 === 0 ? 200_000 : 10)}`);
    const sendings = texts.map((text) => alice.agent.sendTextMessage(text));
    alice.agent.kick("carol").catch(() => undefined);
    await alice.sent(30);
    const received = alice.connection.received.slice(1);
    expect(received.map(({ op }) => op)).toEqual([...texts.map(() => "send"), "kick"]);
    const sent = received.slice(0, 30) as SendFrame[];
    expect(sent.map(counterOf)).toEqual(texts.map((_, at) => at));
    const order: string[] = [];
    bob.agent.on("message", ({ text }) => order.push(text));
    bob.agent.on("presence", () => order.push("presence"));
    for (const frame of sent) bob.connection.say(passedOn(frame));
    const joined = [{ session_id: "s9", name: "dora", order: 9, identity: "lineage:dora" }];
    bob.connection.say({ op: "presence", joined, updated: [], left: [] });
    await expect.poll(() => order.length).toBe(31);
    expect(order).toEqual([...texts, "presence"]);
    for (const { id } of sent) {
      alice.connection.say({
        op: "ack",
        id,
        promise: "local-fsync",
        message_id: "m",
        offset: id,
        time_ms: 5,
      });
    }
    await Promise.all(sendings);
  });

  test("written before there is a name is sealed by the name that the server gives", async () => {
    await bob.connects();
    const connecting = alice.agent.connect({ ...CHANNEL });
    void alice.agent.sendTextMessage("early");
    await expect.poll(() => alice.world.connections.length, PATIENCE).toBe(1);
    alice.connection.open();
    alice.connection.welcome({ agent: "guest-7" });
    await connecting;
    const [frame] = await alice.sent(1);
    bob.connection.say(passedOn(frame as SendFrame, { sender: "guest-7" }));
    await expect.poll(() => bob.texts).toEqual(["early"]);
  });

  test("is not sealed under another name than was asked for", async () => {
    const connecting = alice.agent.connect({ ...CHANNEL, agentName: "alice" });
    const sending = alice.agent.sendTextMessage("signed by somebody else?");
    await expect.poll(() => alice.world.connections.length, PATIENCE).toBe(1);
    alice.connection.open();
    await alice.knocks();
    alice.connection.welcome({ agent: "bob" });
    await expect(connecting).rejects.toMatchObject({ code: "protocol_violation" });
    await expect(sending).rejects.toBeInstanceOf(Error);
    await settle();
    expect(alice.connection.received.map(({ op }) => op)).toEqual(["connect"]);
  });

  test("that is live is sent again byte for byte", async () => {
    await alice.connects();
    void alice.agent.sendMessage({ content: "here?", delivery: "live" });
    const [first] = await alice.sent(1);
    alice.connection.lose();
    alice.world.pass(1_000);
    alice.connection.open();
    await alice.knocks();
    alice.connection.welcome({ epoch: "e1", recovered: true });
    const [second] = await alice.sent(1);
    expect(second).toEqual({ ...first, id: second?.id });
  });

  test("that is kept is sealed anew each time, under its key and tag", async () => {
    await alice.connects({ agentName: "" }, { agent: "guest-1" });
    void alice.agent.sendTextMessage("again");
    const [first] = await alice.sent(1);
    alice.connection.lose();
    alice.world.pass(1_000);
    alice.connection.open();
    await alice.knocks();
    alice.connection.welcome({ agent: "guest-1", epoch: "e1", recovered: true });
    const [second] = await alice.sent(1);
    expect(second?.sealed).not.toEqual(first?.sealed);
    expect(second?.retry_tag).toEqual(first?.retry_tag);
    expect(second && counterOf(second)).toBe(1);
    alice.connection.lose();
    alice.world.pass(1_000);
    alice.connection.open();
    await alice.knocks();
    alice.connection.welcome({ agent: "guest-2", session_id: "s5" });
    const [third] = await alice.sent(1);
    expect(third?.sealed).not.toEqual(first?.sealed);
    expect(third?.retry_tag).toEqual(first?.retry_tag);
    expect(third && counterOf(third)).toBe(2);
  });

  test.each(["peerbus:sfu", "peerbus:group"])(
    "to %s is not sealed, nor what comes from there",
    async (service) => {
      await alice.connects();
      const signals: Message[] = [];
      alice.agent.on("signal", (message) => signals.push(message));
      const signal = { content: { kind: "x" }, type: "signal", to: service, delivery: "live" } as const;
      void alice.agent.sendMessage(signal);
      const [frame] = await alice.sent(1);
      expect(frame?.content).toEqual({ kind: "x" });
      const { content, type, delivery } = signal;
      const from = { sender: service, identity: "service" };
      alice.connection.say(passedOn({ op: "send", content, type, delivery }, from));
      expect(signals.map(({ isSealed }) => isSealed)).toEqual([false]);
      for (const wrong of [{ type: "chat-text" }, { to: ["bob", service] }]) {
        await expect(alice.agent.sendMessage({ ...signal, ...wrong })).rejects.toMatchObject({
          code: "not_sealed",
        });
      }
      expect(alice.errors).toEqual([]);
    },
  );

  test("for too many at once fails, and holds up nothing", async () => {
    const many = Array.from({ length: 256 }, (_, at) => ({
      session_id: `d${at}`,
      name: "dora",
      order: at,
      identity: "lineage:dora",
      crypto_session: toBase64(new Uint8Array(16)),
    }));
    await alice.connects({}, { members: many });
    const sending = alice.agent.sendMessage({ content: "to all of her", to: "dora", delivery: "live" });
    void alice.agent.sendTextMessage("next");
    await expect(sending).rejects.toMatchObject({ code: "too_large" });
    const [frame] = await alice.sent(1);
    expect(frame?.delivery).toBe("durable");
  });
});

test("a live message to somebody who is not here is refused on this side, as the server would", async () => {
  await alice.connects({}, { members: [] });
  const sending = alice.agent.sendMessage({ content: 1, to: "bob", delivery: "live" });
  await expect(sending).rejects.toMatchObject({ code: "unknown_recipient", details: { missing: ["bob"] } });
});

test("a live message right after a reconnect is for who is here now, not for who was here before", async () => {
  await bob.connects();
  await alice.connects({}, { members: [{ ...bob.listed(), session_id: "gone", crypto_session: "" }] });
  alice.connection.lose();
  void alice.agent.sendMessage({ content: "for you", to: "bob", delivery: "live" }).catch(() => undefined);
  alice.world.pass(1_000);
  alice.connection.open();
  await alice.knocks();
  // The replay that tells of bob's coming and going is still to come.
  alice.connection.welcome({ recovered: true, live_recovered: true, members: [bob.listed()] });
  const [frame] = await alice.sent(1);
  bob.connection.say(passedOn(frame as SendFrame));
  await expect.poll(() => bob.texts).toEqual(["for you"]);
  expect(bob.errors).toEqual([]);
});

describe("what cannot be trusted is not shown, and said once", () => {
  /** A message of alice, as the server gets it. */
  async function ofAlice(text: string, options: Record<string, unknown> = {}): Promise<SendFrame> {
    const before = alice.connection.received.filter(({ op }) => op === "send").length;
    void alice.agent.sendMessage({ content: text, ...options }).catch(() => undefined);
    return (await alice.sent(before + 1)).at(-1) as SendFrame;
  }

  test("whatever the server changes", async () => {
    await Promise.all([alice.connects(), bob.connects()]);
    const good = await ofAlice("good");
    const bad = await ofAlice("bad");
    const flipped = bad.sealed?.slice() ?? new Uint8Array();
    flipped[40] = (flipped[40] ?? 0) ^ 1;
    bob.connection.say(passedOn(bad, { sealed: toBase64(flipped) }));
    bob.connection.say(passedOn(bad, { sender: "mallory", offset: 50 }));
    const { sealed: _, ...around } = passedOn(bad);
    bob.connection.say({ ...around, offset: 60, content: "from the server" });
    bob.connection.say(passedOn(good, { offset: 70 }));
    bob.connection.say(passedOn(good, { offset: 71 }));
    await expect.poll(() => bob.errors.length).toBe(4);
    expect(bob.codes).toEqual(["tampered", "tampered", "not_sealed", "replayed"]);
    expect(bob.texts).toEqual(["good"]);
    expect(bob.errors.every((error) => error instanceof SealingError)).toBe(true);
    expect(bob.errors[0]).toMatchObject({ sender: "alice", delivery: "durable", offset: 44, timeMs: 7 });
    expect(bob.agent.sealingCounters).toEqual({ sealed: 0, opened: 1, refused: 4, dropped: 0 });
  });

  test("another password", async () => {
    await bob.connects();
    await alice.connects({ channelPassword: "another" });
    bob.connection.say(passedOn(await ofAlice("who?")));
    await expect.poll(() => bob.codes).toEqual(["wrong_key"]);
    expect(bob.messages).toEqual([]);
  });

  test("in a history, where the rest is shown", async () => {
    await Promise.all([alice.connects(), bob.connects()]);
    const [one, two, three] = [await ofAlice("one"), await ofAlice("two"), await ofAlice("three")];
    const reading = bob.agent.receive();
    await settle();
    bob.connection.say({
      op: "history",
      id: bob.connection.last("receive").id,
      messages: [
        passedOn(two, { offset: 42 }),
        passedOn(one, { offset: 43 }),
        passedOn(three, { offset: 44 }),
      ],
      is_complete: true,
      head: 44,
      tail: 1,
      epoch: "e1",
    });
    const { messages, refused } = await reading;
    expect(messages.map(({ text }) => text)).toEqual(["two", "three"]);
    expect(refused.map(({ code, offset }) => [code, offset])).toEqual([["reordered", 43]]);
    expect(bob.errors).toEqual([]);
  });

  test("what comes in the name of the media worker and is no signal of it", async () => {
    await Promise.all([alice.connects(), bob.connects()]);
    const signals: Message[] = [];
    bob.agent.on("signal", (message) => signals.push(message));
    const { sealed: _, ...around } = passedOn(await ofAlice("x", { delivery: "live" }));
    bob.connection.say({ ...around, sender: "peerbus:sfu", content: "from the server" });
    await expect.poll(() => bob.codes).toEqual(["not_sealed"]);
    expect([bob.messages, signals]).toEqual([[], []]);
  });

  test("an old message in another epoch, behind a reconnect that claims to have recovered", async () => {
    await Promise.all([alice.connects(), bob.connects()]);
    const old = await ofAlice("old");
    bob.connection.say(passedOn(old));
    bob.connection.lose();
    bob.world.pass(1_000);
    bob.connection.open();
    await bob.knocks();
    bob.connection.welcome({ epoch: "e2", recovered: true, live_recovered: true });
    bob.connection.say(passedOn(old, { offset: 60 }));
    await expect.poll(() => bob.codes).toEqual(["replayed"]);
    expect(bob.texts).toEqual(["old"]);
  });

  test("what the server puts beside an envelope", async () => {
    await Promise.all([alice.connects(), bob.connects()]);
    const metadata = { forged: true };
    bob.connection.say(passedOn(await ofAlice("pushed"), { metadata }));
    await expect.poll(() => bob.texts).toEqual(["pushed"]);
    expect(bob.messages[0]?.metadata).toEqual({});
    const reading = bob.agent.receive();
    await settle();
    const binary = toBase64(new Uint8Array([1]));
    bob.connection.say({
      op: "history",
      id: bob.connection.last("receive").id,
      messages: [passedOn(await ofAlice("stored"), { metadata, binary, content: "forged" })],
      is_complete: true,
      head: 44,
      tail: 1,
      epoch: "e1",
    });
    const { messages } = await reading;
    expect(messages.map(({ content, metadata: shown }) => [content, shown])).toEqual([["stored", {}]]);
  });

  test("a live message for an earlier bearer of the name; one that comes again is dropped", async () => {
    await bob.connects();
    await alice.connects({}, { members: [bob.listed()] });
    const frame = await ofAlice("for this bob", { to: "bob", delivery: "live" });
    const later = new Side("bob");
    await later.connects();
    for (const side of [bob, later]) side.connection.say(passedOn(frame));
    bob.connection.say(passedOn(frame));
    bob.connection.say(passedOn(await ofAlice("next", { delivery: "live" })));
    await expect.poll(() => bob.texts).toEqual(["for this bob", "next"]);
    await expect.poll(() => later.codes).toEqual(["replayed"]);
    expect(later.messages).toEqual([]);
    expect(bob.errors).toEqual([]);
    expect(bob.agent.sealingCounters).toMatchObject({ refused: 0, dropped: 1 });
  });
});

describe("private attributes", () => {
  test("are seen by members and nobody else, with the public ones", async () => {
    await alice.connects({ attributes: { team: "red" }, privateAttributes: { mood: "canary" } });
    const { attributes, sealed_attributes: sealed } = alice.connection.last("connect");
    expect(attributes).toEqual({ team: "red" });
    expect(new TextDecoder().decode(sealed)).not.toContain("canary");
    await bob.connects({}, { members: [alice.listed()] });
    await expect.poll(() => bob.agent.members[0]?.privateAttributes).toEqual({ mood: "canary" });
    expect(bob.errors).toEqual([]);
  });

  test("change, and go, and are not those of somebody else", async () => {
    await alice.connects({ privateAttributes: { mood: "calm" } });
    await bob.connects({}, { members: [alice.listed()] });
    const seen: unknown[] = [];
    bob.agent.onPresence = ({ updated }) => seen.push(updated[0]?.privateAttributes);
    const tell = (changes: Record<string, unknown>): void =>
      bob.connection.say({
        op: "presence",
        joined: [],
        updated: [{ ...alice.listed(), ...changes }],
        left: [],
      });
    void alice.agent.setAttributes({ team: "red" }, { mood: "merry" });
    await expect.poll(() => alice.connection.received.some(({ op }) => op === "update")).toBe(true);
    const merry = toBase64(alice.connection.last("update").sealed_attributes ?? new Uint8Array());
    tell({ sealed_attributes: merry, attributes: { team: "red" } });
    await expect.poll(() => seen.length).toBe(1);
    // The earlier ones, shown again.
    tell({});
    tell({ name: "mallory", sealed_attributes: merry, session_id: "s7" });
    tell({ sealed_attributes: "" });
    await expect.poll(() => seen.length).toBe(4);
    expect(seen).toEqual([{ mood: "merry" }, { mood: "merry" }, {}, {}]);
    expect(bob.codes).toEqual(["tampered"]);
    expect(bob.agent.sealingCounters).toMatchObject({ refused: 1, dropped: 1 });
  });

  test("do not pass to another name with their session", async () => {
    await alice.connects({ privateAttributes: { mood: "calm" } });
    const eve = new Side("eve");
    await eve.connects({ privateAttributes: { mood: "sly" } });
    await bob.connects({}, { members: [alice.listed()] });
    await expect.poll(() => bob.agent.members[0]?.privateAttributes).toEqual({ mood: "calm" });
    const seen: unknown[] = [];
    bob.agent.onPresence = ({ updated }) => seen.push(updated[0]?.privateAttributes);
    const tell = async (updated: Record<string, unknown>): Promise<void> => {
      const count = seen.length;
      bob.connection.say({ op: "presence", joined: [], updated: [updated], left: [] });
      await expect.poll(() => seen.length).toBe(count + 1);
    };
    const { session_id } = alice.listed();
    await tell({ ...alice.listed(), name: "eve" });
    await tell(alice.listed());
    await tell({ ...alice.listed(), crypto_session: eve.listed()["crypto_session"] });
    await tell(alice.listed());
    // Nor are they those of before, when the other name comes with something older of its own.
    const older = eve.listed();
    void eve.agent.setAttributes({}, { mood: "slyer" });
    await expect.poll(() => eve.connection.received.some(({ op }) => op === "update")).toBe(true);
    const newer = toBase64(eve.connection.last("update").sealed_attributes ?? new Uint8Array());
    await tell({ ...older, sealed_attributes: newer });
    await tell({ ...older, session_id });
    expect(seen).toEqual([{}, { mood: "calm" }, {}, { mood: "calm" }, { mood: "slyer" }, {}]);
    expect(bob.codes).toEqual(["tampered", "replayed"]);
  });

  test("of somebody without a name yet follow when there is one", async () => {
    await alice.connects({ agentName: "", privateAttributes: { mood: "calm" } }, { agent: "guest-7" });
    expect(alice.connection.last("connect")).not.toHaveProperty("sealed_attributes");
    await expect.poll(() => alice.connection.received.some(({ op }) => op === "update")).toBe(true);
    const sealed = toBase64(alice.connection.last("update").sealed_attributes ?? new Uint8Array());
    const member = { ...alice.listed(), name: "guest-7", sealed_attributes: sealed };
    await bob.connects({}, { members: [member] });
    await expect.poll(() => bob.agent.members[0]?.privateAttributes).toEqual({ mood: "calm" });
    // A reconnect under the same name needs no second update.
    alice.connection.lose();
    alice.world.pass(1_000);
    alice.connection.open();
    await alice.knocks();
    expect(toBase64(alice.connection.last("connect").sealed_attributes ?? new Uint8Array())).toBe(sealed);
  });
});

test("whoever disconnects waits for nothing that is not open yet", async () => {
  await Promise.all([alice.connects(), bob.connects()]);
  void alice.agent.sendTextMessage("late").catch(() => undefined);
  const [frame] = await alice.sent(1);
  const reading = bob.agent.receive();
  await settle();
  const history = {
    is_complete: true,
    head: 44,
    tail: 1,
    epoch: "e1",
    messages: [passedOn(frame as SendFrame)],
  };
  bob.connection.say({ op: "history", id: bob.connection.last("receive").id, ...history });
  bob.connection.say(passedOn(frame as SendFrame));
  void bob.agent.disconnect();
  expect(bob.agent.state.name).toBe("closed");
  await expect(reading).rejects.toMatchObject({ code: "closed" });
  expect(bob.messages).toEqual([]);
  // It may connect again at once.
  void bob.agent.connect({ ...CHANNEL, agentName: "bob" });
  await expect.poll(() => bob.world.connections.length).toBe(2);
});

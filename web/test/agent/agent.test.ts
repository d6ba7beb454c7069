/** The agent against emulated transports: what users of the SDK see. */
import { beforeEach, describe, expect, test } from "vitest";
import { AgentConnection } from "../../src/sdk/agent/agent";
import type { ConnectOptions } from "../../src/sdk/agent/options";
import type { Message, State } from "../../src/sdk/agent/records";
import { ProtocolError } from "../../src/sdk/protocol/errors";
import { type FakeConnection, FakeWorld, settle } from "./fake-world";

const OPTIONS: ConnectOptions = {
  channelName: "lobby",
  agentName: "alice",
  api: "http://localhost:8080",
  apiKey: "pb_k_s",
};

let world: FakeWorld;
let agent: AgentConnection;
let errors: ProtocolError[];

beforeEach(() => {
  world = new FakeWorld();
  agent = new AgentConnection(world);
  errors = [];
  agent.onError = (error) => errors.push(error);
});

/** A connected agent, and the server's end. */
async function connected(options: Partial<ConnectOptions> = {}): Promise<FakeConnection> {
  const connecting = agent.connect({ ...OPTIONS, ...options });
  await settle();
  world.connection.open();
  world.connection.welcome();
  await connecting;
  return world.connection;
}

function ack(id: number | undefined, changes: Record<string, unknown> = {}): Record<string, unknown> {
  return { op: "ack", id, promise: "local-fsync", message_id: "m1", offset: 42, time_ms: 5, ...changes };
}

async function failure(promise: Promise<unknown>): Promise<ProtocolError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw error;
  }
  throw new Error("It did not fail.");
}

const PUSHED = { message_id: "m", time_ms: 7, sender: "bob", identity: "lineage:bob", type: "chat-text" };

describe("connecting", () => {
  test("says what was wanted, and tells what was given", async () => {
    const seen: unknown[] = [];
    agent.onConnect = (info) => seen.push(info);
    const connection = await connected({
      customEventType: "game, chat",
      attributes: { team: "red" },
      apiKeyScope: "public",
      channelId: "ab".repeat(32),
      autoReceive: false,
    });
    expect(connection.name).toBe("websocket");
    expect(connection.last("connect")).toMatchObject({
      versions: [1],
      api_key: "pb_k_s",
      channel: "lobby",
      agent: "alice",
      scope: "public",
      mode: "open",
      types: ["game", "chat", "signal", "peer-data"],
      attributes: { team: "red" },
      auto_receive: false,
      channel_id: new Uint8Array(32).fill(0xab),
      client: expect.stringMatching(/^peerbus-web\/\d/),
    });
    expect(connection.last("connect").lineage_secret).toHaveLength(16);
    expect(agent.isConnected).toBe(true);
    expect(agent.agentName).toBe("alice");
    expect(agent.sessionId).toBe("s1");
    expect(agent.channel).toMatchObject({
      name: "lobby",
      mode: "open",
      id: "00".repeat(32),
      isLocked: false,
    });
    expect(agent.members.map(({ name, state }) => [name, state])).toEqual([["alice", "present"]]);
    expect(seen).toEqual([
      { agentName: "alice", sessionId: "s1", isFirst: true, recovered: false, liveRecovered: false },
    ]);
  });

  test("sends a proof of the password and never the password", async () => {
    agent.connect({ ...OPTIONS, channelPassword: "correct horse battery staple" });
    await expect.poll(() => world.connections.length, { timeout: 20_000 }).toBe(1);
    world.connection.open();
    const frame = world.connection.last("connect");
    expect(frame.join_token).toHaveLength(32);
    expect(JSON.stringify(frame)).not.toContain("horse");
  });

  test("need not be awaited: what is asked for meanwhile waits its turn", async () => {
    agent.connect(OPTIONS);
    const first = agent.sendTextMessage("one");
    const second = agent.sendMessage({ content: "two", type: "t" });
    expect(agent.queuedRequests).toBe(2);
    await settle();
    world.connection.open();
    expect(world.connection.received.map(({ op }) => op)).toEqual(["connect"]);
    world.connection.welcome();
    const sent = world.connection.received.filter((frame) => frame.op === "send");
    expect(sent.map(({ content }) => content)).toEqual(["one", "two"]);
    expect(world.connection.batches.at(-1)).toHaveLength(2);
    world.connection.say(ack(sent[1]?.id, { offset: 43 }));
    world.connection.say(ack(sent[0]?.id));
    expect((await first).offset).toBe(42);
    expect((await second).offset).toBe(43);
    expect(errors).toEqual([]);
  });

  test("a refusal rejects, and is told once", async () => {
    const states: State[] = [];
    const lost: unknown[] = [];
    agent.onState = (state) => states.push(state);
    agent.onDisconnect = (info) => lost.push(info);
    const connecting = agent.connect(OPTIONS);
    const sending = agent.sendTextMessage("never");
    await settle();
    world.connection.open();
    const { id } = world.connection.last("connect");
    world.connection.say({ op: "error", id, code: "name_taken", message: "Taken.", correlation_id: "c9" });
    const error = await failure(connecting);
    expect([error.code, error.message, error.correlationId]).toEqual(["name_taken", "Taken.", "c9"]);
    expect((await failure(sending)).code).toBe("closed");
    expect(states.map(({ name, code }) => [name, code])).toEqual([
      ["connecting", ""],
      ["closed", "name_taken"],
    ]);
    expect(lost).toEqual([{ willReconnect: false, code: "name_taken", why: "Taken.", correlationId: "c9" }]);
    await settle();
    expect(errors).toEqual([]);
    expect(world.isWatched).toBe(false);
  });

  test("a failure that nobody waits for goes to onError", async () => {
    agent.connect(OPTIONS);
    await settle();
    world.connection.open();
    const { id } = world.connection.last("connect");
    world.connection.say({ op: "error", id, code: "unauthorized", message: "Wrong." });
    await settle();
    expect(errors.map(({ code }) => code)).toEqual(["unauthorized"]);
  });

  test.each([
    ["a bad channel name", { channelName: " lobby" }, "name_invalid"],
    ["a reserved agent name", { agentName: "peerbus:x" }, "name_invalid"],
    ["a bad address", { api: "ftp://localhost" }, "bad_request"],
    ["a bad channel id", { channelId: "abc" }, "bad_request"],
    ["attributes that are not JSON-shaped", { attributes: { at: new Date(0) } }, "bad_request"],
  ])("%s is refused without connecting", async (_, options, code) => {
    expect((await failure(agent.connect({ ...OPTIONS, ...options }))).code).toBe(code);
    expect(world.connections).toEqual([]);
    expect(agent.state).toMatchObject({ name: "closed", code });
  });

  test("a second connect is refused while the first lasts, and works after it", async () => {
    await connected();
    expect((await failure(agent.connect(OPTIONS))).code).toBe("bad_request");
    await agent.disconnect();
    expect(world.connection.received.at(-1)).toEqual({ op: "bye" });
    expect(world.connection.closedWith).toBe(1000);
    expect(agent.state.name).toBe("closed");
    await connected();
    expect(agent.isConnected).toBe(true);
    const secrets = world.connections.map((connection) => connection.last("connect").lineage_secret);
    expect(secrets[0]).toEqual(secrets[1]);
  });

  test("disconnect while it connects ends it", async () => {
    const connecting = agent.connect(OPTIONS);
    const failing = failure(connecting);
    await agent.disconnect();
    expect((await failing).code).toBe("closed");
    await settle();
    expect(world.connections).toEqual([]);
  });

  test("after two dead WebSockets it goes on by long-poll", async () => {
    agent.connect(OPTIONS);
    await settle();
    for (let count = 0; count < 2; count++) {
      world.connection.lose();
      world.pass(1_000);
    }
    expect(world.connections.map(({ name }) => name)).toEqual(["websocket", "websocket", "longpoll"]);
    world.connection.open();
    world.connection.welcome();
    expect(agent.state).toMatchObject({ name: "connected", transport: "longpoll" });
  });

  test("useWebsocket: false begins with long-poll", async () => {
    expect((await connected({ useWebsocket: false })).name).toBe("longpoll");
  });

  test("a key is fetched where none is given, and again when it ends", async () => {
    let count = 0;
    const connection = await connected({ apiKey: undefined, getApiKey: async () => `key-${++count}` });
    expect(connection.last("connect").api_key).toBe("key-1");
    connection.say({ op: "expiring", expires_in_ms: 60_000 });
    await settle();
    expect(connection.last("renew").api_key).toBe("key-2");
  });

  test("a callback that fails is tried again", async () => {
    let count = 0;
    const getApiKey = (): string => {
      if (++count === 1) throw new Error("not now");
      return "key";
    };
    agent.connect({ ...OPTIONS, apiKey: undefined, getApiKey });
    await settle();
    expect(agent.state).toMatchObject({ name: "reconnecting", code: "connect_failed" });
    expect(agent.state.why).toContain("not now");
    world.pass(1_000);
    await settle();
    expect(world.connections).toHaveLength(1);
  });
});

describe("messages", () => {
  test("sends with every option", async () => {
    const connection = await connected();
    agent.sendMessage({
      content: { hp: 1 },
      type: "game-state",
      customEventType: "game",
      to: "bob",
      delivery: "live",
      replyTo: "m7",
      metadata: { a: 1 },
      idempotencyKey: "k",
    });
    agent.sendMessage({ content: new Uint8Array([1, 2]), filter: { glob: "team-*" } });
    agent.sendMessage({ content: "one device", toSession: "s7" });
    await settle();
    const sent = connection.received.filter((frame) => frame.op === "send");
    expect(sent[0]).toEqual({
      op: "send",
      id: expect.any(Number),
      content: { hp: 1 },
      type: "game-state",
      custom_event_type: "game",
      to: ["bob"],
      delivery: "live",
      reply_to: "m7",
      metadata: { a: 1 },
      idempotency_key: "k",
    });
    expect(sent[1]).toMatchObject({ binary: new Uint8Array([1, 2]), filter: { glob: "team-*" } });
    expect(sent[1]?.idempotency_key).toMatch(/^[\w-]{16}$/);
    expect(sent[2]).toMatchObject({ to: ["peerbus:session/s7"], delivery: "live" });
  });

  test("a lossy one is not waited for, and dropped without a connection", async () => {
    const connection = await connected();
    expect(await agent.sendMessage({ content: "typing", ephemeral: true })).toMatchObject({
      isDropped: false,
    });
    expect(connection.last("send")).toEqual({ op: "send", content: "typing", delivery: "lossy" });
    connection.lose();
    expect(await agent.sendMessage({ content: "typing", ephemeral: true })).toMatchObject({
      isDropped: true,
    });
  });

  test.each([
    ["without content", { content: undefined }],
    ["with a date", { content: { at: new Date(0) } }],
    ["ephemeral and durable", { content: 1, ephemeral: true, delivery: "durable" as const }],
  ])("%s it is refused here", async (_, message) => {
    await connected();
    expect((await failure(agent.sendMessage(message))).code).toBe("bad_request");
  });

  test("before connect it is refused", async () => {
    expect((await failure(agent.sendTextMessage("x"))).code).toBe("closed");
  });

  test("what the server refuses rejects with its code", async () => {
    const connection = await connected();
    const sending = agent.sendMessage({ content: "x", to: "nobody" });
    await settle();
    const { id } = connection.last("send");
    connection.say({
      op: "error",
      id,
      code: "unknown_recipient",
      message: "Not here.",
      details: { missing: ["nobody"] },
    });
    const error = await failure(sending);
    expect([error.code, error.details]).toEqual(["unknown_recipient", { missing: ["nobody"] }]);
  });

  test("are told by callback and by listeners, whose failures stay their own", async () => {
    const connection = await connected();
    const seen: string[] = [];
    const uncaught: unknown[] = [];
    const note = (error: unknown): unknown => uncaught.push(error);
    process.on("uncaughtException", note);
    agent.onMessage = (message) => {
      seen.push(`callback ${message.text}`);
      throw new Error("mine");
    };
    const stop = agent.on("message", ({ sender }) => seen.push(`listener ${sender}`));
    connection.say({ op: "message", delivery: "durable", offset: 42, content: "hi", ...PUSHED });
    stop();
    connection.say({ op: "message", delivery: "live", binary: "AQI=", ...PUSHED });
    await settle();
    process.off("uncaughtException", note);
    expect(seen).toEqual(["callback hi", "listener bob", "callback "]);
    expect(uncaught).toEqual([new Error("mine"), new Error("mine")]);
  });

  test("of peers pass a choice of types, and nothing else does", async () => {
    const connection = await connected({ types: ["move"] });
    const seen: unknown[] = [];
    agent.onMessage = ({ content }) => seen.push(content);
    agent.on("peer", ({ type }) => seen.push(type));
    const say = (changes: Record<string, unknown>): void =>
      connection.say({ op: "message", delivery: "live", ...PUSHED, ...changes });
    say({ type: "move", content: "a" });
    say({ type: "other", custom_event_type: "move", content: "b" });
    say({ type: "signal", content: { kind: "of somebody's own" } });
    say({ type: "signal", content: { kind: "peer_offer" } });
    say({ type: "peer-data", binary: "AQI=" });
    await settle();
    expect(seen).toEqual(["a", "b", "signal", "peer-data"]);
  });

  test("look as the README says", async () => {
    const connection = await connected();
    const seen: Message[] = [];
    agent.onMessage = (message) => seen.push(message);
    connection.say({
      op: "message",
      delivery: "live",
      content: { a: 1 },
      to: ["alice"],
      sender_session: "s2",
      custom_event_type: "game",
      reply_to: "m0",
      ...PUSHED,
    });
    expect(seen).toEqual([
      {
        content: { a: 1 },
        text: "",
        type: "chat-text",
        customEventType: "game",
        sender: "bob",
        senderSession: "s2",
        identity: "lineage:bob",
        delivery: "live",
        messageId: "m",
        offset: undefined,
        timeMs: 7,
        to: ["alice"],
        filter: undefined,
        replyTo: "m0",
        metadata: {},
        idempotencyKey: undefined,
        isSealed: false,
      },
    ]);
  });

  test("a listener may answer at once", async () => {
    const connection = await connected();
    agent.onMessage = (message) => agent.sendMessage({ content: `re: ${message.text}`, to: message.sender });
    connection.say({ op: "message", delivery: "durable", offset: 42, content: "hi", ...PUSHED });
    await settle();
    expect(connection.last("send")).toMatchObject({ content: "re: hi", to: ["bob"] });
  });

  test("history is read by range", async () => {
    const connection = await connected();
    const reading = agent.receive({
      before: 40,
      limit: 2,
      customEventType: "game,chat",
      pollSource: "CACHE",
    });
    await settle();
    expect(connection.last("receive")).toMatchObject({ before: 40, limit: 2, types: ["game", "chat"] });
    connection.say({
      op: "history",
      id: connection.last("receive").id,
      epoch: "e1",
      head: 41,
      tail: 1,
      is_complete: false,
      next: 38,
      messages: [{ op: "message", delivery: "durable", offset: 38, content: "old", ...PUSHED }],
    });
    const page = await reading;
    expect(page).toMatchObject({ isComplete: false, next: 38, head: 41, tail: 1, epoch: "e1" });
    expect(page.messages.map(({ text, offset }) => [text, offset])).toEqual([["old", 38]]);
  });

  test("an unknown pollSource is refused", async () => {
    await connected();
    const reading = agent.receive({ pollSource: "TAPE" as "CACHE" });
    expect((await failure(reading)).code).toBe("bad_request");
  });
});

describe("members", () => {
  test("come, change and go", async () => {
    const connection = await connected();
    const seen: unknown[] = [];
    agent.onPresence = ({ joined, updated, left }) =>
      seen.push([
        joined.map(({ name }) => name),
        updated.map(({ state }) => state),
        left.map(({ reason }) => reason),
      ]);
    const bob = { session_id: "s2", name: "bob", order: 2, identity: "lineage:bob" };
    connection.say({ op: "presence", joined: [bob] });
    connection.say({ op: "presence", updated: [{ ...bob, state: "away" }] });
    expect(agent.members.map(({ name, state }) => [name, state])).toEqual([
      ["alice", "present"],
      ["bob", "away"],
    ]);
    connection.say({ op: "presence", left: [{ session_id: "s2", name: "bob", reason: "lost" }] });
    expect(agent.members).toHaveLength(1);
    expect(seen).toEqual([
      [["bob"], [], []],
      [[], ["away"], []],
      [[], [], ["lost"]],
    ]);
  });

  test("commands are sent and acknowledged", async () => {
    const connection = await connected();
    const commands = [
      agent.setAttributes({ team: "blue" }),
      agent.kick("bob", "spam"),
      agent.kick({ sessionId: "s2" }),
      agent.lock(),
      agent.unlock(),
    ];
    const listing = agent.fetchMembers();
    await settle();
    const asked = connection.received.slice(1);
    expect(asked).toMatchObject([
      { op: "update", attributes: { team: "blue" } },
      { op: "kick", agent: "bob", reason: "spam" },
      { op: "kick", session_id: "s2" },
      { op: "lock", locked: true },
      { op: "lock", locked: false },
      { op: "members" },
    ]);
    for (const frame of asked) {
      const { id } = frame as { id: number };
      if (frame.op === "members") connection.say({ op: "members_reply", id, members: [] });
      else connection.say({ op: "ack", id });
    }
    await Promise.all(commands);
    expect(await listing).toEqual([]);
  });

  test("the channel is locked for newcomers", async () => {
    const connection = await connected();
    const seen: (boolean | undefined)[] = [];
    agent.on("channel", (channel) => seen.push(channel.isLocked));
    connection.say({ op: "channel", is_locked: true });
    expect(seen).toEqual([true]);
    expect(agent.channel?.isLocked).toBe(true);
  });
});

describe("a connection that is lost", () => {
  test("is resumed, and what was not answered is sent again", async () => {
    const first = await connected();
    const states: string[] = [];
    const infos: boolean[] = [];
    const gaps: unknown[] = [];
    agent.onState = ({ name, retryInMs }) => states.push(`${name} ${retryInMs}`);
    agent.onDisconnect = ({ willReconnect }) => infos.push(willReconnect);
    agent.on("gap", (gap) => gaps.push(gap));
    const sending = agent.sendTextMessage("hello");
    await settle();
    const { idempotency_key } = first.last("send");
    first.lose();
    expect(infos).toEqual([true]);
    world.pass(187);
    const second = world.connection;
    expect(second).not.toBe(first);
    second.open();
    expect(second.last("connect").resume).toMatchObject({
      token: "t1",
      epoch: "e1",
      offset: 41,
      live_epoch: "L1",
    });
    second.welcome({ recovered: true, live_epoch: "L2", received_id: 1 });
    expect(second.last("send").idempotency_key).toBe(idempotency_key);
    second.say(ack(second.last("send").id));
    expect((await sending).offset).toBe(42);
    expect(states).toEqual(["reconnecting 187", "reconnecting 0", "connected 0"]);
    expect(gaps).toEqual([{ durable: false, live: true }]);
  });

  test("is tried at once when the network is back", async () => {
    await connected();
    world.connection.lose();
    expect(world.connections).toHaveLength(1);
    world.wake();
    expect(world.connections).toHaveLength(2);
  });

  test("by silence is given up after pings without an answer", async () => {
    const connection = await connected();
    world.pass(25_000);
    expect(connection.received.filter(({ op }) => op === "ping").length).toBeGreaterThan(0);
    expect(connection.closedWith).toBe(3001);
    expect(agent.state.name).toBe("reconnecting");
  });

  test("for good says why", async () => {
    const connection = await connected();
    connection.say({ op: "closing", close_code: 3512, code: "kicked", reason: "spam", correlation_id: "c7" });
    expect(agent.state).toMatchObject({ name: "closed", code: "kicked", why: "spam", correlationId: "c7" });
    expect((await failure(agent.sendTextMessage("x"))).code).toBe("closed");
  });

  test("what a transport of the past says is ignored", async () => {
    const first = await connected();
    first.lose();
    world.pass(1_000);
    first.say({ op: "message", delivery: "live", content: "ghost", ...PUSHED });
    first.lose();
    expect(world.connections).toHaveLength(2);
    expect(agent.state.name).toBe("reconnecting");
  });
});

/** `WebRTCHelper` with a mode, against an emulated server and emulated links: what users of the SDK see. */
import { beforeEach, describe, expect, test } from "vitest";
import { AgentConnection } from "../../src/sdk/agent/agent";
import { toBase64 } from "../../src/sdk/crypto/bytes";
import type { ProtocolError } from "../../src/sdk/protocol/errors";
import { READY_WITHIN_MS } from "../../src/sdk/protocol/group";
import type { WantedMode } from "../../src/sdk/webrtc/group-follower";
import type { WebRTCOptions } from "../../src/sdk/webrtc/helper";
import { WebRTCHelper } from "../../src/sdk/webrtc/helper";
import { CARRY_AFTER_MS } from "../../src/sdk/webrtc/mesh-path";
import { PeerDelivery } from "../../src/sdk/webrtc/peer-delivery";
import { joinFrames, splitFrames } from "../../src/sdk/webrtc/peer-frames";
import { settle } from "../agent/fake-world";
import { FakeCallWorld, FakeTrack } from "./fake-peers";

type Json = Record<string, unknown>;

const ME = "lineage:alice";
const BOB = "lineage:bob";
const ALL = ["mesh", "host", "relay", "datachannel", "sfu"];

const member = (identity: string, order: number): Json => ({
  identity,
  name: identity.split(":")[1],
  order,
  modes: ALL,
});

let world: FakeCallWorld;
let agent: AgentConnection;
let webrtc: WebRTCHelper;
let errors: string[];
let heard: unknown[];
let modes: string[];
let peers: string[];
let version: number;
let liveSeq: number;
/** Bob's side of the delivery. */
let bob: PeerDelivery;

beforeEach(() => {
  world = new FakeCallWorld();
  agent = new AgentConnection(world);
  [errors, heard, modes, peers] = [[], [], [], []];
  [version, liveSeq] = [0, 0];
  bob = new PeerDelivery(BOB, 99);
  bob.setPath(ME, "any");
});

/** In the channel with Bob, and in the group as the server tells. */
async function enter(mode: WantedMode, options: WebRTCOptions = {}, told: Json | null = {}): Promise<void> {
  webrtc = new WebRTCHelper(agent, { mode, ...options }, world);
  webrtc.onError = ({ code }) => errors.push(code);
  webrtc.onDataReceived = (data, name) => heard.push([name, data]);
  webrtc.onModeChange = (now, reason) => modes.push(`${now} ${reason}`);
  webrtc.onPeerState = ({ name }, state) => peers.push(`${name} ${state}`);
  const connecting = agent.connect({
    channelName: "lobby",
    agentName: "alice",
    api: "http://localhost:8080",
    apiKey: "k",
  });
  await settle();
  world.connection.open();
  world.connection.welcome({
    members: [
      { session_id: "s1", name: "alice", order: 1, identity: ME },
      { session_id: "s2", name: "bob", order: 2, identity: BOB },
    ],
  });
  await connecting;
  await settle();
  acknowledge();
  if (told) await group({ mode: mode === "auto" ? "mesh" : mode, ...told });
}

function say(sender: string, identity: string, content: Json): void {
  liveSeq += 1;
  world.connection.say({
    op: "message",
    delivery: "live",
    live_seq: liveSeq,
    message_id: `m${liveSeq}`,
    time_ms: 7,
    sender,
    identity,
    ...content,
  });
}

async function group(changes: Json = {}): Promise<void> {
  version += 1;
  const members = [member(ME, 1), member(BOB, 2)];
  say("peerbus:group", "service", {
    type: "signal",
    content: { kind: "group", version, term: 5, mode: "mesh", reason: "first", members, ...changes },
  });
  await settle();
}

/** Everything of a type that was sent to somebody, and the ack for it. */
function sent(type: string, to: string, kind?: string): Json[] {
  const frames = world.connections.flatMap(({ received }) =>
    received.flatMap((frame) => (frame.op === "send" && frame.type === type ? [frame] : [])),
  );
  return frames
    .filter((frame) => frame.to?.includes(to))
    .map((frame) =>
      frame.binary ? { binary: frame.binary, delivery: frame.delivery } : (frame.content as Json),
    )
    .filter((content) => kind === undefined || content["kind"] === kind);
}

const asked = (kind: string): Json[] => sent("signal", "peerbus:group", kind);
const toBob = (kind: string): Json[] => sent("signal", "peerbus:session/s2", kind);

let acknowledgedUpTo = new WeakMap<object, number>();

function acknowledge(): void {
  const { connection } = world;
  const from = acknowledgedUpTo.get(connection) ?? 0;
  acknowledgedUpTo.set(connection, connection.received.length);
  for (const frame of connection.received.slice(from)) {
    if (frame.op === "send" && frame.id !== undefined) {
      connection.say({ op: "ack", id: frame.id, promise: "memory", message_id: "m", time_ms: 1 });
    }
  }
}

async function pass(ms: number): Promise<void> {
  const step = 25;
  for (let passed = 0; passed < ms; passed += step) {
    world.pass(Math.min(step, ms - passed));
    acknowledge();
    await settle();
  }
}

/** What Bob hears of the messages that the server carried to him since the last time. */
let carried = 0;
function bobHears(): unknown[] {
  const all = sent("peer-data", "peerbus:session/s2");
  const news = all.slice(carried);
  carried = all.length;
  const frames = news.flatMap(({ binary }) => splitFrames(binary as Uint8Array));
  return frames
    .flatMap((frame) => bob.receive(ME, frame, world.nowMs()))
    .flatMap((event) => (event.event === "delivered" ? [event.payload] : []));
}

/** Bob sends what he has to, by the server. */
async function bobSends(...payloads: unknown[]): Promise<void> {
  for (const [at, payload] of payloads.entries()) bob.send(at, [ME], payload, false, world.nowMs());
  const frames = bob.take("any", world.nowMs(), 100_000, undefined).map(({ frame }) => frame);
  say("bob", BOB, { type: "peer-data", binary: toBase64(joinFrames(frames)) });
  await settle();
}

beforeEach(() => {
  carried = 0;
  acknowledgedUpTo = new WeakMap();
});

const signalFromBob = async (content: Json): Promise<void> => {
  say("bob", BOB, { type: "signal", content });
  await settle();
};

/** Bob answers the newest offer, and the link stands. */
async function link(): Promise<void> {
  const { link: id, number } = toBob("peer_offer").at(-1) ?? {};
  await signalFromBob({ kind: "peer_answer", link: id, number, sdp: "yes" });
  world.peer.open();
  await settle();
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "",
    (error: ProtocolError) => error.code,
  );
}

describe("the group", () => {
  test("is entered with what this side can, and tells the mode", async () => {
    await enter("relay", {}, null);
    expect(asked("enter")).toEqual([{ kind: "enter", mode: "relay", modes: ALL, has_media: false }]);
    expect([webrtc.state.name, webrtc.mode, webrtc.isConnected()]).toEqual(["connecting", undefined, false]);
    await group({ mode: "relay" });
    expect([webrtc.state.name, webrtc.mode, webrtc.isConnected("bob")]).toEqual(["connected", "relay", true]);
    expect(modes).toEqual(["relay first"]);
    expect(peers).toEqual(["bob connected"]);
    expect(webrtc.peers).toEqual([{ identity: BOB, name: "bob", publications: [] }]);
  });

  test("without WebRTC in the browser only the relay can be done", async () => {
    world.hasPeerConnections = false;
    await enter("auto", {}, null);
    expect(asked("enter")).toMatchObject([{ mode: "auto", modes: ["relay"] }]);
  });

  test("is entered again, with what was seen, when live messages may be missing", async () => {
    await enter("relay");
    world.connection.lose();
    await settle();
    world.pass(10_000);
    await settle();
    world.connection.open();
    world.connection.welcome({
      is_resumed: true,
      live_recovered: false,
      members: [
        { session_id: "s1", name: "alice", order: 1, identity: ME },
        { session_id: "s2", name: "bob", order: 2, identity: BOB },
      ],
    });
    await settle();
    expect(asked("enter").at(-1)).toMatchObject({ seen: { term: 5, mode: "relay", order: 1 } });
  });

  test("that does not take this side ends the helper, and says why", async () => {
    await enter("relay", {}, null);
    await group({ mode: "relay" });
    const waiting = codeOf(webrtc.switchMode("mesh"));
    await settle();
    say("peerbus:group", "service", {
      type: "signal",
      content: { kind: "removed", code: "replaced", message: "Another session entered." },
    });
    await settle();
    expect(webrtc.state).toMatchObject({ name: "closed", code: "replaced" });
    expect(await waiting).toBe("replaced");
    expect(await codeOf(webrtc.sendData(1))).toBe("closed");
    expect(peers.at(-1)).toBe("bob left");
  });

  test("is left with the page, and entered again should that come back", async () => {
    await enter("relay");
    world.hidePage();
    await settle();
    expect(asked("exit")).toHaveLength(1);
    expect(peers).toEqual(["bob connected", "bob left"]);
    world.wake();
    await settle();
    expect(asked("enter").at(-1)).toEqual({ kind: "enter", mode: "relay", modes: ALL, has_media: false });
    await group({ mode: "relay", members: [member(BOB, 2), member(ME, 3)] });
    expect(peers.at(-1)).toBe("bob connected");
    await bobSends("again");
    expect(heard).toEqual([["bob", "again"]]);
  });

  test("is left by closing", async () => {
    await enter("mesh");
    webrtc.close();
    await settle();
    expect(asked("exit")).toHaveLength(1);
    expect(world.peers.every(({ isClosed }) => isClosed)).toBe(true);
    expect(webrtc.state.name).toBe("closed");
  });
});

describe("relay", () => {
  test("data of every kind go both ways, in order, what was sent early first", async () => {
    await enter("relay", {}, null);
    const early = webrtc.sendData("early");
    await group({ mode: "relay" });
    void webrtc.sendData({ x: [1, null] }, "bob");
    void webrtc.sendData(new Uint8Array([1, 2, 255]), { to: BOB });
    void webrtc.broadcast("text");
    await pass(200);
    expect(await early).toBe(true);
    expect(bobHears()).toEqual(["early", { x: [1, null] }, new Uint8Array([1, 2, 255]), "text"]);
    await bobSends({ hello: 1 }, "you", new Uint8Array([0]));
    expect(heard).toEqual([
      ["bob", { hello: 1 }],
      ["bob", "you"],
      ["bob", new Uint8Array([0])],
    ]);
    expect(errors).toEqual([]);
  });

  test("what is sent in one turn goes in one message, and not faster than the server takes it", async () => {
    await enter("relay");
    for (let number = 0; number < 100; number++) {
      void webrtc.broadcast(number);
      await pass(10);
    }
    await pass(100);
    expect(bobHears()).toEqual(Array.from({ length: 100 }, (_, number) => number));
    // A second and a bit, at 50 messages a second.
    expect(sent("peer-data", "peerbus:session/s2").length).toBeLessThan(50);
  });

  test("lossy messages share a frame, and come from a sender that is told so", async () => {
    await enter("relay");
    const events: boolean[] = [];
    webrtc.on("data", ({ isLossy }) => events.push(isLossy));
    const results = [1, 2, 3].map((n) => webrtc.sendData({ n }, "bob", { reliable: false }));
    await pass(50);
    expect(await Promise.all(results)).toEqual([true, true, true]);
    expect(sent("peer-data", "peerbus:session/s2")).toMatchObject([{ delivery: "lossy" }]);
    expect(bobHears()).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
    expect(await codeOf(webrtc.sendData(new Uint8Array(20_000), { lossy: true }))).toBe("too_large");
    expect(await codeOf(webrtc.sendData(1, "nobody"))).toBe("unknown_recipient");
    expect(await codeOf(webrtc.sendData(1, "alice"))).toBe("unknown_recipient");
    expect(await codeOf(webrtc.sendData(new Date()))).toBe("bad_request");
  });

  test("what is refused for now is sent again", async () => {
    await enter("relay");
    void webrtc.broadcast("a");
    await settle();
    const { id } = world.connection.last("send");
    acknowledgedUpTo.set(world.connection, world.connection.received.length);
    world.connection.say({
      op: "error",
      id,
      code: "rate_limited",
      message: "Too many.",
      is_retryable: true,
      retry_after_ms: 300,
      correlation_id: "c",
    });
    void webrtc.broadcast("b");
    await pass(1_000);
    expect(bobHears()).toEqual(["a", "b"]);
  });
});

describe("mesh", () => {
  test("the lower order offers; candidates trickle; frames go by the link", async () => {
    await enter("mesh");
    expect(toBob("peer_offer")).toMatchObject([{ number: 1, sdp: "offer 1", can_restart: true }]);
    const [offer] = toBob("peer_offer");
    world.peer.onicecandidate?.({
      candidate: {
        candidate: "mine",
        toJSON: () => ({ candidate: "mine", sdpMid: "0", sdpMLineIndex: 0 }),
      } as RTCIceCandidate,
    });
    const theirs = { kind: "peer_candidate", link: offer?.["link"], candidate: "theirs", mid: "0", line: 0 };
    await signalFromBob(theirs);
    expect(world.peer.candidates).toEqual([]);
    await link();
    expect(toBob("peer_candidate")).toMatchObject([{ candidate: "mine", mid: "0", line: 0 }]);
    expect(world.peer.candidates).toMatchObject([{ candidate: "theirs" }]);
    expect(world.peer.channels.map(({ label, options }) => [label, options])).toEqual([
      ["peerbus", { negotiated: true, id: 0, ordered: true }],
      ["peerbus-lossy", { negotiated: true, id: 1, ordered: false, maxRetransmits: 0 }],
    ]);
    expect(peers).toEqual(["bob connecting", "bob connected"]);
    void webrtc.broadcast({ hi: 1 });
    void webrtc.broadcast("fast", { reliable: false });
    await settle();
    const [reliable, lossy] = ["peerbus", "peerbus-lossy"].map((label) => world.peer.channel(label).sent);
    const events = [...(reliable ?? []), ...(lossy ?? [])].flatMap((frame) => bob.receive(ME, frame, 0));
    expect(events).toMatchObject([
      { payload: { hi: 1 }, isLossy: false },
      { payload: "fast", isLossy: true },
    ]);
    expect((await webrtc.stats()).peers).toMatchObject({ [BOB]: { state: "connected", path: "mesh" } });
  });

  test("a peer to whom no link stands is carried by the server, until one does", async () => {
    await enter("mesh");
    void webrtc.broadcast("wait for me");
    await pass(CARRY_AFTER_MS + 200);
    expect(peers).toEqual(["bob connecting", "bob carried"]);
    expect(bobHears()).toEqual(["wait for me"]);
    await link();
    expect(peers.at(-1)).toBe("bob connected");
    await bobSends("thanks");
    expect(heard).toEqual([["bob", "thanks"]]);
  });

  test("after two failures the server is told; carry: false waits", async () => {
    await enter("mesh", { carry: false });
    void webrtc.broadcast("wait for me");
    await pass(8_100);
    await pass(8_100);
    expect(asked("report")).toEqual([{ kind: "report", peer: BOB, is_reachable: false }]);
    expect(bobHears()).toEqual([]);
    expect(webrtc.isConnected("bob")).toBe(false);
  });

  test("tracks go over the link, and are told by the next offer", async () => {
    await enter("mesh");
    await link();
    const published = webrtc.publish(new FakeTrack("video").native);
    await settle();
    expect((await published).isPublished).toBe(true);
    expect(asked("enter").at(-1)).toMatchObject({ has_media: true });
    const [, second] = toBob("peer_offer");
    expect(second).toMatchObject({ number: 2, tracks: [{ publication: "camera-1", source: "camera" }] });
    await link();
    await signalFromBob({ kind: "peer_wanted", link: second?.["link"], media: ["audio"] });
    const { link: id, number } = toBob("peer_offer").at(-1) ?? {};
    const mid = world.peer.transceivers.find(({ direction }) => direction === "recvonly")?.mid;
    expect(number).toBe(3);
    const tracks = [{ mid, publication: "mic", source: "microphone" }];
    await signalFromBob({ kind: "peer_answer", link: id, number, sdp: "yes", tracks });
    expect(webrtc.tracks.map(({ info }) => [info.peer.name, info.publication.media])).toEqual([
      ["bob", "audio"],
    ]);
    expect(webrtc.peers[0]?.publications).toMatchObject([{ id: `${BOB}/mic`, source: "microphone" }]);
    await group({ mode: "mesh", members: [member(ME, 1)] });
    expect(webrtc.tracks).toEqual([]);
    expect(webrtc.peers).toEqual([]);
  });
});

describe("switchMode", () => {
  const proposal = (mode: string, term: number): Json => ({
    mode,
    term,
    by: ME,
    reason: "proposed",
    waits_ms: 8_000,
  });

  test("builds the new path beside the old one, and resends what was under way", async () => {
    await enter("relay");
    void webrtc.broadcast("before");
    const switching = webrtc.switchMode("mesh");
    await settle();
    expect(asked("propose")).toEqual([{ kind: "propose", mode: "mesh", term: 5 }]);
    await group({ mode: "relay", proposal: proposal("mesh", 9) });
    expect(webrtc.mode).toBe("relay");
    expect(asked("ready")).toEqual([]);
    await link();
    expect(asked("ready")).toEqual([{ kind: "ready", term: 9 }]);
    expect(webrtc.mode).toBe("relay");
    await group({ mode: "mesh", term: 9, reason: "proposed" });
    await switching;
    expect(modes).toEqual(["relay first", "mesh proposed"]);
    void webrtc.broadcast("after");
    await settle();
    const frames = world.peer.channel("peerbus").sent;
    const events = frames.flatMap((frame) => bob.receive(ME, frame, 0));
    expect(events).toMatchObject([{ payload: "before" }, { payload: "after" }]);
    // By the way of before it comes once more, which nobody notices.
    expect(bobHears()).toEqual([]);
  });

  test("leaves the old path once the others have said that nothing more comes by it", async () => {
    await enter("mesh");
    await link();
    const { peer } = world;
    await group({ mode: "mesh", proposal: proposal("relay", 9) });
    expect(asked("ready")).toHaveLength(1);
    await group({ mode: "relay", term: 9 });
    expect(peer.isClosed).toBe(false);
    const marks = peer.channel("peerbus").sent.flatMap((frame) => bob.receive(ME, frame, 0));
    expect(marks).toMatchObject([{ event: "flushed" }]);
    peer.channel("peerbus").onmessage?.({ data: new Uint8Array(bob.flush()).buffer });
    expect(peer.isClosed).toBe(true);
  });

  test("vetoes what can't be done in time, and rolls back", async () => {
    await enter("relay", { carry: false });
    const switching = codeOf(webrtc.switchMode("mesh"));
    await group({ mode: "relay", proposal: proposal("mesh", 9) });
    await pass(READY_WITHIN_MS);
    expect(asked("veto")).toMatchObject([{ term: 9, reason: "No way in mode mesh to bob." }]);
    say("peerbus:group", "service", {
      type: "signal",
      content: { kind: "proposal_ended", term: 9, mode: "mesh", code: "vetoed", reason: "no way", by: ME },
    });
    await group({ mode: "relay" });
    expect(await switching).toBe("vetoed");
    expect([webrtc.mode, world.peer.isClosed]).toEqual(["relay", true]);
    void webrtc.broadcast("still here");
    await pass(100);
    expect(bobHears()).toEqual(["still here"]);
  });

  test("with whom it can carry it is ready all the same", async () => {
    await enter("relay");
    await group({ mode: "relay", proposal: proposal("mesh", 9) });
    await pass(READY_WITHIN_MS);
    expect([asked("veto"), asked("ready")]).toEqual([[], [{ kind: "ready", term: 9 }]]);
  });

  test("says why it was refused; without a mode of one's own there is nothing to switch", async () => {
    await enter("relay");
    const switching = codeOf(webrtc.switchMode("sfu"));
    await settle();
    const { id } = world.connection.last("send");
    acknowledgedUpTo.set(world.connection, world.connection.received.length);
    world.connection.say({
      op: "error",
      id,
      code: "no_worker",
      message: "There is none.",
      is_retryable: true,
      correlation_id: "c",
    });
    expect(await switching).toBe("no_worker");
  });
});

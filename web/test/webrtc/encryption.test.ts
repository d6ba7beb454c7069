/** When a browser's call is encrypted, that transforms are there before anything is offered, and what the worker is told. */
import { beforeEach, describe, expect, test } from "vitest";
import { AgentConnection } from "../../src/sdk/agent/agent";
import { ProtocolError } from "../../src/sdk/protocol/errors";
import { WebRTCHelper, type WebRTCOptions } from "../../src/sdk/webrtc/helper";
import { settle } from "../agent/fake-world";
import { enterGroup, FakeCallWorld, FakeTrack } from "./fake-peers";

type Json = Record<string, unknown>;

let world: FakeCallWorld;
let agent: AgentConnection;
let webrtc: WebRTCHelper;
let version: number;
let states: string[];

beforeEach(() => {
  world = new FakeCallWorld();
  agent = new AgentConnection(world);
  version = 0;
  states = [];
});

/** Joins with a camera; the welcome is not said yet. */
async function join(
  options: WebRTCOptions = {},
  channelPassword = "pw",
  sealed?: boolean,
  agentName = "alice",
): Promise<void> {
  webrtc = new WebRTCHelper(agent, { mode: "sfu", ...options }, world);
  webrtc.onEncryptionState = (state, { id }) => states.push(`${id} ${state}`);
  webrtc.onError = () => undefined;
  agent.onError = () => undefined;
  webrtc.publish(new FakeTrack("video").native).catch(() => undefined);
  const own = { channelName: "lobby", agentName, api: "http://localhost:8080", apiKey: "k" };
  agent.connect({ ...own, channelPassword, sealed, resumeKey: false }).catch(() => undefined);
  // The keys of the password come first.
  await expect.poll(() => world.connections.length, { timeout: 10_000 }).toBeGreaterThan(0);
  await settle();
}

async function welcome(changes: Json = {}): Promise<void> {
  world.connection.open();
  world.connection.welcome(changes);
  await enterGroup(world);
  await settle();
}

function say(content: Json): void {
  version += 1;
  world.connection.say({
    op: "message",
    delivery: "live",
    live_seq: version,
    message_id: `s${version}`,
    time_ms: 7,
    sender: "peerbus:sfu",
    identity: "service",
    type: "signal",
    content,
  });
}

async function answer(): Promise<void> {
  const { id } = world.connection.last("send");
  world.connection.say({ op: "ack", id, promise: "memory", message_id: "m", time_ms: 1 });
  say({ kind: "answer", connection: "c1", number: 1, sdp: "yes", term: 1 });
  await settle();
  world.peer.open();
  await settle();
}

/** Bob publishes a camera, which comes on this slot. */
async function bobShows(mid: string, isSealed: boolean, name = "bob"): Promise<void> {
  const bob = { identity: "id-bob", name };
  const camera = { publication: "id-bob/cam", participant: "id-bob", name, media: "video", source: "camera" };
  const publications = [{ ...camera, is_sealed: isSealed }];
  say({ kind: "publications", term: 1, version: version + 1, publications, callers: [bob] });
  const bindings = [{ mid, publication: "id-bob/cam" }];
  say({ kind: "slots", connection: "c1", version: version + 1, bindings, wanting: 0 });
  await settle();
}

const offer = (): Json => world.connection.last("send").content as Json;
const bobs = () => {
  const [publication] = webrtc.peers[0]?.publications ?? [];
  if (!publication) throw new Error("Bob publishes nothing.");
  return publication;
};

describe("in a sealed channel", () => {
  test("all frames go through the worker, from before the first offer", async () => {
    await join();
    expect(webrtc.isEncrypted).toBe(true);
    const { transceivers } = world.peer;
    expect(transceivers.length).toBe(7);
    for (const { sender, receiver, codecs, kind, options } of transceivers) {
      const isSending = options["direction"] === "sendonly";
      const transform = isSending ? sender.transform : receiver.transform;
      expect(transform).toMatchObject({ direction: isSending ? "send" : "receive", media: kind });
      expect(codecs).toEqual(kind === "video" ? ["video/VP8", "video/rtx"] : ["audio/opus"]);
    }
    expect(
      new Set(transceivers.map(({ sender, receiver }) => (sender.transform ?? receiver.transform)?.id)).size,
    ).toBe(7);
    await welcome();
    expect(offer()["tracks"]).toEqual([
      { mid: "0", publication: "camera-1", source: "camera", is_muted: false, is_sealed: true },
    ]);
    // Nothing can be sealed yet, so nothing is sent.
    expect(world.frameWorker.orders).toEqual([]);
    await answer();
    const [key, send] = world.frameWorker.orders;
    expect(key).toEqual({ order: "key", mediaKey: agent.mediaKey });
    const origin = { sender: "alice", publication: `${agent.identity}/camera-1` };
    expect(send).toEqual({ order: "send", id: transceivers[0]?.sender.transform?.id, origin });
  });

  test("what a slot carries is opened as that, and how it stands is told", async () => {
    await join();
    await welcome();
    await answer();
    await bobShows("1", true);
    const { frameWorker } = world;
    const id = world.peer.transceivers[1]?.receiver.transform?.id ?? 0;
    expect(frameWorker.last("carry").get(id)).toEqual({
      sender: "bob",
      publication: "id-bob/cam",
      isSealed: true,
    });
    expect(webrtc.encryptionOf(bobs())).toBe("waiting");
    frameWorker.say({ report: "state", publication: "id-bob/cam", state: "undecryptable" });
    expect(webrtc.encryptionOf(bobs())).toBe("undecryptable");
    expect(states).toEqual(["id-bob/cam undecryptable"]);
    const count = frameWorker.orders.length;
    await bobShows("1", true);
    expect(frameWorker.orders.length).toBe(count);
    await bobShows("1", false, "robert");
    expect(frameWorker.last("carry").get(id)).toMatchObject({ sender: "robert", isSealed: false });
    await bobShows("2", true);
    expect(frameWorker.last("carry").get(id)).toBeUndefined();
  });

  test("another name takes another key id, what ends is sealed no more, and the worker ends with the call", async () => {
    await join({}, "pw", undefined, "");
    await welcome();
    await answer();
    const { frameWorker } = world;
    const id = world.peer.transceivers[0]?.sender.transform?.id ?? 0;
    world.connection.lose();
    world.pass(1_000);
    await settle();
    await welcome({ agent: "guest-2", resumed: false });
    expect(agent.agentName).toBe("guest-2");
    expect(frameWorker.last("send").get(id)).toMatchObject({ sender: "guest-2" });
    const [published] = webrtc.publications;
    if (!published) throw new Error("nothing is published");
    webrtc.unpublish(published);
    expect(frameWorker.last("send").get(id)).toBeUndefined();
    webrtc.close();
    expect(frameWorker.isTerminated).toBe(true);
  });

  test("a browser that cannot do it makes no call", async () => {
    world.startFrameWorker = () => {
      throw new ProtocolError("not_supported", "Not here.");
    };
    await join();
    expect(webrtc.state).toMatchObject({ name: "closed", code: "not_supported", why: "Not here." });
    expect(world.peers.every(({ isClosed, answers }) => isClosed || answers.length === 0)).toBe(true);
  });

  test("a worker that the page refuses ends the call", async () => {
    await join();
    world.frameWorker.onerror?.({ preventDefault: () => undefined } as ErrorEvent);
    expect(webrtc.state).toMatchObject({ name: "closed", code: "not_supported" });
    expect(webrtc.state.why).toContain("worker-src");
  });

  test("who switches it off sends as it is, and shows nothing sealed", async () => {
    await join({ e2ee: false });
    await welcome();
    await answer();
    expect(world.frameWorkers).toEqual([]);
    expect(offer()["tracks"]).toMatchObject([{ publication: "camera-1" }]);
    await bobShows("1", true);
    const track = world.peer.transceivers[1]?.receiver.track;
    expect([webrtc.encryptionOf(bobs()), track?.enabled]).toEqual(["not_opened", false]);
    await bobShows("1", false);
    expect([webrtc.encryptionOf(bobs()), track?.enabled]).toEqual(["open", true]);
  });
});

describe("in an open channel", () => {
  test("nothing is encrypted, unless it is asked for and there is a password", async () => {
    await join({}, "pw", false);
    expect([webrtc.isEncrypted, world.frameWorkers.length]).toEqual([false, 0]);
    webrtc.close();
    await agent.disconnect();
    world = new FakeCallWorld();
    agent = new AgentConnection(world);
    await join({ e2ee: true }, "pw", false);
    await welcome();
    await answer();
    expect(world.frameWorker.orders[0]).toMatchObject({ order: "key" });
  });

  test("asked for without a password it is refused", async () => {
    await join({ e2ee: true }, "");
    await welcome();
    await answer();
    expect(webrtc.state).toMatchObject({ name: "closed", code: "bad_request" });
    expect(world.frameWorker.orders).toEqual([]);
  });
});

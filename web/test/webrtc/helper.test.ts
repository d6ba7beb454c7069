/** `WebRTCHelper` against emulated peer connections and a scripted SFU: what users of the SDK see. */
import { encode } from "@msgpack/msgpack";
import { beforeEach, describe, expect, test } from "vitest";
import { AgentConnection } from "../../src/sdk/agent/agent";
import { ProtocolError } from "../../src/sdk/protocol/errors";
import { WebRTCHelper } from "../../src/sdk/webrtc/helper";
import type { CallState } from "../../src/sdk/webrtc/records";
import { OPEN_TIMEOUT_MS, UNSURE_MS } from "../../src/sdk/webrtc/recovery";
import { type FakeConnection, settle } from "../agent/fake-world";
import { enterGroup, FakeCallWorld, FakeStream, FakeTrack } from "./fake-peers";

type Json = Record<string, unknown>;

const ME = "lineage:alice";
const BOB = { identity: "lineage:bob", name: "bob" };

let world: FakeCallWorld;
let agent: AgentConnection;
let webrtc: WebRTCHelper;
let errors: ProtocolError[];
let states: CallState[];
let version: number;

beforeEach(() => {
  world = new FakeCallWorld();
  agent = new AgentConnection(world);
  agent.onError = (error) => errors.push(error);
  errors = [];
  states = [];
  version = 0;
});

function make(): WebRTCHelper {
  webrtc = new WebRTCHelper(agent, { mode: "sfu" }, world);
  webrtc.onError = (error) => errors.push(error);
  webrtc.onState = (state) => states.push(state);
  return webrtc;
}

async function join(): Promise<FakeConnection> {
  const options = { channelName: "lobby", agentName: "alice", api: "http://localhost:8080", apiKey: "k" };
  const connecting = agent.connect(options);
  await settle();
  world.connection.open();
  world.connection.welcome();
  await connecting;
  await settle();
  if (webrtc.state.name !== "closed") await enterGroup(world);
  return world.connection;
}

/** The signals that were sent, oldest first. */
function signals(kind?: string): Json[] {
  const sent = world.connections.flatMap(({ received }) =>
    received.flatMap((frame) => (frame.op === "send" && frame.type === "signal" ? [frame] : [])),
  );
  for (const { delivery } of sent) expect(delivery).toBe("live");
  const contents = sent.flatMap(({ to, content }) => (to?.[0] === "peerbus:sfu" ? [content as Json] : []));
  return kind === undefined ? contents : contents.filter((signal) => signal["kind"] === kind);
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

/** Acknowledges what was sent, and answers the newest offer. */
async function answer(changes: Json = {}): Promise<void> {
  await settle();
  const offer = signals("offer").at(-1);
  acknowledge();
  say({
    kind: "answer",
    connection: offer?.["connection"],
    number: offer?.["number"],
    sdp: "yes",
    term: 1,
    ...changes,
  });
  await settle();
}

function acknowledge(): void {
  const { id } = world.connection.last("send");
  world.connection.say({ op: "ack", id, promise: "memory", message_id: "m", time_ms: 1 });
}

function publications(list: Json[], callers: Json[] = [BOB]): void {
  say({ kind: "publications", term: 1, version: version + 1, publications: list, callers });
}

const bobs = (id: string, changes: Json = {}): Json => ({
  publication: `${BOB.identity}/${id}`,
  participant: BOB.identity,
  name: "bob",
  media: id === "mic" ? "audio" : "video",
  source: id === "mic" ? "microphone" : "camera",
  ...changes,
});

function bind(bindings: Record<string, string>, wanting = 0): void {
  const { connection } = signals("offer").at(-1) ?? {};
  const list = Object.entries(bindings).map(([mid, id]) => ({ mid, publication: `${BOB.identity}/${id}` }));
  say({ kind: "slots", connection, version: version + 1, bindings: list, wanting });
}

/** In the call, and connected. */
async function connected(): Promise<FakeConnection> {
  const connection = await join();
  await answer();
  world.peer.open();
  return connection;
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return "";
}

/** The tracks in the stream of what is received. */
const inStream = (at: number): string[] => {
  const stream = webrtc.tracks[at]?.info.stream as unknown as FakeStream | undefined;
  return (stream?.tracks ?? []).map(({ id }) => id);
};

const names = (): string[] => states.map(({ name }) => name);

describe("the connection", () => {
  test("begins with the agent, in one offer: publications, slots, data", async () => {
    make();
    void webrtc.publish(new FakeStream(new FakeTrack("audio"), new FakeTrack("video")).native);
    await settle();
    expect(world.peers).toHaveLength(0);
    expect(webrtc.state.name).toBe("idle");
    await connected();
    expect(names()).toEqual(["connecting", "connected"]);
    expect(webrtc.isConnected()).toBe(true);
    expect(signals()).toEqual([
      {
        kind: "offer",
        connection: "c1",
        number: 1,
        sdp: "offer 1",
        tracks: [
          { mid: "0", publication: "microphone-1", source: "microphone", is_muted: false },
          { mid: "1", publication: "camera-2", source: "camera", is_muted: false },
        ],
        slots: ["2", "3", "4", "5", "6", "7"],
      },
    ]);
    expect(world.peer.transceivers.map(({ kind, direction }) => `${kind} ${direction}`)).toEqual([
      ...["audio sendonly", "video sendonly"],
      ...Array.from({ length: 4 }, () => "video recvonly"),
      ...Array.from({ length: 2 }, () => "audio recvonly"),
    ]);
    expect(world.peer.channels.map(({ label, options }) => [label, options])).toEqual([
      ["reliable", { ordered: true }],
      ["lossy", { ordered: false, maxRetransmits: 0 }],
    ]);
    expect(world.peer.answers).toEqual(["yes"]);
    expect(errors).toEqual([]);
  });

  test("is set up while the agent is still on its way", async () => {
    make();
    const connecting = agent.connect({ channelName: "lobby", api: "http://localhost:8080", apiKey: "k" });
    await settle();
    expect(world.peers).toHaveLength(1);
    expect(signals()).toEqual([]);
    world.connection.open();
    world.connection.welcome();
    await connecting;
    await settle();
    expect(signals("offer")).toHaveLength(1);
  });

  test("has the ICE servers of the agent's session before anything is gathered, and fresh ones for a restart", async () => {
    const turn = (username: string) => [{ urls: ["turn:t"], username, credential: "p" }];
    make();
    const connecting = agent.connect({ channelName: "lobby", api: "http://localhost:8080", apiKey: "k" });
    await settle();
    expect(world.peer.restarts).toEqual([]);
    world.connection.open();
    world.connection.welcome({ ice_servers: turn("1:x"), ice_expires_in_ms: 3_600_000 });
    await connecting;
    await settle();
    expect(world.peer.configuration).toEqual({ bundlePolicy: "max-bundle", iceServers: turn("1:x") });
    expect(world.peer.restarts).toEqual([false]);
    await answer();
    world.peer.open();
    world.connection.lose();
    world.pass(1_000);
    await settle();
    world.connection.open();
    world.connection.welcome({ ice_servers: turn("2:x"), ice_expires_in_ms: 3_600_000 });
    await settle();
    expect(world.peer.configuration.iceServers).toEqual(turn("2:x"));
  });

  test("keeps to the ICE servers that were given", async () => {
    const given = [{ urls: "turn:own" }];
    webrtc = new WebRTCHelper(agent, { mode: "sfu", iceServers: given, iceTransportPolicy: "relay" }, world);
    await join();
    const expected = { bundlePolicy: "max-bundle", iceServers: given, iceTransportPolicy: "relay" };
    expect(world.peer.configuration).toEqual(expected);
    expect(signals("offer")).toHaveLength(1);
  });

  test("restarts its ICE in place when the path is lost", async () => {
    make();
    await connected();
    world.peer.become("disconnected");
    world.pass(UNSURE_MS);
    await settle();
    expect(signals("offer").map(({ connection, number }) => [connection, number])).toEqual([
      ["c1", 1],
      ["c1", 2],
    ]);
    expect(world.peer.restarts).toEqual([false, true]);
    expect(webrtc.state).toMatchObject({ name: "reconnecting", code: "connection_lost" });
    await answer();
    world.peer.become("connected");
    expect(names()).toEqual(["connecting", "connected", "reconnecting", "connected"]);
    expect(world.peers).toHaveLength(1);
  });

  test("is replaced when the restart does not help, with all that is published", async () => {
    make();
    void webrtc.publish(new FakeTrack("video").native);
    await connected();
    world.peer.become("failed");
    await answer();
    world.pass(6_000);
    await settle();
    expect(world.peers.map(({ isClosed }) => isClosed)).toEqual([true, false]);
    await answer();
    world.peer.open();
    expect(webrtc.isConnected()).toBe(true);
    expect(signals("offer").at(-1)).toMatchObject({
      connection: "c2",
      number: 1,
      tracks: [{ publication: "camera-1" }],
    });
  });

  test("is replaced when the handshake fails or a channel closes", async () => {
    make();
    await connected();
    world.peer.become("failed", "connected");
    world.pass(250);
    await settle();
    expect(world.peers).toHaveLength(2);
    await answer();
    world.peer.open();
    world.peer.channel("reliable").close();
    world.pass(250);
    await settle();
    expect(world.peers).toHaveLength(3);
    expect(world.peer.isClosed).toBe(false);
  });

  test("is replaced when the room has a new worker; an older term says nothing", async () => {
    make();
    await connected();
    say({ kind: "restart", term: 0, reason: "old" });
    expect(webrtc.isConnected()).toBe(true);
    say({ kind: "restart", term: 2, reason: "The worker was replaced." });
    expect(webrtc.state).toMatchObject({ name: "reconnecting", why: "The worker was replaced." });
    world.pass(250);
    await answer({ term: 1 });
    expect(world.peer.answers).toEqual([]);
    await answer({ term: 2 });
    expect(world.peer.answers).toEqual(["yes"]);
  });

  test("is opened again where no worker takes it", async () => {
    make();
    const connection = await join();
    const [offer] = connection.received.filter(
      (frame) => frame.op === "send" && frame.to?.[0] === "peerbus:sfu",
    );
    const id = offer?.op === "send" ? offer.id : 0;
    connection.say({ op: "error", id, code: "no_worker", message: "None.", is_retryable: true });
    await settle();
    expect(webrtc.state).toMatchObject({ name: "connecting", code: "no_worker" });
    world.pass(250);
    await settle();
    expect(signals("offer").at(-1)).toMatchObject({ connection: "c2", number: 1 });
  });

  test("is opened again where no answer comes", async () => {
    make();
    const connection = await join();
    const [offer] = connection.received.filter(
      (frame) => frame.op === "send" && frame.to?.[0] === "peerbus:sfu",
    );
    const id = offer?.op === "send" ? offer.id : 0;
    connection.say({ op: "ack", id, promise: "memory", message_id: "m", time_ms: 1 });
    await settle();
    world.pass(OPEN_TIMEOUT_MS);
    expect(webrtc.state).toMatchObject({ name: "connecting", code: "timeout" });
    world.pass(1_000);
    expect(world.peers).toHaveLength(2);
  });

  test("is opened again where the answer makes no sense", async () => {
    make();
    await join();
    world.peer.refusesAnswers = true;
    await answer();
    expect(webrtc.state).toMatchObject({ name: "connecting", code: "bad_answer" });
  });

  test("ends where it would be refused again", async () => {
    make();
    await connected();
    const sending = codeOf(webrtc.publish(new FakeTrack("video").native));
    await settle();
    say({ kind: "ended", connection: "c0", code: "kicked", message: "" });
    expect(webrtc.isConnected()).toBe(true);
    say({ kind: "ended", connection: "c1", code: "kicked", message: "Removed." });
    expect(webrtc.state).toMatchObject({ name: "closed", code: "kicked", why: "Removed." });
    expect(world.peer.isClosed).toBe(true);
    expect(await sending).toBe("kicked");
    expect(await codeOf(webrtc.sendData(1))).toBe("closed");
    expect(await codeOf(webrtc.publish(new FakeTrack("video").native))).toBe("closed");
  });

  test("comes back where only the connection has ended", async () => {
    make();
    await connected();
    say({ kind: "ended", connection: "c1", code: "connection_lost", message: "Silent for too long." });
    world.pass(250);
    expect(world.peers).toHaveLength(2);
  });

  test("outlives a reconnect of the agent, which offers nothing", async () => {
    make();
    const connection = await connected();
    connection.lose(1006);
    world.pass(1_000);
    world.connection.open();
    world.connection.welcome({ recovered: true, live_recovered: true });
    await settle();
    expect(webrtc.isConnected()).toBe(true);
    expect(signals("offer")).toHaveLength(1);
  });

  test("asks for everything anew where signals were lost", async () => {
    make();
    const connection = await connected();
    connection.lose(1006);
    world.pass(1_000);
    world.connection.open();
    world.connection.welcome({ recovered: true, live_recovered: false });
    await settle();
    expect(signals("offer").at(-1)).toMatchObject({ connection: "c1", number: 2 });
    expect(world.peer.restarts).toEqual([false, false]);
    expect(world.peers).toHaveLength(1);
  });

  test("goes on while a server that was started again does not know its worker yet", async () => {
    make();
    const connection = await connected();
    connection.lose(1006);
    world.pass(1_000);
    world.connection.open();
    world.connection.welcome({ recovered: true, live_recovered: false });
    await settle();
    for (const wait of [700, 500]) {
      const retry = wait === 700 ? { retry_after_ms: wait } : {};
      const { id } = world.connection.last("send");
      world.connection.say({ op: "error", id, code: "no_worker", message: "", is_retryable: true, ...retry });
      await settle();
      world.pass(wait - 1);
      await settle();
      const sent = signals("offer").length;
      world.pass(1);
      await settle();
      expect(signals("offer")).toHaveLength(sent + 1);
      expect(signals("offer").at(-1)).toMatchObject({ connection: "c1", number: 2 });
    }
    await answer();
    expect(world.peer.answers).toEqual(["yes", "yes"]);
    expect(world.peers).toHaveLength(1);
    expect(names()).toEqual(["connecting", "connected"]);
  });

  test("is replaced when its path goes while the server knows no worker", async () => {
    make();
    const connection = await connected();
    connection.lose(1006);
    world.pass(1_000);
    world.connection.open();
    world.connection.welcome({ recovered: true, live_recovered: false });
    await settle();
    const { id } = world.connection.last("send");
    world.connection.say({ op: "error", id, code: "no_worker", message: "", is_retryable: true });
    await settle();
    world.peer.become("failed");
    world.pass(500);
    await settle();
    expect(world.peers.map(({ isClosed }) => isClosed)).toEqual([true, false]);
    expect(signals("offer").at(-1)).toMatchObject({ connection: "c2", number: 1 });
  });

  test("ends with the agent", async () => {
    make();
    await connected();
    await agent.disconnect();
    expect(webrtc.state).toMatchObject({ name: "closed", code: "closed" });
    expect(world.peer.isClosed).toBe(true);
    expect(world.isWatched).toBe(false);
  });

  test("says goodbye, and leaves the agent in its channel", async () => {
    make();
    await connected();
    webrtc.close();
    webrtc.close();
    await settle();
    expect(signals().at(-1)).toEqual({ kind: "leave", connection: "c1" });
    expect(webrtc.state.name).toBe("closed");
    expect(agent.isConnected).toBe(true);
    expect(errors).toEqual([]);
  });

  test("ends where the browser has no WebRTC", async () => {
    world.openPeerConnection = () => {
      throw new ProtocolError("not_supported", "None.");
    };
    make();
    await join();
    expect(webrtc.state).toMatchObject({ name: "closed", code: "not_supported" });
  });

  test("knows which modes there are", () => {
    const mode = "starfish" as "mesh";
    expect(() => new WebRTCHelper(agent, { mode }, world)).toThrow(/no mode "starfish"/);
  });

  test("keeps its signals from the messages of users", async () => {
    const heard: unknown[] = [];
    agent.onMessage = (message) => heard.push(message);
    make();
    await connected();
    say({ kind: "something-new" });
    say({ kind: "slots", connection: 7 });
    expect(heard).toEqual([]);
    expect(errors.map(({ code }) => code)).toEqual(["bad_frame"]);
  });
});

describe("publishing", () => {
  test("adds an m-line to a connection that stands, and uses it again", async () => {
    make();
    await connected();
    const camera = new FakeTrack("video", "camera");
    const publishing = webrtc.publish(camera.native, { maxBitsPerS: 900_000 });
    expect(webrtc.publications).toMatchObject([{ id: "camera-1", isPublished: false }]);
    await answer();
    const publication = await publishing;
    expect(publication).toMatchObject({
      id: "camera-1",
      media: "video",
      source: "camera",
      isPublished: true,
    });
    expect(signals("offer").at(-1)).toMatchObject({ number: 2, tracks: [{ mid: "6" }] });
    const transceiver = world.peer.transceivers[6];
    expect(transceiver?.options).toMatchObject({ sendEncodings: [{ maxBitrate: 900_000 }] });

    webrtc.unpublish(publication);
    await answer();
    expect(signals("unpublish")).toEqual([{ kind: "unpublish", connection: "c1", publication: "camera-1" }]);
    expect(signals("offer").at(-1)).toMatchObject({ number: 3, tracks: [] });
    expect([transceiver?.direction, transceiver?.sender.track]).toEqual(["inactive", null]);
    void webrtc.publish(camera.native, { source: "other" });
    await answer();
    expect(signals("offer").at(-1)).toMatchObject({
      number: 4,
      tracks: [{ mid: "6", publication: "other-2" }],
    });
    expect(transceiver?.sender.track).toBe(camera);
    expect(world.peer.transceivers).toHaveLength(7);
  });

  test("of a stream takes one offer", async () => {
    make();
    await connected();
    void webrtc.publish(new FakeStream(new FakeTrack("audio"), new FakeTrack("video")).native);
    await answer();
    expect(signals("offer").map(({ tracks }) => (tracks as unknown[]).length)).toEqual([0, 2]);
    expect(webrtc.publications.every(({ isPublished }) => isPublished)).toBe(true);
  });

  test("during an offer waits for the next one, and is not judged by the first answer", async () => {
    make();
    await connected();
    const first = webrtc.publish(new FakeTrack("video").native);
    await settle();
    const local = webrtc.publications[0];
    if (local) webrtc.unpublish(local);
    const second = webrtc.publish(new FakeTrack("video").native);
    await answer();
    expect(await codeOf(first)).toBe("closed");
    expect(webrtc.publications).toMatchObject([{ id: "camera-2", isPublished: false }]);
    await answer();
    expect((await second).isPublished).toBe(true);
  });

  test("mutes at once, and says so", async () => {
    make();
    const track = new FakeTrack("audio");
    const publishing = webrtc.publish(track.native);
    await connected();
    const publication = await publishing;
    const sender = world.peer.transceivers[0]?.sender;
    webrtc.mute(publication);
    webrtc.mute(publication);
    expect(sender?.track).toBeNull();
    expect(publication.isMuted).toBe(true);
    webrtc.mute(publication, false);
    expect(sender?.track).toBe(track);
    await settle();
    expect(signals("mute").map((signal) => signal["is_muted"])).toEqual([true, false]);
  });

  test("may begin muted, which the offer says", async () => {
    make();
    const publishing = webrtc.publish(new FakeTrack("audio").native, { isMuted: true });
    const other = webrtc.publish(new FakeTrack("video").native);
    webrtc.mute(webrtc.publications[1] as never);
    await connected();
    expect(signals("offer")[0]).toMatchObject({ tracks: [{ is_muted: true }, { is_muted: true }] });
    expect(world.peer.transceivers[0]?.sender.track).toBeNull();
    expect(signals("mute")).toEqual([]);
    webrtc.mute(await publishing, false);
    expect(world.peer.transceivers[0]?.sender.track).not.toBeNull();
    await other;
  });

  test("names a captured screen and its sound, and keeps it sharp", async () => {
    make();
    const screen = new FakeTrack("video", "screen", { displaySurface: "monitor" });
    void webrtc.publish(new FakeStream(new FakeTrack("audio"), screen).native);
    expect(webrtc.publications.map(({ source }) => source)).toEqual(["screen_audio", "screen"]);
    expect(screen.contentHint).toBe("detail");
  });

  test("ends with its track, unless another has its place", async () => {
    make();
    const [first, second] = [new FakeTrack("video", "one"), new FakeTrack("video", "two")];
    const publishing = webrtc.publish(first.native);
    await connected();
    const publication = await publishing;
    webrtc.replaceTrack(publication, second.native);
    expect(world.peer.transceivers[0]?.sender.track).toBe(second);
    first.end();
    expect(webrtc.publications).toHaveLength(1);
    expect(() => webrtc.replaceTrack(publication, new FakeTrack("audio").native)).toThrow(/is video/);
    second.end();
    expect(webrtc.publications).toHaveLength(0);
  });

  test("of what no codec fits is refused, the rest goes on", async () => {
    make();
    const audio = webrtc.publish(new FakeTrack("audio").native);
    const video = codeOf(webrtc.publish(new FakeTrack("video").native));
    await join();
    world.peer.rejects = ["video"];
    await answer();
    expect(await video).toBe("codec_not_supported");
    expect((await audio).isPublished).toBe(true);
    expect(webrtc.publications).toHaveLength(1);
  });

  test("that is refused leaves the connection as it was", async () => {
    make();
    await connected();
    const failing = codeOf(webrtc.publish(new FakeTrack("video").native));
    await settle();
    acknowledge();
    say({ kind: "refused", connection: "c1", number: 2, code: "forbidden", message: "No video." });
    await settle();
    expect(await failing).toBe("forbidden");
    expect(world.peer.signalingState).toBe("stable");
    expect(webrtc.isConnected()).toBe(true);
    expect(world.peers).toHaveLength(1);
  });

  test("that is refused with the first offer is left away, and the call begins without", async () => {
    make();
    const failing = codeOf(webrtc.publish(new FakeTrack("video").native));
    await join();
    acknowledge();
    say({ kind: "refused", connection: "c1", number: 1, code: "forbidden", message: "No video." });
    expect(await failing).toBe("forbidden");
    world.pass(250);
    await answer();
    world.peer.open();
    expect(webrtc.isConnected()).toBe(true);
    expect(signals("offer").at(-1)).toMatchObject({ connection: "c2", tracks: [] });
  });

  test.each(["room_full", "forbidden"])("is not what is refused: %s ends the call", async (code) => {
    make();
    await join();
    acknowledge();
    say({ kind: "refused", connection: "c1", number: 1, code, message: "No." });
    expect(webrtc.state).toMatchObject({ name: "closed", code, why: "No." });
  });

  test("tells of a publication that may not go on", async () => {
    make();
    await connected();
    say({ kind: "refused", connection: "c1", code: "forbidden", message: "camera-1 may not go on." });
    expect(errors.map(({ code }) => code)).toEqual(["forbidden"]);
  });
});

describe("receiving", () => {
  test("puts sound and picture of a peer into one stream", async () => {
    const seen: unknown[][] = [];
    make();
    webrtc.onTrack = (track, info) =>
      seen.push([
        "track",
        track.id,
        info.peer.name,
        info.publication.source,
        (info.stream as unknown as FakeStream).tracks.length,
      ]);
    webrtc.onTrackEnded = (track, info) => seen.push(["ended", track.id, info.publication.media]);
    await connected();
    publications([bobs("cam"), bobs("mic"), bobs("desk", { source: "screen" })]);
    bind({ 0: "cam", 4: "mic", 1: "desk" });
    expect(seen).toEqual([
      ["track", "slot-0", "bob", "camera", 1],
      ["track", "slot-1", "bob", "screen", 1],
      ["track", "slot-4", "bob", "microphone", 2],
    ]);
    const [camera, , microphone] = webrtc.tracks;
    expect(camera?.info.stream).toBe(microphone?.info.stream);
    seen.length = 0;
    publications([bobs("cam")]);
    expect(seen.map(([what, id]) => [what, id])).toEqual([
      ["ended", "slot-1"],
      ["ended", "slot-4"],
    ]);
    expect(inStream(0)).toEqual(["slot-0"]);
  });

  test("keeps the stream when a new connection brings the tracks again", async () => {
    make();
    await connected();
    publications([bobs("cam")]);
    bind({ 0: "cam" });
    const before = webrtc.tracks[0];
    say({ kind: "restart", term: 1, reason: "" });
    world.pass(250);
    await answer();
    expect(webrtc.tracks).toEqual([before]);
    version += 10;
    bind({ 1: "cam" });
    const after = webrtc.tracks[0];
    expect(after?.track.id).toBe("slot-1");
    expect(after?.track).not.toBe(before?.track);
    expect(after?.info.stream).toBe(before?.info.stream);
    expect(inStream(0)).toEqual(["slot-1"]);
  });

  test("offers more slots when some publication finds none", async () => {
    make();
    await connected();
    publications([1, 2, 3, 4, 5].map((at) => bobs(`cam${at}`)));
    bind({ 0: "cam1", 1: "cam2", 2: "cam3", 3: "cam4" }, 1);
    await answer();
    expect(signals("offer").at(-1)).toMatchObject({
      number: 2,
      slots: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    });
    bind({ 0: "cam1", 1: "cam2", 2: "cam3", 3: "cam4", 6: "cam5" });
    expect(webrtc.tracks).toHaveLength(5);
    await settle();
    expect(signals("offer")).toHaveLength(2);
  });

  test("tells who is there and who speaks", async () => {
    make();
    const seen: unknown[] = [];
    webrtc.onPeers = (peers) => seen.push(peers.map(({ name }) => name));
    webrtc.onActiveSpeaker = (speakers) => seen.push(speakers);
    await connected();
    publications([bobs("cam")], [BOB, { identity: ME, name: "alice" }]);
    say({
      kind: "speakers",
      speakers: [
        { participant: BOB.identity, level: 0.5 },
        { participant: ME, level: 0.25 },
      ],
    });
    expect(seen).toEqual([
      ["bob"],
      [
        { ...BOB, level: 0.5 },
        { identity: ME, name: "alice", level: 0.25 },
      ],
    ]);
    expect(webrtc.peers[0]?.publications[0]).toMatchObject({ source: "camera", isMuted: false });
  });

  test("ends everything at the end", async () => {
    make();
    await connected();
    publications([bobs("cam")]);
    bind({ 0: "cam" });
    const ended: string[] = [];
    webrtc.on("trackEnded", ({ info }) => ended.push(info.peer.name));
    webrtc.close();
    expect(ended).toEqual(["bob"]);
    expect([webrtc.peers, webrtc.tracks]).toEqual([[], []]);
  });
});

describe("data", () => {
  test("that waits at the end fails", async () => {
    make();
    const waiting = codeOf(webrtc.sendData(1));
    webrtc.close();
    expect(await waiting).toBe("closed");
  });

  test("comes with the name of its sender, also of one who is in the call only", async () => {
    make();
    const seen: unknown[][] = [];
    webrtc.onDataReceived = (data, name, peer) => seen.push([data, name, peer.identity]);
    await connected();
    publications([]);
    const receive = (label: string, value: unknown): void =>
      world.peer.channel(label).onmessage?.({ data: new Uint8Array(encode(value)).buffer });
    receive("reliable", [BOB.identity, { x: 1 }]);
    receive("lossy", ["lineage:gone", 2]);
    expect(seen).toEqual([
      [{ x: 1 }, "bob", BOB.identity],
      [2, "", "lineage:gone"],
    ]);
    receive("reliable", [null, { code: "message_refused", message: "Too fast.", details: { untold: 2 } }]);
    receive("reliable", "nonsense");
    expect(errors.map(({ code }) => code)).toEqual(["message_refused", "bad_frame"]);
    expect(errors[0]?.details).toEqual({ untold: 2 });
  });

  test("that nobody waits for tells of its failure", async () => {
    make();
    await connected();
    webrtc.sendData(Number.NaN);
    await settle();
    expect(errors.map(({ code }) => code)).toEqual(["bad_request"]);
  });
});

// @vitest-environment happy-dom
/** The call in an emulated page, with a real agent and helper in an emulated world. */
import { beforeEach, describe, expect, test } from "vitest";
import "../../../src/pages/elements/copy";
import { OwnMedia } from "../../../src/pages/call/own-media";
import { Room } from "../../../src/pages/call/room";
import { AgentConnection } from "../../../src/sdk/agent/agent";
import { WebRTCHelper } from "../../../src/sdk/webrtc/helper";
import { settle } from "../../agent/fake-world";
import { enterGroup, FakeCallWorld } from "../../webrtc/fake-peers";
import { part, parts } from "../chat-page";
import { openCallPage } from "./call-page";

let world: FakeCallWorld;
let agent: AgentConnection;
let webrtc: WebRTCHelper;
let room: Room;
let asked: string[];
let version: number;

beforeEach(async () => {
  openCallPage();
  version = 0;
  asked = [];
  world = new FakeCallWorld();
  agent = new AgentConnection(world);
  webrtc = new WebRTCHelper(agent, { mode: "sfu" }, world);
  room = new Room(agent, webrtc, new OwnMedia({} as MediaDevices), {
    link: () => "http://localhost:8080/call#channel=lobby",
    leave: () => asked.push("leave"),
    rejoin: () => asked.push("rejoin"),
  });
  agent.onState = () => room.stateChanged();
  const options = { channelName: "lobby", agentName: "alice", api: "http://localhost:8080", apiKey: "k" };
  const connecting = agent.connect({ ...options, resumeKey: false });
  await settle();
  world.connection.open();
  world.connection.welcome();
  await connecting;
  await enterGroup(world);
  room.entered();
  await settle();
  return () => room.close();
});

function say(content: Record<string, unknown>): void {
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

async function connect(): Promise<void> {
  const { id } = world.connection.last("send");
  world.connection.say({ op: "ack", id, promise: "memory", message_id: "m", time_ms: 1 });
  say({ kind: "answer", connection: "c1", number: 1, sdp: "yes", term: 1 });
  await settle();
  world.peer.open();
  await settle();
}

async function callers(...names: string[]): Promise<void> {
  const all = names.map((name) => ({ identity: `lineage:${name}`, name }));
  say({ kind: "publications", term: 1, version: version + 1, publications: [], callers: all });
  await settle();
}

const tiles = (): (string | undefined)[] => parts("tile").map(({ dataset }) => dataset["name"]);

describe("the call", () => {
  test("shows oneself, then everybody who is there", async () => {
    await connect();
    expect(part("connection").textContent).toBe("Connected · through the server");
    expect(tiles()).toEqual(["alice"]);
    expect(part("alone").hidden).toBe(false);
    await callers("bob", "cleo");
    expect(new Set(tiles())).toEqual(new Set(["alice", "bob", "cleo"]));
    expect(part("alone").hidden).toBe(true);
    expect(part("people").textContent).toContain("3 people");
    await callers("bob");
    expect(new Set(tiles())).toEqual(new Set(["alice", "bob"]));
  });

  test("keeps the element of who stays", async () => {
    await connect();
    await callers("bob");
    const before = document.querySelector('[data-name="bob"]');
    await callers("bob", "cleo");
    expect(document.querySelector('[data-name="bob"]')).toBe(before);
  });

  test("takes names for text", async () => {
    await connect();
    await callers("<img src=x onerror=alert(1)>");
    expect(document.querySelector(".tile img")).toBeNull();
    expect(tiles()).toContain("<img src=x onerror=alert(1)>");
  });

  test("shows who wants to speak, and lets oneself", async () => {
    await connect();
    part("hand").click();
    await settle();
    expect(part("hand").title).toBe("Lower hand");
    expect(part("hand").ariaPressed).toBe("true");
  });

  test("says what is wrong, and that it goes on", async () => {
    await connect();
    say({ kind: "restart", term: 2, reason: "The worker was replaced." });
    await settle();
    expect(part("connection").textContent).toBe("Reconnecting…");
    expect(part("notice").textContent).toContain("It is tried again by itself");
    expect(part("notice").textContent).toContain("Try now");
  });

  test("ends with a reason and a way back", async () => {
    await connect();
    say({ kind: "ended", connection: "c1", code: "kicked", message: "Out." });
    await settle();
    expect(part("connection").textContent).toBe("Not connected");
    expect(part("notice").textContent).toContain("You were removed from this call");
    part("notice").querySelector<HTMLButtonElement>(".actions button")?.click();
    expect(asked).toEqual(["leave"]);
  });

  test("is full for one too many, who may try again", async () => {
    say({ kind: "refused", connection: "c1", number: 1, code: "room_full", message: "Room for 64." });
    await settle();
    expect(part("notice").textContent).toContain("The call is full");
    part("notice").querySelector<HTMLButtonElement>(".actions button")?.click();
    expect(asked).toEqual(["rejoin"]);
  });

  test("is left by one button", async () => {
    await connect();
    part("leave").click();
    expect(asked).toEqual(["leave"]);
  });
});
